//! The acts, each of which measures some of the marks.

mod chunks;
mod increment;
mod join;
mod link;
mod load;
mod memory;
mod pictures;
mod quiet;
mod seed;
mod strategies;

use std::time::Instant;

use clap::ValueEnum;

use super::arguments::Act;
use super::report::Report;
use super::stage::Stage;

/// Plays every act that is asked for; the names of those that failed, whose reasons are in the report.
pub(crate) async fn play(stage: &Stage, report: &mut Report) -> Vec<String> {
    let mut failed = Vec::new();
    for act in Act::value_variants().iter().copied().filter(|act| stage.arguments.wants(*act)) {
        let name = act.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned());
        println!("\n{name}");
        let began = Instant::now();
        // The futures of the acts are large together.
        if let Err(reason) = Box::pin(one(act, stage, report)).await {
            report.remark(format!("act {name} failed: {reason}"));
            failed.push(name.clone());
        }
        println!("  ({name} took {:.0} s)", began.elapsed().as_secs_f64());
    }
    failed
}

async fn one(act: Act, stage: &Stage, report: &mut Report) -> Result<(), String> {
    match act {
        Act::Seed => Box::pin(seed::against_everybody(stage, report)).await,
        Act::Mirror => Box::pin(seed::mirror(stage, report)).await,
        Act::Slope => Box::pin(seed::slope(stage, report)).await,
        Act::Chunks => Box::pin(chunks::bookkeeping(stage, report)).await,
        Act::Kill => Box::pin(chunks::kill(stage, report)).await,
        Act::Load => Box::pin(load::on_primary(stage, report)).await,
        Act::Memory => Box::pin(memory::peak(stage, report)).await,
        Act::Pictures => Box::pin(pictures::of_seeds(stage, report)).await,
        Act::Idle => Box::pin(quiet::nothing_new(stage, report)).await,
        Act::Link => Box::pin(link::far(stage, report)).await,
        Act::Increment => Box::pin(increment::against_seed(stage, report)).await,
        Act::Strategies => Box::pin(strategies::forced(stage, report)).await,
        Act::Join => Box::pin(join::two_processes(stage, report)).await,
        Act::Changes => Box::pin(pictures::of_increments(stage, report)).await,
    }
}

/// A count as a figure.
#[expect(clippy::cast_precision_loss, reason = "a figure to be read")]
pub(super) fn figure(count: u64) -> f64 {
    count as f64
}
