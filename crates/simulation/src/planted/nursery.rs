//! A copy of the tree in which bugs are planted, with a target directory of its own that all of them share.
//!
//! Cargo decides by modification times what to build. So a file that is as it was is not touched, and one that changes,
//! or changes back, is written anew: its time moves forward.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use super::{Error, Patch};

/// Lines of cargo's output that an error carries.
const OUTPUT_LINES: usize = 40;

/// The copy and what is built from it.
#[derive(Debug)]
pub(super) struct Nursery {
    /// The copy of the tree.
    pub(super) tree: PathBuf,
    /// What the trials said.
    pub(super) logs: PathBuf,
    target: PathBuf,
    /// Whether the tree is only to be seen to compile.
    only_compiles: bool,
}

impl Nursery {
    /// The same, where the tree is only to be seen to compile: there is no binary then.
    pub(super) fn only_compiling(self) -> Nursery {
        Nursery { only_compiles: true, ..self }
    }

    /// Brings the copy to the state of `root`, below its target directory.
    pub(super) fn open(root: &Path) -> Result<Nursery, Error> {
        let root = at("finding", root, |root| root.canonicalize())?;
        let target = root.join(std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into()));
        let nursery = Nursery::open_at(&root, &target.join("planted"))?;
        nursery.borrow_dependencies(&target.join("debug"))?;
        Ok(nursery)
    }

    /// Dependencies that are built already need not be built again: cargo knows them by what they are, wherever the
    /// workspace is. The workspace's own crates are other ones to it.
    fn borrow_dependencies(&self, built: &Path) -> Result<(), Error> {
        let own = self.target.join("debug");
        if own.exists() || !built.is_dir() {
            return Ok(());
        }
        at("making", &own, |path| fs::create_dir_all(path))?;
        for part in ["deps", "build", ".fingerprint"] {
            // With its times, by which cargo tells what is fresh. What cannot be copied is built.
            let copied = Command::new("cp").arg("-a").arg(built.join(part)).arg(&own).output();
            tracing::debug!(part, ?copied, "borrowed built dependencies");
        }
        Ok(())
    }

    pub(super) fn open_at(root: &Path, ground: &Path) -> Result<Nursery, Error> {
        let (tree, logs) = (ground.join("tree"), ground.join("logs"));
        at("making", &tree, |path| fs::create_dir_all(path))?;
        at("making", &logs, |path| fs::create_dir_all(path))?;
        let wanted = files(root, ground)?;
        for file in &wanted {
            bring(&root.join(file), &tree.join(file))?;
        }
        for file in walk(&tree, &tree)? {
            if !wanted.contains(&file) {
                at("removing", &tree.join(file), |path| fs::remove_file(path))?;
            }
        }
        let tree = at("finding", &tree, |path| path.canonicalize())?;
        Ok(Nursery { tree, logs, target: ground.join("target"), only_compiles: false })
    }

    /// # Errors
    /// `DoesNotApply`.
    pub(super) fn check(&self, patch: &Patch) -> Result<(), Error> {
        self.apply(patch, &["--check"])
    }

    /// Applies a patch; what it changes is kept to be put back.
    pub(super) fn plant(&self, patch: &Patch) -> Result<Planted, Error> {
        let text = at("reading", &patch.path, |path| fs::read_to_string(path))?;
        let mut kept = Vec::new();
        for file in changed_files(&text) {
            let path = self.tree.join(file);
            let before = content(&path)?;
            kept.push((path, before));
        }
        self.apply(patch, &[])?;
        let planted = Planted { kept };
        planted.kept.iter().filter(|(path, _)| path.exists()).try_for_each(|(path, _)| touch(path))?;
        Ok(planted)
    }

    /// Builds `simulate` with a patch that is planted; where it is then.
    ///
    /// # Errors
    /// `DoesNotBuild` with the end of cargo's output.
    pub(super) fn build(&self, patch: &Patch, jobs: Option<u32>) -> Result<PathBuf, Error> {
        match self.build_as_it_is(jobs)? {
            Built::Binary(simulate) => Ok(simulate),
            Built::Failed(output) => {
                let lines: Vec<_> = output.lines().collect();
                let end = lines[lines.len().saturating_sub(OUTPUT_LINES)..].join("\n");
                Err(Error::DoesNotBuild { patch: patch.name.clone(), output: end })
            }
        }
    }

    /// Builds `simulate` from the copy as it is.
    pub(super) fn build_as_it_is(&self, jobs: Option<u32>) -> Result<Built, Error> {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut command = Command::new(&cargo);
        command.current_dir(&self.tree);
        command.arg(if self.only_compiles { "check" } else { "build" });
        command.args(["--quiet", "--message-format", "short"]);
        command.args(["-p", "milestream-simulation", "--bin", "simulate"]);
        command.arg("--target-dir").arg(&self.target);
        // Hundreds of histories are played with what is built once.
        command.env("CARGO_PROFILE_DEV_OPT_LEVEL", "1");
        if let Some(jobs) = jobs {
            command.arg("--jobs").arg(jobs.to_string());
        }
        let done = output(&mut command, &cargo)?;
        if done.status.success() {
            return Ok(Built::Binary(self.target.join("debug").join("simulate")));
        }
        Ok(Built::Failed(String::from_utf8_lossy(&done.stderr).into_owned()))
    }

    /// A copy of a binary that the next build leaves alone.
    pub(super) fn keep(&self, simulate: &Path, name: &str) -> Result<PathBuf, Error> {
        let kept = self.target.join(format!("simulate-{name}"));
        if self.only_compiles {
            return Ok(kept);
        }
        at("copying", simulate, |simulate| fs::copy(simulate, &kept))?;
        Ok(kept)
    }

    /// Writes files of the tree; what they held is kept to be put back.
    pub(super) fn write(&self, texts: BTreeMap<PathBuf, String>) -> Result<Planted, Error> {
        let mut planted = Planted { kept: Vec::new() };
        for (file, text) in texts {
            let path = self.tree.join(file);
            planted.kept.push((path.clone(), content(&path)?));
            at("writing", &path, |path| fs::write(path, text))?;
            touch(&path)?;
        }
        Ok(planted)
    }

    fn apply(&self, patch: &Patch, arguments: &[&str]) -> Result<(), Error> {
        let path = at("finding", &patch.path, |path| path.canonicalize())?;
        let mut command = Command::new("git");
        command.current_dir(&self.tree).arg("apply").args(arguments).arg(path);
        // The copy lies inside of the repository's own directory. Were git to find that, it would pass over every file
        // outside of its idea of where it is, without an error.
        if let Some(above) = self.tree.parent() {
            command.env("GIT_CEILING_DIRECTORIES", above);
        }
        for variable in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"] {
            command.env_remove(variable);
        }
        let done = output(&mut command, OsStr::new("git"))?;
        if done.status.success() {
            return Ok(());
        }
        let output = String::from_utf8_lossy(&done.stderr).trim_end().to_owned();
        Err(Error::DoesNotApply { patch: patch.name.clone(), output })
    }
}

