//! Datastores, their datasets and columns.

use super::column_type::ColumnType;
use super::command::IngestionCommand;
use super::fields::Fields;

/// A store of data, and how it is ingested.
#[derive(Clone, Debug, PartialEq)]
pub struct Datastore {
    /// Its name.
    pub name: String,
    /// Its datasets in the model's order.
    pub datasets: Vec<Dataset>,
    /// How platforms get its data; none where the model does not say.
    pub command: Option<IngestionCommand>,
}

/// A table of a store.
#[derive(Clone, Debug, PartialEq)]
pub struct Dataset {
    /// The key under which the store has it: its name, unless the model contradicts itself.
    pub(crate) key: String,
    /// Its name.
    pub name: String,
    /// Its shape.
    pub schema: Schema,
}

/// The shape of a dataset.
#[derive(Clone, Debug, PartialEq)]
pub enum Schema {
    /// Columns and a key.
    Table {
        /// The columns in the model's order.
        columns: Vec<Column>,
        /// Names of the key columns in order; none where the model names no key.
        key: Option<Vec<String>>,
    },
    /// A schema of another kind, such as an Avro schema, by DataSurface's class of it.
    Other(String),
    /// The model has none.
    Missing,
}

/// A column of a dataset.
#[derive(Clone, Debug, PartialEq)]
pub struct Column {
    /// The key under which the dataset has it: its name, unless the model contradicts itself.
    pub(crate) key: String,
    /// Its name.
    pub name: String,
    /// Its type.
    pub column_type: ColumnType,
    /// Whether it may be NULL.
    pub nullable: bool,
    /// Whether the column itself says that it is part of the key.
    pub primary_key: bool,
}

impl Datastore {
    pub(crate) fn read(fields: &Fields<'_>) -> Datastore {
        Datastore {
            name: fields.text("name"),
            datasets: fields
                .objects("datasets")
                .iter()
                .map(|(key, dataset)| Dataset::read(key, dataset))
                .collect(),
            command: fields.optional_object("cmd").map(|command| IngestionCommand::read(&command)),
        }
    }

    /// The dataset of that name.
    pub fn dataset(&self, name: &str) -> Option<&Dataset> {
        self.datasets.iter().find(|dataset| dataset.name == name)
    }
}

impl Dataset {
    fn read(key: &str, fields: &Fields<'_>) -> Dataset {
        let schema =
            fields.optional_object("originalSchema").map_or(Schema::Missing, |schema| Schema::read(&schema));
        Dataset { key: key.to_owned(), name: fields.text("name"), schema }
    }
}

impl Schema {
    fn read(fields: &Fields<'_>) -> Schema {
        match fields.type_name() {
            None | Some("DDLTable") => Schema::Table {
                columns: fields
                    .objects("columns")
                    .iter()
                    .map(|(key, column)| Column::read(key, column))
                    .collect(),
                key: fields.optional_object("primaryKeyColumns").map(|key| key.texts("colNames")),
            },
            Some(other) => Schema::Other(other.to_owned()),
        }
    }

    /// Names of the key columns in order: those of the schema's key, or where it has none, those of the columns that
    /// say of themselves that they are part of it. Empty where there is no key.
    pub fn key(&self) -> Vec<String> {
        match self {
            Schema::Table { key: Some(key), .. } => key.clone(),
            Schema::Table { columns, key: None } => {
                columns.iter().filter(|column| column.primary_key).map(|column| column.name.clone()).collect()
            }
            Schema::Other(_) | Schema::Missing => Vec::new(),
        }
    }
}

impl Column {
    fn read(key: &str, fields: &Fields<'_>) -> Column {
        let column_type = fields.object("type").map(|column_type| ColumnType::read(&column_type));
        Column {
            key: key.to_owned(),
            name: fields.text("name"),
            column_type: column_type.unwrap_or(ColumnType::Boolean),
            nullable: fields.flag("nullable"),
            primary_key: fields.flag("primaryKey"),
        }
    }
}
