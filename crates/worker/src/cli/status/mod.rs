//! `status`: where each stream stands.

mod render;
mod standing;
mod survey;

use std::process::ExitCode;

use clap::Args;

use super::Surroundings;
use super::gravity::gravest;
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

pub(super) async fn run(arguments: Arguments, surroundings: &Surroundings) -> Result<ExitCode> {
    let jobs = surroundings.jobs(&arguments.selection, &arguments.keys)?;
    let streams = survey::survey(&jobs).await;
    arguments.output.write(&streams, || render::text(&streams))?;
    Ok(ExitCode::from(gravest(streams.iter().map(standing::StreamStatus::exit_code))))
}
