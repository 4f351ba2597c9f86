//! What a seed reads from the primary.

use milestream_core::chunk::{BlockRange, KeyRange};
use milestream_core::milestone::{LIVE, PrimaryBatch};

use super::{carried_list, carried_names, compare, key_literals, ordered_key};
use crate::pair::{BATCH_IN, BATCH_OUT, Holding, Pair};
use crate::postgres::sql::{ident, list};

/// A chunk of blocks: the versions that nothing after X can have moved. What was live at X and closed since is
/// left to the sweep.
pub(crate) fn blocks(pair: &Pair, x: PrimaryBatch, range: &BlockRange) -> String {
    let upper = range.to.map(|to| format!(" and v.ctid < '({to},0)'::tid")).unwrap_or_default();
    let lasting = match pair.holding {
        Holding::LiveOnly => format!("v.{BATCH_OUT} = {LIVE}"),
        Holding::Mirror => format!("(v.{BATCH_OUT} = {LIVE} or v.{BATCH_OUT} < {x})"),
    };
    copy_out(
        pair,
        &format!("v.{BATCH_OUT}"),
        &format!("only {} v", range.leaf),
        &format!("v.ctid >= '({},0)'::tid{upper} and v.{BATCH_IN} <= {x} and {lasting}", range.from),
    )
}

/// The sweep: versions live at X that were closed before the sweep's snapshot. A chunk may have brought them
/// already.
pub(crate) fn sweep(pair: &Pair, x: PrimaryBatch) -> String {
    copy_out(
        pair,
        &LIVE.to_string(),
        &format!("{} v", pair.primary_table),
        &format!("v.{BATCH_IN} <= {x} and v.{BATCH_OUT} >= {x} and v.{BATCH_OUT} < {LIVE}"),
    )
}

/// A chunk of keys, exactly as of X whenever it is read.
pub(crate) fn keys(pair: &Pair, x: PrimaryBatch, range: &KeyRange) -> String {
    let key = ordered_key(pair, "v");
    let mut condition = as_of(pair, x);
    for (bound, operator) in [(&range.after, ">"), (&range.through, "<=")] {
        if let Some(values) = bound {
            condition = format!("{condition} and {}", compare(&key, operator, &key_literals(pair, values)));
        }
    }
    let out = format!("case when v.{BATCH_OUT} >= {x} then {LIVE} else v.{BATCH_OUT} end");
    copy_out(pair, &out, &format!("{} v", pair.primary_table), &condition)
}

/// Rows that the seed must have landed, and those of them that are live at X.
pub(crate) fn count(pair: &Pair, x: PrimaryBatch) -> String {
    format!(
        "select count(*)::text, (count(*) filter (where v.{BATCH_OUT} >= {x}))::text from {} v where {}",
        pair.primary_table,
        as_of(pair, x)
    )
}

/// An ordered sample of keys as text, about `rows` of them where `estimated` is right. Tables are sampled by
/// pages; a view has none and is read through.
pub(crate) fn sample(pair: &Pair, x: PrimaryBatch, rows: u64, estimated: u64, pages: bool) -> String {
    let percent = percent(rows, estimated);
    let (from, chance) = if pages {
        (format!("{} v tablesample system ({percent})", pair.primary_table), String::new())
    } else {
        (format!("{} v", pair.primary_table), format!(" and random() * 100 < {percent}"))
    };
    let key = pair.key_names().map(|name| format!("v.{}::text", ident(name))).collect::<Vec<_>>().join(", ");
    format!(
        "select {key} from {from} where {}{chance} order by {}",
        as_of(pair, x),
        ordered_key(pair, "v").join(", ")
    )
}

fn percent(rows: u64, estimated: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a share of a sample needs no precision")]
    let share = rows as f64 / estimated.max(1) as f64;
    (share * 100.0).clamp(0.001, 100.0)
}

/// The condition for what the secondary holds as of X.
fn as_of(pair: &Pair, x: PrimaryBatch) -> String {
    match pair.holding {
        Holding::LiveOnly => format!("v.{BATCH_IN} <= {x} and v.{BATCH_OUT} >= {x}"),
        Holding::Mirror => format!("v.{BATCH_IN} <= {x}"),
    }
}

fn copy_out(pair: &Pair, batch_out: &str, from: &str, condition: &str) -> String {
    let milestones = match pair.holding {
        Holding::LiveOnly => String::new(),
        Holding::Mirror => format!(", v.{BATCH_IN}, {batch_out}::integer"),
    };
    format!(
        "copy (select {}{milestones} from {from} where {condition}) to stdout (format {})",
        carried_list(pair, "v"),
        pair.format().name()
    )
}

/// The copy into a landing or sweep table that takes what the statements above give.
pub(crate) fn copy_in(pair: &Pair, table: &str) -> String {
    let mut names = carried_names(pair);
    if pair.holding == Holding::Mirror {
        names.extend([BATCH_IN, BATCH_OUT]);
    }
    format!("copy {} ({}) from stdin (format {})", ident(table), list(names), pair.format().name())
}
