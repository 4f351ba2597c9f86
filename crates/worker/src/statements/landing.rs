//! Where a seed lands: a table nobody reads yet, its keys and indexes, and its way into the merge table.

use milestream_core::milestone::{LIVE, LocalBatch};

use super::carried_names;
use super::proof::{differ, is_there};
use crate::error::Error;
use crate::pair::{
    ALL_HASH, BATCH_ID, BATCH_IN, BATCH_OUT, Holding, IUD, KEY_HASH, Pair, REMOTE_IN, REMOTE_OUT, beside,
};
use crate::postgres::sql::{equal_keys, ident, list, prefixed};

/// An index to be built: its name and the statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct IndexBuild {
    pub(crate) name: String,
    pub(crate) statement: String,
}

impl IndexBuild {
    /// Whether its own uniqueness is what an error is about.
    pub(crate) fn is_broken(&self, error: &Error) -> bool {
        error.broken_constraint().is_some_and(|broken| broken.name == self.name)
    }
}

/// Creates the landing and the sweep table anew. Logged: an unlogged one would lose chunks whose marks survive a
/// crash. Without indexes: they are built when the rows are there, in a fifth of the time.
pub(crate) fn create(pair: &Pair, local: LocalBatch) -> Vec<String> {
    let (landing, sweep) = (ident(&pair.names.landing), ident(&pair.names.sweep));
    vec![
        format!("drop table if exists {landing}, {sweep}"),
        format!("create table {landing} ({})", landing_columns(pair, local)),
        format!("create table {sweep} (like {landing} including defaults)"),
    ]
}

fn landing_columns(pair: &Pair, local: LocalBatch) -> String {
    let mut columns = model_columns(pair);
    columns.extend(milestone_columns(pair.holding, &format!(" default {local}")));
    columns.join(", ")
}

pub(super) fn model_columns(pair: &Pair) -> Vec<String> {
    let is_key = |name: &str| pair.key_names().any(|key| key == name);
    let column = |column: &crate::pair::CarriedColumn| {
        let not_null = if is_key(&column.name) { " not null" } else { "" };
        format!("{} {}{not_null}", ident(&column.name), column.target_type)
    };
    let mut columns: Vec<_> = pair.columns.iter().map(column).collect();
    columns.extend([ALL_HASH, KEY_HASH].map(|hash| format!("{hash} varchar(32) collate \"C\" not null")));
    columns
}

fn milestone_columns(holding: Holding, batch_default: &str) -> Vec<String> {
    match holding {
        Holding::LiveOnly => vec![format!("{BATCH_ID} integer not null{batch_default}")],
        Holding::Mirror => [BATCH_IN, BATCH_OUT].map(|name| format!("{name} integer not null")).to_vec(),
    }
}

/// The unique index that becomes the primary key when the table is made visible.
pub(crate) fn key_index(pair: &Pair) -> IndexBuild {
    index(pair, &pair.names.landing, "pkey", true, &pair.row_key())
}

/// The other indexes of a merge table, as DataSurface has them. The hash is unique only for interchange.
pub(crate) fn plain_indexes(pair: &Pair) -> Vec<IndexBuild> {
    let on = |suffix: &str, unique: bool, columns: &[&str]| {
        index(pair, &pair.names.landing, suffix, unique, columns)
    };
    match pair.holding {
        Holding::LiveOnly => {
            vec![on("key_hash", pair.interchange, &[KEY_HASH]), on("all_hash", false, &[ALL_HASH])]
        }
        Holding::Mirror => vec![
            on("key_hash", false, &[KEY_HASH]),
            on("batch_out", false, &[BATCH_OUT]),
            on("live_key_hash", false, &[KEY_HASH, BATCH_OUT]),
            on("batch_in", false, &[BATCH_IN]),
            on("batch_in_out", false, &[BATCH_IN, BATCH_OUT]),
        ],
    }
}

