//! `reset`: a way back for streams that a person has to begin again.

mod report;

use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;

use self::report::StreamReset;
use super::Surroundings;
use super::output::{self, OutputArguments};
use super::selection::SelectionArguments;
use crate::config::{Keys, StreamJob};
use crate::error::{Error, Result};
use crate::observer::{Answer, Event, Notice, Observer, Verdict};
use crate::reset::{self, Order, Reset};

/// Arguments of `reset`.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    selection: SelectionArguments,
    /// Seed the stream again with its next sync, beside the tables that readers see, which change when it is committed.
    /// A mirror's history is kept as {table}_kept_{time} first.
    #[arg(long)]
    reseed: bool,
    /// Show what would be done, statement by statement, and change nothing.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    output: OutputArguments,
    #[command(flatten)]
    keys: Keys,
}

pub(super) async fn run(arguments: Arguments, surroundings: &Surroundings) -> Result<ExitCode> {
    let selection = arguments.selection.for_writing()?;
    let selected = surroundings.configuration()?.jobs(&selection, &arguments.keys)?;
    for passed_over in &selected.passed_over {
        tracing::warn!("passed over: {passed_over}");
    }
    let order = Order { reseed: arguments.reseed, dry_run: arguments.dry_run };
    let (mut reports, mut exit_code) = (Vec::new(), 0);
    for job in &selected.streams {
        match reset_stream(job, order).await {
            Ok(reset) => reports.push(StreamReset::of(job, order, reset)),
            Err(error) => {
                output::complain(Some(&job.name()), &error);
                exit_code = exit_code.max(error.exit_code());
            }
        }
    }
    if reports.is_empty() && exit_code == 0 {
        return Err(Error::setup(
            "no stream of the selection can be reset",
            "see `milestream resolve` for the reasons",
        ));
    }
    arguments.output.write(&reports, || report::text(&reports))?;
    Ok(ExitCode::from(exit_code))
}

async fn reset_stream(job: &StreamJob, order: Order) -> Result<Reset> {
    let observer = Arc::new(Logged);
    match job {
        StreamJob::Sync(job) => reset::of_secondary(Arc::clone(job), order, observer).await,
        StreamJob::Ingest(job) => reset::of_primary(Arc::clone(job), order, observer).await,
    }
}

/// Logs what is worth knowing: that a lease was taken over, for one.
struct Logged;

impl Observer for Logged {
    fn at<'a>(&'a self, _event: &'a Event) -> Answer<'a> {
        Box::pin(std::future::ready(Verdict::GoOn))
    }

    fn notice(&self, notice: &Notice) {
        tracing::info!("{}: {}", notice.stream, notice.text);
    }
}
