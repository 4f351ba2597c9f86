//! What became of each stream of a run, as text or as JSON.

use std::fmt;

use serde::Serialize;

use super::BUSY;
use crate::StreamName;
use crate::cli::failure::Failure;
use crate::cli::figures;
use crate::cli::sheet::Sheet;
use crate::error::Error;
use crate::ingest::IngestOutcome;
use crate::sync::{Help, Outcome};

/// One stream of one platform.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct StreamReport {
    /// The platform, as in the model.
    pub(super) platform: String,
    /// Key of the stream.
    pub(super) stream: String,
    /// How long it took, with the wait for its turn.
    pub(super) milliseconds: u64,
    /// What became of it.
    #[serde(flatten)]
    pub(super) ran: Ran,
}

/// What became of a stream.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "result", rename_all = "snake_case")]
pub(super) enum Ran {
    /// A secondary ran to its end.
    Synced(Outcome),
    /// Chunks were copied for whoever led the stream.
    Helped(Help),
    /// A primary made a batch.
    Ingested(IngestOutcome),
    /// It ended with an error.
    Failed(Failure),
}

impl Ran {
    pub(super) fn failed(error: &Error, stream: &StreamName) -> Ran {
        Ran::Failed(Failure::of(error, stream))
    }
}

impl StreamReport {
    pub(super) fn exit_code(&self) -> u8 {
        match &self.ran {
            Ran::Synced(_) | Ran::Helped(_) | Ran::Ingested(_) => 0,
            Ran::Failed(failure) => failure.exit_code,
        }
    }

    /// Whether another run would find something to do, as far as this one knows.
    pub(super) fn has_more(&self) -> bool {
        match &self.ran {
            Ran::Synced(outcome) => !outcome.caught_up,
            Ran::Helped(_) | Ran::Ingested(_) => false,
            // Whoever holds a stream goes on with it.
            Ran::Failed(failure) => failure.exit_code != BUSY,
        }
    }
}

impl fmt::Display for Ran {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Ran::Synced(Outcome { syncs: 0, why: Some(why), .. }) => write!(f, "nothing to do: {why}"),
            Ran::Synced(outcome) => {
                write!(f, "{}", figures::counted(outcome.syncs, "sync"))?;
                if let Some(watermark) = outcome.watermark {
                    write!(f, ", at batch {watermark}")?;
                }
                f.write_str(if outcome.caught_up { ", caught up" } else { "" })
            }
            Ran::Helped(help) => write!(
                f,
                "helped with {}, {}: {}",
                figures::counted(help.chunks, "chunk"),
                figures::counted(help.rows, "row"),
                help.why
            ),
            Ran::Ingested(outcome) => write!(
                f,
                "batch {}: {} inserted, {} updated, {} deleted of {}",
                outcome.batch,
                figures::count(outcome.inserted),
                figures::count(outcome.updated),
                figures::count(outcome.deleted),
                figures::counted(outcome.total, "row")
            ),
            Ran::Failed(failure) => f.write_str(failure.error.lines().next().unwrap_or_default()),
        }
    }
}

/// The reports as text.
pub(super) fn text(reports: &[StreamReport]) -> String {
    let mut sheet = Sheet::new(["platform", "stream", "result"]);
    for report in reports {
        sheet.row([report.platform.clone(), report.stream.clone(), report.ran.to_string()]);
    }
    sheet.to_string()
}

#[cfg(test)]
mod tests {
    use milestream_core::milestone::{LocalBatch, PrimaryBatch};
    use milestream_core::stream::Stream;

    use super::*;
    use crate::sync::Committed;

    fn reports() -> Vec<StreamReport> {
        let report = |platform: &str, ran| StreamReport {
            platform: platform.into(),
            stream: "Flights".into(),
            milliseconds: 1500,
            ran,
        };
        let committed = |from: Option<i32>, to: i32| Committed {
            kind: if from.is_some() { "increment" } else { "seed" },
            from: from.map(PrimaryBatch),
            to: PrimaryBatch(to),
            rows_staged: 28_349,
            rows_inserted: 27_004,
            rows_updated: 1345,
            rows_deleted: 12,
            milliseconds: 350,
        };
        let synced = Outcome {
            syncs: 3,
            watermark: Some(PrimaryBatch(7)),
            caught_up: true,
            why: None,
            committed: vec![committed(None, 5), committed(Some(5), 6), committed(Some(6), 7)],
        };
        let idle = Outcome {
            syncs: 0,
            watermark: Some(PrimaryBatch(7)),
            caught_up: true,
            why: Some("batch 7 is the newest".into()),
            committed: Vec::new(),
        };
        let partly = Outcome {
            syncs: 1,
            watermark: Some(PrimaryBatch(5)),
            caught_up: false,
            why: None,
            committed: vec![committed(None, 5)],
        };
        let helped = Help { chunks: 12, rows: 1_200_000, why: "nobody has led the stream for 15s".into() };
        let batch = IngestOutcome {
            batch: LocalBatch(8),
            inserted: 27_004,
            updated: 1345,
            deleted: 12,
            total: 336_776,
        };
        let archive = Stream { store: "Flights".into(), dataset: None, datasets: Vec::new() };
        let archive = StreamName::of("Archive", &archive);
        vec![
            report("Hub", Ran::Ingested(batch)),
            report("Edge", Ran::Synced(synced)),
            report("Edge2", Ran::Synced(idle)),
            report("Edge3", Ran::Synced(partly)),
            report("Edge4", Ran::Helped(helped)),
            report("Archive", Ran::failed(&Error::Fenced { stream: "Flights".into() }, &archive)),
        ]
    }

    #[test]
    fn every_result_has_its_line() {
        insta::assert_snapshot!(text(&reports()), @r#"
        platform  stream   result
        Hub       Flights  batch 8: 27 004 inserted, 1 345 updated, 12 deleted of 336 776 rows
        Edge      Flights  3 syncs, at batch 7, caught up
        Edge2     Flights  nothing to do: batch 7 is the newest
        Edge3     Flights  1 sync, at batch 5
        Edge4     Flights  helped with 12 chunks, 1 200 000 rows: nobody has led the stream for 15s
        Archive   Flights  stream "Flights" was taken over by another worker; this one has written nothing since
        "#);
    }

    #[test]
    fn json_holds_what_the_text_holds() {
        insta::assert_json_snapshot!(reports());
    }

    #[test]
    fn only_what_is_not_caught_up_has_more() {
        assert_eq!(
            reports().iter().map(StreamReport::has_more).collect::<Vec<_>>(),
            [false, false, false, true, false, false]
        );
    }
}
