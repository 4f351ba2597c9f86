//! How far a stream's sync has come, how fast it goes, and when it will be there.

use std::time::Instant;

use super::figures;
use crate::observer::{Event, Happening, Step};

/// Follows the events of one stream.
#[derive(Clone, Debug, Default)]
pub(super) struct Pace {
    /// What is being done, as people say it.
    pub(super) doing: String,
    /// Whether the stream reads its source, so that all there is to follow is rows.
    is_ingestion: bool,
    is_seed: bool,
    copying: bool,
    chunks: u64,
    chunks_done: u64,
    rows_estimated: u64,
    rows_done: u64,
    /// The batch that the sync goes to.
    batch: Option<i32>,
    /// What the last commit did: rows inserted, updated, deleted.
    committed: Option<[u64; 3]>,
    /// What was there when this process took the sync up; rate and ETA count from it.
    start: Option<Start>,
}

/// The figures of one moment, for programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Figures {
    /// `seed`, `increment` or `ingestion`; `None` before there is a plan.
    pub(super) phase: Option<&'static str>,
    pub(super) batch: Option<i32>,
    /// Rows copied so far.
    pub(super) rows: u64,
    pub(super) inserted: Option<u64>,
    pub(super) updated: Option<u64>,
    pub(super) deleted: Option<u64>,
    /// Since this process took the sync up.
    pub(super) milliseconds: Option<u64>,
}

#[derive(Clone, Copy, Debug)]
struct Start {
    at: Instant,
    rows: u64,
    fraction: f64,
}

impl Pace {
    /// Follows a stream that reads its source.
    pub(super) fn of_ingestion() -> Pace {
        Pace { is_ingestion: true, ..Pace::default() }
    }

    /// Takes an event in; whether it begins or ends a part of the sync.
    pub(super) fn take(&mut self, event: &Event, now: Instant) -> bool {
        match (&event.happening, event.step) {
            (Happening::Plan { from, to, chunks, chunks_done, rows_estimated, rows_done, .. }, _) => {
                self.is_seed = from.is_none() && !self.is_ingestion;
                self.doing = match from {
                    _ if self.is_ingestion => format!("batch {to} from the source"),
                    None => format!("seed as of batch {to}"),
                    Some(from) => format!("increment from batch {from} to {to}"),
                };
                self.copying = true;
                (self.batch, self.committed) = (Some(to.0), None);
                (self.chunks, self.chunks_done) = (*chunks, *chunks_done);
                (self.rows_estimated, self.rows_done) = (*rows_estimated, *rows_done);
                self.start = Some(Start { at: now, rows: *rows_done, fraction: self.fraction() });
                true
            }
            (Happening::Chunk { count, rows, .. }, Step::ChunkCommitted) => {
                self.chunks_done += u64::from(*count);
                self.chunks = self.chunks.max(self.chunks_done);
                self.rows_done += rows;
                false
            }
            (_, Step::IndexBuilt) => self.goes_on_with("building indexes"),
            (_, Step::Landed) => self.goes_on_with("checked, about to become visible"),
            (_, Step::Merging) => self.goes_on_with("merging"),
            (Happening::Commit { watermark, inserted, updated, deleted }, Step::AfterCommit) => {
                self.doing = format!(
                    "at batch {watermark}: {} inserted, {} updated, {} deleted",
                    figures::count(*inserted),
                    figures::count(*updated),
                    figures::count(*deleted)
                );
                self.copying = false;
                self.committed = Some([*inserted, *updated, *deleted]);
                true
            }
            (_, Step::Idle) => self.goes_on_with("nothing more to do"),
            _ => false,
        }
    }

    fn goes_on_with(&mut self, doing: &str) -> bool {
        self.copying = false;
        let changes = self.doing != doing;
        self.doing = doing.to_owned();
        changes
    }

    /// Share of the copy that is done, 0 to 1. A seed's chunks are of one size while its rows are guessed from
    /// statistics that count closed versions too; an increment's rows are recorded and its chunks are not known.
    #[expect(clippy::cast_precision_loss, reason = "a share needs no precision")]
    pub(super) fn fraction(&self) -> f64 {
        let (done, all) = if self.is_seed {
            (self.chunks_done, self.chunks)
        } else {
            (self.rows_done, self.rows_estimated)
        };
        if all == 0 { 0.0 } else { (done as f64 / all as f64).min(1.0) }
    }

    /// Rows a second since this process took the sync up.
    pub(super) fn rows_per_second(&self, now: Instant) -> Option<f64> {
        let start = self.start?;
        let rate = figures::rate(self.rows_done - start.rows, (now - start.at).as_secs_f64())?;
        (rate > 0.0).then_some(rate)
    }

    /// Seconds until the copy is done, by the share that this process has copied: what an earlier one copied counts
    /// as done, but not as fast.
    pub(super) fn seconds_left(&self, now: Instant) -> Option<f64> {
        let start = self.start?;
        let fraction = self.fraction();
        let copied = fraction - start.fraction;
        (copied > 0.0).then(|| (now - start.at).as_secs_f64() / copied * (1.0 - fraction))
    }

