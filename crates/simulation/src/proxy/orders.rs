//! What is ordered of a proxy and what came of it: shared by the handle, which orders, and the links, which obey.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// The way bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the worker to the server.
    Requests,
    /// From the server to the worker.
    Answers,
}

/// What really happened at a proxy since it was started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Connections cut at a byte or by `cut_all`.
    pub cuts: u64,
    /// Commits that were answered while the answer was swallowed; these connections are not among `cuts`.
    pub answers_lost: u64,
    /// Reads that were held back.
    pub delayed_reads: u64,
    /// Connections that were frozen.
    pub frozen: u64,
    /// Connections closed at once because of `refuse`.
    pub refused: u64,
    /// Bytes handed on to the server.
    pub bytes_requests: u64,
    /// Bytes handed on to the worker.
    pub bytes_answers: u64,
}

/// The orders that stand. A one-shot order goes to the first connection that meets it.
#[derive(Debug)]
pub(crate) struct Orders {
    book: Mutex<Book>,
    delay: watch::Sender<Duration>,
}

#[derive(Debug, Default)]
struct Book {
    cut: Option<PendingCut>,
    lose_commit_answer: bool,
    refusing: bool,
    links: HashMap<u64, Grip>,
    links_opened: u64,
    counters: Counters,
}

#[derive(Clone, Copy, Debug)]
struct PendingCut {
    direction: Direction,
    bytes_left: u64,
}

/// The handle's grip on one connection.
#[derive(Clone, Debug)]
pub(crate) struct Grip {
    pub(crate) id: u64,
    /// Nothing passes from here on, but the sockets stay open.
    pub(crate) frozen: CancellationToken,
    /// The connection is reset.
    pub(crate) ended: CancellationToken,
}

/// How much of a read may pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Allowance {
    pub(crate) bytes: usize,
    /// The connection is cut behind these bytes.
    pub(crate) cut: bool,
}

impl Grip {
    pub(crate) fn is_halted(&self) -> bool {
        self.frozen.is_cancelled() || self.ended.is_cancelled()
    }
}

impl Orders {
    pub(crate) fn new() -> Orders {
        Orders { book: Mutex::default(), delay: watch::Sender::new(Duration::ZERO) }
    }

    pub(crate) fn counters(&self) -> Counters {
        self.book().counters
    }

    pub(crate) fn count(&self, change: impl FnOnce(&mut Counters)) {
        change(&mut self.book().counters);
    }

    pub(crate) fn cut_after(&self, direction: Direction, bytes: u64) {
        self.book().cut = Some(PendingCut { direction, bytes_left: bytes });
    }

    pub(crate) fn lose_commit_answer(&self) {
        self.book().lose_commit_answer = true;
    }

    pub(crate) fn refusing(&self, refusing: bool) {
        self.book().refusing = refusing;
    }

    pub(crate) fn delay(&self, delay: Duration) {
        self.delay.send_replace(delay);
    }

    pub(crate) fn freeze(&self) {
        let mut book = self.book();
        let mut frozen = 0;
        for grip in book.links.values().filter(|grip| !grip.is_halted()) {
            grip.frozen.cancel();
            frozen += 1;
        }
        book.counters.frozen += frozen;
    }

    pub(crate) fn thaw(&self) {
        for grip in self.book().links.values().filter(|grip| grip.frozen.is_cancelled()) {
            grip.ended.cancel();
        }
    }

    pub(crate) fn cut_all(&self) -> u64 {
        let mut book = self.book();
        let mut cuts = 0;
        for grip in book.links.values().filter(|grip| !grip.ended.is_cancelled()) {
            grip.ended.cancel();
            cuts += 1;
        }
        book.counters.cuts += cuts;
        cuts
    }

    pub(crate) fn calm(&self) {
        {
            let mut book = self.book();
            book.cut = None;
            book.lose_commit_answer = false;
            book.refusing = false;
        }
        self.delay(Duration::ZERO);
        self.thaw();
    }

    /// Enters a connection, unless connections are refused.
    pub(crate) fn enter(&self, proxy_ended: &CancellationToken) -> Option<Grip> {
        let mut book = self.book();
        if book.refusing {
            book.counters.refused += 1;
            return None;
        }
        book.links_opened += 1;
        let id = book.links_opened;
        let grip = Grip { id, frozen: CancellationToken::new(), ended: proxy_ended.child_token() };
        book.links.insert(id, grip.clone());
        Some(grip)
    }

    pub(crate) fn leave(&self, grip: &Grip) {
        self.book().links.remove(&grip.id);
    }

    /// Whether this commit is the one whose answer is to be lost; yes is said once.
    pub(crate) fn take_commit(&self) -> bool {
        std::mem::take(&mut self.book().lose_commit_answer)
    }

    /// Counts bytes that are about to pass against the pending cut; the connection it falls to is told once.
    pub(crate) fn allow(&self, direction: Direction, bytes: usize) -> Allowance {
        let mut book = self.book();
        let Some(cut) = book.cut.as_mut().filter(|cut| cut.direction == direction) else {
            return Allowance { bytes, cut: false };
        };
        match usize::try_from(cut.bytes_left) {
            Ok(left) if left <= bytes => {
                book.cut = None;
                Allowance { bytes: left, cut: true }
            }
            _ => {
                cut.bytes_left -= wide(bytes);
                Allowance { bytes, cut: false }
            }
        }
    }

    pub(crate) fn passed(&self, direction: Direction, bytes: usize) {
        self.count(|counters| match direction {
            Direction::Requests => counters.bytes_requests += wide(bytes),
            Direction::Answers => counters.bytes_answers += wide(bytes),
        });
    }

    /// Waits as long as a read is to be held back; the end of the order ends the wait.
    pub(crate) async fn hold_back(&self) {
        let mut order = self.delay.subscribe();
        let delay = *order.borrow_and_update();
        if delay.is_zero() {
            return;
        }
        self.count(|counters| counters.delayed_reads += 1);
        tokio::select! {
            () = tokio::time::sleep(delay) => {}
            _ = order.wait_for(Duration::is_zero) => {}
        }
    }

    /// A panic cannot leave the book half-written: every change is a single statement or a counter.
    fn book(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn wide(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}
