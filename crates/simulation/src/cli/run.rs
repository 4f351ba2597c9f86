//! `run`: kept plans, the tour, and random histories.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;

use super::Trouble;
use super::ground::GroundArguments;
use super::kept::{REGRESSIONS, keep};
use super::screen::Screen;
use crate::campaign::{self, Bounds, Campaign, Failed, Ground, Item};
use crate::coverage::Unreachable;
use crate::plan::generate::Options;
use crate::plan::habits::Habit;
use crate::report::{self, Case, Report, Smaller};
use crate::shrink::shrink;

/// Failures that a report shows; a worker that is broken has hundreds, all alike.
const CASES_MAX: usize = 10;
/// Beside the report: the plans of the failures that it shows.
const PLANS: &str = "plans";

/// Arguments of `run`.
#[derive(Clone, Debug, Args)]
pub(super) struct Arguments {
    /// Seed of the first random history; the others are among the numbers behind it, three for each history. Drawn, and
    /// printed, unless given.
    #[arg(long, value_name = "N")]
    pub(super) seed: Option<u64>,
    /// Random histories.
    #[arg(long, value_name = "N", default_value_t = 200)]
    pub(super) histories: u64,
    /// Secondaries at most.
    #[arg(long, value_name = "N", default_value_t = 4)]
    pub(super) secondaries: usize,
    /// No history begins after this long, as in 90s, 10m or 8h.
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(super) budget: Option<Duration>,
    /// End with the first failure.
    #[arg(long)]
    pub(super) fail_fast: bool,
    /// Leave the tour of all faults and phases out.
    #[arg(long)]
    pub(super) no_tour: bool,
    /// Play random histories without faults.
    #[arg(long)]
    pub(super) no_faults: bool,
    /// Give every random history this habit of people, as in settings or types; more with commas.
    #[arg(long, value_name = "NAME,…", value_delimiter = ',', value_parser = habit)]
    pub(super) habits: Vec<Habit>,
    /// Neither play kept plans nor keep those that fail.
    #[arg(long)]
    pub(super) no_regressions: bool,
    /// Where failing plans are kept.
    #[arg(long, value_name = "DIR", default_value = REGRESSIONS)]
    pub(super) regressions: PathBuf,
    /// How long a failing plan is made smaller.
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "60s")]
    pub(super) shrink_for: Duration,
    /// Where the report is written.
    #[arg(long, value_name = "FILE", default_value = "target/simulation/report.html")]
    pub(super) report: PathBuf,
    #[command(flatten)]
    pub(super) ground: GroundArguments,
}

pub(super) async fn run(arguments: Arguments) -> Result<u8, Trouble> {
    let (ground, options) = arguments.ground.ground().await?;
    let habits = arguments.habits.iter().copied().collect();
    let (secondaries_max, faults) = (arguments.secondaries, !arguments.no_faults);
    let options = Options { secondaries_max, faults, habits, ..options };
    let seed = arguments.seed.unwrap_or_else(drawn);
    eprintln!("seed {seed}: the same histories again with --seed {seed}");
    let unreachable = Unreachable::known()?;
    let played = all(&arguments, &ground, &options, seed).await?;
    let cases = cases(&arguments, &ground, &played.failed).await?;
    let is_complete = !arguments.no_tour && arguments.budget.is_none() && !arguments.fail_fast;
    let report = Report {
        command: std::env::args().collect::<Vec<_>>().join(" "),
        replay: replay(&arguments.ground),
        seed,
        servers: ground.hall.describe(),
        campaign: &played,
        cases,
        unreachable: &unreachable,
        without: &options.without,
        is_complete,
    };
    println!("{}", report::text(&report));
    report::write(&report, &arguments.report)?;
    println!("report: {}", arguments.report.display());
    if let Some(failed) = played.failed.first() {
        // The last line, for whoever runs this command from a program.
        println!(
            "violation: property={} history={} faults={}",
            failed.violation.property,
            failed.number,
            failed.outcome.matrix.len()
        );
        return Ok(failed.violation.property.exit_code());
    }
    Ok(u8::from(!report.is_covered()))
}

