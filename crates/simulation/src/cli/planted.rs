//! `planted`: bugs of the catalogue are built in, one after the other, and must be caught.

use std::path::PathBuf;

use clap::Args;

use super::Trouble;
use crate::campaign;
use crate::planted::{self, Options, Outcome, Progress, Trial};

/// Arguments of `planted`.
#[derive(Clone, Debug, Args)]
pub(super) struct Arguments {
    /// Planted bugs, by name or by what it begins with; all of them, and the controls, unless given.
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// Seeds on which each is tried.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..))]
    seeds: u64,
    /// The first of the seeds; each of the others begins behind the histories of the one before.
    #[arg(long, value_name = "FIRST", default_value_t = 1)]
    seed: u64,
    /// Random histories on each seed.
    #[arg(long, value_name = "N", default_value_t = 200)]
    histories: u64,
    /// Play the tour of all faults and phases before the random histories.
    #[arg(long)]
    tour: bool,
    /// See that each applies and compiles, and play nothing.
    #[arg(long, conflicts_with_all = ["seeds", "seed", "histories", "tour", "markdown"])]
    compile: bool,
    /// The root of the repository.
    #[arg(long, value_name = "DIR", default_value = ".")]
    root: PathBuf,
    /// Where the table is written as well, in Markdown.
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
}

pub(super) fn run(arguments: &Arguments) -> Result<u8, Trouble> {
    let options = Options {
        root: arguments.root.clone(),
        only: arguments.names.clone(),
        seeds: seeds(arguments),
        histories: arguments.histories,
        tour: arguments.tour,
        jobs: None,
    };
    if arguments.compile {
        let failed = planted::compile(&options, &mut |progress| eprint!("{}", said(progress)))?;
        for (patch, output) in &failed {
            eprintln!("planted bug {patch} does not compile:\n{output}");
        }
        return Ok(u8::from(!failed.is_empty()));
    }
    let verdicts = planted::run(&options, &mut |progress| eprint!("{}", said(progress)))?;
    println!("{}", verdicts.text());
    if let Some(path) = &arguments.markdown {
        let written = std::fs::write(path, verdicts.markdown());
        written.map_err(|error| format!("writing {}: {error}", path.display()))?;
    }
    eprint!("{}", verdicts.complaints());
    Ok(u8::from(!verdicts.all_hold()))
}

/// A run's histories have the seed and the numbers behind it, so seeds side by side would play the same ones.
fn seeds(arguments: &Arguments) -> Vec<u64> {
    let apart = (arguments.histories * campaign::SEEDS_A_HISTORY).max(1);
    (0..arguments.seeds).map(|at| arguments.seed.wrapping_add(at.wrapping_mul(apart))).collect()
}

/// The part of a patch's line that a step adds.
fn said(progress: Progress<'_>) -> String {
    match progress {
        Progress::BuildingTogether(count) => format!("building {count} planted bugs together"),
        Progress::BuiltTogether(count, took) => format!(": {count} of them, {} s\n", took.as_secs()),
        Progress::Building(patch) => format!("{}:", patch.name),
        Progress::Built(took) if took.as_secs() == 0 => String::new(),
        Progress::Built(took) => format!(" built in {} s", took.as_secs()),
        Progress::Compiled(took) => format!(" {} s\n", took.as_secs()),
        Progress::Tried(trial) => {
            format!(" seed {}: {}, {} s;", trial.seed, result(trial), trial.took.as_secs())
        }
        Progress::Over(verdict) => format!(" {}\n", verdict.word()),
    }
}

fn result(trial: &Trial) -> String {
    match &trial.outcome {
        Outcome::Unnoticed => "nothing".into(),
        Outcome::Noticed { violation: Some(seen), .. } => {
            format!("{} in history {}", seen.property, seen.history)
        }
        Outcome::Noticed { code, violation: None } => format!("exit code {code}"),
        Outcome::Failed { how } => format!("FAILED ({how})"),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use clap::Parser;

    use super::*;
    use crate::planted::Violation;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        arguments: Arguments,
    }

    fn parsed(line: &str) -> Arguments {
        Line::try_parse_from(line.split(' ')).unwrap().arguments
    }

    #[test]
    fn no_history_is_played_on_two_seeds() {
        assert_eq!(seeds(&parsed("planted")), [1, 601, 1201]);
        assert_eq!(seeds(&parsed("planted 05 control- --seeds 2 --seed 9 --histories 10")), [9, 39]);
        assert_eq!(seeds(&parsed("planted --histories 0 --seeds 2 --tour")), [1, 2]);
        assert!(Line::try_parse_from(["planted", "--seeds", "0"]).is_err());
    }

    #[test]
    fn each_seed_says_what_came_of_it() {
        let said =
            |outcome| said(Progress::Tried(&Trial { seed: 7, outcome, took: Duration::from_secs(31) }));
        let violation = Violation { property: "exactness".into(), history: "17".into(), faults: "2".into() };
        let noticed = |violation| Outcome::Noticed { code: 129, violation };
        assert_eq!(said(noticed(Some(violation))), " seed 7: exactness in history 17, 31 s;");
        assert_eq!(said(noticed(None)), " seed 7: exit code 129, 31 s;");
        assert_eq!(said(Outcome::Unnoticed), " seed 7: nothing, 31 s;");
        assert_eq!(
            said(Outcome::Failed { how: "exit code 1".into() }),
            " seed 7: FAILED (exit code 1), 31 s;"
        );
    }
}
