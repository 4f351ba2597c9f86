//! What each command says of itself: the settings that concern it, examples and exit codes; and the topics of `help`.

use clap::{Args, Command};
use milestream_core::near::advice;

use super::{colour, output};
use crate::config::Keys;
use crate::error::{Error, Result};

/// Arguments of `help`.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// A command, or one of the topics `settings` and `exit-codes`; without one, all commands.
    #[arg(value_name = "TOPIC")]
    topic: Option<String>,
}

const TOPICS: [&str; 2] = ["settings", "exit-codes"];

/// Settings of how servers are reached; they concern whatever connects.
const CONNECTIONS: &[&str] = &[
    "connect_timeout",
    "endpoints",
    "tls",
    "tls_root_cert",
    "container_tls",
    "container_tls_root_cert",
    "secrets_dir",
];

/// Settings that people give `sync` on the command line; the others are given once, in the file.
const OF_SYNC: &[&str] = &[
    "from",
    "credential",
    "parallelism",
    "seed_chunk_rows",
    "verify_seed",
    "max_rows_per_sync",
    "max_delete_fraction",
    "max_rate",
    "lock_timeout",
    "endpoints",
    "tls",
    "tls_root_cert",
    "secrets_dir",
];

/// Settings that change what the next sync would be.
const OF_PLAN: &[&str] = &[
    "from",
    "credential",
    "primary_choice",
    "seed_chunk_rows",
    "seed_strategy",
    "increment_strategy",
    "max_rows_per_sync",
];

/// Settings that change what roles do, and which.
const OF_GRANTS: &[&str] =
    &["from", "credential", "pause_replication_lag", "pause_active_sessions", "endpoints", "secrets_dir"];

/// What every exit code says, of whatever command.
pub(super) const EXIT_CODES: [(u8, &str); 9] = [
    (0, "done, or nothing to do"),
    (1, "a person must act: a stream is halted or would halt, or lint found an error"),
    (2, "the set-up is wrong: arguments, model, settings, credentials, or a login that a server refused"),
    (3, "busy: another worker has the stream"),
    (4, "a server could not be reached, for as long as it was tried"),
    (5, "stopped as asked (SIGTERM, Ctrl-C); the next run goes on where this one stood"),
    (70, "a bug of Milestream: please report it with the log"),
    (130, "ended at once by a second Ctrl-C; nothing is lost"),
    (143, "ended at once by a second SIGTERM; nothing is lost"),
];

/// What is known of a command beyond its arguments.
struct Manual {
    command: &'static str,
    /// Settings that its help shows.
    settings: &'static [&'static [&'static str]],
    examples: &'static [(&'static str, &'static str)],
    exit_codes: &'static [u8],
}

const MANUALS: &[Manual] = &[
    Manual {
        command: "demo",
        settings: &[],
        examples: &[
            ("milestream demo", "stays until Ctrl-C"),
            ("milestream demo --exit", "shows everything and ends"),
        ],
        exit_codes: &[0, 1, 2, 4, 5],
    },
    Manual {
        command: "lint",
        settings: &[CONNECTIONS],
        examples: &[
            ("milestream lint --config conf", "reads files only"),
            ("milestream lint --config conf --credentials", "and looks for the credentials"),
            ("milestream lint --config conf --connect", "and asks the servers what a sync would halt on"),
        ],
        exit_codes: &[0, 1, 2],
    },
    Manual {
        command: "resolve",
        settings: &[&["from", "credential"]],
        examples: &[("milestream resolve --config conf --store Flights", "who reads whom")],
        exit_codes: &[0, 2],
    },
    Manual {
        command: "plan",
        settings: &[OF_PLAN, CONNECTIONS],
        examples: &[
            ("milestream plan --config conf", "every stream"),
            ("milestream plan --config conf --platform Edge --store Flights", "one stream"),
        ],
        exit_codes: &[0, 1, 2, 4],
    },
    Manual {
        command: "sync",
        settings: &[OF_SYNC],
        examples: &[
            ("milestream sync --config conf --all --until-caught-up", "from cron or a systemd timer"),
            ("milestream sync --config conf --platform Edge --store Flights", "one sync of one stream"),
            (
                "milestream sync --config conf --platform Edge --store Flights --join",
                "helps whoever leads its seed",
            ),
        ],
        exit_codes: &[0, 1, 2, 3, 4, 5, 70, 130, 143],
    },
    Manual {
        command: "status",
        settings: &[CONNECTIONS],
        examples: &[
            ("milestream status --config conf", "every stream"),
            ("milestream status --config conf --output json", "for programs"),
        ],
        exit_codes: &[0, 1, 2, 4],
    },
    Manual {
        command: "reset",
        settings: &[CONNECTIONS],
        examples: &[
            ("milestream reset --platform Edge --store Flights --dry-run", "what would be thrown away"),
            ("milestream reset --platform Edge --store Flights", "throws the open batch away"),
            ("milestream reset --platform Edge --store Flights --reseed", "has the next sync seed again"),
        ],
        exit_codes: &[0, 2, 3, 4],
    },
    Manual {
        command: "grants",
        settings: &[OF_GRANTS],
        examples: &[
            ("milestream grants --config conf", "for every role of the model"),
            (
                "milestream grants --config conf --platform Edge | psql -U postgres",
                "grants what one platform needs",
            ),
        ],
        exit_codes: &[0, 2],
    },
    Manual {
        command: "completions",
        settings: &[],
        examples: &[(
            "milestream completions bash > ~/.local/share/bash-completion/completions/milestream",
            "for bash",
        )],
        exit_codes: &[0, 2],
    },
    Manual {
        command: "help",
        settings: &[],
        examples: &[
            ("milestream help sync", "as milestream sync --help"),
            ("milestream help settings", "every key of milestream.toml"),
            ("milestream help exit-codes", "what each one says"),
        ],
        exit_codes: &[0, 2],
    },
];

/// Gives a command its examples and exit codes, and hides the settings that do not concern it: they are taken all the
/// same, so that one set of variables does for all commands.
pub(super) fn with_manual(command: Command) -> Command {
    let Some(manual) = MANUALS.iter().find(|manual| manual.command == command.get_name()) else {
        return command;
    };
    let defaults = crate::config::reference::defaults();
    let concerns = |key: &str| manual.settings.iter().any(|settings| settings.contains(&key));
    let command = command.mut_args(|argument| {
        let key = argument.get_id().as_str().to_owned();
        match defaults.contains_key(&key) {
            false => argument,
            // A dozen keys would bury the rest of the short help.
            true => with_default(argument).hide(!concerns(&key)).hide_short_help(true),
        }
    });
    let has_settings =
        command.get_arguments().any(|argument| defaults.contains_key(argument.get_id().as_str()));
    command.after_long_help(manual.text(has_settings))
}

impl Manual {
    fn text(&self, has_settings: bool) -> String {
        let width = self.examples.iter().map(|(line, _)| line.len()).max().unwrap_or(0);
        let examples: String =
            self.examples.iter().map(|(line, what)| format!("  {line:width$}  # {what}\n")).collect();
        let codes = EXIT_CODES.iter().filter(|(code, _)| self.exit_codes.contains(code));
        let codes: String = codes.map(|(code, says)| format!("  {code:<3} {says}\n")).collect();
        let settings = match has_settings {
            true => "\nEvery key of milestream.toml is a flag, too: milestream help settings",
            false => "",
        };
        format!("Examples:\n{examples}\nExit codes:\n{codes}{settings}").trim_end().to_owned()
    }
}

fn with_default(argument: clap::Arg) -> clap::Arg {
    let defaults = crate::config::reference::defaults();
    let Some(default) = defaults.get(argument.get_id().as_str()) else { return argument };
    let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
    argument.help(format!("{help} [default: {default}]"))
}

/// Prints the help of a command or topic.
///
/// # Errors
/// `Setup` for one that is not there.
pub(super) fn run(arguments: &Arguments) -> Result<()> {
    let mut cli = super::command();
    cli.build();
    let Some(topic) = arguments.topic.as_deref() else { return printed(&mut cli) };
    match topic {
        "settings" => printed(&mut settings()),
        "exit-codes" => output::line(&exit_codes()),
        name => match cli.find_subcommand_mut(name) {
            Some(command) => printed(command),
            None => {
                let known = cli.get_subcommands().map(Command::get_name).chain(TOPICS);
                let remedy = advice(name, known);
                Err(Error::setup(format!("there is no command and no topic {name:?}"), remedy))
            }
        },
    }
}

fn printed(command: &mut Command) -> Result<()> {
    match command.print_long_help() {
        // `milestream help sync | head -1` has what it wanted.
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Error::setup(format!("stdout cannot be written: {error}"), "check what it is connected to"))
        }
        _ => Ok(()),
    }
}

