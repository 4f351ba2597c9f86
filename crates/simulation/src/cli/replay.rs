//! `replay`: one plan again, exactly.

use std::path::PathBuf;

use clap::Args;

use super::Trouble;
use super::ground::GroundArguments;
use super::run::item_of;
use crate::report;
use crate::run::play;

/// Arguments of `replay`.
#[derive(Clone, Debug, Args)]
pub(super) struct Arguments {
    /// The plan.
    #[arg(value_name = "PLAN.json")]
    plan: PathBuf,
    /// How often it is played.
    #[arg(long, value_name = "N", default_value_t = 1)]
    times: u32,
    /// Print what happened, in order.
    #[arg(short, long)]
    verbose: bool,
    #[command(flatten)]
    ground: GroundArguments,
}

pub(super) async fn run(arguments: Arguments) -> Result<u8, Trouble> {
    let item = item_of(&arguments.plan)?;
    let (ground, _) = arguments.ground.ground().await?;
    let (mut failed, mut code) = (0, 0);
    for _ in 0..arguments.times.max(1) {
        let outcome = play(&item.plan, &ground.hall, &ground.worker).await?;
        if arguments.verbose {
            println!("{}", report::story(&outcome));
        }
        if let Some(violation) = &outcome.violation {
            println!("{violation}");
            failed += 1;
            code = violation.property.exit_code();
        }
    }
    println!("{}: failed {failed} of {} times", item.name, arguments.times.max(1));
    Ok(code)
}
