//! Every common type of Postgres, as a column and as a key, arrives byte for byte.

#![allow(clippy::unwrap_used, reason = "a helper of a test fails as the test does")]

use milestream_oracle::{Operation, Row};
use milestream_tests::{Setting, Table, World, texts};
use milestream_worker::Holding;
use milestream_worker::sync::{SeedStrategy, VerifySeed};

const BOTH: [Holding; 2] = [Holding::LiveOnly, Holding::Mirror];

/// Types of the user's own, made in both databases with other OIDs.
const TYPES: &str = "create type mood as enum ('sad', 'so so', 'glad');
     create type spot as (x integer, label text);
     create domain small as integer check (value < 1000);
     create domain words as text[];
     create type span as range (subtype = date);";

/// A type and texts of it as Postgres prints them; neighbours differ, also where `=` says they do not.
const COLUMNS: &[(&str, &[&str])] = &[
    ("boolean", &["true", "false"]),
    ("smallint", &["-32768", "32767"]),
    ("integer", &["-2147483648", "0"]),
    ("bigint", &["9223372036854775807", "-1"]),
    ("real", &["1.1", "NaN", "Infinity"]),
    ("double precision", &["0", "-0", "NaN", "-Infinity", "0.1"]),
    ("numeric", &["1.0", "1.00", "NaN", "Infinity", "123456789012345678901234567890.123456789"]),
    ("numeric(10,2)", &["1.25", "-99999999.99"]),
    ("money", &["$1.25", "-$3.00"]),
    ("text", &["", "tab\tnewline\nbackslash\\quote'", "\\N", "\u{1F600} é"]),
    ("varchar(10)", &["", "1234567890"]),
    ("char(5)", &["ab", "", "abcde"]),
    ("name", &["a name"]),
    ("\"char\"", &["x"]),
    ("bytea", &["\\x", "\\x00ff5c"]),
    ("date", &["2024-02-29", "infinity", "-infinity", "0044-03-15 BC"]),
    ("time", &["23:59:59.999999", "24:00:00"]),
    ("timetz", &["12:00:00+05:30", "06:30:00+00"]),
    ("timestamp", &["2024-02-29 12:34:56.789012", "infinity"]),
    ("timestamptz", &["2024-02-29 12:34:56.789012+00", "-infinity"]),
    ("interval", &["1 mon", "30 days", "720:00:00", "-1 years -2 mons +3 days -04:05:06.789"]),
    ("uuid", &["a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"]),
    ("json", &["{\"b\": 1,  \"a\": null}", "{\"b\":1,\"a\":null}"]),
    ("jsonb", &["{\"a\": null, \"b\": [1, 1.0]}", "{\"a\": null, \"b\": [1, 1.00]}", "null"]),
    ("xml", &["<a b=\"c\">d</a>"]),
    ("bit(5)", &["10101", "00000"]),
    ("varbit", &["", "1", "10", "100"]),
    ("inet", &["10.0.0.1/32", "10.0.0.1/8", "::1/128"]),
    ("cidr", &["10.0.0.0/8"]),
    ("macaddr", &["08:00:2b:01:02:03"]),
    ("point", &["(1,2)", "(-0,0)"]),
    ("polygon", &["((0,0),(1,1),(1,0))"]),
    ("tsvector", &["'cat':1 'sat':2"]),
    ("int4range", &["[1,5)", "empty", "(,3)"]),
    ("tstzrange", &["[\"2024-01-01 00:00:00+00\",)"]),
    ("int4multirange", &["{[1,3),[7,9)}"]),
    ("integer[]", &["{}", "{1,NULL,3}", "{{1,2},{3,4}}", "[0:1]={7,8}"]),
    ("text[]", &["{NULL,\"NULL\",\"\",\"a,b\",\"c\\\"d\\\\e\"}"]),
    ("numeric[]", &["{1.0}", "{1.00}"]),
    ("jsonb[]", &["{\"{\\\"a\\\": 1}\"}"]),
    ("mood", &["sad", "so so", "glad"]),
    ("small", &["999"]),
    ("pg_lsn", &["16/B374D848"]),
    ("oid", &["4294967295"]),
];

