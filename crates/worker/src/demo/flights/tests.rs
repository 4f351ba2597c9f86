use std::collections::HashMap;
use std::io::Write;

use flate2::{Compression, write::GzEncoder};
use serde_json::{Value, json};

use super::*;

fn lines(csv: &[u8]) -> Vec<&str> {
    std::str::from_utf8(csv).unwrap().lines().collect()
}

/// The text that DataSurface hashes for a flight's key: the key columns without a separator.
fn hashed_key_text(line: &str) -> String {
    let fields: Vec<&str> = line.split(',').collect();
    ["year", "month", "day", "carrier", "flight", "origin"]
        .map(|name| fields[FLIGHTS.columns.iter().position(|column| column.name == name).unwrap()])
        .concat()
}

/// A directory with the two smallest tables, one plain and one compressed, and flights that the test chooses.
fn directory(flights: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| std::fs::write(dir.path().join(name), bytes).unwrap();
    write("airlines.csv", b"carrier,name\n9E,Endeavor Air Inc.\n");
    write(
        "airports.csv",
        b"faa,name,lat,lon,alt,tz,dst,tzone\n04G,\"Field, Lansdowne\",41.1,-80.6,1044,-5,A,NA\n",
    );
    write("flights.csv", flights.as_bytes());
    let mut planes = GzEncoder::new(Vec::new(), Compression::fast());
    planes.write_all(b"tailnum,year,type,manufacturer,model,engines,seats,speed,engine\n").unwrap();
    planes.write_all(b"N10156,2004,Fixed wing,EMBRAER,EMB-145XR,2,55,NA,Turbo-fan\n").unwrap();
    write("planes.csv.gz", &planes.finish().unwrap());
    dir
}

fn header() -> String {
    FLIGHTS.columns.iter().map(|column| column.name).collect::<Vec<_>>().join(",")
}

fn flight(month: u32) -> String {
    format!("2013,{month},1,NA,540,NA,NA,850,NA,9E,1141,NA,JFK,MIA,NA,1089,5,40,2013-01-01T10:00:00Z")
}

fn year_of_flights() -> String {
    (1..=12).fold(header(), |text, month| text + "\n" + &flight(month)) + "\n"
}

fn failure(dir: &Path) -> String {
    Flights::from_dir(dir).err().unwrap().to_string()
}

#[test]
fn the_excerpt_spans_all_twelve_months_evenly() {
    let flights = Flights::embedded().unwrap();
    let counts: Vec<usize> = (1..=MONTHS).map(|month| lines(flights.month(month)).len()).collect();
    assert_eq!(counts, [5_000; 12]);
    assert_eq!(flights.count(), 60_000);
    for month in 1..=MONTHS {
        assert!(lines(flights.month(month)).iter().all(|line| line.starts_with(&format!("2013,{month},"))));
    }
}

#[test]
fn the_excerpt_holds_every_flight_that_shares_a_key_hash_with_another() {
    let flights = Flights::embedded().unwrap();
    let mut sharers: HashMap<String, usize> = HashMap::new();
    for line in (1..=MONTHS).flat_map(|month| lines(flights.month(month))) {
        *sharers.entry(hashed_key_text(line)).or_default() += 1;
    }
    let pairs = sharers.values().filter(|&&flights| flights == 2).count();
    assert_eq!((pairs, sharers.values().filter(|&&flights| flights > 2).count()), (4_033, 0));
}

#[test]
fn the_excerpt_holds_the_other_tables_whole() {
    let flights = Flights::embedded().unwrap();
    let tables = [&flights.airlines, &flights.airports, &flights.planes].map(|csv| lines(csv).len());
    assert_eq!(tables, [16, 1_458, 3_322]);
}

#[test]
fn a_directory_is_read_plain_or_compressed() {
    let flights = Flights::from_dir(directory(&year_of_flights()).path()).unwrap();
    assert_eq!(flights.count(), 12);
    assert_eq!(lines(flights.month(3)), [flight(3)]);
    assert_eq!(lines(&flights.airports), ["04G,\"Field, Lansdowne\",41.1,-80.6,1044,-5,A,NA"]);
    assert_eq!(lines(&flights.planes), ["N10156,2004,Fixed wing,EMBRAER,EMB-145XR,2,55,NA,Turbo-fan"]);
    assert!(flights.month(0).is_empty() && flights.month(13).is_empty());
}

