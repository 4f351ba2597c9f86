//! What an ingestion reads from the source, where it stages it, and how it merges it.
//!
//! Staged and live rows are joined once, into a temporary table that holds the keys that differ; everything that
//! is written then follows that table and not the size of the data. Rows are matched by their key columns and
//! compared byte for byte, as in [`super::merge`]; hashes are carried along and decide nothing.

use milestream_core::milestone::{LIVE, LocalBatch};

use super::landing::{index, key_text, model_columns};
use super::{carried, carried_names, proof};
use crate::ingest::HashFormula;
use crate::pair::{ALL_HASH, BATCH_ID, BATCH_IN, BATCH_OUT, CarriedColumn, Holding, KEY_HASH, Pair};
use crate::postgres::sql::{equal_keys, ident, list, prefixed};

/// The keys that differ between staging and merge table; `HELD` and `STAGED` say on which side they are.
const DIFFERENCE: &str = "pg_temp.milestream_difference";
const HELD: &str = "ds_surf_held";
const STAGED: &str = "ds_surf_staged";

/// All rows of the source, in the merge table's types, with their hashes.
pub(crate) fn copy_out(pair: &Pair, hash: HashFormula, batch: LocalBatch) -> String {
    let columns = pair.columns.iter().map(|column| carried("v", column)).collect::<Vec<_>>();
    format!(
        "copy (select {}, {}::varchar(32), {}::varchar(32), {batch}::integer from {} v) to stdout (format {})",
        columns.join(", "),
        digest(hash, pair.columns.iter()),
        digest(hash, pair.key_columns()),
        pair.primary_table,
        pair.format().name()
    )
}

/// Md5 of the columns' texts. The texts are those of the types that the merge table has.
fn digest<'a>(hash: HashFormula, columns: impl Iterator<Item = &'a CarriedColumn>) -> String {
    let text = |column: &CarriedColumn| match &column.cast {
        None => format!("v.{}::text", ident(&column.name)),
        Some(cast) => format!("v.{}::{cast}::text", ident(&column.name)),
    };
    let part = |column: &CarriedColumn| {
        let text = text(column);
        match hash {
            HashFormula::DataSurface => format!("coalesce({text}, '')"),
            // A length says where its text ends, and no length begins with the mark of NULL.
            HashFormula::Strict => format!("coalesce(length({text}) || ':' || {text}, '-')"),
        }
    };
    format!("md5({})", columns.map(part).collect::<Vec<_>>().join(" || "))
}

/// The copy into the staging table that takes what [`copy_out`] gives.
pub(crate) fn copy_in(pair: &Pair) -> String {
    let names = carried_names(pair).into_iter().chain([BATCH_ID]);
    format!(
        "copy {} ({}) from stdin (format {})",
        ident(&pair.names.staging),
        list(names),
        pair.format().name()
    )
}

/// Creates the staging table, with the key that refuses two rows of one key and the batch that clears them.
pub(crate) fn create_staging(pair: &Pair) -> Vec<String> {
    let mut columns = model_columns(pair);
    columns.push(format!("{BATCH_ID} integer not null"));
    let create = format!(
        "create table {} ({}, primary key ({}))",
        ident(&pair.names.staging),
        columns.join(", "),
        list(staging_key(pair))
    );
    vec![create, index(pair, &pair.names.staging, "batch", false, &[BATCH_ID]).statement]
}

/// What a staged row is found by.
pub(crate) fn staging_key(pair: &Pair) -> Vec<&str> {
    pair.key_names().chain([BATCH_ID]).collect()
}

/// Drops a staging table of another shape.
pub(crate) fn drop_staging(pair: &Pair) -> String {
    format!("drop table {}", ident(&pair.names.staging))
}

/// Rows of the batch into the landing table that becomes the merge table, where there is none yet.
pub(crate) fn load(pair: &Pair, batch: LocalBatch) -> String {
    insert(
        pair,
        &pair.names.landing,
        batch,
        &format!("{} s where s.{BATCH_ID} = {batch}", ident(&pair.names.staging)),
    )
}

/// Finds the keys that differ, once; the planner is told how many there are.
pub(crate) fn find_difference(pair: &Pair, batch: LocalBatch) -> Vec<String> {
    let columns = list(pair.column_names());
    let live = match pair.holding {
        Holding::LiveOnly => String::new(),
        Holding::Mirror => format!(" where {BATCH_OUT} = {LIVE}"),
    };
    let keys =
        pair.key_names().map(|name| format!("coalesce(t.{name}, s.{name}) as {name}", name = ident(name)));
    let find = format!(
        "create temporary table {DIFFERENCE} on commit drop as select {}, t.{HELD} is not null as {HELD}, \
         s.{STAGED} is not null as {STAGED} from (select {columns}, true as {HELD} from {}{live}) t \
         full join (select {columns}, true as {STAGED} from {} where {BATCH_ID} = {batch}) s on {} \
         where t.{HELD} is null or s.{STAGED} is null or row({})::record *<> row({})::record",
        keys.collect::<Vec<_>>().join(", "),
        ident(&pair.names.merge),
        ident(&pair.names.staging),
        equal_keys("t", "s", pair.key_names()),
        prefixed("t", pair.column_names()),
        prefixed("s", pair.column_names()),
    );
    vec![find, format!("analyze {DIFFERENCE}")]
}

/// Keys that are new, changed and gone.
pub(crate) fn count_difference() -> String {
    format!(
        "select (count(*) filter (where not {HELD}))::text, (count(*) filter (where {HELD} and {STAGED}))::text, \
         (count(*) filter (where not {STAGED}))::text from {DIFFERENCE}"
    )
}

