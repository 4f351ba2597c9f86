//! Whether a merge took place: what must be in the merge table against what is.
//!
//! Asked in the transaction that merges, behind every write of it. Each question gives a row a kind of fault, and none
//! where all is well: what is wrong, of how many rows, one of their keys, and the columns of that row that differ.

use milestream_core::milestone::{BatchRange, LIVE, LocalBatch, PrimaryBatch};

use super::carried_names;
use super::landing::key_text;
use crate::pair::{BATCH_ID, BATCH_IN, BATCH_OUT, Holding, IUD, Pair, REMOTE_IN, REMOTE_OUT};
use crate::postgres::sql::{equal_keys, ident, list, literal, prefixed};

/// A row that must be there and is not.
pub(crate) const MISSING: &str = "missing";
/// A row that is there with other values.
pub(crate) const ALTERED: &str = "altered";
/// A row that must not be there.
pub(crate) const LEFT: &str = "left";
/// A key that is live more than once.
pub(crate) const DOUBLED: &str = "doubled";

/// Staged upserts that are not in the merge table byte for byte, and staged deletions that still are.
pub(crate) fn net(pair: &Pair, local: LocalBatch) -> String {
    let there = is_there(pair, "t");
    let altered = differ(pair, "t", "s");
    let found = format!(
        "select case when s.{IUD} = 'D' then '{LEFT}' when not {there} then '{MISSING}' else '{ALTERED}' end as fault, \
         {} as key, {} as columns from {} s left join {} t on {} where s.{BATCH_ID} = {local} and \
         case when s.{IUD} = 'D' then {there} else not {there} or {altered} end",
        key_text(pair, "s"),
        columns_that_differ(pair, "t", "s"),
        ident(&pair.names.staging),
        ident(&pair.names.merge),
        equal_keys("t", "s", pair.key_names()),
    );
    faults(&found)
}

/// Staged versions that are not in the mirror as they must be, and keys that an opened version made live more than once.
/// The closing of a version writes its batch alone; its values are staged all the same, and must be those that were there.
pub(crate) fn full(pair: &Pair, local: LocalBatch, x: PrimaryBatch) -> String {
    let (merge, staging) = (ident(&pair.names.merge), ident(&pair.names.staging));
    let same = equal_keys("t", "s", pair.key_names());
    let there = is_there(pair, "t");
    let found = format!(
        "select case when {there} then '{ALTERED}' else '{MISSING}' end as fault, {key} as key, \
         concat_ws(', ', case when t.{BATCH_OUT} <> s.{REMOTE_OUT} then {out} end, nullif({columns}, '')) as columns \
         from {staging} s left join {merge} t on {same} and t.{BATCH_IN} = s.{REMOTE_IN} where s.{BATCH_ID} = {local} \
         and (not {there} or t.{BATCH_OUT} <> s.{REMOTE_OUT} or {altered}) \
         union all select '{DOUBLED}', {key}, '' from {staging} s join {merge} t on {same} and t.{BATCH_OUT} = {LIVE} \
         and t.{BATCH_IN} <> s.{REMOTE_IN} where s.{BATCH_ID} = {local} and s.{REMOTE_IN} > {x} and s.{REMOTE_OUT} = {LIVE}",
        key = key_text(pair, "s"),
        out = literal(BATCH_OUT),
        columns = columns_that_differ(pair, "t", "s"),
        altered = differ(pair, "t", "s"),
    );
    faults(&found)
}

/// Rows that a seed by difference left on one side only, or unequal.
pub(crate) fn difference(pair: &Pair) -> String {
    let (there, landed) = (is_there(pair, "t"), is_there(pair, "s"));
    let mut unequal = differ(pair, "t", "s");
    if pair.holding == Holding::Mirror {
        unequal = format!("({unequal} or t.{BATCH_OUT} <> s.{BATCH_OUT})");
    }
    let found = format!(
        "select case when not {landed} then '{LEFT}' when not {there} then '{MISSING}' else '{ALTERED}' end as fault, \
         case when {landed} then {} else {} end as key, {} as columns from {} s full join {} t on {} \
         where not {landed} or not {there} or {unequal}",
        key_text(pair, "s"),
        key_text(pair, "t"),
        columns_that_differ(pair, "t", "s"),
        ident(&pair.names.landing),
        ident(&pair.names.merge),
        equal_keys("t", "s", pair.row_key()),
    );
    faults(&found)
}

