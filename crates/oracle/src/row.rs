//! Rows, versions, and the names of their columns.

/// The `batch_out` of a version that is still live.
pub const LIVE: i32 = 2_147_483_647;

/// The value of a column as text, `None` for NULL.
pub type Cell = Option<String>;

/// One row, in two parts.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Row {
    /// The cells of the key columns, in the key's order.
    pub key: Vec<Cell>,
    /// The cells of all other columns.
    pub columns: Vec<Cell>,
}

impl Row {
    /// A row of texts without a NULL.
    pub fn of_texts(key: &[&str], columns: &[&str]) -> Row {
        let cells = |texts: &[&str]| texts.iter().map(|&text| Some(text.to_owned())).collect();
        Row { key: cells(key), columns: cells(columns) }
    }
}

/// One row of a forensic merge table.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Version {
    /// The record.
    pub row: Row,
    /// The batch that opened the version.
    pub batch_in: i32,
    /// The last batch in which it was live, or [`LIVE`].
    pub batch_out: i32,
}

impl Version {
    /// The version as a plain row, of the shape [`Shape::of_versions`]: `batch_in` joins the key, `batch_out`
    /// the columns.
    pub fn into_row(self) -> Row {
        let Row { mut key, mut columns } = self.row;
        key.push(Some(self.batch_in.to_string()));
        columns.push(Some(self.batch_out.to_string()));
        Row { key, columns }
    }
}

/// A table's name and the names of its columns.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Shape {
    /// The table, by whatever name its user knows it.
    pub table: String,
    /// The key columns, in the key's order.
    pub key: Vec<String>,
    /// All other columns, in the order of [`Row::columns`].
    pub columns: Vec<String>,
}

impl Shape {
    /// The shape of a table of records.
    pub fn new(table: &str, key: &[&str], columns: &[&str]) -> Shape {
        let names = |names: &[&str]| names.iter().map(ToString::to_string).collect();
        Shape { table: table.to_owned(), key: names(key), columns: names(columns) }
    }

    /// The shape of the table's versions as plain rows; see [`Version::into_row`].
    pub fn of_versions(&self) -> Shape {
        let mut shape = self.clone();
        shape.key.push("batch_in".to_owned());
        shape.columns.push("batch_out".to_owned());
        shape
    }

    pub(crate) fn fits(&self, row: &Row) -> bool {
        row.key.len() == self.key.len() && row.columns.len() == self.columns.len()
    }
}
