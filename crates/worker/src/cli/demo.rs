//! `demo`: the whole system on throwaway servers.

use std::path::PathBuf;

use clap::Args;

use super::Surroundings;
use crate::demo::{self, Options};
use crate::error::Result;

/// Arguments of `demo`.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// End as soon as everything is shown, instead of waiting for Ctrl-C.
    #[arg(long)]
    exit: bool,
    /// Directory with all flights as CSV files, plain or gzip, instead of the excerpt in this program.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Directory with Postgres' own programs, instead of those that are found.
    #[arg(long, value_name = "DIR")]
    postgres_bin: Option<PathBuf>,
}

pub(super) async fn run(arguments: Arguments, surroundings: &Surroundings) -> Result<()> {
    let Arguments { exit, data, postgres_bin } = arguments;
    let stop =
        surroundings.signals.stop("stopping the servers; a second signal ends at once and may leave them");
    Box::pin(demo::run(&Options { postgres_bin, data, exit }, stop)).await
}
