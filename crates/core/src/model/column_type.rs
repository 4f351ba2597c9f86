//! Types of the model's columns, and the Postgres types that DataSurface creates for them.

use std::fmt;

use super::fields::Fields;

/// A column's type, by the model's name for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ColumnType {
    /// True or false.
    Boolean,
    /// A whole number of 16 bits.
    SmallInt,
    /// A whole number of 32 bits.
    Integer,
    /// A whole number of 64 bits.
    BigInt,
    /// A floating point number of 32 bits in the model, of 64 in DataSurface's tables.
    Ieee32,
    /// The other name of [`ColumnType::Ieee32`].
    Float,
    /// A floating point number of 64 bits.
    Ieee64,
    /// The other name of [`ColumnType::Ieee64`].
    Double,
    /// An exact number.
    Decimal {
        /// Digits in all; DataSurface asks for it, but Postgres does not.
        max_size: Option<u32>,
        /// Digits behind the point.
        precision: u32,
    },
    /// A day.
    Date,
    /// A day and time, without a zone in the tables.
    Timestamp,
    /// A span of time.
    Interval,
    /// Text.
    VarChar {
        /// The most characters; none is no bound.
        max_size: Option<u32>,
    },
    /// Text in Unicode.
    NVarChar {
        /// The most characters; none is no bound.
        max_size: Option<u32>,
    },
    /// Text, by the model's third name for it.
    String {
        /// The most characters; none is no bound.
        max_size: Option<u32>,
    },
    /// Text of one length, padded with spaces.
    Char {
        /// The number of characters; none is one.
        max_size: Option<u32>,
    },
    /// Text of one length in Unicode, padded with spaces.
    NChar {
        /// The number of characters; none is one.
        max_size: Option<u32>,
    },
    /// Bytes.
    Variant {
        /// The most bytes. Postgres has no such bound.
        max_size: Option<u32>,
    },
    /// A type that DataSurface refuses to create a column of (TinyInt, Binary, arrays, vectors, custom floats), or
    /// that is not known at all, by its name.
    Other(std::string::String),
}

impl ColumnType {
    pub(crate) fn read(fields: &Fields<'_>) -> ColumnType {
        let max_size = || fields.whole::<i64>("maxSize").and_then(bound);
        match fields.text("type").as_str() {
            "Decimal" => {
                let precision = fields.whole("precision").unwrap_or_default();
                ColumnType::Decimal { max_size: max_size(), precision }
            }
            "VarChar" => ColumnType::VarChar { max_size: max_size() },
            "NVarChar" => ColumnType::NVarChar { max_size: max_size() },
            "String" => ColumnType::String { max_size: max_size() },
            "Char" => ColumnType::Char { max_size: max_size() },
            "NChar" => ColumnType::NChar { max_size: max_size() },
            "Variant" => ColumnType::Variant { max_size: max_size() },
            name => ColumnType::from(name),
        }
    }

    /// The model's name of the type, without its size.
    pub fn name(&self) -> &str {
        match self {
            ColumnType::Boolean => "Boolean",
            ColumnType::SmallInt => "SmallInt",
            ColumnType::Integer => "Integer",
            ColumnType::BigInt => "BigInt",
            ColumnType::Ieee32 => "IEEE32",
            ColumnType::Float => "Float",
            ColumnType::Ieee64 => "IEEE64",
            ColumnType::Double => "Double",
            ColumnType::Decimal { .. } => "Decimal",
            ColumnType::Date => "Date",
            ColumnType::Timestamp => "Timestamp",
            ColumnType::Interval => "Interval",
            ColumnType::VarChar { .. } => "VarChar",
            ColumnType::NVarChar { .. } => "NVarChar",
            ColumnType::String { .. } => "String",
            ColumnType::Char { .. } => "Char",
            ColumnType::NChar { .. } => "NChar",
            ColumnType::Variant { .. } => "Variant",
            ColumnType::Other(name) => name,
        }
    }

    /// The Postgres type that DataSurface creates the column with, such as `varchar(20)`; none where it refuses to.
    pub fn postgres(&self) -> Option<std::string::String> {
        let sized =
            |name: &str, size: Option<u32>| size.map_or(name.to_owned(), |size| format!("{name}({size})"));
        Some(match self {
            ColumnType::Boolean => "boolean".into(),
            ColumnType::SmallInt => "smallint".into(),
            ColumnType::Integer => "integer".into(),
            ColumnType::BigInt => "bigint".into(),
            ColumnType::Ieee32 | ColumnType::Float | ColumnType::Ieee64 | ColumnType::Double => {
                "double precision".into()
            }
            ColumnType::Decimal { max_size: Some(digits), precision } => {
                format!("numeric({digits},{precision})")
            }
            ColumnType::Decimal { max_size: None, .. } => "numeric".into(),
            ColumnType::Date => "date".into(),
            ColumnType::Timestamp => "timestamp without time zone".into(),
            ColumnType::Interval => "interval".into(),
            ColumnType::VarChar { max_size }
            | ColumnType::NVarChar { max_size }
            | ColumnType::String { max_size } => sized("varchar", *max_size),
            ColumnType::Char { max_size } | ColumnType::NChar { max_size } => sized("char", *max_size),
            ColumnType::Variant { .. } => "bytea".into(),
            ColumnType::Other(_) => return None,
        })
    }

