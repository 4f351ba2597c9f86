//! SIGTERM and SIGINT: the first stops after the chunk in flight, the second ends at once.

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::error::{Error, Result};

/// Shells report a process that a signal ended as 128 and the signal's number.
const ENDED_BY_INTERRUPT: i32 = 130;
const ENDED_BY_TERMINATE: i32 = 143;

/// Listens until the process ends. The first signal cancels the token and logs `on_first`.
///
/// # Errors
/// `Setup` when the system lets no handler be installed.
pub(super) fn listen(on_first: &'static str) -> Result<CancellationToken> {
    let stop = CancellationToken::new();
    let (mut interrupt, mut terminate) =
        (handler(SignalKind::interrupt())?, handler(SignalKind::terminate())?);
    let token = stop.clone();
    tokio::spawn(async move {
        let mut next = async || {
            tokio::select! {
                _ = interrupt.recv() => ENDED_BY_INTERRUPT,
                _ = terminate.recv() => ENDED_BY_TERMINATE,
            }
        };
        next().await;
        tracing::warn!("{on_first}");
        token.cancel();
        // Nothing is lost by a sync: what is not committed is copied again by the next.
        std::process::exit(next().await);
    });
    Ok(stop)
}

fn handler(kind: SignalKind) -> Result<Signal> {
    signal(kind).map_err(|error| {
        Error::setup(
            format!("no handler for signals could be installed: {error}"),
            "check the limits of this process",
        )
    })
}
