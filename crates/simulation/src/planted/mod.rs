//! Proof that the simulation notices bugs: the patches of `fixtures/planted-bugs` are applied to a copy of the tree, which
//! is built, most of them together, and each is run on several seeds. Planted bugs must be caught on all of them, inert
//! controls on none.

mod catalogue;
mod nursery;
mod table;
mod together;
mod trial;

use std::path::PathBuf;
use std::time::{Duration, Instant};

pub use catalogue::Patch;
pub use trial::{Outcome, Trial, Violation};

use nursery::Nursery;
use together::Together;

/// Where the patches are, from the root of the repository.
const PATCHES: &str = "fixtures/planted-bugs";

/// What is to be tried.
#[derive(Clone, Debug)]
pub struct Options {
    /// The root of the repository.
    pub root: PathBuf,
    /// Names of patches, or prefixes of them; empty for all.
    pub only: Vec<String>,
    /// Seeds on which each patch is tried.
    pub seeds: Vec<u64>,
    /// Random histories of each run.
    pub histories: u64,
    /// Whether the tour of all faults and phases is played before them: some bugs need a fault at an exact step.
    pub tour: bool,
    /// Jobs that cargo runs side by side; `None` leaves it to cargo.
    pub jobs: Option<u32>,
}

/// What happens while patches are tried: first the build of those that go together, then, in this order, for each of them.
#[derive(Clone, Copy, Debug)]
pub enum Progress<'a> {
    /// So many patches are being built together.
    BuildingTogether(usize),
    /// That came to its end, after this long; so many of them go together.
    BuiltTogether(usize, Duration),
    /// A patch is looked at; one that does not go together with others is being built.
    Building(&'a Patch),
    /// The build came to its end, after this long.
    Built(Duration),
    /// A patch was compiled by itself, or does not compile, after this long.
    Compiled(Duration),
    /// A run on a seed is over.
    Tried(&'a Trial),
    /// The patch is taken out again.
    Over(&'a Verdict),
}

/// What went wrong with the catalogue or the copy of the tree.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file could not be read, written or listed.
    #[error("{doing} {}: {source}", path.display())]
    File {
        /// What was being done.
        doing: &'static str,
        /// To which file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A patch file's header is not what it must be.
    #[error("{}: {what}", path.display())]
    Header {
        /// The patch file.
        path: PathBuf,
        /// What is wrong, and in which line.
        what: String,
    },
    /// There are no patches at all.
    #[error("{} holds no patch", .0.display())]
    NoPatches(PathBuf),
    /// No patch has a name that was asked for.
    #[error("no planted bug is called {0:?}, nor does a name begin with it")]
    Unknown(String),
    /// Without a seed nothing is tried.
    #[error("no seed to try the planted bugs on")]
    NoSeeds,
    /// A program could not be started.
    #[error("{program} cannot be started: {source}")]
    Program {
        /// The program.
        program: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// A patch no longer applies to the tree.
    #[error("planted bug {patch} no longer applies; renew it or take it out:\n{output}")]
    DoesNotApply {
        /// The patch's name.
        patch: String,
        /// What git said.
        output: String,
    },
    /// The tree does not build with all of them, and it is not to be seen whose fault that is.
    #[error("the tree does not build with all planted bugs:\n{0}")]
    DoNotBuildTogether(String),
    /// The tree does not build with a patch.
    #[error("the tree does not build with planted bug {patch}:\n{output}")]
    DoesNotBuild {
        /// The patch's name.
        patch: String,
        /// The end of what cargo said.
        output: String,
    },
}

/// What came of one patch.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// The patch.
    pub patch: Patch,
    /// One trial a seed; fewer when the tree did not build.
    pub trials: Vec<Trial>,
    /// Why the patch could not be tried.
    pub error: Option<String>,
    /// How long the build took.
    pub building: Duration,
}

impl Verdict {
    /// Trials that noticed something.
    pub fn noticed(&self) -> usize {
        self.trials.iter().filter(|trial| matches!(trial.outcome, Outcome::Noticed { .. })).count()
    }

    /// Whether every trial came to an end that says something, on at least one seed.
    pub fn is_sound(&self) -> bool {
        let failed = |trial: &Trial| matches!(trial.outcome, Outcome::Failed { .. });
        self.error.is_none() && !self.trials.is_empty() && !self.trials.iter().any(failed)
    }

    /// Whether it is as it must be: a bug noticed on every seed, a control on none.
    pub fn holds(&self) -> bool {
        let due = if self.patch.control { 0 } else { self.trials.len() };
        self.is_sound() && self.noticed() == due
    }
}

/// What came of all patches, in their order.
#[derive(Clone, Debug, Default)]
pub struct Verdicts {
    /// One verdict a patch.
    pub rows: Vec<Verdict>,
}

impl Verdicts {
    /// Whether every bug was caught and no control was.
    pub fn all_hold(&self) -> bool {
        self.rows.iter().all(Verdict::holds)
    }
}

/// Tries the patches one after the other; `progress` hears of each step.
///
/// # Errors
/// Those of the catalogue, and a patch that no longer applies: nothing is built then. What goes wrong with one patch
/// later on is in its verdict, so that a long run does not end with it.
pub fn run(options: &Options, progress: &mut dyn FnMut(Progress<'_>)) -> Result<Verdicts, Error> {
    if options.seeds.is_empty() {
        return Err(Error::NoSeeds);
    }
    let patches = catalogue::read(&options.root.join(PATCHES))?;
    let patches = catalogue::select(patches, &options.only)?;
    let nursery = Nursery::open(&options.root)?;
    for patch in &patches {
        nursery.check(patch)?;
    }
    let mut together = Together::default();
    if patches.len() > 1 {
        progress(Progress::BuildingTogether(patches.len()));
        let began = Instant::now();
        together = together::build(&nursery, &patches, options.jobs)?;
        progress(Progress::BuiltTogether(together.names.len(), began.elapsed()));
    }
    let mut verdicts = Verdicts::default();
    for patch in patches {
        let verdict = one(options, &nursery, patch, &together, progress)?;
        progress(Progress::Over(&verdict));
        verdicts.rows.push(verdict);
    }
    Ok(verdicts)
}

/// Sees that all patches apply and compile, without a history; the names of those that do not compile, each with the end of
/// what cargo said.
///
/// # Errors
/// Those of the catalogue, and a patch that no longer applies.
pub fn compile(
    options: &Options,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<Vec<(String, String)>, Error> {
    let patches = catalogue::select(catalogue::read(&options.root.join(PATCHES))?, &options.only)?;
    let nursery = Nursery::open(&options.root)?.only_compiling();
    for patch in &patches {
        nursery.check(patch)?;
    }
    progress(Progress::BuildingTogether(patches.len()));
    let began = Instant::now();
    let together = together::build(&nursery, &patches, options.jobs)?;
    progress(Progress::BuiltTogether(together.names.len(), began.elapsed()));
    let mut failed = Vec::new();
    for patch in patches.iter().filter(|patch| !together.names.contains(&patch.name)) {
        progress(Progress::Building(patch));
        let began = Instant::now();
        let planted = nursery.plant(patch)?;
        let built = nursery.build(patch, options.jobs);
        planted.take_out()?;
        match built {
            Ok(_) => {}
            Err(Error::DoesNotBuild { patch, output }) => failed.push((patch, output)),
            Err(error) => return Err(error),
        }
        progress(Progress::Compiled(began.elapsed()));
    }
    Ok(failed)
}

/// Tries one patch on every seed: with the build that has it, or with one of its own.
fn one(
    options: &Options,
    nursery: &Nursery,
    patch: Patch,
    together: &Together,
    progress: &mut dyn FnMut(Progress<'_>),
) -> Result<Verdict, Error> {
    progress(Progress::Building(&patch));
    let began = Instant::now();
    let built = match together.simulate.as_ref().filter(|_| together.names.contains(&patch.name)) {
        Some(simulate) => Ok(simulate.clone()),
        None => {
            let planted = nursery.plant(&patch)?;
            let built = nursery.build(&patch, options.jobs);
            planted.take_out()?;
            built
        }
    };
    let building = began.elapsed();
    progress(Progress::Built(building));
    let tried = built.and_then(|simulate| {
        let trial = |seed: &u64| {
            let trial = trial::run(nursery, &simulate, &patch.name, *seed, options)?;
            progress(Progress::Tried(&trial));
            Ok(trial)
        };
        options.seeds.iter().map(trial).collect::<Result<Vec<_>, _>>()
    });
    let (trials, error) = match tried {
        Ok(trials) => (trials, None),
        Err(error) => (Vec::new(), Some(error.to_string())),
    };
    Ok(Verdict { patch, trials, error, building })
}

#[cfg(test)]
mod tests;