/// The page of all keys.
pub(super) fn settings() -> Command {
    const PAGE: &str = "Every setting as a flag. Its key in milestream.toml has underscores instead of hyphens, its variable stands \
                        below it.\nOf several places the first counts: flag, variable, the stream's table in the file, the \
                        platform's, [defaults].\n\n{all-args}";
    <Keys as Args>::augment_args(Command::new("settings"))
        .mut_args(with_default)
        .disable_help_flag(true)
        .styles(colour::styles())
        .max_term_width(super::WIDTH_MAX)
        .help_template(PAGE)
}

fn exit_codes() -> String {
    EXIT_CODES.map(|(code, says)| format!("{code:<3} {says}")).join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `MILESTREAM_WRITE_DOCS=1` brings the page up to date.
    #[test]
    fn the_page_on_running_lists_every_exit_code() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/RUNNING.md");
        let page = std::fs::read_to_string(path).unwrap();
        let (begin, end) = ("<!-- exit codes: made from the code -->\n", "<!-- end of exit codes -->\n");
        let (before, rest) = page.split_once(begin).unwrap();
        let (listed, after) = rest.split_once(end).unwrap();
        let rows: String = EXIT_CODES.iter().map(|(code, says)| format!("| {code} | {says} |\n")).collect();
        let table = format!("| code | says |\n|---|---|\n{rows}");
        if listed != table && std::env::var_os("MILESTREAM_WRITE_DOCS").is_some() {
            std::fs::write(path, format!("{before}{begin}{table}{end}{after}")).unwrap();
            return;
        }
        assert_eq!(listed, table, "run this test once with MILESTREAM_WRITE_DOCS=1");
    }

    #[test]
    fn every_command_has_its_manual() {
        let cli = super::super::command();
        for command in cli.get_subcommands() {
            let help = command.get_after_long_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.contains("Examples:") && help.contains("Exit codes:"), "{}", command.get_name());
        }
    }

    #[test]
    fn settings_that_a_manual_names_are_keys() {
        let defaults = crate::config::reference::defaults();
        for setting in MANUALS.iter().flat_map(|manual| manual.settings).copied().flatten() {
            assert!(defaults.contains_key(*setting), "{setting}");
        }
    }

    #[test]
    fn examples_are_understood() {
        for (line, _) in MANUALS.iter().flat_map(|manual| manual.examples) {
            let words = line.split(['|', '>']).next().unwrap().split_whitespace();
            let name = words.clone().nth(1).unwrap();
            if super::super::command().find_subcommand(name).is_some() {
                super::super::command()
                    .try_get_matches_from(words)
                    .unwrap_or_else(|error| panic!("{line}: {error}"));
            }
        }
    }
}