pub(super) fn faults(found: &str) -> String {
    format!(
        "select fault, count(*)::text, min(key), min(columns) filter (where columns <> '') from ({found}) found \
         group by fault order by fault desc"
    )
}

/// Keys are NOT NULL, so a row that was joined has one. `is not null` would ask each field of a composite key.
pub(super) fn is_there(pair: &Pair, alias: &str) -> String {
    let first = pair.key_names().next().map(ident).unwrap_or_default();
    format!("({alias}.{first} is distinct from null)")
}

pub(super) fn differ(pair: &Pair, left: &str, right: &str) -> String {
    let names = carried_names(pair);
    format!(
        "row({})::record *<> row({})::record",
        prefixed(left, names.iter().copied()),
        prefixed(right, names.iter().copied())
    )
}

/// Names of the columns in which two rows differ; '' where one of them is not there.
pub(super) fn columns_that_differ(pair: &Pair, left: &str, right: &str) -> String {
    let column = |name: &str| {
        let (quoted, shown) = (ident(name), literal(name));
        format!("case when row({left}.{quoted})::record *<> row({right}.{quoted})::record then {shown} end")
    };
    let columns = carried_names(pair).into_iter().map(column).collect::<Vec<_>>().join(", ");
    let both = format!("{} and {}", is_there(pair, left), is_there(pair, right));
    format!("case when {both} then array_to_string(array[{columns}], ', ') else '' end")
}

/// What the secondary holds: its rows, and those of them that are live.
pub(crate) fn held(pair: &Pair) -> String {
    let live = match pair.holding {
        Holding::LiveOnly => "true".to_owned(),
        Holding::Mirror => format!("{BATCH_OUT} = {LIVE}"),
    };
    format!("select count(*)::text, (count(*) filter (where {live}))::text from {}", ident(&pair.names.merge))
}

/// Keys that the primary's history adds over (X, Y], among those that it touched; keys among them that are live more
/// than once as of Y, and one of those with the batches that opened its versions. Names beside the keys begin as those
/// that no column may have.
pub(crate) fn growth(pair: &Pair, range: BatchRange) -> String {
    let (x, y) = (range.after(), range.through());
    let (table, keys) = (&pair.primary_table, list(pair.key_names()));
    let at = |batch: PrimaryBatch| format!("v.{BATCH_IN} <= {batch} and v.{BATCH_OUT} >= {batch}");
    format!(
        "with touched as (select {keys} from {table} where {BATCH_IN} > {x} and {BATCH_IN} <= {y} \
         union select {keys} from {table} where {BATCH_OUT} >= {x} and {BATCH_OUT} < {y}), \
         counted as (select {given}, count(*) filter (where {before}) as ds_surf_before, count(*) filter (where {after}) as ds_surf_after, \
         string_agg(v.{BATCH_IN}::text, ' and ' order by v.{BATCH_IN}) filter (where {after}) as ds_surf_opened \
         from touched k join {table} v on {same} group by {given}) \
         select ((count(*) filter (where ds_surf_after > 0)) - (count(*) filter (where ds_surf_before > 0)))::text, \
         (count(*) filter (where ds_surf_after > 1))::text, \
         min(format('(%s) has %s live versions as of batch {y} on the primary: batch_in %s', {shown}, ds_surf_after, ds_surf_opened)) \
         filter (where ds_surf_after > 1) from counted c",
        given = prefixed("k", pair.key_names()),
        before = at(x),
        after = at(y),
        same = equal_keys("v", "k", pair.key_names()),
        shown = key_text(pair, "c"),
    )
}

