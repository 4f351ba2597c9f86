//! `plan`: what the next run of each stream would do and cost. Nothing is written.

mod forecast;
mod inquiry;
mod render;

use std::process::ExitCode;

use clap::Args;

use super::Surroundings;
use super::gravity::gravest;
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

pub(super) async fn run(arguments: Arguments, surroundings: &Surroundings) -> Result<ExitCode> {
    let jobs = surroundings.jobs(&arguments.selection, &arguments.keys)?;
    let plans = inquiry::inquire(&jobs).await;
    arguments.output.write(&plans, || render::text(&plans))?;
    Ok(ExitCode::from(gravest(plans.iter().map(forecast::StreamPlan::exit_code))))
}
