//! `plan`: a plan as it is saved.

use clap::Args;

use super::Trouble;
use super::run::habit;
use crate::fault::{FaultKind, Phase};
use crate::plan::generate::{self, Options};
use crate::plan::habits::Habit;
use crate::plan::{Plan, tour};

/// Arguments of `plan`.
#[derive(Clone, Debug, Args)]
pub(super) struct Arguments {
    /// The random plan of this seed.
    #[arg(long, value_name = "N", required_unless_present = "fault", conflicts_with = "fault")]
    seed: Option<u64>,
    /// Habits of people that the random plan has in any case.
    #[arg(long, value_name = "NAME,…", value_delimiter = ',', value_parser = habit, requires = "seed")]
    habits: Vec<Habit>,
    /// The plan that the tour has for this fault…
    #[arg(long, value_name = "KIND", requires = "phase")]
    fault: Option<String>,
    /// …in this phase.
    #[arg(long, value_name = "PHASE", requires = "fault")]
    phase: Option<String>,
}

pub(super) fn run(arguments: &Arguments) -> Result<u8, Trouble> {
    println!("{}", plan(arguments)?.to_json());
    Ok(0)
}

fn plan(arguments: &Arguments) -> Result<Plan, Trouble> {
    if let Some(seed) = arguments.seed {
        let habits = arguments.habits.iter().copied().collect();
        return Ok(generate::plan(seed, &Options { habits, ..Options::default() }));
    }
    let (fault, phase) =
        (arguments.fault.clone().unwrap_or_default(), arguments.phase.clone().unwrap_or_default());
    let kind = FaultKind::ALL.into_iter().find(|kind| kind.name() == fault);
    let kind = kind.ok_or_else(|| {
        format!("{fault:?} is no fault; there are {}", FaultKind::ALL.map(FaultKind::name).join(", "))
    })?;
    let at = Phase::ALL.into_iter().find(|known| known.name() == phase);
    let at = at.ok_or_else(|| {
        format!("{phase:?} is no phase; there are {}", Phase::ALL.map(Phase::name).join(", "))
    })?;
    Ok(tour::cell(kind, at))
}