#[test]
fn a_missing_file_is_named_with_both_its_spellings() {
    let dir = directory(&year_of_flights());
    std::fs::remove_file(dir.path().join("planes.csv.gz")).unwrap();
    assert_eq!(
        failure(dir.path()),
        format!("{} has neither planes.csv nor planes.csv.gz", dir.path().display())
    );
}

#[test]
fn a_file_that_only_claims_to_be_gzip_is_named() {
    let dir = directory(&year_of_flights());
    std::fs::write(dir.path().join("planes.csv.gz"), "tailnum,year\n").unwrap();
    let expected = format!("cannot read {}: invalid gzip header", dir.path().join("planes.csv.gz").display());
    assert_eq!(failure(dir.path()), expected);
}

#[test]
fn a_month_out_of_range_is_named_with_its_line() {
    let dir = directory(&format!("{}{}\n", year_of_flights(), flight(13)));
    let file = dir.path().join("flights.csv");
    assert_eq!(
        failure(dir.path()),
        format!("{}, line 14, column month: \"13\" is not a month, 1 to 12", file.display())
    );
}

#[test]
fn a_month_without_flights_is_named() {
    let dir = directory(&year_of_flights().replace(&format!("{}\n", flight(7)), ""));
    let file = dir.path().join("flights.csv");
    let expected = format!("{} has no flight of month 7; the demo needs all twelve", file.display());
    assert_eq!(failure(dir.path()), expected);
}

#[test]
fn the_demo_model_describes_the_same_columns() {
    let model: Value =
        serde_json::from_str(include_str!("../../../../../fixtures/models/demo/datastore.json")).unwrap();
    for sheet in [&AIRLINES, &AIRPORTS, &PLANES, &FLIGHTS] {
        let columns = model["datasets"][sheet.name]["originalSchema"]["columns"].as_object().unwrap();
        assert_eq!(columns.len(), sheet.columns.len(), "{}", sheet.name);
        for column in sheet.columns {
            let described = &columns[column.name];
            assert_eq!(
                described["nullable"],
                json!(u8::from(column.nullable)),
                "{}.{}",
                sheet.name,
                column.name
            );
            let described = &described["type"];
            let (name, size) = match column.kind {
                Kind::SmallInt | Kind::Month => ("SmallInt", None),
                Kind::Integer => ("Integer", None),
                Kind::Degrees => ("Decimal", Some(18)),
                Kind::Timestamp => ("Timestamp", None),
                Kind::Text(chars_max) => ("VarChar", Some(chars_max)),
            };
            assert_eq!(
                (&described["type"], &described["maxSize"]),
                (&json!(name), &json!(size)),
                "{}",
                column.name
            );
        }
    }
}

#[test]
fn the_source_tables_have_the_same_columns_in_the_same_order() {
    let tables = include_str!("../source.sql");
    for sheet in [&AIRLINES, &AIRPORTS, &PLANES, &FLIGHTS] {
        let (_, table) = tables.split_once(&format!("create table {} (\n", sheet.name)).unwrap();
        let (columns, _) = table.split_once("\n);").unwrap();
        let declared: Vec<String> = columns
            .lines()
            .map(|line| line.trim().trim_end_matches(','))
            .filter(|line| !line.starts_with("--") && !line.starts_with("primary key"))
            .map(|line| line.replace(" primary key", " not null"))
            .collect();
        let expected: Vec<String> = sheet.columns.iter().map(declaration).collect();
        assert_eq!(declared, expected, "{}", sheet.name);
    }
}

fn declaration(column: &Column) -> String {
    let postgres = match column.kind {
        Kind::SmallInt | Kind::Month => "smallint".to_owned(),
        Kind::Integer => "integer".to_owned(),
        Kind::Degrees => "numeric(18, 15)".to_owned(),
        Kind::Timestamp => "timestamp".to_owned(),
        Kind::Text(chars_max) => format!("varchar({chars_max})"),
    };
    format!("{} {postgres}{}", column.name, if column.nullable { "" } else { " not null" })
}
