//! The demo's data: the flights that left New York in 2013, with their airlines, airports and planes.
//!
//! An excerpt is part of the binary, so that the demo needs no checkout; `--data DIR` reads the whole set. Tables are
//! held as the CSV that `COPY` will take, the flights month by month: all 336 776 of them are 31 MB that way.

use std::fs::File;
use std::io::{BufReader, ErrorKind, Read};
use std::path::Path;

use csv::StringRecord;
use flate2::read::MultiGzDecoder;

use super::sheet::{Column, Kind, Sheet, bad_data};
use crate::error::{Error, Result};

/// Months, and so steps of the demo's history.
pub(crate) const MONTHS: u32 = 12;

/// All that the source will ever be told.
pub(crate) struct Flights {
    pub(super) airlines: Vec<u8>,
    pub(super) airports: Vec<u8>,
    pub(super) planes: Vec<u8>,
    months: Vec<Vec<u8>>,
    count: usize,
}

impl Flights {
    /// The excerpt that the binary carries: 60 000 flights, 5 000 a month.
    pub(crate) fn embedded() -> Result<Self> {
        let airlines: &[u8] = include_bytes!("../../../../fixtures/nycflights13/airlines.csv");
        let airports = include_bytes!("../../../../fixtures/nycflights13/airports.csv.gz");
        let planes = include_bytes!("../../../../fixtures/nycflights13/planes.csv.gz");
        let flights = include_bytes!("../../../../fixtures/nycflights13/flights.csv.gz");
        Self::read(|sheet| {
            let text: Box<dyn Read> = match sheet.name {
                "airlines" => Box::new(airlines),
                "airports" => Box::new(MultiGzDecoder::new(airports.as_slice())),
                "planes" => Box::new(MultiGzDecoder::new(planes.as_slice())),
                _ => Box::new(MultiGzDecoder::new(flights.as_slice())),
            };
            Ok((format!("built-in {}.csv", sheet.name), text))
        })
    }

    /// The files `airlines`, `airports`, `planes` and `flights` of a directory, each `.csv` or `.csv.gz`.
    ///
    /// # Errors
    /// A file that is missing or cannot be read, a column that is missing, a value that does not fit its column
    /// (file, line, column), and a month without flights.
    pub(crate) fn from_dir(dir: &Path) -> Result<Self> {
        Self::read(|sheet| open(dir, sheet.name))
    }

    /// How many flights there are.
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// The flights of a month (1 to 12) as CSV, in the order of the file; nothing for another number.
    pub(super) fn month(&self, month: u32) -> &[u8] {
        let index = month.checked_sub(1).and_then(|index| usize::try_from(index).ok());
        index.and_then(|index| self.months.get(index)).map_or(&[], Vec::as_slice)
    }

    fn read(open: impl Fn(&Sheet) -> Result<(String, Box<dyn Read>)>) -> Result<Self> {
        let whole = |sheet: &Sheet| {
            let (file, text) = open(sheet)?;
            let mut csv = csv::Writer::from_writer(Vec::new());
            sheet.each_record(&file, text, |record| write(&mut csv, record))?;
            finished(csv)
        };
        let (airlines, airports, planes) = (whole(&AIRLINES)?, whole(&AIRPORTS)?, whole(&PLANES)?);
        let (file, text) = open(&FLIGHTS)?;
        let (months, count) = by_month(&file, text)?;
        Ok(Self { airlines, airports, planes, months, count })
    }
}

fn by_month(file: &str, text: impl Read) -> Result<(Vec<Vec<u8>>, usize)> {
    let mut months: Vec<_> = (0..MONTHS).map(|_| csv::Writer::from_writer(Vec::new())).collect();
    let mut count = 0;
    FLIGHTS.each_record(file, text, |record| {
        // The sheet has checked that the month is one of twelve.
        let month = record.get(MONTH_COLUMN).and_then(|month| month.parse::<usize>().ok());
        if let Some(csv) = month.and_then(|month| months.get_mut(month.wrapping_sub(1))) {
            write(csv, record)?;
            count += 1;
        }
        Ok(())
    })?;
    let months = months.into_iter().map(finished).collect::<Result<Vec<_>>>()?;
    match months.iter().zip(1..).find(|(csv, _)| csv.is_empty()) {
        Some((_, month)) => {
            Err(bad_data(format!("{file} has no flight of month {month}; the demo needs all twelve")))
        }
        None => Ok((months, count)),
    }
}