    pub(crate) fn max_size(&self) -> Option<u32> {
        match self {
            ColumnType::Decimal { max_size, .. }
            | ColumnType::VarChar { max_size }
            | ColumnType::NVarChar { max_size }
            | ColumnType::String { max_size }
            | ColumnType::Char { max_size }
            | ColumnType::NChar { max_size }
            | ColumnType::Variant { max_size } => *max_size,
            _ => None,
        }
    }
}

/// DataSurface writes -1 for a size without a bound. A size too large for Postgres stays too large.
fn bound(size: i64) -> Option<u32> {
    (size >= 0).then(|| u32::try_from(size).unwrap_or(u32::MAX))
}

impl From<&str> for ColumnType {
    /// The type of that name, without a bound on its size.
    fn from(name: &str) -> ColumnType {
        match name {
            "Boolean" => ColumnType::Boolean,
            "SmallInt" => ColumnType::SmallInt,
            "Integer" => ColumnType::Integer,
            "BigInt" => ColumnType::BigInt,
            "IEEE32" => ColumnType::Ieee32,
            "Float" => ColumnType::Float,
            "IEEE64" => ColumnType::Ieee64,
            "Double" => ColumnType::Double,
            "Decimal" => ColumnType::Decimal { max_size: None, precision: 0 },
            "Date" => ColumnType::Date,
            "Timestamp" => ColumnType::Timestamp,
            "Interval" => ColumnType::Interval,
            "VarChar" => ColumnType::VarChar { max_size: None },
            "NVarChar" => ColumnType::NVarChar { max_size: None },
            "String" => ColumnType::String { max_size: None },
            "Char" => ColumnType::Char { max_size: None },
            "NChar" => ColumnType::NChar { max_size: None },
            "Variant" => ColumnType::Variant { max_size: None },
            other => ColumnType::Other(other.to_owned()),
        }
    }
}

impl fmt::Display for ColumnType {
    /// As DataSurface shows it: `VarChar(20)`, `Decimal(10,2)`, `Date`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        match (self, self.max_size()) {
            (ColumnType::Decimal { precision, .. }, Some(digits)) => write!(f, "({digits},{precision})"),
            (_, Some(size)) => write!(f, "({size})"),
            (_, None) => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::fields::Mistakes;
    use super::super::path::JsonPath;
    use super::*;

    fn read(value: &Value) -> ColumnType {
        let mistakes = Mistakes::default();
        let column_type = ColumnType::read(&Fields::of(value, JsonPath::default(), &mistakes).unwrap());
        assert!(mistakes.take().is_empty());
        column_type
    }

    #[test]
    fn columns_get_the_types_that_datasurface_creates() {
        let types = [
            json!({"type": "Boolean"}),
            json!({"type": "SmallInt", "sizeInBits": 16, "isSigned": "SIGNED"}),
            json!({"type": "Integer", "sizeInBits": 32, "isSigned": "SIGNED"}),
            json!({"type": "BigInt", "sizeInBits": 64, "isSigned": "SIGNED"}),
            json!({"type": "IEEE32", "precision": 24, "sizeInBits": 32}),
            json!({"type": "Float"}),
            json!({"type": "IEEE64"}),
            json!({"type": "Double"}),
            json!({"type": "Decimal", "maxSize": 10, "precision": 2}),
            json!({"type": "Date"}),
            json!({"type": "Timestamp", "timeZone": {"_type": "TimeZone", "timeZone": "UTC"}}),
            json!({"type": "Interval"}),
            json!({"type": "VarChar", "maxSize": 20}),
            json!({"type": "VarChar", "maxSize": -1}),
            json!({"type": "NVarChar", "maxSize": 20, "collationString": "x"}),
            json!({"type": "String"}),
            json!({"type": "Char", "maxSize": 3}),
            json!({"type": "NChar", "maxSize": 3}),
            json!({"type": "Variant", "maxSize": null}),
            json!({"type": "TinyInt", "sizeInBits": 8}),
            json!({"type": "Vector", "maxSize": 768}),
        ];
        let shown: Vec<_> = types
            .iter()
            .map(read)
            .map(|known| format!("{known} -> {}", known.postgres().unwrap_or("refused".into())))
            .collect();
        insta::assert_snapshot!(shown.join("\n"));
    }
}
