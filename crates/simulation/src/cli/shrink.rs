//! `shrink`: a smaller plan that still fails.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::Trouble;
use super::ground::GroundArguments;
use super::run::{duration, item_of};
use crate::run::play;
use crate::shrink::shrink;

/// Arguments of `shrink`.
#[derive(Clone, Debug, Args)]
pub(super) struct Arguments {
    /// The plan.
    #[arg(value_name = "PLAN.json")]
    plan: PathBuf,
    /// Where the smaller plan is written; standard output unless given.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// How long it may take.
    #[arg(long = "for", value_name = "TIME", value_parser = duration, default_value = "300s")]
    budget: Duration,
    #[command(flatten)]
    ground: GroundArguments,
}

pub(super) async fn run(arguments: Arguments) -> Result<u8, Trouble> {
    let item = item_of(&arguments.plan)?;
    let (ground, _) = arguments.ground.ground().await?;
    let outcome = play(&item.plan, &ground.hall, &ground.worker).await?;
    let Some(violation) = outcome.violation else {
        return Err(format!("{} does not fail, so there is nothing to shrink", item.name).into());
    };
    eprintln!("{violation}");
    let shrunk = shrink(&ground, &item.plan, violation.property, arguments.budget).await?;
    eprintln!("{} smaller plans were tried", shrunk.tried);
    match &arguments.output {
        Some(path) => std::fs::write(path, shrunk.plan.to_json())?,
        None => println!("{}", shrunk.plan.to_json()),
    }
    Ok(0)
}
