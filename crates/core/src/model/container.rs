//! Data containers: the databases that stores come from and that platforms merge into.

use serde::{Serialize, Serializer};
use serde_json::{Map, Value, json};

use super::fields::Fields;

const POSTGRES: &str = "PostgresDatabase";

/// A database of the model.
#[derive(Clone, Debug, PartialEq)]
pub enum DataContainer {
    /// A Postgres database: what Milestream reads and writes.
    Postgres(PostgresDatabase),
    /// A container of any other type (SQL Server, Oracle, DB2, Snowflake, …): kept, and never connected to.
    Other(OtherContainer),
}

impl DataContainer {
    pub(crate) fn read(fields: &Fields<'_>) -> DataContainer {
        match fields.type_name() {
            Some(POSTGRES) => DataContainer::Postgres(PostgresDatabase::read(fields)),
            type_name => DataContainer::Other(OtherContainer {
                type_name: type_name.unwrap_or("container without a _type").to_owned(),
                name: fields.json().get("name").and_then(Value::as_str).map(str::to_owned),
                json: fields.json().clone(),
            }),
        }
    }

    /// The container's name, where it has one.
    pub fn name(&self) -> Option<&str> {
        match self {
            DataContainer::Postgres(database) => Some(&database.name),
            DataContainer::Other(other) => other.name.as_deref(),
        }
    }

    /// DataSurface's class of it, such as `PostgresDatabase`.
    pub fn type_name(&self) -> &str {
        match self {
            DataContainer::Postgres(_) => POSTGRES,
            DataContainer::Other(other) => &other.type_name,
        }
    }

    /// The container, if Milestream can connect to it.
    pub fn postgres(&self) -> Option<&PostgresDatabase> {
        match self {
            DataContainer::Postgres(database) => Some(database),
            DataContainer::Other(_) => None,
        }
    }

    /// DataSurface's notation of it, with every field that was read.
    pub fn to_json(&self) -> Value {
        match self {
            DataContainer::Postgres(database) => database.to_json(),
            DataContainer::Other(other) => Value::Object(other.json.clone()),
        }
    }
}

impl Serialize for DataContainer {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.to_json().serialize(serializer)
    }
}

/// A Postgres database.
#[derive(Clone, Debug, PartialEq)]
pub struct PostgresDatabase {
    /// The container's name in the model.
    pub name: String,
    /// Where the server listens.
    pub host_port: HostPort,
    /// The database's name on the server.
    pub database_name: String,
    /// The object as it was written, for the fields that Milestream has no use for.
    written: Map<String, Value>,
}

/// Where a server listens.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct HostPort {
    /// A host name or address.
    pub host_name: String,
    /// The port.
    pub port: u16,
}

impl PostgresDatabase {
    /// A database of which no more is said.
    pub fn new(name: &str, host_port: HostPort, database_name: &str) -> PostgresDatabase {
        PostgresDatabase {
            name: name.to_owned(),
            host_port,
            database_name: database_name.to_owned(),
            written: Map::from_iter([("_type".to_owned(), POSTGRES.into())]),
        }
    }

    fn read(fields: &Fields<'_>) -> PostgresDatabase {
        let host_port = match fields.object("hostPort") {
            None => HostPort { host_name: String::new(), port: 0 },
            Some(pair) => HostPort {
                host_name: pair.text("hostName"),
                port: pair.whole("port").unwrap_or_else(|| pair.missing("port", "a port")),
            },
        };
        PostgresDatabase {
            name: fields.text("name"),
            host_port,
            database_name: fields.text("databaseName"),
            written: fields.json().clone(),
        }
    }

    /// DataSurface's notation of it: what was written, with the fields of this struct in their places.
    pub fn to_json(&self) -> Value {
        let mut json = self.written.clone();
        json.insert("name".into(), self.name.as_str().into());
        json.insert("databaseName".into(), self.database_name.as_str().into());
        let pair = json.entry("hostPort").or_insert_with(|| json!({"_type": "HostPortPair"}));
        pair["hostName"] = self.host_port.host_name.as_str().into();
        pair["port"] = self.host_port.port.into();
        Value::Object(json)
    }
}

impl Serialize for PostgresDatabase {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.to_json().serialize(serializer)
    }
}

/// A container that Milestream does not connect to.
#[derive(Clone, Debug, PartialEq)]
pub struct OtherContainer {
    /// DataSurface's class of it.
    pub type_name: String,
    /// Its name, where it has one.
    pub name: Option<String>,
    json: Map<String, Value>,
}