/// Types whose values carry OIDs in binary form: the whole table is then copied as text.
const THROUGH_TEXT: &[(&str, &[&str])] = &[
    ("mood[]", &["{sad,\"so so\",NULL}", "{}"]),
    ("spot", &["(1,\"a b\")", "(,)", "(1,\"\"\"quoted\\\\\")"]),
    ("words", &["{a,NULL}"]),
    ("span", &["[2024-01-01,2024-02-01)"]),
    ("regtype", &["mood", "integer"]),
    ("text", &["tab\tnewline\nreturn\rbackslash\\", "\\.", "\\N", "", "end\\"]),
    ("bytea", &["\\x00ff5c"]),
    ("double precision", &["0.1", "-0", "1e-300", "NaN"]),
    ("timestamptz", &["2024-02-29 12:34:56.789012+00"]),
    ("interval", &["1 mon", "30 days"]),
    ("integer[]", &["{1,NULL,3}"]),
];

/// Types that keys are made of, with values in the order of nothing in particular.
const KEYS: &[(&str, &[&str])] = &[
    ("smallint", &["-5", "10", "9"]),
    ("bigint", &["-5", "10", "9", "9223372036854775807"]),
    ("numeric", &["1.0", "-2", "NaN", "10", "9.5", "Infinity"]),
    ("double precision", &["0.1", "NaN", "-Infinity", "10", "9"]),
    ("text", &["", "a", "B", "Ä", "a b", "a\tb", "quote'", "back\\slash", "{brace}", "NULL"]),
    ("varchar(20)", &["x", "X", "xy"]),
    ("char(5)", &["a", "ab", "B"]),
    ("bytea", &["\\x", "\\x00", "\\xff"]),
    ("boolean", &["true", "false"]),
    ("date", &["2024-01-01", "infinity", "-infinity"]),
    ("timestamp", &["2024-01-01 00:00:00.000001", "2024-01-01 00:00:00"]),
    ("timestamptz", &["2024-01-01 00:00:00+00", "infinity"]),
    ("interval", &["1 mon", "29 days", "1 day 25:00:00"]),
    ("uuid", &["a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", "00000000-0000-0000-0000-000000000000"]),
    ("mood", &["glad", "sad"]),
    ("jsonb", &["{\"a\": 1}", "[]", "null"]),
    ("bit(3)", &["101", "001"]),
    ("varbit", &["1", "10"]),
    ("inet", &["10.0.0.1/32", "9.0.0.1/32"]),
    ("integer[]", &["{1,2}", "{}", "{1,NULL}"]),
    ("int4range", &["[1,5)", "empty"]),
    ("spot", &["(1,a)", "(2,)"]),
    ("oid", &["7", "4294967295"]),
];

fn setting() -> Setting {
    Setting { types: TYPES.into(), ..Setting::default() }
}

/// As many rows as the longest list of values: column `c{i}` cycles through those of its type, with NULLs between.
fn rows(types: &[(&str, &[&str])], shift: usize) -> Vec<Row> {
    let longest = types.iter().map(|(_, values)| values.len()).max().unwrap() + 1;
    (0..longest)
        .map(|at| {
            let cell = |values: &[&str]| {
                values.get((at + shift) % (values.len() + 1)).map(|&value| value.to_owned())
            };
            Row {
                key: texts(&[Some(&at.to_string())]),
                columns: types.iter().map(|(_, values)| cell(values)).collect(),
            }
        })
        .collect()
}