fn open(dir: &Path, name: &str) -> Result<(String, Box<dyn Read>)> {
    for ending in ["csv", "csv.gz"] {
        let path = dir.join(format!("{name}.{ending}"));
        let file = match File::open(&path) {
            Ok(file) => BufReader::new(file),
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            Err(error) => return Err(bad_data(format!("cannot read {}: {error}", path.display()))),
        };
        let text: Box<dyn Read> =
            if ending == "csv" { Box::new(file) } else { Box::new(MultiGzDecoder::new(file)) };
        return Ok((path.display().to_string(), text));
    }
    Err(Error::Setup {
        what: format!("{} has neither {name}.csv nor {name}.csv.gz", dir.display()),
        remedy:
            "give --data the directory that holds airlines, airports, planes and flights as .csv or .csv.gz"
                .into(),
    })
}

fn write(csv: &mut csv::Writer<Vec<u8>>, record: &StringRecord) -> Result<()> {
    csv.write_record(record).map_err(|error| in_memory(&error))
}

fn finished(csv: csv::Writer<Vec<u8>>) -> Result<Vec<u8>> {
    csv.into_inner().map_err(|error| in_memory(error.error()))
}

fn in_memory(error: &dyn std::fmt::Display) -> Error {
    Error::Invariant {
        at: "the demo's data in memory".into(),
        what: format!("could not be written: {error}"),
    }
}

const fn column(name: &'static str, kind: Kind) -> Column {
    Column { name, kind, nullable: false }
}

const fn nullable(name: &'static str, kind: Kind) -> Column {
    Column { name, kind, nullable: true }
}

/// Where `FLIGHTS` has the month.
const MONTH_COLUMN: usize = 1;

const AIRLINES: Sheet =
    Sheet { name: "airlines", columns: &[column("carrier", Kind::Text(2)), column("name", Kind::Text(100))] };

const AIRPORTS: Sheet = Sheet {
    name: "airports",
    columns: &[
        column("faa", Kind::Text(3)),
        column("name", Kind::Text(100)),
        column("lat", Kind::Degrees),
        column("lon", Kind::Degrees),
        column("alt", Kind::SmallInt),
        column("tz", Kind::SmallInt),
        column("dst", Kind::Text(1)),
        nullable("tzone", Kind::Text(40)),
    ],
};

const PLANES: Sheet = Sheet {
    name: "planes",
    columns: &[
        column("tailnum", Kind::Text(6)),
        nullable("year", Kind::SmallInt),
        column("type", Kind::Text(40)),
        column("manufacturer", Kind::Text(40)),
        column("model", Kind::Text(40)),
        column("engines", Kind::SmallInt),
        column("seats", Kind::SmallInt),
        nullable("speed", Kind::SmallInt),
        column("engine", Kind::Text(40)),
    ],
};

const FLIGHTS: Sheet = Sheet {
    name: "flights",
    columns: &[
        column("year", Kind::SmallInt),
        column("month", Kind::Month),
        column("day", Kind::SmallInt),
        nullable("dep_time", Kind::SmallInt),
        column("sched_dep_time", Kind::SmallInt),
        nullable("dep_delay", Kind::SmallInt),
        nullable("arr_time", Kind::SmallInt),
        column("sched_arr_time", Kind::SmallInt),
        nullable("arr_delay", Kind::SmallInt),
        column("carrier", Kind::Text(2)),
        column("flight", Kind::Integer),
        nullable("tailnum", Kind::Text(6)),
        column("origin", Kind::Text(3)),
        column("dest", Kind::Text(3)),
        nullable("air_time", Kind::SmallInt),
        column("distance", Kind::Integer),
        column("hour", Kind::SmallInt),
        column("minute", Kind::SmallInt),
        column("time_hour", Kind::Timestamp),
    ],
};

#[cfg(test)]
mod tests;
