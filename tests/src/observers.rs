//! Observers that act at a step, and that remember the steps.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use milestream_worker::observer::{Answer, Event, Happening, Notice, NoticeKind, Observer, Step, Verdict};
use sqlx::postgres::PgConnectOptions;

use crate::world::execute;

type Action = Box<dyn Fn() -> Pin<Box<dyn Future<Output = Verdict> + Send>> + Send + Sync>;

/// Acts at one occurrence of a step, or at each from it on.
pub struct At {
    step: Step,
    first: usize,
    last: usize,
    seen: AtomicUsize,
    action: Action,
}

impl At {
    /// Acts at the `nth` occurrence, counted from 1.
    pub fn nth<F, A>(step: Step, nth: usize, action: A) -> At
    where
        F: Future<Output = Verdict> + Send + 'static,
        A: Fn() -> F + Send + Sync + 'static,
    {
        At {
            step,
            first: nth,
            last: nth,
            seen: AtomicUsize::new(0),
            action: Box::new(move || Box::pin(action())),
        }
    }

    /// Acts at every occurrence.
    pub fn every<F, A>(step: Step, action: A) -> At
    where
        F: Future<Output = Verdict> + Send + 'static,
        A: Fn() -> F + Send + Sync + 'static,
    {
        At { first: 1, last: usize::MAX, ..At::nth(step, 1, action) }
    }

    /// Ends the sync at the `nth` occurrence as if the process had ended.
    pub fn stop(step: Step, nth: usize) -> At {
        At::nth(step, nth, || async { Verdict::StopHere })
    }

    /// Lets the `nth` occurrence fail.
    pub fn fail(step: Step, nth: usize) -> At {
        At::nth(step, nth, || async { Verdict::FailHere("a test's failure".into()) })
    }

    /// Whether the action was due.
    pub fn fired(&self) -> bool {
        self.seen.load(Ordering::SeqCst) >= self.first
    }
}

impl Observer for At {
    fn at<'a>(&'a self, event: &'a Event) -> Answer<'a> {
        Box::pin(async move {
            if event.step != self.step {
                return Verdict::GoOn;
            }
            let occurrence = self.seen.fetch_add(1, Ordering::SeqCst) + 1;
            if occurrence < self.first || occurrence > self.last {
                return Verdict::GoOn;
            }
            (self.action)().await
        })
    }
}

/// Runs statements, one at each occurrence of any of some steps, in their order.
pub struct Script {
    options: PgConnectOptions,
    steps: Vec<Step>,
    first: usize,
    seen: AtomicUsize,
    statements: tokio::sync::Mutex<VecDeque<String>>,
}

impl Script {
    /// Statements for a database, one at each occurrence of one of the steps from the `first` on.
    pub fn new(
        options: PgConnectOptions,
        steps: &[Step],
        first: usize,
        statements: impl IntoIterator<Item = String>,
    ) -> Script {
        let statements = tokio::sync::Mutex::new(statements.into_iter().collect());
        Script { options, steps: steps.to_vec(), first, seen: AtomicUsize::new(0), statements }
    }

    /// How many statements have not had their turn.
    pub async fn left(&self) -> usize {
        self.statements.lock().await.len()
    }

    /// Runs the statements that have not had their turn.
    pub async fn finish(&self) {
        let mut statements = self.statements.lock().await;
        while let Some(statement) = statements.pop_front() {
            execute(&self.options, statement).await;
        }
    }
}

impl Observer for Script {
    fn at<'a>(&'a self, event: &'a Event) -> Answer<'a> {
        Box::pin(async move {
            if self.steps.contains(&event.step) && self.seen.fetch_add(1, Ordering::SeqCst) + 1 >= self.first
            {
                // Locked while it runs: batches are serial, whoever asks for them.
                let mut statements = self.statements.lock().await;
                if let Some(statement) = statements.pop_front() {
                    execute(&self.options, statement).await;
                }
            }
            Verdict::GoOn
        })
    }
}

/// Remembers every event and notice.
#[derive(Default)]
pub struct Tape {
    events: Mutex<Vec<Event>>,
    notices: Mutex<Vec<Notice>>,
}

impl Tape {
    /// How often a step was reached.
    pub fn count(&self, step: Step) -> usize {
        self.events
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
            .iter()
            .filter(|event| event.step == step)
            .count()
    }

    /// Ordinals of the chunks that reached a step, in order.
    pub fn chunks(&self, step: Step) -> Vec<i32> {
        let events = self.events.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        events
            .iter()
            .filter(|event| event.step == step)
            .filter_map(|event| match event.happening {
                Happening::Chunk { chunk, .. } => Some(chunk),
                _ => None,
            })
            .collect()
    }

    /// How many chunks were copied together each time that a step was reached, in order.
    pub fn together(&self, step: Step) -> Vec<u32> {
        let events = self.events.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        events
            .iter()
            .filter(|event| event.step == step)
            .filter_map(|event| match event.happening {
                Happening::Chunk { count, .. } => Some(count),
                _ => None,
            })
            .collect()
    }

    /// Rows of each chunk that reached a step, in order.
    pub fn rows(&self, step: Step) -> Vec<u64> {
        let events = self.events.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        events
            .iter()
            .filter(|event| event.step == step)
            .filter_map(|event| match event.happening {
                Happening::Chunk { rows, .. } => Some(rows),
                _ => None,
            })
            .collect()
    }

    /// Texts of the notices of a kind.
    pub fn notices(&self, kind: NoticeKind) -> Vec<String> {
        let notices = self.notices.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        notices.iter().filter(|notice| notice.kind == kind).map(|notice| notice.text.clone()).collect()
    }
}

impl Observer for Tape {
    fn at<'a>(&'a self, event: &'a Event) -> Answer<'a> {
        self.events.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).push(event.clone());
        Box::pin(std::future::ready(Verdict::GoOn))
    }

    fn notice(&self, notice: &Notice) {
        self.notices.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).push(notice.clone());
    }
}