async fn of_columns(types: &[(&str, &[&str])], verify: VerifySeed) {
    let names: Vec<_> = (0..types.len()).map(|at| format!("c{at}")).collect();
    let columns: Vec<_> = names.iter().map(String::as_str).zip(types.iter().map(|(kind, _)| *kind)).collect();
    let table = Table::new("values", &[("id", "integer")], &columns);
    let world = World::of(setting(), vec![table]).await;
    // OIDs of the same types differ between the databases from here on.
    let mut world = world.with_tuning(|tuning| {
        tuning.verify_seed = verify;
        tuning.seed_chunk_rows = 2;
    });
    world.commit(rows(types, 0).into_iter().map(|row| ("values", Operation::Insert(row))).collect()).await;
    let jobs = BOTH.map(|holding| world.job(&format!("Edge{holding:?}"), holding));
    for shift in 0..4 {
        for job in &jobs {
            world.sync(job).await.unwrap();
            world.assert_holds(job, world.oracle.newest_batch()).await;
        }
        let next = rows(types, shift + 1).into_iter().map(|row| ("values", Operation::Update(row)));
        world.commit(next.collect()).await;
    }
    for job in &jobs {
        world.sync(job).await.unwrap();
        world.assert_holds(job, world.oracle.newest_batch()).await;
    }
}

#[tokio::test]
async fn every_common_type_arrives() {
    of_columns(COLUMNS, VerifySeed::Content).await;
}

#[tokio::test]
async fn types_that_binary_copy_cannot_carry_arrive_as_text() {
    of_columns(THROUGH_TEXT, VerifySeed::Content).await;
}

/// A table for each type of key, seeded by blocks and by keys; then every other row is changed, the rest removed.
async fn of_keys(kinds: &[(&str, &[&str])]) {
    let names: Vec<_> = (0..kinds.len()).map(|at| format!("keyed{at}")).collect();
    let table = |(name, (kind, _)): (&String, &(&str, &[&str]))| {
        Table::new(name, &[("k", kind), ("n", "integer")], &[("note", "text")])
    };
    let world = World::of(setting(), names.iter().zip(kinds).map(table).collect()).await;
    let mut world = world.with_tuning(|tuning| {
        tuning.seed_chunk_rows = 1;
        tuning.max_delete_fraction = 1.0;
        tuning.parallelism = 3;
        tuning.verify_seed = VerifySeed::Content;
    });
    let row = |value: &str, note: &str| Row {
        key: texts(&[Some(value), Some("1")]),
        columns: texts(&[Some(note)]),
    };
    let rows: Vec<_> = names
        .iter()
        .zip(kinds)
        .flat_map(|(name, (_, values))| {
            values.iter().enumerate().map(move |(at, value)| (name.as_str(), at, *value))
        })
        .collect();
    world
        .commit(rows.iter().map(|(name, _, value)| (*name, Operation::Insert(row(value, "old")))).collect())
        .await;
    world.execute("primary", "analyze").await;
    let mut jobs = Vec::new();
    for (holding, strategy) in [
        (Holding::LiveOnly, SeedStrategy::Keys),
        (Holding::Mirror, SeedStrategy::Keys),
        (Holding::LiveOnly, SeedStrategy::Blocks),
    ] {
        let mut job = world.job(&format!("Edge{holding:?}{strategy:?}"), holding);
        job.tuning.seed_strategy = strategy;
        world.sync(&job).await.unwrap();
        world.assert_holds(&job, 1).await;
        jobs.push(job);
    }
    let changes = rows.iter().map(|&(name, at, value)| match at % 2 {
        0 => (name, Operation::Update(row(value, "new"))),
        _ => (name, Operation::Delete(texts(&[Some(value), Some("1")]))),
    });
    world.commit(changes.collect()).await;
    for job in &jobs {
        world.sync(job).await.unwrap();
        world.assert_holds(job, 2).await;
    }
}

#[tokio::test]
async fn keys_of_numbers_and_texts() {
    of_keys(&KEYS[..8]).await;
}

#[tokio::test]
async fn keys_of_times_and_enums() {
    of_keys(&KEYS[8..16]).await;
}

#[tokio::test]
async fn keys_of_other_types() {
    of_keys(&KEYS[16..]).await;
}

