//! What people had on a platform's server before the worker came.

use serde::{Deserialize, Serialize};

use super::values::Kind;

/// How a platform's database was left for the worker.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Premises {
    /// Settings that the worker's role has in the database.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub settings: Vec<Setting>,
    /// Whether the database sorts text as people do, and not by its bytes, where its server can.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub sorts_as_people: bool,
    /// The types of a secondary, beside those of its primary.
    #[serde(skip_serializing_if = "TypesThere::are_the_same")]
    pub types: TypesThere,
    /// A secondary's merge tables, where they are there before the first seed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tables: Option<TablesThere>,
}

impl Premises {
    /// Whether everything is as the worker would make it.
    pub(super) fn are_plain(&self) -> bool {
        *self == Premises::default()
    }
}

/// A setting and its value. One that a server's version does not know is left out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Setting {
    /// Its name.
    pub name: String,
    /// Its value, as `alter role … set` takes it.
    pub value: String,
}

/// Settings that change what a value reads or writes as, or end a session.
pub(super) const SETTINGS: [(&str, &str); 34] = [
    ("DateStyle", "German, DMY"),
    ("DateStyle", "SQL, DMY"),
    ("IntervalStyle", "sql_standard"),
    ("IntervalStyle", "iso_8601"),
    ("TimeZone", "Asia/Kathmandu"),
    ("timezone_abbreviations", "India"),
    ("extra_float_digits", "-15"),
    ("array_nulls", "off"),
    ("array_nulls", "off"),
    ("xmloption", "document"),
    ("xmloption", "document"),
    ("xmlbinary", "hex"),
    ("bytea_output", "escape"),
    ("quote_all_identifiers", "on"),
    ("quote_all_identifiers", "on"),
    ("standard_conforming_strings", "off"),
    ("backslash_quote", "off"),
    ("escape_string_warning", "off"),
    ("transform_null_equals", "on"),
    ("client_encoding", "LATIN1"),
    ("client_min_messages", "debug1"),
    ("default_transaction_isolation", "serializable"),
    ("default_transaction_isolation", "repeatable read"),
    ("default_transaction_read_only", "on"),
    ("default_transaction_deferrable", "on"),
    ("row_security", "on"),
    ("statement_timeout", "1ms"),
    ("lock_timeout", "1ms"),
    ("idle_in_transaction_session_timeout", "50ms"),
    ("idle_session_timeout", "50ms"),
    ("transaction_timeout", "50ms"),
    ("plan_cache_mode", "force_generic_plan"),
    ("enable_tidscan", "off"),
    ("enable_indexscan", "off"),
];

/// The types of a secondary beside those of the same name that the primary has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TypesThere {
    /// The same.
    #[default]
    Same,
    /// The same under other OIDs: the secondary had others before.
    Shifted,
    /// The same in another schema.
    Elsewhere,
    /// The enum has its labels in another order.
    Reordered,
    /// The enum has another label in the place of one.
    Relabelled,
    /// The domain keeps fewer digits.
    Rounded,
    /// The domain has another base.
    Rebased,
    /// The composite has its attributes in another order.
    Swapped,
    /// The range has another subtype.
    Resubtyped,
}

impl TypesThere {
    fn are_the_same(&self) -> bool {
        *self == TypesThere::Same
    }

    /// Whether values of this kind would not be what they are on the primary: a sync that takes them is wrong.
    pub(crate) fn change(self, kind: Kind) -> bool {
        match self {
            TypesThere::Same | TypesThere::Shifted | TypesThere::Elsewhere | TypesThere::Reordered => false,
            TypesThere::Relabelled => matches!(kind, Kind::Mood | Kind::Moods),
            // The composite has an attribute of the domain.
            TypesThere::Rounded | TypesThere::Rebased => matches!(kind, Kind::Price | Kind::Address),
            TypesThere::Swapped => kind == Kind::Address,
            TypesThere::Resubtyped => kind == Kind::Span,
        }
    }

    /// Whether a worker that refuses a column of this kind is careful rather than wrong.
    pub(crate) fn may_be_refused(self, kind: Kind) -> bool {
        match self {
            TypesThere::Elsewhere => kind.is_of_people(),
            TypesThere::Reordered => matches!(kind, Kind::Mood | Kind::Moods),
            _ => self.change(kind),
        }
    }
}

/// Merge tables that are there before the first seed, empty, with the columns and the key that they need.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TablesThere {
    /// Whether they have a column that the model does not know.
    pub extra_column: bool,
    /// Whether they have an index of their own.
    pub indexed: bool,
    /// Whether their columns stand in another order.
    pub reversed: bool,
}
