//! A standby of a primary's server, whose replay halts and goes on.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use milestream_cluster::{Server, ServerOptions};

use super::Failure;
use super::asker::{Asker, quoted};

/// Between two looks at how far it is.
const PAUSE: Duration = Duration::from_millis(5);
/// It catches up within this time, or never.
const PATIENCE: Duration = Duration::from_secs(20);

/// A standby that streams from a server.
pub(crate) struct Standby {
    pub(crate) server: Server,
    is_halted: AtomicBool,
}

impl Standby {
    pub(crate) async fn of(server: &Server, options: ServerOptions) -> Result<Standby, Failure> {
        let server = server.standby(options).await?;
        Ok(Standby { server, is_halted: AtomicBool::new(false) })
    }

    pub(crate) fn is_halted(&self) -> bool {
        self.is_halted.load(Ordering::SeqCst)
    }

    /// Halts the replay, or lets it go on.
    pub(super) async fn replay(&self, goes_on: bool) -> Result<(), Failure> {
        let mut asker = Asker::connect(&self.server, "postgres").await?;
        let order = if goes_on { "pg_wal_replay_resume" } else { "pg_wal_replay_pause" };
        asker.execute(&format!("select {order}()")).await?;
        self.is_halted.store(!goes_on, Ordering::SeqCst);
        asker.close().await;
        Ok(())
    }

    /// Lets the replay go on, and waits until everything that `server` has written is there.
    pub(crate) async fn catch_up(&self, server: &Server) -> Result<(), Failure> {
        self.replay(true).await?;
        let mut asker = Asker::connect(server, "postgres").await?;
        let written = asker.value("select pg_current_wal_flush_lsn()").await?.unwrap_or_default();
        asker.close().await;
        let mut asker = Asker::connect(&self.server, "postgres").await?;
        let question = format!("select (pg_last_wal_replay_lsn() >= {}::pg_lsn)::int", quoted(&written));
        let began = Instant::now();
        while asker.number(&question).await? == 0 {
            if began.elapsed() > PATIENCE {
                return Err(Failure::Set { what: format!("a standby never came to {written}") });
            }
            tokio::time::sleep(PAUSE).await;
        }
        asker.close().await;
        Ok(())
    }
}
