//! What a history leaves behind, written from many tasks.

use std::sync::Mutex;
use std::time::Instant;

use crate::fault::{FaultKind, Phase};
use crate::outcome::{Event, Moment, Outcome, Property, Sometimes, Violation};

/// Takes down what happens.
pub(crate) struct Recorder {
    began: Instant,
    outcome: Mutex<Outcome>,
}

impl Recorder {
    pub(crate) fn new() -> Recorder {
        Recorder { began: Instant::now(), outcome: Mutex::default() }
    }

    fn with<T>(&self, write: impl FnOnce(&mut Outcome) -> T) -> T {
        write(&mut self.outcome.lock().unwrap_or_else(|poisoned| poisoned.into_inner()))
    }

    pub(crate) fn happened(&self, what: Event) {
        let at_ms = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.with(|outcome| outcome.timeline.push(Moment { at_ms, what }));
    }

    /// The first violation counts; what follows may follow from it.
    pub(crate) fn violated(&self, property: Property, what: impl Into<String>) {
        let violation = Violation { property, what: what.into() };
        self.with(|outcome| {
            outcome.violation.get_or_insert(violation);
        });
    }

    pub(crate) fn is_violated(&self) -> bool {
        self.with(|outcome| outcome.violation.is_some())
    }

    pub(crate) fn saw(&self, sometimes: Sometimes) {
        self.with(|outcome| outcome.sometimes.insert(sometimes));
    }

    pub(crate) fn fired(&self, kind: FaultKind, phase: Phase) {
        self.with(|outcome| outcome.matrix.entry((kind, phase)).or_default().fired += 1);
    }

    pub(crate) fn has_fired(&self) -> bool {
        self.with(|outcome| !outcome.matrix.is_empty())
    }

    pub(crate) fn felt(&self, kind: FaultKind, phase: Phase) {
        self.with(|outcome| outcome.matrix.entry((kind, phase)).or_default().felt += 1);
    }

    pub(crate) fn synced(&self) {
        self.with(|outcome| outcome.syncs += 1);
    }

    pub(crate) fn compared(&self) {
        self.with(|outcome| outcome.comparisons += 1);
    }

    pub(crate) fn sampled(&self, samples: u64) {
        self.with(|outcome| outcome.samples += samples);
    }

    pub(crate) fn close(&self, tables: String) -> Outcome {
        let took_ms = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.with(|outcome| Outcome { took_ms, tables, ..std::mem::take(outcome) })
    }
}
