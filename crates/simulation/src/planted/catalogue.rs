//! The patches and what their headers say of them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::Error;

/// What every header holds, in the order in which it is written.
const KEYS: [&str; 5] = ["Bug", "Harm", "Shows", "Needs-fault", "Caught-by"];

/// One planted bug, or an inert control.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Patch {
    /// The file's name without `.patch`.
    pub name: String,
    /// The file.
    pub path: PathBuf,
    /// What is wrong, in a sentence.
    pub bug: String,
    /// What a secondary would hold then, or what would happen.
    pub harm: String,
    /// What it takes to show.
    pub shows: String,
    /// Whether it takes a fault, or a primary batch at an exact step, to show.
    pub needs_fault: bool,
    /// The properties that should notice.
    pub caught_by: String,
    /// Whether it changes no behaviour, so that nothing may be noticed.
    pub control: bool,
}

/// Reads all patches of a directory, in the order of their names.
pub(super) fn read(directory: &Path) -> Result<Vec<Patch>, Error> {
    let failed = |source| Error::File { doing: "listing", path: directory.to_owned(), source };
    let mut patches = Vec::new();
    for entry in fs::read_dir(directory).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_some_and(|extension| extension == "patch") {
            let text = fs::read_to_string(&path);
            let text = text.map_err(|source| Error::File { doing: "reading", path: path.clone(), source })?;
            patches.push(parse(&path, &text)?);
        }
    }
    if patches.is_empty() {
        return Err(Error::NoPatches(directory.to_owned()));
    }
    patches.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(patches)
}

/// The patches whose names are, or begin with, one of `only`; all of them when that is empty.
pub(super) fn select(mut patches: Vec<Patch>, only: &[String]) -> Result<Vec<Patch>, Error> {
    let missing = only.iter().find(|wanted| !patches.iter().any(|patch| patch.name.starts_with(*wanted)));
    if let Some(wanted) = missing {
        return Err(Error::Unknown(wanted.clone()));
    }
    if !only.is_empty() {
        patches.retain(|patch| only.iter().any(|wanted| patch.name.starts_with(wanted)));
    }
    Ok(patches)
}

/// Reads a patch's header: `Key: value` lines before the diff.
pub(super) fn parse(path: &Path, text: &str) -> Result<Patch, Error> {
    let wrong = |what: String| Error::Header { path: path.to_owned(), what };
    let mut fields = BTreeMap::new();
    let mut has_diff = false;
    for (number, line) in (1..).zip(text.lines()) {
        if line.starts_with("diff --git ") {
            has_diff = true;
            break;
        }
        if line.trim().is_empty() {
            continue;
        }
        let (key, value) = line.split_once(": ").unwrap_or((line, ""));
        if !KEYS.contains(&key) {
            return Err(wrong(format!("line {number}: {key:?} is none of {}", KEYS.join(", "))));
        }
        if value.trim().is_empty() {
            return Err(wrong(format!("line {number}: {key} says nothing")));
        }
        if fields.insert(key, value.trim()).is_some() {
            return Err(wrong(format!("line {number}: {key} is there twice")));
        }
    }
    if !has_diff {
        return Err(wrong("it has no diff: no line begins with \"diff --git \"".into()));
    }
    let field = |key| fields.get(key).ok_or_else(|| wrong(format!("its header has no {key}")));
    let needs_fault = match *field("Needs-fault")? {
        "yes" => true,
        "no" => false,
        other => return Err(wrong(format!("Needs-fault is yes or no, not {other:?}"))),
    };
    let name = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    Ok(Patch {
        control: name.starts_with("control-"),
        name,
        path: path.to_owned(),
        bug: (*field("Bug")?).to_owned(),
        harm: (*field("Harm")?).to_owned(),
        shows: (*field("Shows")?).to_owned(),
        needs_fault,
        caught_by: (*field("Caught-by")?).to_owned(),
    })
}
