//! Ingestion commands: how a platform gets a store's data (DataSurface calls them capture metadata).

use serde::{Serialize, Serializer};
use serde_json::{Map, Value, json};

use super::container::DataContainer;
use super::credential::Credential;
use super::fields::Fields;

const SNAPSHOT: &str = "SQLSnapshotIngestion";
const MERGE: &str = "SQLMergeIngestion";

/// How a platform gets a store's data.
#[derive(Clone, Debug, PartialEq)]
pub struct IngestionCommand {
    /// Which command it is.
    pub kind: CommandKind,
    /// Whether the store's datasets share their batches; none where the model does not say.
    pub consistency: Option<Consistency>,
    /// What starts a run; none where nothing does but a person.
    pub trigger: Option<Trigger>,
    /// The database to read.
    pub container: Option<DataContainer>,
    /// The credential to read it with.
    pub credential: Option<Credential>,
    /// Tables of the database by dataset, where they are not named like the dataset, in the model's order.
    pub table_for_dataset: Vec<(String, String)>,
    /// The object as it was written; empty for a command that was made here.
    written: Map<String, Value>,
}

/// The commands that Milestream tells apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommandKind {
    /// Reads the source's tables as a whole, batch after batch.
    SqlSnapshot,
    /// Pulls from another platform's merge tables.
    SqlMerge {
        /// The platform that it refers to: the first candidate. None in an effective command as DataSurface writes it,
        /// which keeps the platform's merge store alone.
        platform: Option<String>,
        /// All platforms that it may pull from, in order of preference; may be empty in a document.
        candidates: Vec<String>,
    },
    /// A command that Milestream does not run, by DataSurface's class of it. Its container and credential are not
    /// read, since they may be of any shape.
    Other(String),
}

/// Whether a store's datasets share their batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Consistency {
    /// Each dataset has batches of its own.
    SingleDataset,
    /// All datasets move together.
    MultiDataset,
}

/// What starts a run of a command.
#[derive(Clone, Debug, PartialEq)]
pub struct Trigger {
    /// Its cron expression, where it has one, as it is written.
    pub cron: Option<String>,
    json: Map<String, Value>,
}

impl IngestionCommand {
    /// The command that pulls from the merge tables of the first of `candidates`.
    ///
    /// Consistency and trigger are those of `own`, the store's command; its tables are not: they are the source's.
    pub(crate) fn merge(
        own: &IngestionCommand,
        candidates: Vec<String>,
        container: DataContainer,
        credential: Credential,
    ) -> IngestionCommand {
        let platform = candidates.first().cloned();
        IngestionCommand {
            kind: CommandKind::SqlMerge { platform, candidates },
            consistency: own.consistency,
            trigger: own.trigger.clone(),
            container: Some(container),
            credential: Some(credential),
            table_for_dataset: Vec::new(),
            written: Map::new(),
        }
    }

    /// The same command with another credential.
    pub(crate) fn with_credential(&self, credential: Credential) -> IngestionCommand {
        let mut command = self.clone();
        if !command.written.is_empty() {
            command.written.insert("credential".into(), credential.to_json());
        }
        command.credential = Some(credential);
        command
    }

    pub(crate) fn read(fields: &Fields<'_>) -> IngestionCommand {
        let kind = match fields.type_name() {
            Some(SNAPSHOT) => CommandKind::SqlSnapshot,
            Some(MERGE) => CommandKind::SqlMerge {
                platform: fields.get("dataPlatform").map(|key| platform_key(fields, "dataPlatform", key)),
                candidates: candidates(fields),
            },
            other => CommandKind::Other(other.unwrap_or("command without a _type").to_owned()),
        };
        let known = !matches!(kind, CommandKind::Other(_));
        let object = |key: &str| if known { fields.optional_object(key) } else { None };
        IngestionCommand {
            consistency: Consistency::read(fields),
            trigger: fields.optional_object("stepTrigger").map(|trigger| Trigger {
                cron: trigger.json().get("cron").and_then(Value::as_str).map(str::to_owned),
                json: trigger.json().clone(),
            }),
            container: object("dataContainer").map(|container| DataContainer::read(&container)),
            credential: object("credential").map(|credential| Credential::read(&credential)),
            table_for_dataset: if known { fields.texts_by_key("tableForDataset") } else { Vec::new() },
            written: fields.json().clone(),
            kind,
        }
    }

    /// DataSurface's class of the command, such as `SQLSnapshotIngestion`.
    pub fn type_name(&self) -> &str {
        match &self.kind {
            CommandKind::SqlSnapshot => SNAPSHOT,
            CommandKind::SqlMerge { .. } => MERGE,
            CommandKind::Other(type_name) => type_name,
        }
    }

    /// The table of the source that holds a dataset: the one named for it, or else the one named like it.
    pub fn table_of<'a>(&'a self, dataset: &'a str) -> &'a str {
        let named = self.table_for_dataset.iter().find(|(name, _)| name == dataset);
        named.map_or(dataset, |(_, table)| table)
    }

    /// DataSurface's notation of it: what was written; for a command made here, every field of DataSurface's.
    pub fn to_json(&self) -> Value {
        if !self.written.is_empty() {
            return Value::Object(self.written.clone());
        }
        let mut json = json!({
            "_type": self.type_name(),
            "singleOrMultiDatasetIngestion": self.consistency.map(Consistency::number),
            "stepTrigger": self.trigger.as_ref().map(|trigger| &trigger.json),
            "dataContainer": self.container,
            "credential": self.credential,
            "tableForDataset": tables(&self.table_for_dataset),
        });
        if let CommandKind::SqlMerge { platform, candidates } = &self.kind {
            json["dataPlatform"] = platform.as_deref().map_or(Value::Null, key_of);
            json["candidates"] = candidates.iter().map(|candidate| key_of(candidate)).collect();
        }
        json
    }
}

impl Serialize for IngestionCommand {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.to_json().serialize(serializer)
    }
}

impl Consistency {
    fn read(fields: &Fields<'_>) -> Option<Consistency> {
        const KEY: &str = "singleOrMultiDatasetIngestion";
        let value = fields.get(KEY)?;
        match value.as_u64() {
            Some(0) => Some(Consistency::SingleDataset),
            Some(1) => Some(Consistency::MultiDataset),
            _ => fields.unexpected(KEY, "0 (single dataset) or 1 (multi dataset)", value),
        }
    }

    fn number(self) -> u8 {
        match self {
            Consistency::SingleDataset => 0,
            Consistency::MultiDataset => 1,
        }
    }
}

fn tables(table_for_dataset: &[(String, String)]) -> Value {
    table_for_dataset.iter().map(|(dataset, table)| (dataset.clone(), Value::from(table.as_str()))).collect()
}

fn key_of(platform: &str) -> Value {
    json!({"_type": "DataPlatformKey", "name": platform})
}

/// A platform's name: a `DataPlatformKey`, the platform's whole object, or just its name.
fn platform_key(fields: &Fields<'_>, field: &str, value: &Value) -> String {
    let name = value.as_str().or_else(|| value.get("name").and_then(Value::as_str));
    name.map_or_else(|| fields.unexpected(field, "a DataPlatformKey", value), str::to_owned)
}

fn candidates(fields: &Fields<'_>) -> Vec<String> {
    match fields.get("candidates") {
        None => Vec::new(),
        Some(Value::Array(list)) => list.iter().map(|key| platform_key(fields, "candidates", key)).collect(),
        Some(other) => fields.unexpected("candidates", "a list of DataPlatformKeys", other),
    }
}
