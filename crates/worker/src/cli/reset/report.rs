//! What a reset did, or would do, as text or as JSON.

use serde::Serialize;

use crate::cli::figures;
use crate::config::StreamJob;
use crate::reset::{OpenBatch, Order, Reset, Statement};

/// A stream that was reset, or would be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct StreamReset {
    /// The platform, as in the model.
    platform: String,
    /// Key of the stream.
    stream: String,
    /// Whether nothing was changed.
    dry_run: bool,
    /// Whether it was asked to seed the stream again.
    reseed: bool,
    /// The command line that goes on from here.
    then: String,
    #[serde(flatten)]
    reset: Reset,
}

impl StreamReset {
    pub(super) fn of(job: &StreamJob, order: Order, reset: Reset) -> StreamReset {
        StreamReset {
            platform: job.platform().to_owned(),
            stream: job.stream_key(),
            dry_run: order.dry_run,
            reseed: order.reseed,
            then: job.name().command("sync"),
            reset,
        }
    }
}

/// The resets as text: a paragraph for each stream.
pub(super) fn text(resets: &[StreamReset]) -> String {
    resets.iter().map(paragraph).collect::<Vec<_>>().join("\n\n")
}

fn paragraph(stream: &StreamReset) -> String {
    let StreamReset { reset, dry_run, reseed, .. } = stream;
    let mut lines = vec![format!("{} {}: {}", stream.platform, stream.stream, headline(stream))];
    lines.extend(reset.statements.iter().map(|statement| line(statement, *dry_run)));
    if let (Some(batch), true) = (reset.readers_batch, *reseed) {
        let see = if *dry_run { "would go on seeing" } else { "go on seeing" };
        lines.push(format!("  readers {see} batch {batch} until the seed is committed"));
    }
    lines.push(match dry_run {
        true => "  nothing was changed (--dry-run)".to_owned(),
        false => format!("  then: {}", stream.then),
    });
    lines.join("\n")
}

fn headline(stream: &StreamReset) -> String {
    let StreamReset { reset, dry_run, reseed, .. } = stream;
    let would = |done: &str, would: &str| if *dry_run { would } else { done }.to_owned();
    let thrown_away = reset
        .open
        .as_ref()
        .map(|open| format!("{} {}", would("threw away", "would throw away"), described(open)));
    let seeds_again = match (reseed, reset.readers_batch) {
        (false, _) => None,
        (true, None) => Some("it holds no batch yet, so the next sync seeds it as it is".to_owned()),
        (true, Some(_)) if reset.statements.is_empty() => Some("it waits for its seed already".to_owned()),
        (true, Some(_)) => {
            Some(would("seeds again with the next sync", "would seed again with the next sync"))
        }
    };
    match (thrown_away, seeds_again) {
        (Some(thrown_away), Some(seeds_again)) => format!("{thrown_away}; {seeds_again}"),
        (Some(only), None) | (None, Some(only)) => only,
        (None, None) => match reset.committed {
            None => "no batch is open, and none was committed yet".to_owned(),
            Some(committed) => format!(
                "no batch is open; batch {committed} is committed and stays: a committed batch is never undone"
            ),
        },
    }
}

fn described(open: &OpenBatch) -> String {
    let OpenBatch { batch, status, kind, from, to } = open;
    let range = match (from, to) {
        (Some(from), Some(to)) => format!(" from batch {from} to {to}"),
        (None, Some(to)) => format!(" as of batch {to}"),
        (_, None) => String::new(),
    };
    format!("batch {batch}, {status}: the {kind}{range}")
}

fn line(statement: &Statement, dry_run: bool) -> String {
    let rows = match statement.rows {
        Some(rows) => format!(", {}", figures::counted(rows, "row")),
        None => String::new(),
    };
    match dry_run {
        true => format!("  {}{rows}\n    {};", statement.what, statement.sql),
        false => format!("  {}{rows}", statement.what),
    }
}

#[cfg(test)]
mod tests {
    use milestream_core::milestone::{LocalBatch, PrimaryBatch};

    use super::*;

    fn statement(what: &str, sql: &str, rows: Option<u64>) -> Statement {
        Statement { what: what.into(), sql: sql.into(), rows }
    }

    fn resets() -> Vec<StreamReset> {
        let stream = |platform: &str, order: Order, reset: Reset| StreamReset {
            platform: platform.into(),
            stream: "Flights".into(),
            dry_run: order.dry_run,
            reseed: order.reseed,
            then: format!("milestream sync --platform {platform} --store Flights"),
            reset,
        };
        let open = OpenBatch {
            batch: LocalBatch(4),
            status: "started".into(),
            kind: "increment".into(),
            from: Some(PrimaryBatch(7)),
            to: Some(PrimaryBatch(9)),
        };
        let nothing = Reset {
            open: None,
            committed: Some(LocalBatch(3)),
            readers_batch: None,
            kept: Vec::new(),
            statements: Vec::new(),
        };
        let clear = statement("clears what was staged of flights", "delete from \"s\"", Some(1200));
        let forget = statement("forgets batch 4", "delete from \"edge_batch_metrics\"", None);
        let thrown_away =
            Reset { open: Some(open), statements: vec![clear.clone(), forget], ..nothing.clone() };
        let keep =
            statement("keeps the history of flights as k", "create table \"k\" as table \"m\"", Some(7));
        let reseeded = Reset {
            readers_batch: Some(PrimaryBatch(7)),
            kept: vec!["k".into()],
            statements: vec![keep],
            ..nothing.clone()
        };
        let virgin = Reset { committed: None, ..nothing.clone() };
        let (plain, dry) = (Order::default(), Order { dry_run: true, reseed: false });
        let (again, dry_again) =
            (Order { reseed: true, dry_run: false }, Order { reseed: true, dry_run: true });
        vec![
            stream("Edge", plain, thrown_away.clone()),
            stream("Edge", dry, thrown_away),
            stream("Archive", again, reseeded.clone()),
            stream("Archive", dry_again, reseeded.clone()),
            stream("Archive", again, Reset { statements: Vec::new(), kept: Vec::new(), ..reseeded }),
            stream("Edge", plain, nothing),
            stream("Edge", again, virgin.clone()),
            stream("Edge", plain, virgin),
        ]
    }

    #[test]
    fn every_kind_of_reset_has_its_paragraph() {
        insta::assert_snapshot!(text(&resets()));
    }

    #[test]
    fn json_holds_what_the_text_holds() {
        insta::assert_json_snapshot!(resets());
    }
}
