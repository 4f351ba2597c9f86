//! One CSV file of the demo's data, checked field by field before Postgres sees it.
//!
//! The checks are here and not left to `COPY` so that a person learns the file, the line and the column of a bad
//! value before a server has been started.

use std::io::Read;

use csv::{ErrorKind, ReaderBuilder, StringRecord, Trim};

use crate::error::{Error, Result};

/// How the files spell NULL.
pub(super) const NULL: &str = "NA";

/// A file and what each of its columns must hold.
pub(super) struct Sheet {
    /// Name of the table, and of the file without its endings.
    pub(super) name: &'static str,
    /// The table's columns in the table's order; a file may order them otherwise and have others besides.
    pub(super) columns: &'static [Column],
}

/// A column of a file.
pub(super) struct Column {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) nullable: bool,
}

/// What a value must look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    SmallInt,
    Integer,
    /// Degrees, kept as `numeric(18,15)`.
    Degrees,
    /// `YYYY-MM-DDThh:mm:ssZ`.
    Timestamp,
    /// At most this many characters.
    Text(usize),
    /// A small integer of 1 to 12.
    Month,
}

impl Sheet {
    /// Reads `text`, checks every value and hands each record on with its fields in the order of `columns`.
    ///
    /// `file` is the file's name as a person knows it.
    pub(super) fn each_record(
        &self,
        file: &str,
        text: impl Read,
        mut take: impl FnMut(&StringRecord) -> Result<()>,
    ) -> Result<()> {
        let mut reader = ReaderBuilder::new().trim(Trim::Headers).from_reader(text);
        let header = reader.headers().map_err(|error| unreadable(file, &error))?;
        let positions = self.positions(file, header)?;
        let mut record = StringRecord::new();
        let mut ordered = StringRecord::new();
        while reader.read_record(&mut record).map_err(|error| unreadable(file, &error))? {
            ordered.clear();
            for (column, &position) in self.columns.iter().zip(&positions) {
                let value = record.get(position).unwrap_or_default();
                if !column.admits(value) {
                    return Err(column.refusal(
                        file,
                        record.position().map_or(0, csv::Position::line),
                        value,
                    ));
                }
                ordered.push_field(value);
            }
            take(&ordered)?;
        }
        Ok(())
    }

    fn positions(&self, file: &str, header: &StringRecord) -> Result<Vec<usize>> {
        let position = |column: &Column| {
            header.iter().position(|name| name.trim_start_matches('\u{feff}') == column.name).ok_or_else(
                || {
                    bad_data(format!(
                        "{file}, line 1: no column {:?}; found {}",
                        column.name,
                        header.iter().collect::<Vec<_>>().join(", ")
                    ))
                },
            )
        };
        self.columns.iter().map(position).collect()
    }
}

impl Column {
    fn admits(&self, value: &str) -> bool {
        if value == NULL {
            return self.nullable;
        }
        match self.kind {
            Kind::SmallInt => value.parse::<i16>().is_ok(),
            Kind::Integer => value.parse::<i32>().is_ok(),
            Kind::Degrees => is_degrees(value),
            Kind::Timestamp => is_timestamp(value),
            Kind::Text(chars_max) => value.chars().count() <= chars_max && !value.contains('\0'),
            Kind::Month => value.parse::<i16>().is_ok_and(|month| (1..=12).contains(&month)),
        }
    }

    fn refusal(&self, file: &str, line: u64, value: &str) -> Error {
        let expected = match self.kind {
            Kind::SmallInt => "a whole number between -32768 and 32767".to_owned(),
            Kind::Integer => "a whole number between -2147483648 and 2147483647".to_owned(),
            Kind::Degrees => "a number of degrees like -73.7789255".to_owned(),
            Kind::Timestamp => "a time like 2013-01-31T10:00:00Z".to_owned(),
            Kind::Text(chars_max) => format!("a text of at most {chars_max} characters"),
            Kind::Month => "a month, 1 to 12".to_owned(),
        };
        let or_null = if self.nullable { ", nor NA for NULL" } else { "" };
        bad_data(format!("{file}, line {line}, column {}: {value:?} is not {expected}{or_null}", self.name))
    }
}

