//! What an increment reads from the primary, and where it stages it.
//!
//! Two branches that each use an index, in one statement and so one snapshot: what was opened in (X, Y] by
//! `batch_in`, what was closed in it by `batch_out`. Never an OR over both milestones.

use milestream_core::chunk::DeltaPosition;
use milestream_core::milestone::{BatchRange, LIVE, LocalBatch};

use super::{carried_list, carried_names, compare, key_literals, ordered_key};
use crate::pair::{BATCH_ID, BATCH_IN, BATCH_OUT, Holding, IUD, Pair, REMOTE_IN, REMOTE_OUT};
use crate::postgres::sql::{equal_keys, ident, list};

/// Leading fields of each row that only a resume needs: the key as text, and for a full delta `batch_in`.
pub(crate) fn leading_fields(pair: &Pair) -> usize {
    pair.row_key().len()
}

/// The delta over (X, Y] in key order, behind `after` where a resume takes it up.
pub(crate) fn copy_out(
    pair: &Pair,
    range: BatchRange,
    local: LocalBatch,
    after: Option<&DeltaPosition>,
) -> String {
    let branches = match pair.holding {
        Holding::LiveOnly => net_branches(pair, range),
        Holding::Mirror => full_branches(pair, range),
    };
    let mut order = ordered_key(pair, "d");
    let mut leading: Vec<_> = pair.key_names().map(|name| format!("d.{}::text", ident(name))).collect();
    let mut columns: Vec<_> =
        carried_names(pair).into_iter().map(|name| format!("d.{}", ident(name))).collect();
    match pair.holding {
        Holding::LiveOnly => columns.push(format!("d.{IUD}")),
        Holding::Mirror => {
            order.push(format!("d.{BATCH_IN}"));
            leading.push(format!("d.{BATCH_IN}::text"));
            columns.extend([format!("d.{BATCH_IN}"), format!("d.{BATCH_OUT}")]);
        }
    }
    let resume = after.map(|after| {
        let mut bound = key_literals(pair, &after.key);
        bound.extend(after.batch_in.map(|batch| batch.to_string()));
        format!(" where {}", compare(&order, ">", &bound))
    });
    // Of a key that is live more than once its newest version is what is true.
    let (once, newest) = match pair.holding {
        Holding::LiveOnly => (format!("distinct on ({}) ", order.join(", ")), format!(", d.{BATCH_IN} desc")),
        Holding::Mirror => Default::default(),
    };
    format!(
        "copy (select {once}{}, {}, {local}::integer from ({branches}) d{} order by {}{newest}) to stdout (format {})",
        leading.join(", "),
        columns.join(", "),
        resume.unwrap_or_default(),
        order.join(", "),
        pair.format().name()
    )
}

/// Upserts: opened in (X, Y] and live at Y. Deletes: live at X, closed in (X, Y], with no version live at Y. Where one of
/// several live versions of a key was closed, another that was opened by X is still there, and what is true of the key.
fn net_branches(pair: &Pair, range: BatchRange) -> String {
    let (x, y) = (range.after(), range.through());
    let named = format!("{}, v.{BATCH_IN}", carried_list(pair, "v"));
    // Column by column: a whole row goes by its alias, which a column of that name would hide.
    let kept = |name: &str| {
        let name = ident(name);
        format!("case when still.{BATCH_IN} is null then v.{name} else still.{name} end as {name}")
    };
    let kept: Vec<_> = carried_names(pair).into_iter().chain([BATCH_IN]).map(kept).collect();
    let table = &pair.primary_table;
    let is_still = format!(
        "{} and still.{BATCH_IN} <= {x} and still.{BATCH_OUT} >= {y}",
        equal_keys("still", "v", pair.key_names())
    );
    let gone = format!(
        "v.{BATCH_OUT} >= {x} and v.{BATCH_OUT} < {y} and v.{BATCH_IN} <= {x} \
         and not exists (select 1 from {table} l where {} \
         and l.{BATCH_IN} > {x} and l.{BATCH_IN} <= {y} and l.{BATCH_OUT} >= {y})",
        equal_keys("l", "v", pair.key_names())
    );
    // Key by key, and only of what is gone: a planner that takes those for many would read the whole table for them. Without an
    // index that is what each key would cost.
    let beside = match pair.leads_to_versions {
        true => format!(
            "(select v.* from {table} v where {gone} offset 0) v left join lateral \
             (select still.* from {table} still where {is_still} order by still.{BATCH_IN} desc limit 1) still on true"
        ),
        false => format!("{table} v left join {table} still on {is_still} where {gone}"),
    };
    format!(
        "select {named}, 'U'::varchar(1) as {IUD} from {table} v \
         where v.{BATCH_IN} > {x} and v.{BATCH_IN} <= {y} and v.{BATCH_OUT} >= {y} \
         union all \
         select {named}, v.{IUD} from (select {kept}, \
         case when still.{BATCH_IN} is null then 'D' else 'U' end::varchar(1) as {IUD} from {beside}) v",
        kept = kept.join(", "),
    )
}

/// Versions opened in (X, Y] as of Y, and versions live at X that were closed in it.
fn full_branches(pair: &Pair, range: BatchRange) -> String {
    let (x, y) = (range.after(), range.through());
    let named = carried_list(pair, "v");
    format!(
        "select {named}, v.{BATCH_IN}, \
         case when v.{BATCH_OUT} >= {y} then {LIVE} else v.{BATCH_OUT} end as {BATCH_OUT} from {table} v \
         where v.{BATCH_IN} > {x} and v.{BATCH_IN} <= {y} \
         union all \
         select {named}, v.{BATCH_IN}, v.{BATCH_OUT} from {table} v \
         where v.{BATCH_OUT} >= {x} and v.{BATCH_OUT} < {y} and v.{BATCH_IN} <= {x}",
        table = pair.primary_table,
    )
}

/// The copy into the staging table that takes what [`copy_out`] gives, leading fields taken off, or into the landing
/// table of a delta that is read by blocks.
pub(crate) fn copy_in(pair: &Pair, table: &str) -> String {
    format!(
        "copy {} ({}) from stdin (format {})",
        ident(table),
        list(staged_names(pair)),
        pair.format().name()
    )
}

/// Columns of the staging table in the order in which they are copied.
pub(super) fn staged_names(pair: &Pair) -> Vec<&str> {
    let mut names = carried_names(pair);
    match pair.holding {
        Holding::LiveOnly => names.push(IUD),
        Holding::Mirror => names.extend([REMOTE_IN, REMOTE_OUT]),
    }
    names.push(BATCH_ID);
    names
}

/// The ledger: versions found opened, and found closed, over (X, Y].
pub(crate) fn ledger(pair: &Pair, range: BatchRange) -> String {
    ledger_of(&pair.primary_table, range)
}

/// The same of a table that is not carried over.
pub(crate) fn ledger_of(table: &str, range: BatchRange) -> String {
    let (x, y) = (range.after(), range.through());
    format!(
        "select (select count(*) from {table} v where v.{BATCH_IN} > {x} and v.{BATCH_IN} <= {y})::text, \
         (select count(*) from {table} v where v.{BATCH_OUT} >= {x} and v.{BATCH_OUT} < {y})::text"
    )
}
