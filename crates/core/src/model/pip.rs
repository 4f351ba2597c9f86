//! Primary ingestion platforms: which platforms read which store's source.

use super::fields::Fields;

/// The model's PIP list: for some stores, the platforms that read their source. Stores that it does not name are read
/// by every platform that uses them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PrimaryIngestionPlatforms {
    entries: Vec<PipEntry>,
}

/// What the list says of one store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PipEntry {
    /// The store.
    pub store_name: String,
    /// The platforms that read its source, in order of preference for those that do not.
    pub data_platforms: Vec<String>,
}

impl PrimaryIngestionPlatforms {
    pub(crate) fn new(entries: Vec<PipEntry>) -> PrimaryIngestionPlatforms {
        PrimaryIngestionPlatforms { entries }
    }

    /// The platforms that read the store's source; none where the list does not name the store. Of two entries for
    /// one store, which lint reports and resolve refuses unless they are equal, the first counts.
    pub fn of(&self, store: &str) -> Option<&[String]> {
        self.entries
            .iter()
            .find(|entry| entry.store_name == store)
            .map(|entry| entry.data_platforms.as_slice())
    }

    /// Every entry in the list's order.
    pub fn entries(&self) -> impl Iterator<Item = &PipEntry> {
        self.entries.iter()
    }
}

impl PipEntry {
    pub(crate) fn read(fields: &Fields<'_>) -> PipEntry {
        PipEntry { store_name: fields.text("storeName"), data_platforms: fields.texts("dataPlatforms") }
    }
}
