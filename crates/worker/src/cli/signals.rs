//! SIGTERM and SIGINT, from the first instruction on: the first asks a sync to stop after the chunk in flight, the second
//! ends the process at once. A command that has nothing to bring to an end is ended by the first.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::error::{Error, Result};

/// Shells report a process that a signal ended as 128 and the signal's number; so does a process that ends itself for one.
const ENDED_BY_INTERRUPT: i32 = 130;
const ENDED_BY_TERMINATE: i32 = 143;

/// What signals do to this process.
#[derive(Clone)]
pub(super) struct Signals {
    stop: CancellationToken,
    /// Whether the first signal ends the process.
    at_once: Arc<AtomicBool>,
    /// The exit code of the first signal; 0 before there was one.
    first: Arc<AtomicI32>,
}

impl Signals {
    /// Listens until the process ends; needs a runtime around it. Until the command is known, a signal is kept for it.
    ///
    /// # Errors
    /// `Setup` when the system lets no handler be installed.
    pub(super) fn listen() -> Result<Signals> {
        let signals = Signals {
            stop: CancellationToken::new(),
            at_once: Arc::new(AtomicBool::new(false)),
            first: Arc::new(AtomicI32::new(0)),
        };
        let (mut interrupt, mut terminate) =
            (handler(SignalKind::interrupt())?, handler(SignalKind::terminate())?);
        let listening = signals.clone();
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    _ = interrupt.recv() => listening.heed(ENDED_BY_INTERRUPT),
                    _ = terminate.recv() => listening.heed(ENDED_BY_TERMINATE),
                }
            }
        });
        Ok(signals)
    }

    fn heed(&self, exit_code: i32) {
        // Nothing is lost by a sync: what is not committed is copied again by the next.
        if self.at_once.load(Ordering::SeqCst) || self.stop.is_cancelled() {
            std::process::exit(exit_code);
        }
        self.first.store(exit_code, Ordering::SeqCst);
        self.stop.cancel();
    }

    /// Cancelled by the first signal, which may have come already; then the log says so.
    pub(super) fn stop(&self, on_first: &'static str) -> CancellationToken {
        let stopped = self.stop.clone();
        tokio::spawn(async move {
            stopped.cancelled().await;
            tracing::warn!("{on_first}");
        });
        self.stop.clone()
    }

    /// From here on the first signal ends the process; also one that has come already.
    pub(super) fn end_at_once(&self) {
        self.at_once.store(true, Ordering::SeqCst);
        if self.stop.is_cancelled() {
            std::process::exit(self.first.load(Ordering::SeqCst));
        }
    }
}

fn handler(kind: SignalKind) -> Result<Signal> {
    signal(kind).map_err(|error| {
        Error::setup(
            format!("no handler for signals could be installed: {error}"),
            "check the limits of this process",
        )
    })
}