/// Keys of upserts as text, column by column, of rows that the merge table has (or lacks) before the merge.
pub(crate) fn upserts_known(pair: &Pair, local: LocalBatch, known: bool) -> String {
    let columns = pair.key_names().map(|name| format!("s.{}::text", ident(name))).collect::<Vec<_>>();
    format!(
        "select {} from {} s where s.{BATCH_ID} = {local} and s.{IUD} <> 'D' and {}exists \
         (select 1 from {} t where {}) limit {KEYS_LOOKED_UP_MAX}",
        columns.join(", "),
        ident(&pair.names.staging),
        if known { "" } else { "not " },
        ident(&pair.names.merge),
        equal_keys("t", "s", pair.key_names())
    )
}

/// Keys of deletions that the merge table lacks before the merge: how many, and one of them.
pub(crate) fn deletions_missing(pair: &Pair, local: LocalBatch) -> String {
    format!(
        "select count(*)::text, min({}) from {} s where s.{BATCH_ID} = {local} and s.{IUD} = 'D' and not exists \
         (select 1 from {} t where {})",
        key_text(pair, "s"),
        ident(&pair.names.staging),
        ident(&pair.names.merge),
        equal_keys("t", "s", pair.key_names())
    )
}

/// Closures whose version the mirror lacks, or has closed already, before the merge: how many, and one of their keys.
pub(crate) fn closures_missing(pair: &Pair, local: LocalBatch, x: PrimaryBatch) -> String {
    format!(
        "select count(*)::text, min({}) from {} s where s.{BATCH_ID} = {local} and s.{REMOTE_IN} <= {x} and not exists \
         (select 1 from {} t where {} and t.{BATCH_IN} = s.{REMOTE_IN} and t.{BATCH_OUT} = {LIVE})",
        key_text(pair, "s"),
        ident(&pair.names.staging),
        ident(&pair.names.merge),
        equal_keys("t", "s", pair.key_names())
    )
}

/// How many keys are looked up to name one of them.
const KEYS_LOOKED_UP_MAX: usize = 1_000;

/// The first of some keys that was live at X on the primary, or was not: its text.
pub(crate) fn key_live_at(pair: &Pair, x: PrimaryBatch, keys: &[Vec<String>], live: bool) -> String {
    let rows: Vec<_> =
        keys.iter().map(|key| format!("({})", super::key_literals(pair, key).join(", "))).collect();
    format!(
        "select {} from (values {}) k ({}) where {}exists (select 1 from {} v where {} \
         and v.{BATCH_IN} <= {x} and v.{BATCH_OUT} >= {x}) limit 1",
        key_text(pair, "k"),
        rows.join(", "),
        list(pair.key_names()),
        if live { "" } else { "not " },
        pair.primary_table,
        equal_keys("v", "k", pair.key_names())
    )
}

/// Keys that are live more than once, in the mirror or on the primary as of `batch`, among those of which a version was
/// opened since X and is live: how many, their live versions, and one of them.
pub(crate) fn doubled_here(pair: &Pair, local: LocalBatch, x: PrimaryBatch) -> String {
    let opened = format!(
        "select s.* from {} s where s.{BATCH_ID} = {local} and s.{REMOTE_IN} > {x} and s.{REMOTE_OUT} = {LIVE}",
        ident(&pair.names.staging)
    );
    doubled(pair, &opened, &ident(&pair.names.merge), &format!("t.{BATCH_OUT} = {LIVE}"))
}

/// See [`doubled_here`].
pub(crate) fn doubled_there(pair: &Pair, range: BatchRange) -> String {
    let (x, y) = (range.after(), range.through());
    let opened = format!(
        "select v.* from {} v where v.{BATCH_IN} > {x} and v.{BATCH_IN} <= {y} and v.{BATCH_OUT} >= {y}",
        pair.primary_table
    );
    let live = format!("t.{BATCH_IN} <= {y} and t.{BATCH_OUT} >= {y}");
    doubled(pair, &opened, &pair.primary_table, &live)
}

fn doubled(pair: &Pair, opened: &str, table: &str, live: &str) -> String {
    let keys = prefixed("t", pair.key_names());
    format!(
        "select count(*)::text, coalesce(sum(versions), 0)::text, min(key) from (select {} as key, count(*) as versions \
         from {table} t where {live} and exists (select 1 from ({opened}) o where {}) group by {keys} having count(*) > 1) doubled",
        key_text(pair, "t"),
        equal_keys("o", "t", pair.key_names())
    )
}
