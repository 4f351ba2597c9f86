//! Types of columns and values of theirs, written as Postgres writes them under the simulation's settings.

use milestream_core::model::ColumnType;
use serde::{Deserialize, Serialize};

/// A column's type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// `boolean`
    Boolean,
    /// `smallint`
    SmallInt,
    /// `integer`
    Integer,
    /// `bigint`
    BigInt,
    /// `numeric(12,2)`
    Money,
    /// `numeric` without a scale, where 1.0 and 1.00 are different texts of equal numbers.
    Numeric,
    /// `double precision`
    Double,
    /// `date`
    Date,
    /// `timestamp`
    Timestamp,
    /// `timestamptz`
    Timestamptz,
    /// `interval`
    Interval,
    /// `varchar`
    Text,
    /// `bytea`
    Bytes,
    /// `uuid`
    Uuid,
    /// `json`, which has no equality.
    Json,
    /// `jsonb`
    Jsonb,
    /// `integer[]`
    Integers,
    /// `text[]`, where NULL and "NULL" are two things.
    Texts,
    /// `xml`, whose declaration is part of it.
    Xml,
    /// `char(8)`
    Chars,
    /// `timetz`
    TimeTz,
    /// `bit varying(12)`
    Bits,
    /// An enum of people's own.
    Mood,
    /// An array of that enum.
    Moods,
    /// A domain of people's own, over a number with four digits behind the point.
    Price,
    /// A composite of people's own, one of whose attributes is of that domain.
    Address,
    /// A range of people's own.
    Span,
    /// `inet`
    Inet,
    /// `tsvector`
    Words,
    /// `regtype`, whose binary form is an OID of one server.
    Type,
    /// `"char"`, one byte.
    Byte,
    /// `real`
    Real,
    /// `int4multirange`
    Ranges,
    /// `point`, which has no equality of its own.
    Point,
    /// `oid[]`
    Oids,
}

/// Kinds that a key may have.
pub const KEY_KINDS: [Kind; 13] = [
    Kind::Integer,
    Kind::Text,
    Kind::BigInt,
    Kind::SmallInt,
    Kind::Date,
    Kind::Uuid,
    Kind::Money,
    Kind::Timestamp,
    Kind::Numeric,
    Kind::Interval,
    Kind::Double,
    Kind::Timestamptz,
    Kind::Chars,
];

/// Kinds that columns of any plan may have.
pub const KINDS: [Kind; 17] = [
    Kind::Boolean,
    Kind::SmallInt,
    Kind::Integer,
    Kind::BigInt,
    Kind::Money,
    Kind::Numeric,
    Kind::Double,
    Kind::Date,
    Kind::Timestamp,
    Kind::Timestamptz,
    Kind::Interval,
    Kind::Text,
    Kind::Bytes,
    Kind::Uuid,
    Kind::Json,
    Kind::Jsonb,
    Kind::Integers,
];

/// Kinds that a column is given where people bring types along.
pub(super) const KINDS_OF_PEOPLE: [Kind; 18] = [
    Kind::Texts,
    Kind::Xml,
    Kind::Chars,
    Kind::TimeTz,
    Kind::Bits,
    Kind::Mood,
    Kind::Moods,
    Kind::Price,
    Kind::Address,
    Kind::Span,
    Kind::Inet,
    Kind::Words,
    Kind::Type,
    Kind::Byte,
    Kind::Real,
    Kind::Ranges,
    Kind::Point,
    Kind::Oids,
];

/// Texts that begin many a mistake: in escapes, in separators, in hashes of unseparated text, in collations.
const KEY_TEXTS: [&str; 16] =
    ["a", "A", "B", "b", "ä", "", "1", "11", "111", "\\", "\\.", "\t", "a b", "'", "Z", "\u{1f642}"];

