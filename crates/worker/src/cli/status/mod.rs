//! `status`: where each stream stands.

mod render;
mod standing;
mod survey;

use clap::Args;
use futures_util::future::join_all;

use super::Surroundings;
use super::output::OutputArguments;
use super::selection::SelectionArguments;
use crate::config::Keys;
use crate::error::Result;

/// Arguments of `status`.
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
    let streams = join_all(jobs.iter().map(survey::survey)).await;
    arguments.output.write(&streams, || render::text(&streams))
}
