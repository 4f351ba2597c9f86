//! Keys that the primary holds live more than once as of a batch: two runs that collided, or a hash that two keys share,
//! leave such histories behind. The newest of the versions, the one that was opened last, is what is true of the key.

use milestream_core::milestone::PrimaryBatch;

use super::{carried_list, ordered_key};
use crate::pair::{BATCH_IN, BATCH_OUT, Pair, beside};
use crate::postgres::sql::{equal_keys, ident, list};

/// How many keys are live more than once, by how much their versions outnumber them, and the text of one with the batches
/// that opened its versions.
pub(crate) fn count(pair: &Pair, batch: PrimaryBatch) -> String {
    let named = format!(
        "format('(%s) has %s live versions as of batch {batch} on the primary: batch_in %s', {}, versions, opened)",
        super::landing::key_text(pair, "k")
    );
    format!(
        "select count(*)::text, coalesce(sum(versions - 1), 0)::text, min({named}) from ({}) k",
        doubled(pair, batch)
    )
}

/// For a person: the keys that are live more than once.
pub(crate) fn list_all(pair: &Pair, batch: PrimaryBatch) -> String {
    format!("{};", doubled(pair, batch))
}

fn doubled(pair: &Pair, batch: PrimaryBatch) -> String {
    let keys = list(pair.key_names());
    format!(
        "select {keys}, count(*) as versions, string_agg({BATCH_IN}::text, ' and ' order by {BATCH_IN}) as opened from {} \
         where {BATCH_IN} <= {batch} and {BATCH_OUT} >= {batch} group by {keys} having count(*) > 1",
        pair.primary_table
    )
}

/// The newest version of each such key, for [`super::seed::copy_in`].
pub(crate) fn copy_out(pair: &Pair, batch: PrimaryBatch) -> String {
    let order = ordered_key(pair, "v").join(", ");
    format!(
        "copy (select distinct on ({order}) {} from {} v join ({}) k on {} where v.{BATCH_IN} <= {batch} \
         and v.{BATCH_OUT} >= {batch} order by {order}, v.{BATCH_IN} desc) to stdout (format {})",
        carried_list(pair, "v"),
        pair.primary_table,
        doubled(pair, batch),
        equal_keys("v", "k", pair.key_names()),
        pair.format().name()
    )
}

/// The table that takes them; it lives for one transaction.
pub(crate) fn table(pair: &Pair) -> String {
    beside(&pair.names.merge, "newest")
}

/// Creates it.
pub(crate) fn create(pair: &Pair) -> String {
    let (newest, landing) = (ident(&table(pair)), ident(&pair.names.landing));
    format!("drop table if exists {newest}; create table {newest} (like {landing} including defaults)")
}

/// Puts the newest versions in the place of whatever has landed of their keys.
pub(crate) fn settle(pair: &Pair) -> String {
    let (newest, landing) = (ident(&table(pair)), ident(&pair.names.landing));
    format!(
        "delete from {landing} l using {newest} n where {}; insert into {landing} select * from {newest}; drop table {newest}",
        equal_keys("l", "n", pair.key_names())
    )
}

/// Two rows of the landing table that have one key: each key column's text in the one, then in the other.
pub(crate) fn landed_twice(pair: &Pair) -> String {
    let key = pair.row_key();
    let texts = |alias: &str| {
        pair.key_names().map(|name| format!("{alias}.{}::text", ident(name))).collect::<Vec<_>>()
    };
    format!(
        "select {}, {} from {table} a join {table} b on {} and a.ctid < b.ctid limit 1",
        texts("a").join(", "),
        texts("b").join(", "),
        equal_keys("a", "b", key),
        table = ident(&pair.names.landing)
    )
}

/// Whether the primary calls two keys equal.
pub(crate) fn are_equal(pair: &Pair, one: &[String], other: &[String]) -> String {
    let literals = |values: &[String]| super::key_literals(pair, values).join(", ");
    format!("select (row({}) = row({}))::text", literals(one), literals(other))
}