/// A patch that is applied, with what its files held before.
#[derive(Debug)]
#[must_use = "a planted bug has to be taken out again"]
pub(super) struct Planted {
    kept: Vec<(PathBuf, Option<Vec<u8>>)>,
}

/// How a build ended.
#[derive(Debug)]
pub(super) enum Built {
    /// Where `simulate` is.
    Binary(PathBuf),
    /// What cargo said.
    Failed(String),
}

fn content(path: &Path) -> Result<Option<Vec<u8>>, Error> {
    match fs::read(path) {
        Ok(content) => Ok(Some(content)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(source) => Err(Error::File { doing: "reading", path: path.to_owned(), source }),
    }
}

impl Planted {
    /// The files, each with what it held before.
    pub(super) fn files(&self) -> impl Iterator<Item = (&Path, Option<&[u8]>)> {
        self.kept.iter().map(|(path, before)| (path.as_path(), before.as_deref()))
    }

    /// Puts the files back as they were.
    pub(super) fn take_out(self) -> Result<(), Error> {
        for (path, before) in self.kept {
            match before {
                Some(before) => {
                    at("restoring", &path, |path| fs::write(path, before))?;
                    touch(&path)?;
                }
                None => at("removing", &path, |path| fs::remove_file(path))?,
            }
        }
        Ok(())
    }
}

/// Files that a diff changes, makes or removes, from the root of the tree.
fn changed_files(diff: &str) -> BTreeSet<&str> {
    let side = |line: &'_ str| -> Option<usize> {
        ["--- a/", "+++ b/"].iter().find(|side| line.starts_with(**side)).map(|side| side.len())
    };
    diff.lines().filter_map(|line| side(line).map(|start| &line[start..])).collect()
}

/// The tree's files: those that git knows or would take, or, without git, all but build output.
fn files(root: &Path, ground: &Path) -> Result<BTreeSet<PathBuf>, Error> {
    let mut command = Command::new("git");
    command.current_dir(root).args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]);
    let listed = command.output().ok().filter(|done| done.status.success() && !done.stdout.is_empty());
    let Some(listed) = listed else {
        let outside = |file: &PathBuf| !root.join(file).starts_with(ground);
        return Ok(walk(root, root)?.into_iter().filter(outside).collect());
    };
    let names = listed.stdout.split(|byte| *byte == 0).filter(|name| !name.is_empty());
    let names = names.map(|name| PathBuf::from(String::from_utf8_lossy(name).into_owned()));
    // Git also lists what was deleted and not committed yet.
    Ok(names.filter(|name| root.join(name).is_file()).collect())
}

fn walk(directory: &Path, root: &Path) -> Result<Vec<PathBuf>, Error> {
    let mut found = Vec::new();
    for entry in at("listing", directory, |path| fs::read_dir(path))? {
        let path = at("listing", directory, |_| entry)?.path();
        let skipped = matches!(path.file_name().and_then(OsStr::to_str), Some("target" | ".git"));
        if path.is_dir() && !skipped {
            found.extend(walk(&path, root)?);
        } else if path.is_file() {
            found.push(path.strip_prefix(root).unwrap_or(&path).to_owned());
        }
    }
    Ok(found)
}

/// Copies a file whose content is another, permissions included.
fn bring(from: &Path, to: &Path) -> Result<(), Error> {
    let wanted = at("reading", from, |path| fs::read(path))?;
    if fs::read(to).is_ok_and(|held| held == wanted) {
        return Ok(());
    }
    if let Some(directory) = to.parent() {
        at("making", directory, |path| fs::create_dir_all(path))?;
    }
    at("writing", to, |to| fs::copy(from, to))?;
    touch(to)
}

fn touch(path: &Path) -> Result<(), Error> {
    at("touching", path, |path| fs::File::options().append(true).open(path)?.set_modified(SystemTime::now()))
}

fn output(command: &mut Command, program: &OsStr) -> Result<std::process::Output, Error> {
    let program = || program.to_string_lossy().into_owned();
    command.output().map_err(|source| Error::Program { program: program(), source })
}

/// Does something to a file, and names both where it fails.
pub(super) fn at<T>(
    doing: &'static str,
    path: &Path,
    does: impl FnOnce(&Path) -> std::io::Result<T>,
) -> Result<T, Error> {
    does(path).map_err(|source| Error::File { doing, path: path.to_owned(), source })
}
