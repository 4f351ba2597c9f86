//! One run of a built `simulate` on one seed, judged by its exit code.

use std::ffi::OsString;
use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::nursery::{Nursery, at};
use super::together::CHOSEN;
use super::{Error, Options};

/// How long one run may take; 200 histories take about two minutes.
const TIME_LIMIT: Duration = Duration::from_secs(20 * 60);
/// How long a run may take to end its servers once it is asked to stop.
const GRACE: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(50);

/// Histories at a time.
const JOBS: &str = "3";

/// Exit codes that mean that the run noticed something: a crash, no convergence, wrong data.
const NOTICED: std::ops::RangeInclusive<i32> = 127..=129;

/// One run.
#[derive(Clone, Debug, PartialEq)]
pub struct Trial {
    /// The seed it had.
    pub seed: u64,
    /// What came of it.
    pub outcome: Outcome,
    /// How long it took.
    pub took: Duration,
}

/// What a run came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// All histories passed.
    Unnoticed,
    /// It noticed something.
    Noticed {
        /// 127 a crash, 128 no convergence, 129 wrong data.
        code: i32,
        /// What it said of it.
        violation: Option<Violation>,
    },
    /// It ended in a way that says nothing of the bug.
    Failed {
        /// How.
        how: String,
    },
}

/// What a run says of a violation in the last such line of its output.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Violation {
    /// The property that did not hold.
    pub property: String,
    /// The history, counted from the run's first, as it is printed.
    pub history: String,
    /// How many faults were injected into it, as it is printed.
    pub faults: String,
}

/// Runs `simulate` on a seed. Its output stays in the nursery's logs.
pub(super) fn run(
    nursery: &Nursery,
    simulate: &Path,
    name: &str,
    seed: u64,
    options: &Options,
) -> Result<Trial, Error> {
    let log = |suffix: &str| nursery.logs.join(format!("{name}-{seed}.{suffix}"));
    let (out, err) = (log("out"), log("err"));
    let began = Instant::now();
    let mut command = Command::new(simulate);
    // In the copy, so that nothing that it writes ends in the real tree.
    command.current_dir(&nursery.tree).stdin(Stdio::null());
    command.args(arguments(seed, options, &log("html"))).env(CHOSEN, name);
    command.stdout(at("making", &out, |path| File::create(path))?);
    command.stderr(at("making", &err, |path| File::create(path))?);
    let failed = |source| Error::Program { program: simulate.display().to_string(), source };
    let mut child = command.spawn().map_err(failed)?;
    let ended = wait(&mut child, TIME_LIMIT).map_err(failed)?;
    let said = at("reading", &out, |path| fs::read(path))?;
    let outcome = match ended {
        Some(status) => judge(status, &String::from_utf8_lossy(&said)),
        None => {
            let how = format!("it was still running after {} s", TIME_LIMIT.as_secs());
            end(&mut child).map_err(failed)?;
            Outcome::Failed { how }
        }
    };
    Ok(Trial { seed, outcome, took: began.elapsed() })
}

/// The command line of a run that judges a build: nothing but new histories, the tour in front if it is asked for, and
/// no time spent on a smaller plan.
fn arguments(seed: u64, options: &Options, report: &Path) -> Vec<OsString> {
    let tour = if options.tour { None } else { Some("--no-tour") };
    let mut arguments: Vec<OsString> = ["run"].into_iter().chain(tour).map(OsString::from).collect();
    arguments.extend(["--no-regressions", "--shrink-for", "0s", "--fail-fast", "--seed"].map(OsString::from));
    arguments
        .extend([seed.to_string(), "--histories".into(), options.histories.to_string()].map(OsString::from));
    arguments.extend(["--jobs", JOBS, "--report"].map(OsString::from));
    arguments.push(report.into());
    arguments
}

/// The verdict on a run that ended by itself.
fn judge(status: ExitStatus, said: &str) -> Outcome {
    match status.code() {
        Some(0) => Outcome::Unnoticed,
        Some(code) if NOTICED.contains(&code) => Outcome::Noticed { code, violation: violation(said) },
        Some(code) => Outcome::Failed { how: format!("exit code {code}") },
        None => Outcome::Failed { how: status.to_string() },
    }
}

/// Reads the last line `violation: property=… history=… faults=…`.
pub(super) fn violation(said: &str) -> Option<Violation> {
    let line = said.lines().rev().find_map(|line| line.trim().strip_prefix("violation: "))?;
    let (head, faults) = line.split_once("faults=").unwrap_or((line, ""));
    let field = |key: &str| {
        let value = head.split_whitespace().find_map(|word| word.strip_prefix(key));
        value.unwrap_or_default().to_owned()
    };
    Some(Violation {
        property: field("property="),
        history: field("history="),
        faults: faults.trim().to_owned(),
    })
}

/// Waits for an end, at most so long.
fn wait(child: &mut Child, limit: Duration) -> std::io::Result<Option<ExitStatus>> {
    let began = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if began.elapsed() >= limit {
            return Ok(None);
        }
        std::thread::sleep(PAUSE);
    }
}

/// Asks a run to stop, so that it takes its servers down, and ends it where it does not.
fn end(child: &mut Child) -> std::io::Result<()> {
    if let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        kill_process(pid, Signal::TERM)?;
    }
    if wait(child, GRACE)?.is_none() {
        child.kill()?;
        child.wait()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;

    use super::*;

    fn judged(code: i32, said: &str) -> Outcome {
        judge(ExitStatus::from_raw(code << 8), said)
    }

    #[test]
    fn only_three_exit_codes_mean_that_something_was_noticed() {
        assert_eq!(judged(0, ""), Outcome::Unnoticed);
        for code in [127, 128, 129] {
            assert_eq!(judged(code, "no word of it"), Outcome::Noticed { code, violation: None });
        }
        for code in [1, 2, 101, 126, 130] {
            assert_eq!(judged(code, ""), Outcome::Failed { how: format!("exit code {code}") });
        }
        assert!(matches!(judge(ExitStatus::from_raw(9), ""), Outcome::Failed { .. }), "ended by a signal");
    }

    #[test]
    fn a_run_plays_nothing_but_new_histories_and_the_tour_where_it_is_asked_for() {
        let line = |tour| {
            let options = Options {
                root: ".".into(),
                only: Vec::new(),
                seeds: vec![7],
                histories: 40,
                tour,
                jobs: None,
            };
            let words = arguments(7, &options, Path::new("/logs/01-a-7.html"));
            words.join(std::ffi::OsStr::new(" ")).into_string().unwrap()
        };
        let rest = "--no-regressions --shrink-for 0s --fail-fast --seed 7 --histories 40 --jobs 3 --report /logs/01-a-7.html";
        assert_eq!(line(false), format!("run --no-tour {rest}"));
        assert_eq!(line(true), format!("run {rest}"));
    }

    #[test]
    fn the_last_violation_that_was_printed_counts() {
        let said = "violation: property=b history=3 faults=\nbetween\n\
                    violation: property=exactness history=17 faults=2\n";
        assert_eq!(
            violation(said),
            Some(Violation { property: "exactness".into(), history: "17".into(), faults: "2".into() })
        );
        assert_eq!(violation("violation: history=2").map(|seen| seen.history), Some("2".into()));
        assert_eq!(violation("all is well"), None);
    }

    #[test]
    fn a_run_that_does_not_end_is_ended() {
        let mut child = Command::new("sleep").arg("600").spawn().unwrap();
        assert_eq!(wait(&mut child, Duration::from_millis(10)).unwrap(), None);
        end(&mut child).unwrap();
        assert!(child.try_wait().unwrap().is_some());
    }
}
