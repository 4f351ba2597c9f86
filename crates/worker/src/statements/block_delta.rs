//! An increment that is a large part of its table, read by blocks as a seed is: chunks bring what nothing after Y can
//! have moved, a sweep what was closed since, and each version is kept once.
//!
//! Whether a closed key is a deletion cannot be told within a range of blocks, its next version may lie in another. So
//! every key that was live at X and closed comes as a deletion, and gives way where the landing table has an upsert of
//! the same key.

use milestream_core::chunk::BlockRange;
use milestream_core::milestone::{BatchRange, LIVE, LocalBatch};

use super::carried_list;
use super::delta::staged_names;
use super::landing::{model_columns, staged_milestones};
use crate::pair::{BATCH_IN, BATCH_OUT, Holding, IUD, Pair, REMOTE_IN};
use crate::postgres::sql::{equal_keys, ident, list, prefixed};

/// Creates the landing table of the chunks anew: logged and without indexes, like a seed's.
pub(crate) fn create(pair: &Pair) -> Vec<String> {
    let columns = model_columns(pair).into_iter().chain(staged_milestones(pair)).collect::<Vec<_>>();
    vec![
        super::landing::drop_landing(pair),
        format!("create table {} ({})", ident(&pair.names.landing), columns.join(", ")),
    ]
}

/// A chunk of blocks: what was opened in (X, Y] and is live, or was closed in it.
pub(crate) fn blocks(pair: &Pair, range: BatchRange, local: LocalBatch, blocks: &BlockRange) -> String {
    let upper = blocks.to.map(|to| format!(" and v.ctid < '({to},0)'::tid")).unwrap_or_default();
    let (x, y) = (range.after(), range.through());
    // A full delta also holds versions that were opened and closed again within it.
    let lasting = match pair.holding {
        Holding::LiveOnly => format!("v.{BATCH_OUT} = {LIVE}"),
        Holding::Mirror => format!("(v.{BATCH_OUT} = {LIVE} or v.{BATCH_OUT} < {y})"),
    };
    let opened = format!("{} and {lasting}", opened(range));
    let condition = format!(
        "v.ctid >= '({},0)'::tid{upper} and (({opened}) or ({}))",
        blocks.from,
        closed_of_before(range)
    );
    let milestones = match pair.holding {
        Holding::LiveOnly => {
            format!("case when v.{BATCH_IN} > {x} then 'U' else 'D' end::varchar(1)")
        }
        Holding::Mirror => format!("v.{BATCH_IN}, v.{BATCH_OUT}"),
    };
    copy_out(pair, &milestones, local, &format!("only {} v", blocks.leaf), &condition)
}

/// The sweep: what was opened in (X, Y], live at Y, and closed before the sweep's snapshot.
pub(crate) fn sweep(pair: &Pair, range: BatchRange, local: LocalBatch) -> String {
    let y = range.through();
    let milestones = match pair.holding {
        Holding::LiveOnly => "'U'::varchar(1)".to_owned(),
        Holding::Mirror => format!("v.{BATCH_IN}, {LIVE}::integer"),
    };
    let condition = format!("{} and v.{BATCH_OUT} >= {y} and v.{BATCH_OUT} < {LIVE}", opened(range));
    copy_out(pair, &milestones, local, &format!("{} v", pair.primary_table), &condition)
}

/// The ledger, as [`super::delta::ledger`] has it, and the rows that chunks and sweep must have brought, each once; all in
/// one pass, since so large a delta has no use for its indexes.
pub(crate) fn ledger(pair: &Pair, range: BatchRange) -> String {
    let (x, y) = (range.after(), range.through());
    let (opened, of_before) = (opened(range), closed_of_before(range));
    let closed = format!("v.{BATCH_OUT} >= {x} and v.{BATCH_OUT} < {y}");
    let landing = match pair.holding {
        Holding::LiveOnly => format!("{opened} and v.{BATCH_OUT} >= {y}"),
        Holding::Mirror => opened.clone(),
    };
    format!(
        "select (count(*) filter (where {opened}))::text, (count(*) filter (where {closed}))::text, \
         (count(*) filter (where ({landing}) or ({of_before})))::text from {} v where ({opened}) or ({closed})",
        pair.primary_table
    )
}

/// Brings what has landed into the staging table, each version once, and a deletion only where no upsert has its key.
/// One row: rows that landed, versions among them, rows that are staged.
pub(crate) fn settle(pair: &Pair) -> String {
    let (landing, staging) = (ident(&pair.names.landing), ident(&pair.names.staging));
    let version = match pair.holding {
        Holding::LiveOnly => IUD,
        Holding::Mirror => REMOTE_IN,
    };
    let once = list(pair.key_names().chain([version]));
    let names = staged_names(pair);
    let given = prefixed("o", names.iter().copied());
    // Two branches: under an OR the planner would look each deletion up by itself.
    let settled = match pair.holding {
        Holding::LiveOnly => format!(
            "select {given} from once o where o.{IUD} = 'U' union all \
             select {given} from once o where o.{IUD} = 'D' \
             and not exists (select 1 from once u where u.{IUD} = 'U' and {})",
            equal_keys("u", "o", pair.key_names())
        ),
        Holding::Mirror => format!("select {given} from once o"),
    };
    format!(
        "with once as materialized (select distinct on ({once}) * from {landing}), \
         staged as (insert into {staging} ({}) {settled} returning 1) \
         select (select count(*) from {landing})::text, (select count(*) from once)::text, (select count(*) from staged)::text",
        list(names.iter().copied()),
    )
}

fn opened(range: BatchRange) -> String {
    format!("v.{BATCH_IN} > {} and v.{BATCH_IN} <= {}", range.after(), range.through())
}

/// Live at X and closed in (X, Y].
fn closed_of_before(range: BatchRange) -> String {
    let (x, y) = (range.after(), range.through());
    format!("v.{BATCH_IN} <= {x} and v.{BATCH_OUT} >= {x} and v.{BATCH_OUT} < {y}")
}

fn copy_out(pair: &Pair, milestones: &str, local: LocalBatch, from: &str, condition: &str) -> String {
    format!(
        "copy (select {}, {milestones}, {local}::integer from {from} where {condition}) to stdout (format {})",
        carried_list(pair, "v"),
        pair.format().name()
    )
}
