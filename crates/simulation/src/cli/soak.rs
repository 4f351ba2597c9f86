//! `soak`: new seeds until the time is up.

use std::time::Duration;

use clap::Args;

use super::Trouble;
use super::run::{self, duration};

/// Arguments of `soak`.
#[derive(Clone, Debug, Args)]
pub(super) struct Arguments {
    /// How long.
    #[arg(long = "for", value_name = "TIME", value_parser = duration)]
    time: Duration,
    #[command(flatten)]
    run: run::Arguments,
}

pub(super) async fn run(arguments: Arguments) -> Result<u8, Trouble> {
    let Arguments { time, run } = arguments;
    run::run(run::Arguments { budget: Some(time), histories: u64::MAX / 2, ..run }).await
}