/// Named after the merge table that is to be, so that nothing has to be renamed but the table; found there already
/// after a crash. Where a merge table exists, it has such names itself.
pub(super) fn index(pair: &Pair, table: &str, suffix: &str, unique: bool, columns: &[&str]) -> IndexBuild {
    let becomes_merge = table == pair.names.landing && pair.existing.is_none();
    let name = beside(if becomes_merge { &pair.names.merge } else { table }, suffix);
    let unique = if unique { "unique " } else { "" };
    let statement = format!(
        "create {unique}index if not exists {} on {} ({})",
        ident(&name),
        ident(table),
        list(columns.iter().copied())
    );
    IndexBuild { name, statement }
}

/// Brings the sweep's rows into the landing table; what a chunk brought already is kept once.
pub(crate) fn keep_sweep(pair: &Pair) -> String {
    let mut names = carried_names(pair);
    if pair.holding == Holding::Mirror {
        names.extend([BATCH_IN, BATCH_OUT]);
    }
    let names = list(names);
    format!(
        "insert into {} ({names}) select {names} from {} on conflict ({}) do nothing",
        ident(&pair.names.landing),
        ident(&pair.names.sweep),
        list(pair.row_key())
    )
}

/// Rows of the landing table, and those of them that are live.
pub(crate) fn count(pair: &Pair) -> String {
    let live = match pair.holding {
        Holding::LiveOnly => "true".to_owned(),
        Holding::Mirror => format!("{BATCH_OUT} = {LIVE}"),
    };
    let landing = ident(&pair.names.landing);
    format!("select count(*)::text, (count(*) filter (where {live}))::text from {landing}")
}

/// Two keys of the landing table that share a hash, if any: text of one and of the other.
pub(crate) fn colliding_keys(pair: &Pair) -> String {
    let key = |alias: &str| key_text(pair, alias);
    format!(
        "select {}, {} from {table} a join {table} b on a.{KEY_HASH} = b.{KEY_HASH} and not ({}) limit 1",
        key("a"),
        key("b"),
        equal_keys("a", "b", pair.key_names()),
        table = ident(&pair.names.landing)
    )
}

/// A key as a person reads it: `v1, v2`.
pub(crate) fn key_text(pair: &Pair, alias: &str) -> String {
    let parts = pair.key_names().map(|name| format!("{alias}.{}::text", ident(name))).collect::<Vec<_>>();
    format!("concat_ws(', ', {})", parts.join(", "))
}

/// Makes the landing table the merge table, where there is none yet.
pub(crate) fn reveal(pair: &Pair) -> Vec<String> {
    let key_index = key_index(pair);
    let (landing, merge) = (ident(&pair.names.landing), ident(&pair.names.merge));
    let mut statements = vec![
        format!("drop table if exists {}", ident(&pair.names.sweep)),
        format!(
            "alter table {landing} add constraint {name} primary key using index {name}",
            name = ident(&key_index.name)
        ),
    ];
    if pair.holding == Holding::LiveOnly {
        statements.push(format!("alter table {landing} alter column {BATCH_ID} drop default"));
    }
    statements.push(format!("alter table {landing} rename to {merge}"));
    statements
}

/// Forgets the landing tables.
pub(crate) fn drop_landing(pair: &Pair) -> String {
    format!("drop table if exists {}, {}", ident(&pair.names.landing), ident(&pair.names.sweep))
}

/// Columns of the staging table beside the carried ones.
pub(crate) fn staged_columns(pair: &Pair) -> Vec<&'static str> {
    match pair.holding {
        Holding::LiveOnly => vec![ALL_HASH, KEY_HASH, BATCH_ID, IUD],
        Holding::Mirror => vec![ALL_HASH, KEY_HASH, BATCH_ID, REMOTE_IN, REMOTE_OUT],
    }
}

/// The staging table's key: a mirror may stage several versions of a record in one batch.
pub(crate) fn staging_key(pair: &Pair) -> Vec<&str> {
    let version = (pair.holding == Holding::Mirror).then_some(REMOTE_IN);
    pair.key_names().chain(version).chain([BATCH_ID]).collect()
}

