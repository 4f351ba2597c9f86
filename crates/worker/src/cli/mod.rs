//! The commands of `milestream`, one module each.

mod colour;
mod completions;
#[cfg(feature = "demo")]
mod demo;
mod failure;
mod figures;
mod grants;
mod gravity;
mod help;
mod lint;
mod logging;
mod output;
mod pace;
mod plan;
mod progress;
mod reset;
mod resolve;
mod selection;
mod shared_session;
mod sheet;
mod signals;
mod status;
mod stop_at;
mod sync;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use tokio::runtime::Runtime;

use self::logging::LogFormat;
use self::progress::Screen;
use self::selection::SelectionArguments;
use self::signals::Signals;
use crate::config::{Configuration, Keys, StreamJob};
use crate::error::{Error, Result};
use crate::panics;

/// Columns beyond which help is hard to read.
const WIDTH_MAX: usize = 110;

/// Keeps the tables of one data platform equal to those of another, through Postgres alone.
#[derive(Debug, Parser)]
#[command(name = "milestream", version, propagate_version = true, disable_help_subcommand = true)]
#[command(max_term_width = WIDTH_MAX, styles = colour::styles())]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// What every command takes.
#[derive(Debug, Args)]
#[command(next_help_heading = "Options of every command")]
struct Global {
    /// Directory with the model (*.json) and milestream.toml.
    #[arg(long, global = true, env = "MILESTREAM_CONFIG", value_name = "DIR", default_value = ".")]
    config: PathBuf,
    /// How the log on stderr is written.
    #[arg(long, global = true, env = "MILESTREAM_LOG_FORMAT", value_name = "FORMAT", default_value = "text")]
    log_format: LogFormat,
    /// Log every step; twice, everything.
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    verbose: u8,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start a source, a primary and two secondaries on throwaway servers, with real flights.
    #[cfg(feature = "demo")]
    Demo(demo::Arguments),
    /// Report every problem of the model and of milestream.toml at once.
    Lint(Box<lint::Arguments>),
    /// Show what each platform does for each store, and why.
    Resolve(Box<resolve::Arguments>),
    /// Show what the next sync would do and cost; nothing is written.
    Plan(Box<plan::Arguments>),
    /// Sync streams: secondaries from their primaries, primaries from their sources.
    Sync(Box<sync::Arguments>),
    /// Throw away the open batch of a stream, or have it seeded again.
    Reset(Box<reset::Arguments>),
    /// Show where each stream stands, and how far behind.
    Status(Box<status::Arguments>),
    /// Print every right that the roles of the model need, for psql; nothing is connected to.
    Grants(Box<grants::Arguments>),
    /// Print a script that completes commands and flags in a shell.
    Completions(completions::Arguments),
    /// Show help: of a command, of every setting, of the exit codes.
    Help(help::Arguments),
}

/// What a command finds around it.
struct Surroundings {
    config: PathBuf,
    screen: Screen,
    signals: Signals,
}

impl Surroundings {
    fn configuration(&self) -> Result<Configuration> {
        Configuration::load(&self.config)
    }

    /// The jobs of a selection for a command that only reads.
    fn jobs(&self, selection: &SelectionArguments, keys: &Keys) -> Result<Vec<StreamJob>> {
        let selected = self.configuration()?.jobs(&selection.for_reading(), keys)?;
        for passed_over in &selected.passed_over {
            tracing::info!("passed over: {passed_over}");
        }
        Ok(selected.streams)
    }
}

/// Runs the command line of this process; the whole of the binary `milestream`.
pub fn main() -> ExitCode {
    main_with(std::env::args_os())
}

/// Runs a command line, the program's name first: `milestream` inside of another binary.
pub fn main_with(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    // Signals first: whenever one comes, it is heeded as documented.
    let (runtime, signals) = match runtime() {
        Ok(started) => started,
        Err(error) => {
            output::complain(None, &error);
            return ExitCode::from(error.exit_code());
        }
    };
    let matches = command().try_get_matches_from(arguments);
    let cli = match matches.and_then(|matches| Cli::from_arg_matches(&matches)) {
        Ok(cli) => cli,
        Err(error) => return misunderstood(&error),
    };
    let screen = match cli.command {
        Command::Sync(_) => Screen::of_stderr(),
        _ => Screen::default(),
    };
    logging::start(cli.global.log_format, cli.global.verbose, &screen);
    if !cli.command.stops_in_order() {
        signals.end_at_once();
    }
    let surroundings = Surroundings { config: cli.global.config, screen, signals };
    let ran = panics::caught("the command", async { Ok(Box::pin(run(cli.command, &surroundings)).await) });
    runtime.block_on(ran).unwrap_or_else(|error| {
        output::complain(None, &error);
        ExitCode::from(error.exit_code())
    })
}

/// The threads of this process, and its handlers of signals.
fn runtime() -> Result<(Runtime, Signals)> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(|error| {
        Error::setup(format!("no threads could be started: {error}"), "check the limits of this process")
    })?;
    let signals = {
        let _inside = runtime.enter();
        Signals::listen()?
    };
    Ok((runtime, signals))
}

impl Command {
    /// Whether a first signal asks it to bring something to an end.
    fn stops_in_order(&self) -> bool {
        match self {
            Command::Sync(_) => true,
            #[cfg(feature = "demo")]
            Command::Demo(_) => true,
            Command::Lint(_)
            | Command::Resolve(_)
            | Command::Plan(_)
            | Command::Reset(_)
            | Command::Status(_)
            | Command::Grants(_)
            | Command::Completions(_)
            | Command::Help(_) => false,
        }
    }
}

/// Answers arguments that cannot be parsed, `--help` and `--version` among them.
fn misunderstood(error: &clap::Error) -> ExitCode {
    // Where nobody reads the answer, the exit code still tells.
    let _ = error.print();
    let is_error = error.use_stderr();
    if is_error && std::env::args_os().any(|argument| argument == "--result-code") {
        return sync::usage_error();
    }
    if is_error { ExitCode::from(2) } else { ExitCode::SUCCESS }
}

async fn run(command: Command, surroundings: &Surroundings) -> ExitCode {
    let done = match command {
        #[cfg(feature = "demo")]
        Command::Demo(arguments) => demo::run(arguments, surroundings).await.map(|()| ExitCode::SUCCESS),
        Command::Lint(arguments) => lint::run(&arguments, surroundings).await,
        Command::Resolve(arguments) => resolve::run(&arguments, surroundings).map(|()| ExitCode::SUCCESS),
        Command::Plan(arguments) => plan::run(*arguments, surroundings).await,
        Command::Sync(arguments) => Ok(sync::run(*arguments, surroundings).await),
        Command::Reset(arguments) => reset::run(*arguments, surroundings).await,
        Command::Status(arguments) => status::run(*arguments, surroundings).await,
        Command::Grants(arguments) => grants::run(&arguments, surroundings).map(|()| ExitCode::SUCCESS),
        Command::Completions(arguments) => completions::run(&arguments).map(|()| ExitCode::SUCCESS),
        Command::Help(arguments) => help::run(&arguments).map(|()| ExitCode::SUCCESS),
    };
    done.unwrap_or_else(|error| {
        output::complain(None, &error);
        ExitCode::from(error.exit_code())
    })
}

/// The command line, each command with its manual.
fn command() -> clap::Command {
    Cli::command().mut_subcommands(help::with_manual)
}

#[cfg(test)]
mod tests;
