fn long_help(command: &str) -> String {
    let mut cli = super::command().term_width(100);
    cli.build();
    let command = match command {
        "" => &mut cli,
        name => cli.find_subcommand_mut(name).unwrap(),
    };
    // Variables that happen to be set here must not get into a snapshot.
    command.clone().mut_args(|argument| argument.hide_env_values(true)).render_long_help().to_string()
}

#[test]
fn the_command_line_is_sound() {
    super::command().debug_assert();
}

#[test]
fn help_names_every_command() {
    insta::assert_snapshot!(long_help(""));
}

#[test]
fn help_of_sync_names_every_key_with_its_default_and_variable() {
    insta::assert_snapshot!(long_help("sync"));
}

#[test]
fn flags_of_datasurface_jobs_are_understood() {
    let arguments =
        ["milestream", "sync", "--platform-name", "Edge", "--store-name", "Flights", "--result-code"];
    assert!(super::command().try_get_matches_from(arguments).is_ok());
}

#[test]
fn a_dataset_without_a_store_is_refused() {
    assert!(super::command().try_get_matches_from(["milestream", "plan", "--dataset", "flights"]).is_err());
}
