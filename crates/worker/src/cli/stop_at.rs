//! `--stop-at STEP[:N]`: the process stops itself at an exact step, for drills and tests.
//!
//! It raises SIGSTOP, which its parent sees with waitpid(WUNTRACED). Killed there it has stopped exactly at that step;
//! continued with SIGCONT it goes on.

use std::io::Write;
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::process::{Signal, getpid, kill_process};

use crate::observer::{Answer, Event, Happening, Observer, Step, Verdict};

/// Time for a stop signal to reach every thread, on a machine that is busy.
const TAKING_HOLD: Duration = Duration::from_millis(200);

/// A step, and which of its occurrences is meant, counted from 1 over all streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct StopPoint {
    step: Step,
    occurrence: u64,
}

impl FromStr for StopPoint {
    type Err = String;

    fn from_str(text: &str) -> Result<StopPoint, String> {
        let (name, number) = text.split_once(':').unwrap_or((text, "1"));
        let step = Step::parse(name).ok_or_else(|| {
            format!("{name:?} is no step; there is {}", Step::ALL.map(Step::name).join(", "))
        })?;
        let occurrence = number.parse().ok().filter(|number| *number > 0);
        let occurrence =
            occurrence.ok_or_else(|| format!("{number:?} is no number of an occurrence, 1 or more"))?;
        Ok(StopPoint { step, occurrence })
    }
}

/// Stops the process when its point is reached.
pub(super) struct StopAt {
    point: StopPoint,
    reached: AtomicU64,
}

impl StopAt {
    pub(super) fn new(point: StopPoint) -> StopAt {
        StopAt { point, reached: AtomicU64::new(0) }
    }

    /// Which occurrence of the point's step this event is; `None` for other steps.
    fn occurrence(&self, event: &Event) -> Option<u64> {
        (event.step == self.point.step).then(|| self.reached.fetch_add(1, Ordering::Relaxed) + 1)
    }
}

impl Observer for StopAt {
    fn at<'a>(&'a self, event: &'a Event) -> Answer<'a> {
        if let Some(occurrence) = self.occurrence(event)
            && occurrence == self.point.occurrence
        {
            stop(event, occurrence);
        }
        Box::pin(std::future::ready(Verdict::GoOn))
    }
}

/// The line is flushed before the process stops, so that whoever sees the stop can read where it is.
fn stop(event: &Event, occurrence: u64) {
    let mut stderr = std::io::stderr().lock();
    // Without a reader there is nobody to tell; the drill goes on.
    let _ = writeln!(stderr, "{}", line(event, occurrence)).and_then(|()| stderr.flush());
    if let Err(error) = kill_process(getpid(), Signal::STOP) {
        tracing::error!(%error, "the process could not stop itself");
        return;
    }
    // The signal may be taken by another thread first; this one must not run on to its commit meanwhile. It is
    // stopped in its sleep, and wakes when the process is continued.
    std::thread::sleep(TAKING_HOLD);
}

fn line(event: &Event, occurrence: u64) -> String {
    let mut line = format!("stopped at {} (occurrence {occurrence}): stream {}", event.step, event.stream);
    match &event.happening {
        Happening::Reached => {}
        Happening::Plan { from, to, chunks, chunks_done, .. } => {
            let from = from.map_or("a seed".to_owned(), |from| format!("from batch {from}"));
            line += &format!(", {from}, to batch {to}, {chunks_done} of {chunks} chunks done");
        }
        Happening::Chunk { dataset, chunk, rows, bytes, .. } => {
            line += &format!(", dataset {dataset}, chunk {chunk}, {rows} rows, {bytes} bytes");
        }
        Happening::Dataset { dataset, rows } => line += &format!(", dataset {dataset}, {rows} rows"),
        Happening::Commit { watermark, .. } => line += &format!(", watermark {watermark}"),
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_is_a_step_and_perhaps_its_occurrence() {
        let point = |text: &str| text.parse::<StopPoint>();
        assert_eq!(point("mid-chunk"), Ok(StopPoint { step: Step::MidChunk, occurrence: 1 }));
        assert_eq!(point("chunk-committed:3"), Ok(StopPoint { step: Step::ChunkCommitted, occurrence: 3 }));
        assert!(point("lunch").unwrap_err().contains("mid-chunk, chunk-committing"));
        for text in ["mid-chunk:0", "mid-chunk:", "mid-chunk:x", ""] {
            assert!(point(text).is_err(), "{text:?} was taken");
        }
    }

    #[test]
    fn only_the_points_own_step_is_counted() {
        let stop = StopAt::new("swept:2".parse().unwrap());
        let event = |step| Event { stream: "Flights".into(), step, happening: Happening::Reached };
        let occurrences = [Step::Swept, Step::Landed, Step::Swept].map(|step| stop.occurrence(&event(step)));
        assert_eq!(occurrences, [Some(1), None, Some(2)]);
    }

    #[test]
    fn the_line_says_where_the_process_stands() {
        let happening =
            Happening::Chunk { dataset: "flights".into(), chunk: 7, count: 1, rows: 12, bytes: 345 };
        let event = Event { stream: "Flights".into(), step: Step::MidChunk, happening };
        assert_eq!(
            line(&event, 2),
            "stopped at mid-chunk (occurrence 2): stream Flights, dataset flights, chunk 7, 12 rows, 345 bytes"
        );
    }
}
