//! Documents, and the objects of a model that they hold at whatever depth.

use std::collections::{HashMap, HashSet};

use serde_json::Value;

use super::datastore::Datastore;
use super::error::ModelError;
use super::fields::{Fields, Mistake, Mistakes};
use super::path::{JsonPath, Step};
use super::pip::PipEntry;
use super::platform::{Platform, PlatformServicesProvider};
use super::position::{Position, positions, repeated_keys};

/// A JSON document as it was read.
#[derive(Clone, Debug)]
pub struct Document {
    /// The name that it was given, as a rule its file's.
    pub name: String,
    text: String,
    json: Value,
}

/// An object of the model, and where it is.
#[derive(Clone, Debug)]
pub(crate) struct Found<T> {
    pub(crate) object: T,
    /// Its document's place among the documents.
    pub(crate) document: usize,
    pub(crate) path: JsonPath,
}

/// The objects of a model that documents hold.
#[derive(Clone, Debug, Default)]
pub(crate) struct Finds {
    pub(crate) platforms: Vec<Found<Platform>>,
    pub(crate) psps: Vec<Found<PlatformServicesProvider>>,
    pub(crate) datastores: Vec<Found<Datastore>>,
    pub(crate) pip_entries: Vec<Found<PipEntry>>,
    /// Documents that hold nothing that Milestream knows.
    pub(crate) strangers: Vec<usize>,
}

impl Document {
    /// Reads the text, whose keys must be unique.
    pub(crate) fn parse(name: &str, text: &str) -> Result<Document, Vec<ModelError>> {
        // Editors of Windows begin a file with a mark that is no part of JSON.
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let json = serde_json::from_str(text).map_err(|error| vec![syntax(name, &error)])?;
        let repeated: Vec<_> = repeated_keys(text)
            .into_iter()
            .map(|(path, position)| ModelError::RepeatedKey {
                document: name.to_owned(),
                position,
                path: path.to_string(),
            })
            .collect();
        if !repeated.is_empty() {
            return Err(repeated);
        }
        Ok(Document { name: name.to_owned(), text: text.to_owned(), json })
    }

    /// The whole document, with everything that Milestream has no use for, in the order in which it is written.
    pub fn json(&self) -> &Value {
        &self.json
    }

    /// The value at a path.
    pub(crate) fn at(&self, path: &JsonPath) -> Option<&Value> {
        path.steps().iter().try_fold(&self.json, |value, step| match step {
            Step::Key(key) => value.get(key),
            Step::Index(index) => value.get(index),
        })
    }

    pub(crate) fn positions(&self, wanted: &HashSet<JsonPath>) -> HashMap<JsonPath, Position> {
        positions(&self.text, wanted)
    }

    /// Adds the objects of the model that the document holds.
    pub(crate) fn search(&self, index: usize, finds: &mut Finds) -> Result<(), Vec<ModelError>> {
        let mistakes = Mistakes::default();
        let mut search = Search { document: index, mistakes: &mistakes, finds, found_any: false };
        match &self.json {
            Value::Array(list) if is_pip_list(list) => search.pip_list(list),
            json => search.walk(json, &JsonPath::default()),
        }
        if !search.found_any {
            finds.strangers.push(index);
        }
        let mistakes = mistakes.take();
        if mistakes.is_empty() { Ok(()) } else { Err(self.shape_errors(mistakes)) }
    }

    fn shape_errors(&self, mistakes: Vec<Mistake>) -> Vec<ModelError> {
        let places = self.positions(&mistakes.iter().map(|mistake| mistake.path.clone()).collect());
        let error = |mistake: Mistake| ModelError::Shape {
            document: self.name.clone(),
            position: places.get(&mistake.path).copied().unwrap_or(Position { line: 1, column: 1 }),
            path: mistake.path.to_string(),
            what: mistake.what,
        };
        let mut errors: Vec<_> = mistakes.into_iter().map(error).collect();
        errors.sort_by_key(ModelError::position);
        errors
    }
}

fn syntax(name: &str, error: &serde_json::Error) -> ModelError {
    // The parser ends its message in " at line L column C", which the position says already.
    let message = error.to_string();
    let what = message.rsplit_once(" at line ").map_or(message.as_str(), |(what, _)| what);
    ModelError::Syntax {
        document: name.to_owned(),
        // The parser counts the column of what it has read: 0 at the very beginning.
        position: Position { line: error.line(), column: error.column().max(1) },
        what: what.to_owned(),
    }
}

fn is_pip_list(list: &[Value]) -> bool {
    let of_pip = |entry: &Value| {
        entry.get("_type").is_none()
            && (entry.get("storeName").is_some() || entry.get("dataPlatforms").is_some())
    };
    list.is_empty() || list.iter().any(of_pip)
}

struct Search<'a> {
    document: usize,
    mistakes: &'a Mistakes,
    finds: &'a mut Finds,
    found_any: bool,
}

impl<'a> Search<'a> {
    fn pip_list(&mut self, list: &'a [Value]) {
        self.found_any = true;
        for (index, entry) in list.iter().enumerate() {
            let path = JsonPath::default().index(index);
            if let Some(fields) = Fields::of(entry, path.clone(), self.mistakes) {
                let found = self.found(PipEntry::read(&fields), &path);
                self.finds.pip_entries.push(found);
            }
        }
    }

    /// Depth is bounded: serde_json refuses what is nested more than 128 deep.
    fn walk(&mut self, value: &'a Value, path: &JsonPath) {
        match value {
            Value::Object(members) => {
                if self.read(value, path) {
                    return;
                }
                members.iter().for_each(|(key, member)| self.walk(member, &path.key(key)));
            }
            Value::Array(elements) => {
                elements.iter().enumerate().for_each(|(i, element)| self.walk(element, &path.index(i)));
            }
            _ => {}
        }
    }

    /// Reads the object if it is one of a model, and says whether there is no need to look inside of it.
    fn read(&mut self, value: &'a Value, path: &JsonPath) -> bool {
        let Some(fields) = Fields::of(value, path.clone(), self.mistakes) else { return true };
        match fields.type_name() {
            Some("Datastore") => {
                let found = self.found(Datastore::read(&fields), path);
                self.finds.datastores.push(found);
                true
            }
            Some("YellowDataPlatform") => {
                let found = self.found(Platform::read(&fields), path);
                self.finds.platforms.push(found);
                true
            }
            Some("YellowPlatformServiceProvider") => {
                let found = self.found(PlatformServicesProvider::read(&fields), path);
                self.finds.psps.push(found);
                false
            }
            _ => false,
        }
    }

    fn found<T>(&mut self, object: T, path: &JsonPath) -> Found<T> {
        self.found_any = true;
        Found { object, document: self.document, path: path.clone() }
    }
}