/// Keys of the difference whose live row is not what was staged; see [`super::proof`].
pub(crate) fn proof(pair: &Pair, batch: LocalBatch) -> String {
    let (there, altered) = (proof::is_there(pair, "t"), proof::differ(pair, "t", "s"));
    let (live, opened) = match pair.holding {
        Holding::LiveOnly => (String::new(), String::new()),
        Holding::Mirror => (format!(" and t.{BATCH_OUT} = {LIVE}"), format!(" or t.{BATCH_IN} <> {batch}")),
    };
    proof::faults(&format!(
        "select case when not d.{STAGED} then '{}' when not {there} then '{}' else '{}' end as fault, {} as key, \
         {} as columns from {DIFFERENCE} d left join {} s on s.{BATCH_ID} = {batch} and {} left join {} t on {}{live} \
         where case when d.{STAGED} then not {there} or {altered}{opened} else {there} end",
        proof::LEFT,
        proof::MISSING,
        proof::ALTERED,
        key_text(pair, "d"),
        proof::columns_that_differ(pair, "t", "s"),
        ident(&pair.names.staging),
        equal_keys("s", "d", pair.key_names()),
        ident(&pair.names.merge),
        equal_keys("t", "d", pair.key_names()),
    ))
}

/// Makes room for the next dataset's difference.
pub(crate) fn forget_difference() -> String {
    format!("drop table {DIFFERENCE}")
}

/// Closes the versions of records that changed or are gone: this batch is the first without them.
pub(crate) fn close(pair: &Pair, batch: LocalBatch) -> String {
    let last_live = batch.0 - 1;
    format!(
        "update {} t set {BATCH_OUT} = {last_live} from {DIFFERENCE} d where d.{HELD} and t.{BATCH_OUT} = {LIVE} and {}",
        ident(&pair.names.merge),
        equal_keys("t", "d", pair.key_names())
    )
}

/// Opens versions of records that are new or changed.
pub(crate) fn open(pair: &Pair, batch: LocalBatch) -> String {
    insert(pair, &pair.names.merge, batch, &staged_difference(pair, batch, ""))
}

/// The newest batch that opened a version, if any did.
pub(crate) fn newest_opened(pair: &Pair) -> String {
    format!("select max({BATCH_IN})::text from {}", ident(&pair.names.merge))
}

/// Deletes rows that are gone.
pub(crate) fn delete(pair: &Pair) -> String {
    format!(
        "delete from {} t using {DIFFERENCE} d where not d.{STAGED} and {}",
        ident(&pair.names.merge),
        equal_keys("t", "d", pair.key_names())
    )
}

/// Updates rows that changed. Key columns too: what is equal may be spelled in other bytes.
pub(crate) fn update(pair: &Pair, batch: LocalBatch) -> String {
    let set = carried_names(pair).into_iter().map(|name| format!("{name} = s.{name}", name = ident(name)));
    format!(
        "update {} t set {}, {BATCH_ID} = {batch} from {DIFFERENCE} d, {} s where d.{HELD} and {} \
         and s.{BATCH_ID} = {batch} and {}",
        ident(&pair.names.merge),
        set.collect::<Vec<_>>().join(", "),
        ident(&pair.names.staging),
        equal_keys("t", "d", pair.key_names()),
        equal_keys("s", "d", pair.key_names())
    )
}

/// Inserts rows that are new.
pub(crate) fn insert_new(pair: &Pair, batch: LocalBatch) -> String {
    insert(pair, &pair.names.merge, batch, &staged_difference(pair, batch, &format!(" and not d.{HELD}")))
}

fn staged_difference(pair: &Pair, batch: LocalBatch, and: &str) -> String {
    format!(
        "{DIFFERENCE} d join {} s on s.{BATCH_ID} = {batch} and {} where d.{STAGED}{and}",
        ident(&pair.names.staging),
        equal_keys("s", "d", pair.key_names())
    )
}

/// Staged rows of `from` into `table`, with the milestones of rows that are live since this batch.
fn insert(pair: &Pair, table: &str, batch: LocalBatch, from: &str) -> String {
    let (milestones, values): (&[&str], _) = match pair.holding {
        Holding::LiveOnly => (&[BATCH_ID], batch.to_string()),
        Holding::Mirror => (&[BATCH_IN, BATCH_OUT], format!("{batch}, {LIVE}")),
    };
    let names = carried_names(pair);
    format!(
        "insert into {} ({}) select {}, {values} from {from}",
        ident(table),
        list(names.iter().copied().chain(milestones.iter().copied())),
        prefixed("s", names.iter().copied())
    )
}

/// Two staged keys that share a hash, if any: text of one and of the other. A snapshot holds every record, so there
/// is no other place to look.
pub(crate) fn colliding_keys(pair: &Pair, batch: LocalBatch) -> String {
    format!(
        "select {}, {} from {staging} s join {staging} t on s.{KEY_HASH} = t.{KEY_HASH} and not ({}) \
         where s.{BATCH_ID} = {batch} and t.{BATCH_ID} = {batch} limit 1",
        key_text(pair, "s"),
        key_text(pair, "t"),
        equal_keys("s", "t", pair.key_names()),
        staging = ident(&pair.names.staging)
    )
}

/// Hash columns and batch, which every staging table has beside the model's columns.
pub(crate) const STAGED_COLUMNS: [&str; 3] = [ALL_HASH, KEY_HASH, BATCH_ID];

#[cfg(test)]
mod tests;
