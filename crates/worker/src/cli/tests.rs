fn long_help(command: &str) -> String {
    let mut cli = super::command().term_width(100);
    cli.build();
    let command = match command {
        "" => &mut cli,
        name => cli.find_subcommand_mut(name).unwrap(),
    };
    rendered(command.clone())
}

fn rendered(command: clap::Command) -> String {
    // Variables that happen to be set here must not get into a snapshot.
    command.mut_args(|argument| argument.hide_env_values(true)).render_long_help().to_string()
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
fn help_of_sync_has_its_flags_examples_and_exit_codes() {
    insta::assert_snapshot!(long_help("sync"));
}

#[test]
fn help_of_settings_names_every_key_with_its_default_and_variable() {
    insta::assert_snapshot!(rendered(super::help::settings().term_width(100)));
}

#[test]
fn commands_that_only_look_show_the_settings_of_connections_alone() {
    for command in ["lint", "status"] {
        let help = long_help(command);
        assert!(help.contains("--endpoints") && !help.contains("--seed-chunk-rows"), "{help}");
        assert!(help.lines().count() < 130, "{help}");
    }
    insta::assert_snapshot!(long_help("status"));
}

#[test]
fn help_has_a_help_of_its_own() {
    let asked = super::command().try_get_matches_from(["milestream", "help", "--help"]).unwrap_err();
    assert_eq!(asked.kind(), clap::error::ErrorKind::DisplayHelp);
    for topic in [None, Some("settings"), Some("exit-codes"), Some("sync")] {
        let arguments = ["milestream", "help"].into_iter().chain(topic);
        assert!(super::command().try_get_matches_from(arguments).is_ok());
    }
}

#[test]
fn values_that_are_refused_are_not_offered() {
    let page = rendered(super::help::settings());
    for value in ["conflate", "reconcile", "reseed", "failover", "additive"] {
        assert!(
            !page.contains(&format!("- {value}")) && !page.contains(&format!(", {value}")),
            "{value}: {page}"
        );
    }
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
