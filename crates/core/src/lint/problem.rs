//! Problems, and the report that they are gathered in.

use std::collections::{HashMap, HashSet};
use std::fmt;

use serde::Serialize;

use crate::model::{Found, JsonPath, Model, Position};

use super::LintContext;

/// One thing that is wrong with a model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// How bad it is.
    pub severity: Severity,
    /// The document's name; empty where no document is to blame.
    pub document: String,
    /// Line and column, where a document is to blame.
    #[serde(flatten)]
    pub position: Option<Position>,
    /// The JSON path in the document.
    pub path: String,
    /// What is wrong.
    pub what: String,
    /// How to mend it.
    pub remedy: String,
}

/// How bad a problem is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// Some platform cannot get some store's data, or would get it wrong.
    Error,
    /// It works, but perhaps not as it was meant, or not everywhere.
    Warning,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Severity::Error => "error",
            Severity::Warning => "warning",
        })
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.severity)?;
        if let Some(position) = self.position {
            write!(f, "{}:{position}: {}: ", self.document, self.path)?;
        }
        write!(f, "{}\n  {}", self.what, self.remedy)
    }
}

/// A place that can be blamed.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Place {
    document: usize,
    path: JsonPath,
}

impl Place {
    /// Where an object of the model is.
    pub(super) fn of<T>(found: &Found<T>) -> Place {
        Place { document: found.document, path: found.path.clone() }
    }

    /// The whole of a document.
    pub(super) fn document(document: usize) -> Place {
        Place { document, path: JsonPath::default() }
    }

    pub(super) fn key(&self, key: &str) -> Place {
        self.keys([key])
    }

    pub(super) fn keys<const N: usize>(&self, keys: [&str; N]) -> Place {
        Place { document: self.document, path: self.path.keys(keys) }
    }

    pub(super) fn index(&self, index: usize) -> Place {
        Place { document: self.document, path: self.path.index(index) }
    }

    /// Whether the place lies within another.
    pub(super) fn is_within(&self, outer: &Place) -> bool {
        self.document == outer.document && self.path.steps().starts_with(outer.path.steps())
    }
}

/// The problems found so far, and what they are judged by.
pub(super) struct Report<'m> {
    pub(super) model: &'m Model,
    pub(super) context: &'m LintContext<'m>,
    entries: Vec<Entry>,
}

struct Entry {
    severity: Severity,
    place: Option<Place>,
    what: String,
    remedy: String,
}

impl<'m> Report<'m> {
    pub(super) fn new(model: &'m Model, context: &'m LintContext<'m>) -> Report<'m> {
        Report { model, context, entries: Vec::new() }
    }

    pub(super) fn error(&mut self, place: &Place, what: impl Into<String>, remedy: impl Into<String>) {
        self.add(Severity::Error, Some(place), what, remedy);
    }

    pub(super) fn warning(&mut self, place: &Place, what: impl Into<String>, remedy: impl Into<String>) {
        self.add(Severity::Warning, Some(place), what, remedy);
    }

    /// An error that no document is to blame for.
    pub(super) fn error_of_all(&mut self, what: &str, remedy: &str) {
        self.add(Severity::Error, None, what, remedy);
    }

    fn add(
        &mut self,
        severity: Severity,
        place: Option<&Place>,
        what: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.entries.push(Entry {
            severity,
            place: place.cloned(),
            what: what.into(),
            remedy: remedy.into(),
        });
    }

    pub(super) fn finish(self) -> Vec<Problem> {
        let places = self.places();
        let document_of = |place: &Place| self.model.documents().get(place.document);
        let mut problems: Vec<(Option<usize>, Problem)> = Vec::new();
        for entry in self.entries {
            let place = entry.place.as_ref();
            let problem = Problem {
                severity: entry.severity,
                document: place.and_then(document_of).map_or(String::new(), |document| document.name.clone()),
                position: place.and_then(|place| places.get(place)).copied(),
                path: place.map_or_else(|| "$".into(), |place| place.path.to_string()),
                what: entry.what,
                remedy: entry.remedy,
            };
            problems.push((place.map(|place| place.document), problem));
        }
        problems.sort_by_key(|(document, problem)| (*document, problem.position));
        problems.into_iter().map(|(_, problem)| problem).collect()
    }

    /// One scan a document finds the lines of all of its problems.
    fn places(&self) -> HashMap<Place, Position> {
        let mut wanted: HashMap<usize, HashSet<JsonPath>> = HashMap::new();
        for place in self.entries.iter().filter_map(|entry| entry.place.as_ref()) {
            wanted.entry(place.document).or_default().insert(place.path.clone());
        }
        let mut found = HashMap::new();
        for (document, paths) in wanted {
            let Some(known) = self.model.documents().get(document) else { continue };
            let positions = known.positions(&paths);
            found.extend(positions.into_iter().map(|(path, position)| (Place { document, path }, position)));
        }
        found
    }
}
