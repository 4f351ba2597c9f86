//! Rows of the watermark's state, counted where parts of a table came or went.

use milestream_core::milestone::{LIVE, PrimaryBatch};

use crate::pair::{BATCH_IN, BATCH_OUT, Holding, Pair};
use crate::postgres::sql::{ident, literal};

/// One row: versions live at X in the whole table, and the names of those parts that hold rows of the state at X.
pub(crate) fn question(pair: &Pair, x: PrimaryBatch, parts: &[String]) -> String {
    let live = format!("{BATCH_IN} <= {x} and {BATCH_OUT} >= {x}");
    let held = match pair.holding {
        Holding::LiveOnly => live.clone(),
        Holding::Mirror => format!("{BATCH_IN} <= {x}"),
    };
    let filled = parts.iter().map(|part| {
        format!("select {}::text where exists (select 1 from {part} where {held})", literal(part))
    });
    let filled: Vec<_> = filled.collect();
    let filled = match filled.is_empty() {
        true => literal(""),
        false => format!("array_to_string(array({}), ', ')", filled.join(" union all ")),
    };
    format!("select (select count(*) from {} where {live})::text, {filled}", pair.primary_table)
}

/// Rows that the secondary holds as live.
pub(crate) fn held(pair: &Pair) -> String {
    let live = match pair.holding {
        Holding::LiveOnly => String::new(),
        Holding::Mirror => format!(" where {BATCH_OUT} = {LIVE}"),
    };
    format!("select count(*)::text from {}{live}", ident(&pair.names.merge))
}
