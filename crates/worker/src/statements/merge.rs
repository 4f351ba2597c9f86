//! From staging into the merge table: rows are matched by their key columns and compared byte for byte.
//!
//! `*<>` on row values tells `1 mon` from `30 days`, `-0.0` from `0` and `1.0` from `1.00`; `is distinct from` does
//! not, and a hash of unseparated text tells even less.

use milestream_core::milestone::{LIVE, LocalBatch};

use super::carried_names;
use super::landing::key_text;
use crate::pair::{BATCH_ID, BATCH_IN, BATCH_OUT, Holding, IUD, KEY_HASH, Pair, REMOTE_IN, REMOTE_OUT};
use crate::postgres::sql::{equal_keys, ident, list, prefixed};

/// A net delta's statements, in the order in which they are run.
pub(crate) struct NetMerge {
    pub(crate) delete: String,
    pub(crate) update: String,
    pub(crate) insert: String,
}

/// Merges a net delta: keys that are gone, then rows that changed, then keys that are new. A hash that moves from
/// one key to another is free again before it is inserted.
pub(crate) fn net(pair: &Pair, local: LocalBatch) -> NetMerge {
    let (merge, staging) = (ident(&pair.names.merge), ident(&pair.names.staging));
    let same = equal_keys("t", "s", pair.key_names());
    // Keys that are equal may still be written differently: 1.0 and 1.00.
    let values = carried_names(pair);
    let set = values.iter().map(|name| format!("{name} = s.{name}", name = ident(name))).collect::<Vec<_>>();
    let upserts = format!("s.{BATCH_ID} = {local} and s.{IUD} <> 'D'");
    NetMerge {
        delete: format!(
            "delete from {merge} t using {staging} s where s.{BATCH_ID} = {local} and s.{IUD} = 'D' and {same}"
        ),
        update: format!(
            "update {merge} t set {}, {BATCH_ID} = {local} from {staging} s where {upserts} and {same} \
             and row({})::record *<> row({})::record",
            set.join(", "),
            prefixed("t", values.iter().copied()),
            prefixed("s", values.iter().copied())
        ),
        insert: format!(
            "insert into {merge} ({}, {BATCH_ID}) select {}, {local} from {staging} s where {upserts} \
             and not exists (select 1 from {merge} t where {same})",
            list(carried_names(pair)),
            prefixed("s", carried_names(pair))
        ),
    }
}

/// A full delta's statements, in the order in which they are run.
pub(crate) struct FullMerge {
    pub(crate) close: String,
    pub(crate) insert: String,
    /// Keys that are new, changed and gone, counted before anything is written.
    pub(crate) count_keys: String,
    /// Closures that the staging table asks for.
    pub(crate) closures: String,
}

/// Merges a full delta into a mirror: closures of versions that were there, then versions that were opened.
pub(crate) fn full(pair: &Pair, local: LocalBatch, x: i32) -> FullMerge {
    let (merge, staging) = (ident(&pair.names.merge), ident(&pair.names.staging));
    let same_key = equal_keys("t", "s", pair.key_names());
    let names = carried_names(pair);
    let closing = format!("s.{BATCH_ID} = {local} and s.{REMOTE_IN} <= {x}");
    let opening = format!("s.{BATCH_ID} = {local} and s.{REMOTE_IN} > {x}");
    // Of a key, `was` says live at X, `still` says live at Y; both are in the delta itself.
    let keys = list(pair.key_names());
    FullMerge {
        close: format!(
            "update {merge} t set {BATCH_OUT} = s.{REMOTE_OUT} from {staging} s where {closing} and {same_key} \
             and t.{BATCH_IN} = s.{REMOTE_IN} and t.{BATCH_OUT} = {LIVE}"
        ),
        insert: format!(
            "insert into {merge} ({}, {BATCH_IN}, {BATCH_OUT}) select {}, s.{REMOTE_IN}, s.{REMOTE_OUT} \
             from {staging} s where {opening}",
            list(names.iter().copied()),
            prefixed("s", names.iter().copied())
        ),
        count_keys: format!(
            "select (count(*) filter (where k.still and not k.was))::text, (count(*) filter (where k.still and k.was))::text, \
             (count(*) filter (where k.was and not k.still))::text from (select bool_or(s.{REMOTE_IN} <= {x}) as was, \
             bool_or(s.{REMOTE_OUT} = {LIVE}) as still from {staging} s where s.{BATCH_ID} = {local} group by {keys}) k"
        ),
        closures: format!("select count(*)::text from {staging} s where {closing}"),
    }
}

/// Rows that a batch staged.
pub(crate) fn staged(pair: &Pair, local: LocalBatch) -> String {
    format!("select count(*)::text from {} s where s.{BATCH_ID} = {local}", ident(&pair.names.staging))
}

/// Staged keys to be deleted from a live-only table.
pub(crate) fn net_deletes(pair: &Pair, local: LocalBatch) -> String {
    format!(
        "select count(*)::text from {} s where s.{BATCH_ID} = {local} and s.{IUD} = 'D'",
        ident(&pair.names.staging)
    )
}

/// Whether the merge table has fewer than `limit` live rows, and how many: it reads no more than that many, so
/// that its cost follows the deletions and not the table.
pub(crate) fn rows_below(pair: &Pair, limit: i64) -> String {
    let live = match pair.holding {
        Holding::LiveOnly => String::new(),
        Holding::Mirror => format!(" where {BATCH_OUT} = {LIVE}"),
    };
    format!(
        "select count(*)::text from (select 1 from {}{live} limit {limit}) bounded",
        ident(&pair.names.merge)
    )
}

/// A staged key whose hash another key has, in the merge table or beside it in staging: text of both.
pub(crate) fn colliding_keys(pair: &Pair, local: LocalBatch) -> Vec<String> {
    let (merge, staging) = (ident(&pair.names.merge), ident(&pair.names.staging));
    let upserts = |alias: &str| format!("{alias}.{BATCH_ID} = {local} and {alias}.{IUD} <> 'D'");
    let (staged, other) = (key_text(pair, "s"), key_text(pair, "t"));
    let apart = format!("s.{KEY_HASH} = t.{KEY_HASH} and not ({})", equal_keys("s", "t", pair.key_names()));
    let leaves = equal_keys("g", "t", pair.key_names());
    vec![
        format!(
            "select {staged}, {other} from {staging} s join {staging} t on {apart} where {} and {} limit 1",
            upserts("s"),
            upserts("t")
        ),
        format!(
            "select {staged}, {other} from {staging} s join {merge} t on {apart} where {} and not exists \
             (select 1 from {staging} g where g.{BATCH_ID} = {local} and g.{IUD} = 'D' and {leaves}) limit 1",
            upserts("s")
        ),
    ]
}

/// Removes what earlier tries of a batch staged.
pub(crate) fn clear_staged(pair: &Pair, local: LocalBatch) -> String {
    format!("delete from {} where {BATCH_ID} = {local}", ident(&pair.names.staging))
}

/// Removes staged rows of batches that are kept no longer, and of those that the primary took back: none comes after
/// `newest`.
pub(crate) fn clear_old(pair: &Pair, oldest_kept: i32, newest: LocalBatch) -> String {
    let staging = ident(&pair.names.staging);
    format!("delete from {staging} where {BATCH_ID} < {oldest_kept} or {BATCH_ID} > {newest}")
}
