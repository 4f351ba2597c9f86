//! `sync`: runs streams side by side, secondaries from their primaries and primaries from their sources.

mod job_arguments;
mod report;
mod streams;

use std::num::NonZeroUsize;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;

use self::job_arguments::JobArguments;
use self::report::StreamReport;
use self::streams::{Part, Running};
use super::gravity::gravest;
use super::output::{self, OutputArguments};
use super::selection::SelectionArguments;
use super::stop_at::{StopAt, StopPoint};
use super::{Surroundings, logging};
use crate::config::{Keys, StreamJob};
use crate::error::{Error, Result};
use crate::sync::Until;

/// Arguments of `sync`.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    selection: SelectionArguments,
    /// Go on until the primary has nothing more, instead of ending after one sync.
    #[arg(long)]
    until_caught_up: bool,
    /// Help the processes that lead the streams: copy chunks of their seeds, and of increments that are read by blocks, as
    /// long as somebody leads. Seeds are planned, landed and committed by the leader alone.
    #[arg(long, conflicts_with = "until_caught_up")]
    join: bool,
    /// Streams that run side by side.
    #[arg(long, env = "MILESTREAM_MAX_STREAMS", value_name = "N", default_value = "4")]
    max_streams: NonZeroUsize,
    /// Print DATASURFACE_RESULT_CODE=0 (done, or another worker is at it), 1 (more to do) or -1 (error) as the last line, and
    /// exit with 0, 0 or 1. With --output json it is the last line of stderr.
    #[arg(long)]
    result_code: bool,
    /// Stop this process with SIGSTOP at the N-th occurrence of a step; for drills and tests.
    #[arg(long, value_name = "STEP[:N]", hide = true)]
    stop_at: Option<StopPoint>,
    #[command(flatten)]
    job_arguments: JobArguments,
    #[command(flatten)]
    output: OutputArguments,
    #[command(flatten)]
    keys: Keys,
}

/// What [`Error::exit_code`] says of a stream that another worker holds.
const BUSY: u8 = 3;
/// What [`Error::exit_code`] says of a run that was asked to stop.
const STOPPED: u8 = 5;

/// How a run ended, for whoever started it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ending {
    exit_code: u8,
    /// Whether another run has something to do.
    more: bool,
}

pub(super) async fn run(arguments: Arguments, surroundings: &Surroundings) -> ExitCode {
    let (result_code, output) = (arguments.result_code, arguments.output);
    let ending = sync(arguments, surroundings).await.unwrap_or_else(|error| {
        output::complain(None, &error);
        Ending { exit_code: error.exit_code(), more: false }
    });
    if result_code { ending.tell_scheduler(output.is_json()) } else { ExitCode::from(ending.exit_code) }
}

/// Ends a run whose arguments were not understood, for a scheduler that asked for a result code.
pub(super) fn usage_error() -> ExitCode {
    Ending { exit_code: 2, more: false }.tell_scheduler(false)
}

async fn sync(arguments: Arguments, surroundings: &Surroundings) -> Result<Ending> {
    arguments.job_arguments.log();
    let selected =
        surroundings.configuration()?.jobs(&arguments.selection.for_writing()?, &arguments.keys)?;
    for passed_over in &selected.passed_over {
        tracing::warn!("passed over: {passed_over}");
    }
    if selected.streams.is_empty() {
        return Err(Error::setup(
            "no stream of the selection can be run",
            "see `milestream resolve` for the reasons",
        ));
    }
    let running = Running {
        part: match (arguments.join, arguments.until_caught_up) {
            (true, _) => Part::Help,
            (false, true) => Part::Lead(Until::CaughtUp),
            (false, false) => Part::Lead(Until::OneSync),
        },
        max_streams: arguments.max_streams.get(),
        screen: surroundings.screen.clone(),
        stop: surroundings.signals.stop("stopping after the chunk in flight; a second signal ends at once"),
        stop_at: arguments.stop_at.map(|point| Arc::new(StopAt::new(point))),
    };
    let (primaries, secondaries): (Vec<_>, Vec<_>) =
        selected.streams.into_iter().partition(|job| matches!(job, StreamJob::Ingest(_)));
    let jobs = if arguments.join {
        for job in &primaries {
            let (platform, stream) = (job.platform(), job.stream_key());
            tracing::warn!(
                "passed over: {platform} {stream}: it is read from its source by one process alone"
            );
        }
        secondaries
    } else {
        primaries.into_iter().chain(secondaries).collect()
    };
    let reports = running.run(jobs).await;
    arguments.output.write(&reports, || report::text(&reports))?;
    Ok(Ending::of(&reports))
}

impl Ending {
    fn of(reports: &[StreamReport]) -> Ending {
        let exit_code = gravest(reports.iter().map(StreamReport::exit_code));
        Ending { exit_code, more: reports.iter().any(StreamReport::has_more) }
    }

    /// Prints the result code as the last line: of stdout, or of the log where stdout is JSON. Schedulers read both.
    fn tell_scheduler(self, stdout_is_json: bool) -> ExitCode {
        let (code, exit_code) = self.for_schedulers();
        let line = format!("DATASURFACE_RESULT_CODE={code}");
        let told = match stdout_is_json {
            true => logging::line(&line),
            false => output::line(&line),
        };
        match told {
            Ok(()) => ExitCode::from(exit_code),
            Err(_) => ExitCode::FAILURE,
        }
    }

    /// The code that DataSurface's schedulers read, and the exit code they expect beside it. A stream that another worker
    /// is at leaves nothing for this run; a code of 1 would start one run after another until that worker is done.
    fn for_schedulers(self) -> (i8, u8) {
        match self.exit_code {
            0 | BUSY | STOPPED => (i8::from(self.more), 0),
            _ => (-1, 1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schedulers_read_done_more_and_error() {
        let code = |exit_code, more| Ending { exit_code, more }.for_schedulers();
        assert_eq!(code(0, false), (0, 0));
        assert_eq!(code(0, true), (1, 0));
        assert_eq!(code(5, true), (1, 0), "stopped as asked: more to do");
        assert_eq!(code(3, false), (0, 0), "another worker is at it");
        assert_eq!(code(3, true), (1, 0), "another worker is at it, and another stream has more");
        for failed in [1, 2, 4, 70] {
            assert_eq!(code(failed, true), (-1, 1));
        }
    }
}
