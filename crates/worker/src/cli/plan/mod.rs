//! `plan`: what the next run of each stream would do and cost. Nothing is written.

mod forecast;
mod inquiry;
mod render;

use clap::Args;
use futures_util::future::join_all;

use super::Surroundings;
use super::output::OutputArguments;
use super::selection::SelectionArguments;
use crate::config::Keys;
use crate::error::Result;

/// Arguments of `plan`.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    selection: SelectionArguments,
    #[command(flatten)]
    output: OutputArguments,
    #[command(flatten)]
    keys: Keys,
}

pub(super) async fn run(arguments: Arguments, surroundings: &Surroundings) -> Result<()> {
    let jobs = surroundings.jobs(&arguments.selection, &arguments.keys)?;
    let plans = join_all(jobs.iter().map(inquiry::inquire)).await;
    arguments.output.write(&plans, || render::text(&plans))
}