/// Keys that are equal and have two texts: the newer text is the one that stays.
#[tokio::test]
async fn a_key_that_is_equal_and_spelled_otherwise_is_spelled_as_the_primary_spells_it() {
    let kinds =
        [("numeric", "1.0", "1.00"), ("interval", "1 mon", "30 days"), ("double precision", "0", "-0")];
    let names = ["numbers", "spans", "floats"];
    let tables = names
        .iter()
        .zip(kinds)
        .map(|(name, (kind, ..))| Table::new(name, &[("k", kind)], &[("note", "text")]));
    let mut world = World::new(tables.collect()).await;
    let row = |key: &str| Row { key: texts(&[Some(key)]), columns: texts(&[Some("same")]) };
    let before =
        names.iter().zip(kinds).map(|(name, (_, before, _))| (*name, Operation::Insert(row(before))));
    world.commit(before.collect()).await;
    let jobs = BOTH.map(|holding| world.job(&format!("Edge{holding:?}"), holding));
    for job in &jobs {
        world.sync(job).await.unwrap();
    }
    let respelled = names.iter().zip(kinds).flat_map(|(name, (_, before, after))| {
        [(*name, Operation::Delete(texts(&[Some(before)]))), (*name, Operation::Insert(row(after)))]
    });
    world.commit(respelled.collect()).await;
    for job in &jobs {
        world.sync(job).await.unwrap();
        world.assert_holds(job, 2).await;
    }
}

#[tokio::test]
async fn a_name_of_a_type_is_the_same_type_where_it_has_another_oid() {
    let table = Table::new("kinds", &[("id", "integer")], &[("kind", "regtype")]);
    let mut world = World::of(setting(), vec![table]).await;
    let row = |kind: &str| Row { key: texts(&[Some("1")]), columns: texts(&[Some(kind)]) };
    world.commit(vec![("kinds", Operation::Insert(row("mood")))]).await;
    let job = world.job("Edge", Holding::LiveOnly);
    world.sync(&job).await.unwrap();
    world.assert_holds(&job, 1).await;
    world.commit(vec![("kinds", Operation::Update(row("spot")))]).await;
    world.sync(&job).await.unwrap();
    world.assert_holds(&job, 2).await;
}

#[tokio::test]
async fn a_text_of_a_megabyte_arrives_in_seed_and_increment() {
    for kind in ["text", "mood[]"] {
        let table = Table::new("large", &[("id", "integer")], &[("body", "text"), ("other", kind)]);
        let mut world = World::of(setting(), vec![table]).await;
        let row = |id: &str, filler: &str| {
            let body = filler.repeat(1024 * 1024 / filler.len());
            Row { key: texts(&[Some(id)]), columns: vec![Some(body), None] }
        };
        world.commit(vec![("large", Operation::Insert(row("1", "line\n\t\\")))]).await;
        let jobs = BOTH.map(|holding| world.job(&format!("Edge{holding:?}"), holding));
        for job in &jobs {
            world.sync(job).await.unwrap();
            world.assert_holds(job, 1).await;
        }
        world
            .commit(vec![
                ("large", Operation::Update(row("1", "ümlaut"))),
                ("large", Operation::Insert(row("2", "0123456789"))),
            ])
            .await;
        for job in &jobs {
            world.sync(job).await.unwrap();
            world.assert_holds(job, 2).await;
        }
    }
}

#[tokio::test]
async fn a_wider_type_on_the_secondary_takes_the_values_cast() {
    let columns =
        [("small", "smallint"), ("short", "varchar(5)"), ("price", "numeric(6,2)"), ("ratio", "real")];
    let table = Table::new("narrow", &[("id", "integer")], &columns);
    let mut world = World::new(vec![table]).await;
    let wider = "create table edge_store1_narrow_merge (id integer primary key, small bigint, short text, price numeric, \
         ratio double precision, ds_surf_all_hash varchar(32) not null, ds_surf_key_hash varchar(32) not null, \
         ds_surf_batch_id integer not null)";
    world.execute("secondary", wider).await;
    let row = |small: &str| Row {
        key: texts(&[Some("1")]),
        columns: texts(&[Some(small), Some("abc"), Some("1.50"), Some("0.5")]),
    };
    world.commit(vec![("narrow", Operation::Insert(row("7")))]).await;
    let job = world.job("Edge", Holding::LiveOnly);
    world.sync(&job).await.unwrap();
    world.assert_holds(&job, 1).await;
    world.commit(vec![("narrow", Operation::Update(row("-7")))]).await;
    world.sync(&job).await.unwrap();
    world.assert_holds(&job, 2).await;
}
