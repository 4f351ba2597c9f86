//! The commands of `simulate`.

mod ground;
mod kept;
mod plan;
mod planted;
mod replay;
mod run;
mod screen;
mod shrink;
mod soak;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Plays random histories on real Postgres servers, under faults at exact steps, and checks that secondaries converge.
///
/// Exit codes: 0 every promise was kept, 1 usage or a promise about coverage, 127 crash, 128 no convergence, 129 wrong
/// data.
#[derive(Debug, Parser)]
#[command(name = "simulate", version, max_term_width = 110)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Kept plans, the tour of all faults and phases, then random histories.
    Run(run::Arguments),
    /// Print the plan of a seed, or of a cell of the tour.
    Plan(plan::Arguments),
    /// Play one plan again, exactly.
    Replay(replay::Arguments),
    /// Find a smaller plan that still fails.
    Shrink(shrink::Arguments),
    /// New seeds until the time is up; failing plans are kept.
    Soak(soak::Arguments),
    /// Every planted bug must be caught.
    Planted(planted::Arguments),
}

/// The argument behind which the worker's own command line follows: the simulation kills it as a process of its own.
const WORKER: &str = "worker";

/// Runs the command line of this process; the whole of the binary `simulate`.
pub fn main() -> ExitCode {
    let mut arguments = std::env::args_os();
    if arguments.nth(1).is_some_and(|first| first == WORKER) {
        return milestream_worker::cli::main_with(["milestream".into()].into_iter().chain(arguments));
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(1) } else { ExitCode::SUCCESS };
        }
    };
    screen::start_log();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return complain(&format!("no threads could be started: {error}")),
    };
    let ended = runtime.block_on(async {
        match cli.command {
            Command::Run(arguments) => Box::pin(run::run(arguments)).await,
            Command::Plan(arguments) => plan::run(&arguments),
            Command::Replay(arguments) => Box::pin(replay::run(arguments)).await,
            Command::Shrink(arguments) => Box::pin(shrink::run(arguments)).await,
            Command::Soak(arguments) => Box::pin(soak::run(arguments)).await,
            Command::Planted(arguments) => planted::run(&arguments),
        }
    });
    match ended {
        Ok(code) => ExitCode::from(code),
        Err(error) => complain(&format!("{error:#}")),
    }
}

fn complain(error: &str) -> ExitCode {
    eprintln!("simulate: {error}");
    ExitCode::from(1)
}

/// Whatever keeps a command from being carried out, in a sentence.
type Trouble = Box<dyn std::error::Error + Send + Sync>;