async fn all(
    arguments: &Arguments,
    ground: &Ground,
    options: &Options,
    seed: u64,
) -> Result<Campaign, Trouble> {
    let bounds = Bounds { budget: arguments.budget, fail_fast: arguments.fail_fast };
    let mut items: Vec<Item> = Vec::new();
    if !arguments.no_regressions {
        items.extend(campaign::regressions(&arguments.regressions)?);
    }
    if !arguments.no_tour {
        items.extend(campaign::tour(options));
    }
    let count = items.len() as u64 + arguments.histories;
    let mut screen = Screen::new(Some(count));
    let random = campaign::random(seed, arguments.histories, options);
    let mut progress = |tally: &_, item: &_, outcome: &_| screen.show(tally, item, outcome);
    Ok(campaign::run(ground, items.into_iter().chain(random), bounds, &mut progress).await?)
}

/// The failures that are shown, each with its plan beside the report; the first is made smaller.
async fn cases<'a>(
    arguments: &Arguments,
    ground: &Ground,
    failed: &'a [Failed],
) -> Result<Vec<Case<'a>>, Trouble> {
    let mut cases = Vec::new();
    for failed in failed.iter().take(CASES_MAX) {
        let plan = keep(&arguments.report.with_file_name(PLANS), failed, &failed.item.plan)?;
        let smaller = if cases.is_empty() { Some(smaller(arguments, ground, failed).await?) } else { None };
        cases.push(Case { failed, plan, smaller });
    }
    Ok(cases)
}

/// Makes a failing plan smaller and keeps it.
async fn smaller(arguments: &Arguments, ground: &Ground, failed: &Failed) -> Result<Smaller, Trouble> {
    let plan = &failed.item.plan;
    let shrunk = shrink(ground, plan, failed.violation.property, arguments.shrink_for).await?;
    let directory = match arguments.no_regressions {
        true => arguments.report.with_file_name(PLANS).join("smaller"),
        false => arguments.regressions.clone(),
    };
    let path = keep(&directory, failed, &shrunk.plan)?;
    eprintln!("kept as {}", path.display());
    Ok(Smaller { shrunk, path })
}

/// The command that plays a plan again on the same servers, but for the plan's path.
fn replay(ground: &GroundArguments) -> String {
    let program = std::env::args().next().unwrap_or_else(|| "simulate".to_owned());
    [program, "replay".to_owned()].into_iter().chain(ground.again()).collect::<Vec<_>>().join(" ")
}

/// A seed that nobody chose.
pub(super) fn drawn() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    // Six digits can be typed again.
    RandomState::new().hash_one(std::process::id()) % 1_000_000
}

/// A habit by its name.
pub(super) fn habit(text: &str) -> Result<Habit, String> {
    let known = || format!("{text:?} is no habit; there are {}", Habit::ALL.map(Habit::name).join(", "));
    Habit::ALL.into_iter().find(|habit| habit.name() == text).ok_or_else(known)
}

/// `90s`, `10m`, `8h`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let (number, unit) =
        text.split_at(text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len()));
    let seconds = match unit {
        "s" | "" => 1,
        "m" => 60,
        "h" => 3600,
        _ => return Err(format!("{text:?} is no time: write 90s, 10m or 8h")),
    };
    let number: u64 = number.parse().map_err(|_| format!("{text:?} is no time: write 90s, 10m or 8h"))?;
    Ok(Duration::from_secs(number * seconds))
}

/// The plan of a file, as an item to play.
pub(super) fn item_of(path: &Path) -> Result<Item, Trouble> {
    Ok(Item { name: path.display().to_string(), plan: crate::plan::Plan::read(path)? })
}