fn is_degrees(value: &str) -> bool {
    let unsigned = value.strip_prefix('-').unwrap_or(value);
    let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, "0"));
    let digits =
        |text: &str, most| (1..=most).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    digits(whole, 3) && digits(fraction, 15)
}

fn is_timestamp(value: &str) -> bool {
    const SHAPE: &[u8] = b"0000-00-00T00:00:00Z";
    let fits = |(byte, shape): (u8, &u8)| if *shape == b'0' { byte.is_ascii_digit() } else { byte == *shape };
    value.len() == SHAPE.len() && value.bytes().zip(SHAPE).all(fits)
}

/// A fault of the data that the person who gave `--data` can mend.
pub(super) fn bad_data(what: String) -> Error {
    let remedy = "correct the file, or leave --data out to run on the built-in excerpt".to_owned();
    Error::Setup { what, remedy }
}

fn unreadable(file: &str, error: &csv::Error) -> Error {
    let line = error.position().map_or(0, csv::Position::line);
    match error.kind() {
        ErrorKind::Io(error) => bad_data(format!("cannot read {file}: {error}")),
        ErrorKind::UnequalLengths { expected_len, len, .. } => {
            bad_data(format!("{file}, line {line}: {len} fields where the first line has {expected_len}"))
        }
        ErrorKind::Utf8 { .. } => bad_data(format!("{file}, line {line}: not UTF-8")),
        _ => bad_data(format!("{file}, line {line}: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLANES: Sheet = Sheet {
        name: "planes",
        columns: &[
            Column { name: "tailnum", kind: Kind::Text(6), nullable: false },
            Column { name: "year", kind: Kind::SmallInt, nullable: true },
        ],
    };

    fn read(text: &[u8]) -> Result<Vec<Vec<String>>, String> {
        let mut rows = Vec::new();
        let take = |record: &StringRecord| {
            rows.push(record.iter().map(str::to_owned).collect());
            Ok(())
        };
        PLANES.each_record("planes.csv", text, take).map_err(|error| error.to_string())?;
        Ok(rows)
    }

    #[test]
    fn columns_are_found_by_name_and_others_are_left_out() {
        let rows = read(b"model,year,tailnum\r\nA320,2004,N10156\r\n\"B,7\",NA,\"N1\"\r\n").unwrap();
        assert_eq!(rows, [["N10156", "2004"], ["N1", "NA"]]);
    }

    #[test]
    fn a_missing_column_is_named_with_those_found() {
        let error = read(b"tailnum,built\nN10156,2004\n").unwrap_err();
        assert_eq!(error, "planes.csv, line 1: no column \"year\"; found tailnum, built");
    }

    #[test]
    fn a_bad_value_is_named_with_file_line_and_column() {
        let error = read(b"tailnum,year\nN10156,2004\nN102UW,late\n").unwrap_err();
        assert_eq!(
            error,
            "planes.csv, line 3, column year: \"late\" is not a whole number between -32768 and 32767, nor NA for NULL"
        );
    }

    #[test]
    fn na_is_refused_where_null_is() {
        let error = read(b"tailnum,year\nNA,2004\n").unwrap_err();
        assert_eq!(error, "planes.csv, line 2, column tailnum: \"NA\" is not a text of at most 6 characters");
    }

    #[test]
    fn a_line_of_another_length_is_named() {
        let error = read(b"tailnum,year\nN10156\n").unwrap_err();
        assert_eq!(error, "planes.csv, line 2: 1 fields where the first line has 2");
    }

    #[test]
    fn text_that_is_not_utf_8_is_named_by_its_line() {
        let error = read(b"tailnum,year\nN1,2004\nN\xff,2004\n").unwrap_err();
        assert_eq!(error, "planes.csv, line 3: not UTF-8");
    }

    #[test]
    fn degrees_and_times_are_checked_by_shape() {
        for good in ["41.1304722", "-80", "18.439416700000001"] {
            assert!(is_degrees(good), "{good}");
        }
        for bad in ["", "-", "1e3", "1000.5", ".5", "5.", "0.1234567890123456"] {
            assert!(!is_degrees(bad), "{bad}");
        }
        assert!(is_timestamp("2013-01-01T10:00:00Z"));
        assert!(!is_timestamp("2013-01-01 10:00"));
        assert!(!is_timestamp("2013-01-01T10:00:0xZ"));
    }
}