    /// The figures of this moment.
    pub(super) fn figures(&self, now: Instant) -> Figures {
        let phase = match (self.is_ingestion, self.is_seed) {
            (true, _) => "ingestion",
            (false, true) => "seed",
            (false, false) => "increment",
        };
        let since = |start: Start| u64::try_from((now - start.at).as_millis()).unwrap_or(u64::MAX);
        let [inserted, updated, deleted] = [0, 1, 2].map(|at| self.committed.map(|counts| counts[at]));
        Figures {
            phase: self.batch.map(|_| phase),
            batch: self.batch,
            rows: self.rows_done,
            inserted,
            updated,
            deleted,
            milliseconds: self.start.map(since),
        }
    }

    /// One line without the stream's name.
    pub(super) fn line(&self, now: Instant) -> String {
        if !self.copying {
            return self.doing.clone();
        }
        let mut parts = Vec::new();
        if self.is_seed {
            parts.push(format!(
                "{} of {} chunks",
                figures::count(self.chunks_done),
                figures::count(self.chunks)
            ));
        }
        // Before the first chunk is in, nobody knows.
        if self.rows_done > 0 {
            parts.push(figures::counted(self.rows_done, "row"));
        }
        if let Some(rate) = self.rows_per_second(now) {
            parts.push(format!("{} rows/s", figures::count(figures::rounded(rate))));
        }
        if let Some(left) = self.seconds_left(now) {
            parts.push(format!("{} left", figures::seconds(left)));
        }
        match parts.is_empty() {
            true => self.doing.clone(),
            false => format!("{}: {}", self.doing, parts.join(", ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use milestream_core::milestone::{LocalBatch, PrimaryBatch};

    use super::*;

    fn plan(from: Option<i32>, chunks_done: u64, rows_done: u64) -> Event {
        event(
            Step::Planned,
            Happening::Plan {
                from: from.map(PrimaryBatch),
                to: PrimaryBatch(4),
                local: LocalBatch(1),
                generation: 1,
                chunks: 10,
                chunks_done,
                rows_estimated: 1_000_000,
                rows_done,
            },
        )
    }

    fn event(step: Step, happening: Happening) -> Event {
        Event { stream: "Flights".into(), step, happening }
    }

    fn chunk(rows: u64) -> Event {
        let happening = Happening::Chunk { dataset: "flights".into(), chunk: 0, count: 1, rows, bytes: 0 };
        event(Step::ChunkCommitted, happening)
    }

    #[test]
    fn eta_of_a_resumed_seed_counts_what_was_done_but_not_as_speed() {
        let began = Instant::now();
        let mut pace = Pace::default();
        pace.take(&plan(None, 4, 400_000), began);
        pace.take(&chunk(100_000), began);
        pace.take(&chunk(100_000), began);
        let now = began + Duration::from_secs(10);
        assert_eq!(
            pace.line(now),
            "seed as of batch 4: 6 of 10 chunks, 600 000 rows, 20 000 rows/s, 20 s left"
        );
    }

    #[test]
    fn an_increment_is_measured_by_recorded_rows() {
        let began = Instant::now();
        let mut pace = Pace::default();
        pace.take(&plan(Some(3), 0, 0), began);
        assert_eq!(pace.line(began), "increment from batch 3 to 4");
        pace.take(&chunk(250_000), began);
        let now = began + Duration::from_secs(1);
        assert_eq!(pace.line(now), "increment from batch 3 to 4: 250 000 rows, 250 000 rows/s, 3 s left");
    }

    #[test]
    fn an_ingestion_is_no_seed() {
        let (mut pace, began) = (Pace::of_ingestion(), Instant::now());
        pace.take(&plan(None, 0, 0), began);
        pace.take(&chunk(250_000), began);
        let now = began + Duration::from_secs(1);
        assert_eq!(pace.line(now), "batch 4 from the source: 250 000 rows, 250 000 rows/s, 3 s left");
    }

    #[test]
    fn parts_of_a_sync_are_told_apart() {
        let (mut pace, now) = (Pace::default(), Instant::now());
        assert!(pace.take(&plan(None, 0, 0), now));
        assert!(!pace.take(&chunk(1), now));
        assert!(pace.take(&event(Step::IndexBuilt, Happening::Reached), now));
        assert!(!pace.take(&event(Step::IndexBuilt, Happening::Reached), now));
        let commit = Happening::Commit { watermark: PrimaryBatch(4), inserted: 1000, updated: 0, deleted: 0 };
        assert!(pace.take(&event(Step::AfterCommit, commit), now));
        assert_eq!(pace.line(now), "at batch 4: 1 000 inserted, 0 updated, 0 deleted");
        let figures = pace.figures(now);
        assert_eq!((figures.phase, figures.batch, figures.rows), (Some("seed"), Some(4), 1));
        assert_eq!((figures.inserted, figures.milliseconds), (Some(1000), Some(0)));
    }
}