impl Kind {
    /// The type as SQL writes it.
    pub fn sql(self) -> &'static str {
        match self {
            Kind::Boolean => "boolean",
            Kind::SmallInt => "smallint",
            Kind::Integer => "integer",
            Kind::BigInt => "bigint",
            Kind::Money => "numeric(12,2)",
            Kind::Numeric => "numeric",
            Kind::Double => "double precision",
            Kind::Date => "date",
            Kind::Timestamp => "timestamp",
            Kind::Timestamptz => "timestamptz",
            Kind::Interval => "interval",
            Kind::Text => "varchar",
            Kind::Bytes => "bytea",
            Kind::Uuid => "uuid",
            Kind::Json => "json",
            Kind::Jsonb => "jsonb",
            Kind::Integers => "integer[]",
            Kind::Texts => "text[]",
            Kind::Xml => "xml",
            Kind::Chars => "char(8)",
            Kind::TimeTz => "timetz",
            Kind::Bits => "bit varying(12)",
            Kind::Mood => "\"Mood\"",
            Kind::Moods => "\"Mood\"[]",
            Kind::Price => "\"Price\"",
            Kind::Address => "\"Address\"",
            Kind::Span => "\"Span\"",
            Kind::Inet => "inet",
            Kind::Words => "tsvector",
            Kind::Type => "regtype",
            Kind::Byte => "\"char\"",
            Kind::Real => "real",
            Kind::Ranges => "int4multirange",
            Kind::Point => "point",
            Kind::Oids => "oid[]",
        }
    }

    /// Whether it is a type that somebody has to make first.
    pub(crate) fn is_of_people(self) -> bool {
        matches!(self, Kind::Mood | Kind::Moods | Kind::Price | Kind::Address | Kind::Span | Kind::Type)
    }

    /// The model's type, where the model has one; a primary that the worker writes has no others.
    pub fn modelled(self) -> Option<ColumnType> {
        Some(match self {
            Kind::Boolean => ColumnType::Boolean,
            Kind::SmallInt => ColumnType::SmallInt,
            Kind::Integer => ColumnType::Integer,
            Kind::BigInt => ColumnType::BigInt,
            Kind::Money => ColumnType::Decimal { max_size: Some(12), precision: 2 },
            Kind::Double => ColumnType::Double,
            Kind::Date => ColumnType::Date,
            Kind::Timestamp => ColumnType::Timestamp,
            Kind::Interval => ColumnType::Interval,
            Kind::Text => ColumnType::VarChar { max_size: None },
            Kind::Bytes => ColumnType::Variant { max_size: None },
            Kind::Numeric | Kind::Timestamptz | Kind::Uuid | Kind::Json | Kind::Jsonb | Kind::Integers => {
                return None;
            }
            Kind::Texts | Kind::Xml | Kind::Chars | Kind::TimeTz | Kind::Bits => return None,
            Kind::Mood | Kind::Moods | Kind::Price | Kind::Address | Kind::Span => return None,
            Kind::Inet | Kind::Words | Kind::Type | Kind::Byte | Kind::Real => return None,
            Kind::Ranges | Kind::Point | Kind::Oids => return None,
        })
    }

    /// Values worth having, NULL apart.
    pub fn values(self) -> &'static [&'static str] {
        match self {
            Kind::Boolean => &["true", "false"],
            Kind::SmallInt => &["0", "1", "-32768", "32767"],
            Kind::Integer => &["0", "1", "-1", "11", "2147483647", "-2147483648"],
            Kind::BigInt => &["0", "1", "-9223372036854775808", "9223372036854775807"],
            Kind::Money => &["0.00", "1.00", "-0.01", "9999999999.99"],
            Kind::Numeric => &["0", "1.0", "1.00", "-0.5", "NaN", "100000000000000000000"],
            Kind::Double => &["0", "-0", "1.5", "0.1", "NaN", "Infinity", "1e+300"],
            Kind::Date => &["2000-01-01", "1999-12-31", "2024-02-29", "infinity", "0044-03-15 BC"],
            Kind::Timestamp => &["2000-01-01 00:00:00", "2024-02-29 12:34:56.789", "-infinity"],
            Kind::Timestamptz => &["2000-01-01 00:00:00+00", "2024-06-01 12:00:00.5+00"],
            Kind::Interval => &["1 mon", "30 days", "24:00:00", "1 day", "00:00:00"],
            Kind::Text => {
                &["", "a", "A", "ä", "\\N", "tab\there", "new\nline", "it's", "\\.", "null", "\u{1f642}"]
            }
            Kind::Bytes => &["\\x", "\\x00", "\\xdeadbeef"],
            Kind::Uuid => &["00000000-0000-0000-0000-000000000000", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"],
            Kind::Json => &["{}", "{ \"a\":1 }", "{\"a\": 1}", "null", "[1,  2]"],
            Kind::Jsonb => &["{}", "{\"a\": 1}", "null", "[1, 2]", "\"\""],
            Kind::Integers => &["{}", "{1,2,3}", "{NULL,1}"],
            Kind::Texts => &["{}", "{NULL}", "{\"NULL\"}", "{a,NULL,\"b c\"}", "{{a,b},{c,NULL}}"],
            Kind::Xml => &[
                "<a/>",
                "<?xml version=\"1.0\"?><a/>",
                "text and <b>more</b>",
                "<a>&lt;</a>",
                "<?xml version=\"1.0\" encoding=\"UTF-8\"?><a>ä</a>",
            ],
            Kind::Chars => &["", "a", "A", "ab cd", "12345678"],
            Kind::TimeTz => &["00:00:00+00", "12:34:56.789+05:45", "24:00:00-03:30"],
            Kind::Bits => &["", "0", "101", "111111111111"],
            Kind::Mood => &["sad", "ok", "happy"],
            Kind::Moods => &["{}", "{sad,NULL}", "{happy,ok,ok}"],
            Kind::Price => &["1.2345", "0.0000", "-0.0001", "99999999.9999"],
            Kind::Address => &["(a,1,1.2345)", "(\"\",,)", "(,,)", "(\"b, c\",a,0.0000)"],
            Kind::Span => &["empty", "[1.10,2.50)", "(,5)", "[1,1]"],
            Kind::Inet => &["10.0.0.1/32", "10.0.0.0/8", "::1/128", "fe80::/10"],
            Kind::Words => &["", "'a' 'b'", "'cat':3A,7 'dog':1B"],
            Kind::Type => &["integer", "text", "timestamp without time zone", "-", "\"Mood\"", "\"Address\""],
            Kind::Byte => &["a", "", "\\"],
            Kind::Real => &["0", "-0", "1.1", "NaN", "-Infinity", "1e+30"],
            Kind::Ranges => &["{}", "{[1,3),[5,8)}", "{(,0)}"],
            Kind::Point => &["(0,0)", "(1.5,-2.25)", "(NaN,Infinity)"],
            Kind::Oids => &["{}", "{1,4294967295}", "{NULL}"],
        }
    }

    /// Whether Postgres writes a value so; of kinds whose values any other text may be cut into, else never.
    pub(super) fn is_written(self, text: &str) -> bool {
        fn is_number<N: std::str::FromStr + ToString>(text: &str) -> bool {
            text.parse::<N>().is_ok_and(|number| number.to_string() == text)
        }
        match self {
            Kind::Text => true,
            Kind::SmallInt => is_number::<i16>(text),
            Kind::Integer => is_number::<i32>(text),
            Kind::BigInt => is_number::<i64>(text),
            _ => false,
        }
    }

    /// SQL of the text by which a key is known, where equal values have several: `{}` is the column.
    pub(crate) fn canonical(self) -> Option<&'static str> {
        match self {
            Kind::Numeric => Some("trim_scale({})"),
            Kind::Interval => Some("extract(epoch from {})::bigint"),
            Kind::Double => Some("{} + 0"),
            _ => None,
        }
    }

    /// One of the texts of a key that is known by this one.
    pub(crate) fn spelled(self, known: &str, variant: usize) -> String {
        let seconds = || known.parse::<u64>().unwrap_or(0);
        match (self, variant) {
            (Kind::Numeric, 1) => format!("{known}.0"),
            (Kind::Numeric, 2) => format!("{known}.000"),
            (Kind::Double, 1) if known == "0" => "-0".to_owned(),
            (Kind::Interval, 0) if seconds() == 86_400 => "1 day".to_owned(),
            (Kind::Interval, 0) if seconds() > 0 => format!("{} days", seconds() / 86_400),
            (Kind::Interval, _) => format!("{:02}:00:00", seconds() / 3_600),
            _ => known.to_owned(),
        }
    }

    /// The `number`th key of this kind; different numbers below 10 000 give different keys.
    pub fn key(self, number: u16) -> String {
        let n = u64::from(number);
        match self {
            Kind::BigInt => (i64::from(number) * 900_000_000_001).to_string(),
            Kind::Money => format!("{number}.{:02}", number % 100),
            Kind::Date => day(n),
            Kind::Timestamp => format!("{} 00:00:{:02}", day(n / 60), n % 60),
            Kind::Timestamptz => format!("{} 00:00:{:02}+00", day(n / 60), n % 60),
            Kind::Interval => (n * 86_400).to_string(),
            Kind::Uuid => {
                format!("{:08x}-0000-4000-8000-0000{n:08x}", n.wrapping_mul(0x9E37_79B9) & 0xffff_ffff)
            }
            Kind::Text => match KEY_TEXTS.get(usize::from(number)) {
                Some(text) => (*text).to_owned(),
                None => format!("k{number}"),
            },
            _ => number.to_string(),
        }
    }
}

/// The `n`th of days that are 28 a month, from the year 2000 on.
fn day(n: u64) -> String {
    format!("{:04}-{:02}-{:02}", 2000 + n / 336, n / 28 % 12 + 1, n % 28 + 1)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn numbers_are_written_in_one_way() {
        let written =
            |kind: Kind| ["1", "01", "-1", "-0", "", "+1", "99999", "x"].map(|text| kind.is_written(text));
        assert_eq!(written(Kind::SmallInt), [true, false, true, false, false, false, false, false]);
        assert_eq!(written(Kind::Integer), [true, false, true, false, false, false, true, false]);
        assert_eq!(written(Kind::Text), [true; 8]);
        assert_eq!(written(Kind::Date), [false; 8]);
    }

    #[test]
    fn different_numbers_give_different_keys() {
        for kind in KEY_KINDS {
            let keys: BTreeSet<_> = (0..10_000).map(|number| kind.key(number)).collect();
            assert_eq!(keys.len(), 10_000, "{kind:?}");
        }
    }
}