/// Creates the staging table of increments, with the key that finds a row again and the batch that clears it.
pub(crate) fn create_staging(pair: &Pair) -> Vec<String> {
    let staging = ident(&pair.names.staging);
    let columns = model_columns(pair).into_iter().chain(staged_milestones(pair)).collect::<Vec<_>>();
    let by_batch = index(pair, &pair.names.staging, "batch", false, &[BATCH_ID]);
    let key = list(staging_key(pair));
    vec![
        format!("create table if not exists {staging} ({}, primary key ({key}))", columns.join(", ")),
        by_batch.statement,
    ]
}

/// Definitions of what is staged beside the carried columns.
pub(super) fn staged_milestones(pair: &Pair) -> Vec<String> {
    let mut columns = vec![format!("{BATCH_ID} integer not null")];
    match pair.holding {
        Holding::LiveOnly => columns.push(format!("{IUD} varchar(1) not null")),
        Holding::Mirror => {
            columns.extend([REMOTE_IN, REMOTE_OUT].map(|name| format!("{name} integer not null")));
        }
    }
    columns
}

/// Difference between the landing table and a merge table that exists: deletes, then updates, then inserts.
pub(crate) struct ByDifference {
    pub(crate) delete: String,
    pub(crate) update: String,
    pub(crate) insert: String,
}

/// Brings a merge table that exists to what has landed, row by row, so that it keeps identity, views and grants.
pub(crate) fn by_difference(pair: &Pair, local: LocalBatch) -> ByDifference {
    let (landing, merge) = (ident(&pair.names.landing), ident(&pair.names.merge));
    let key = pair.row_key();
    let same = equal_keys("t", "s", key.iter().copied());
    // Keys that are equal may still be written differently: 1.0 and 1.00.
    let mut values = carried_names(pair);
    let mut names = carried_names(pair);
    let mut given = prefixed("s", carried_names(pair));
    let mut written = String::new();
    match pair.holding {
        Holding::LiveOnly => {
            names.push(BATCH_ID);
            given = format!("{given}, {local}");
            written = format!(", {BATCH_ID} = {local}");
        }
        Holding::Mirror => {
            values.push(BATCH_OUT);
            names.extend([BATCH_IN, BATCH_OUT]);
            given = format!("{given}, s.{BATCH_IN}, s.{BATCH_OUT}");
        }
    }
    let set = values.iter().map(|name| format!("{name} = s.{name}", name = ident(name))).collect::<Vec<_>>();
    ByDifference {
        delete: format!("delete from {merge} t where not exists (select 1 from {landing} s where {same})"),
        update: format!(
            "update {merge} t set {}{written} from {landing} s where {same} and row({})::record *<> row({})::record",
            set.join(", "),
            prefixed("t", values.iter().copied()),
            prefixed("s", values.iter().copied())
        ),
        insert: format!(
            "insert into {merge} ({}) select {given} from {landing} s where not exists (select 1 from {merge} t where {same})",
            list(names)
        ),
    }
}

/// Keys of a mirror that a seed by difference makes live, changes and ends, counted before anything is written.
pub(crate) fn count_keys(pair: &Pair) -> String {
    let live = |table: &str| {
        let table = ident(table);
        format!("(select * from {table} where {BATCH_OUT} = {LIVE})")
    };
    let (there, landed) = (is_there(pair, "t"), is_there(pair, "s"));
    format!(
        "select (count(*) filter (where not {there}))::text, (count(*) filter (where {there} and {landed} and (t.{BATCH_IN} <> s.{BATCH_IN} or {})))::text, \
         (count(*) filter (where not {landed}))::text from {} s full join {} t on {}",
        differ(pair, "t", "s"),
        live(&pair.names.landing),
        live(&pair.names.merge),
        equal_keys("t", "s", pair.key_names())
    )
}

/// Rows of the merge table that a seed by difference would delete, and rows that are there. Of a mirror, every
/// version counts: its history is an audit trail.
pub(crate) fn would_delete(pair: &Pair) -> String {
    let (landing, merge) = (ident(&pair.names.landing), ident(&pair.names.merge));
    let same = equal_keys("t", "s", pair.row_key());
    format!(
        "select (select count(*) from {merge} t where not exists (select 1 from {landing} s where {same}))::text, \
         (select count(*) from {merge} t)::text"
    )
}
