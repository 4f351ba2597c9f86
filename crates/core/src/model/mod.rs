//! The model of an ecosystem, in DataSurface's JSON notation.
//!
//! A model is read from documents: datastores, providers with their platforms, and the PIP list, each found by its
//! `_type` in whatever it is wrapped in. Milestream reads the fields it has a use for. Documents are kept as they were
//! written, down to the order of keys and the digits of numbers, so nothing is lost that another tool put there.

mod column_type;
mod command;
mod container;
mod credential;
mod datastore;
mod document;
mod error;
mod fields;
mod path;
mod pip;
mod platform;
mod position;

pub use column_type::ColumnType;
pub use command::{CommandKind, Consistency, IngestionCommand, Trigger};
pub use container::{DataContainer, HostPort, OtherContainer, PostgresDatabase};
pub use credential::{Credential, USER_PASSWORD};
pub use datastore::{Column, Dataset, Datastore, Schema};
pub use document::Document;
pub use error::{ModelError, ModelErrors};
pub use path::{JsonPath, Step};
pub use pip::{PipEntry, PrimaryIngestionPlatforms};
pub use platform::{MilestoneStrategy, Platform, PlatformServicesProvider};
pub use position::Position;

pub(crate) use document::{Finds, Found};

/// Everything that the documents of a configuration say.
#[derive(Clone, Debug, Default)]
pub struct Model {
    documents: Vec<Document>,
    finds: Finds,
    pips: PrimaryIngestionPlatforms,
}

impl Model {
    /// Reads documents, given as names and texts.
    ///
    /// # Errors
    /// Every place of every document that cannot be read. References that lead nowhere are no such error: those are
    /// [`lint`](crate::lint::lint)'s.
    pub fn from_documents<'a>(
        documents: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Model, ModelErrors> {
        let mut model = Model::default();
        let mut errors = Vec::new();
        for (name, text) in documents {
            match Document::parse(name, text) {
                Ok(document) => {
                    let searched = document.search(model.documents.len(), &mut model.finds);
                    errors.extend(searched.err().into_iter().flatten());
                    model.documents.push(document);
                }
                Err(found) => errors.extend(found),
            }
        }
        if !errors.is_empty() {
            return Err(ModelErrors(errors));
        }
        let entries = model.finds.pip_entries.iter().map(|entry| entry.object.clone()).collect();
        model.pips = PrimaryIngestionPlatforms::new(entries);
        Ok(model)
    }

    /// The platform of that name; of several definitions the first.
    pub fn platform(&self, name: &str) -> Option<&Platform> {
        first(&self.finds.platforms, |platform| platform.name == name)
    }

    /// The provider of the platform of that name, if both are in the model.
    pub fn psp_of(&self, platform: &str) -> Option<&PlatformServicesProvider> {
        let platform = self.platform(platform)?;
        first(&self.finds.psps, |psp| psp.name == platform.psp_name)
    }

    /// The datastore of that name; of several definitions the first.
    pub fn datastore(&self, name: &str) -> Option<&Datastore> {
        first(&self.finds.datastores, |store| store.name == name)
    }

    /// Every platform once, in the order of the documents.
    pub fn platforms(&self) -> impl Iterator<Item = &Platform> {
        once_by_name(&self.finds.platforms, |platform| &platform.name)
    }

    /// Every provider once, in the order of the documents.
    pub fn psps(&self) -> impl Iterator<Item = &PlatformServicesProvider> {
        once_by_name(&self.finds.psps, |psp| &psp.name)
    }

    /// Every datastore once, in the order of the documents.
    pub fn datastores(&self) -> impl Iterator<Item = &Datastore> {
        once_by_name(&self.finds.datastores, |store| &store.name)
    }

    /// The primary ingestion platforms; empty where no document lists any.
    pub fn pips(&self) -> &PrimaryIngestionPlatforms {
        &self.pips
    }

    /// The documents as they were read.
    pub fn documents(&self) -> &[Document] {
        &self.documents
    }

    pub(crate) fn finds(&self) -> &Finds {
        &self.finds
    }

    /// Whether two definitions say the same, in whatever order of keys.
    pub(crate) fn same<T>(&self, left: &Found<T>, right: &Found<T>) -> bool {
        self.json_of(left) == self.json_of(right)
    }

    /// The document and path of a definition, for people.
    pub(crate) fn place<T>(&self, found: &Found<T>) -> String {
        let document = self.documents.get(found.document).map_or("", |document| document.name.as_str());
        format!("{document} ({})", found.path)
    }

    fn json_of<T>(&self, found: &Found<T>) -> Option<&serde_json::Value> {
        self.documents.get(found.document).and_then(|document| document.at(&found.path))
    }
}

fn first<T>(found: &[Found<T>], is_meant: impl Fn(&T) -> bool) -> Option<&T> {
    found.iter().map(|found| &found.object).find(|object| is_meant(object))
}

fn once_by_name<T>(found: &[Found<T>], name: impl Fn(&T) -> &String) -> impl Iterator<Item = &T> {
    let mut seen = std::collections::HashSet::new();
    found.iter().map(|found| &found.object).filter(move |object| seen.insert(name(object).clone()))
}
