//! How each fault is brought about at a step, and how it ends.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use milestream_cluster::Server;
use milestream_worker::observer::{Event as Step, Verdict};

use super::asker::quoted;
use super::hold::Hold;
use super::late_column;
use super::rivals;
use super::secondary::SecondaryState;
use super::stage::Place;
use super::watcher::Watcher;
use super::{Failure, MOVER};
use crate::fault::{Fault, FaultKind, Phase, Side};
use crate::forensic::ident;
use crate::proxy::{Direction, Proxy};

/// How long a read from a slow link is held back.
const LATENCY: Duration = Duration::from_millis(10);

/// Brings faults about in the syncs of one secondary.
pub(crate) struct Injector {
    pub(crate) primary: Arc<Place>,
    pub(crate) secondary: Arc<Place>,
}

/// A fault that was brought about.
pub(crate) struct Injection {
    /// What the worker is told.
    pub(crate) verdict: Verdict,
    /// Whether it was felt at once.
    pub(crate) felt: bool,
    /// How it ends.
    pub(crate) lift: Lift,
}

impl Injection {
    /// One that was over as soon as it was felt.
    pub(super) fn felt_at_once() -> Injection {
        Injection { verdict: Verdict::GoOn, felt: true, lift: Lift::Nothing }
    }
}

/// How a fault ends.
pub(crate) enum Lift {
    /// It was over at once.
    Nothing,
    /// Links are as usual again.
    Calm(Proxy),
    /// Reads are held back no longer; how many had been before.
    Hasten(Proxy, u64),
    /// The server is started again.
    Restart(Arc<Server>),
    /// The server goes on.
    Resume(Arc<Server>),
    /// The disk is freed.
    Free(Arc<Place>),
    /// The database takes connections again.
    Admit(Arc<Place>),
    /// The right to read is granted again.
    Grant(Arc<Place>),
    /// Another session lets go.
    Release(Hold),
}

impl Lift {
    /// Ends the fault.
    pub(crate) async fn bring_about(self) -> Result<(), Failure> {
        match self {
            Lift::Nothing => Ok(()),
            Lift::Calm(proxy) => {
                proxy.calm();
                Ok(())
            }
            Lift::Hasten(proxy, _) => {
                proxy.delay(Duration::ZERO);
                Ok(())
            }
            Lift::Restart(server) => Ok(server.restart().await?),
            Lift::Resume(server) => Ok(server.resume().await?),
            Lift::Free(place) => place.disk.as_ref().map_or(Ok(()), super::disk::SmallDisk::free),
            Lift::Admit(place) => limit_connections(&place, -1).await,
            Lift::Grant(place) => {
                place.execute(&format!("grant select on all tables in schema public to {MOVER}")).await
            }
            Lift::Release(hold) => hold.release().await,
        }
    }

    /// Whether it made itself felt without an error.
    pub(crate) fn was_noticed(&self) -> bool {
        match self {
            Lift::Hasten(proxy, before) => proxy.counters().delayed_reads > *before,
            _ => false,
        }
    }

    /// Whether what the worker says comes from it.
    pub(crate) fn is_felt_by(&self, text: &str) -> bool {
        match self {
            // First its sessions end; that it gets no new ones is what is meant.
            Lift::Admit(_) => text.contains("too many connections"),
            Lift::Hasten(..) => false,
            _ => true,
        }
    }
}

impl Injector {
    fn place(&self, side: Side) -> &Arc<Place> {
        match side {
            Side::Primary => &self.primary,
            Side::Secondary => &self.secondary,
        }
    }

    /// Brings a fault about; `None` where there was nothing that it could have fallen on.
    pub(crate) async fn inject(
        &self,
        fault: Fault,
        step: &Step,
        watcher: &Watcher,
    ) -> Result<Option<Injection>, Failure> {
        let place = self.place(fault.side);
        let lasting = |lift| Some(Injection { verdict: Verdict::GoOn, felt: false, lift });
        Ok(match fault.kind {
            FaultKind::WorkerAborted => {
                Some(Injection { verdict: Verdict::StopHere, felt: true, lift: Lift::Nothing })
            }
            // The process is killed by whoever runs it; see `process`.
            FaultKind::WorkerKilled => None,
            FaultKind::RequestCut => lasting(cut(place, Direction::Requests, fault.bytes)),
            FaultKind::AnswerCut => lasting(cut(place, Direction::Answers, fault.bytes)),
            FaultKind::CommitAnswerLost => {
                place.proxy.lose_commit_answer();
                lasting(Lift::Calm(place.proxy.clone()))
            }
            FaultKind::HalfOpen => {
                place.proxy.freeze();
                lasting(Lift::Calm(place.proxy.clone()))
            }
            FaultKind::Latency => {
                let before = place.proxy.counters().delayed_reads;
                place.proxy.delay(LATENCY);
                lasting(Lift::Hasten(place.proxy.clone(), before))
            }
            FaultKind::BackendTerminated => {
                (terminate(place).await? > 0).then(|| lasting(Lift::Nothing)).flatten()
            }
            FaultKind::StatementTimeout => lasting(self.hold_primary(step, watcher).await?),
            FaultKind::LockTimeout => match fault.side {
                Side::Primary => lasting(self.hold_primary(step, watcher).await?),
                Side::Secondary => {
                    let hold = Hold::lock_at_once(place, &watcher.secondary.control.stream).await?;
                    hold.and_then(|hold| lasting(Lift::Release(hold)))
                }
            },
            FaultKind::ServerStopped => {
                place.server.stop_immediate().await?;
                lasting(Lift::Restart(Arc::clone(&place.server)))
            }
            FaultKind::ServerKilled => {
                place.server.kill().await?;
                lasting(Lift::Restart(Arc::clone(&place.server)))
            }
            FaultKind::ServerPaused => {
                place.server.pause().await?;
                lasting(Lift::Resume(Arc::clone(&place.server)))
            }
            FaultKind::DiskFull => match &place.disk {
                None => None,
                Some(disk) => {
                    disk.fill()?;
                    lasting(Lift::Free(Arc::clone(place)))
                }
            },
            FaultKind::TooManyConnections => {
                limit_connections(place, 0).await?;
                terminate(place).await?;
                lasting(Lift::Admit(Arc::clone(place)))
            }
            FaultKind::Deadlock => match contended(step, &watcher.secondary) {
                None => None,
                Some(table) => lasting(Lift::Release(Hold::deadlock(place, table).await?)),
            },
            FaultKind::PermissionRevoked => {
                place.execute(&format!("revoke select on all tables in schema public from {MOVER}")).await?;
                lasting(Lift::Grant(Arc::clone(place)))
            }
            FaultKind::SecondWorker => rivals::second_worker(step, watcher).await?,
            FaultKind::Takeover => rivals::takeover(step, watcher, fault).await?,
            FaultKind::VacuumFull
            | FaultKind::RewritingAlter
            | FaultKind::UpdateInPlace
            | FaultKind::PrimaryRestored
            | FaultKind::HistoryPruned
            | FaultKind::ColumnAdded => self.disturb(fault.kind, step, watcher).await?,
        })
    }

    async fn hold_primary(&self, step: &Step, watcher: &Watcher) -> Result<Lift, Failure> {
        let tables = watcher.primary.lock().await.merge_tables(&step.stream);
        Ok(Lift::Release(Hold::lock(&self.primary, &tables).await?))
    }

    /// Open versions of the last blocks are written again. Where a VACUUM left room they move into the first blocks, which
    /// a seed has read by then; where it left none they move to the end, which it reads after them.
    async fn move_open_versions(&self, table: &str) -> Result<(), Failure> {
        self.primary.execute(&format!("vacuum (truncate off) {table}")).await?;
        let rewrite = format!(
            "update {table} set ds_surf_all_hash = ds_surf_all_hash where ds_surf_batch_out = 2147483647 \
             and ctid >= ('(' || pg_relation_size({}) / current_setting('block_size')::int / 2 || ',0)')::tid",
            quoted(table)
        );
        self.primary.execute(&rewrite).await
    }

    /// What is done to the primary's tables. Each excuses a new plan, from its beginning until its end.
    async fn disturb(
        &self,
        kind: FaultKind,
        step: &Step,
        watcher: &Watcher,
    ) -> Result<Option<Injection>, Failure> {
        let mut primary = watcher.primary.lock().await;
        let disturbances = Arc::clone(&primary.disturbances);
        let tables = primary.merge_tables(&step.stream);
        disturbances.fetch_add(1, Ordering::SeqCst);
        let mut lift = Lift::Nothing;
        let happened = match kind {
            FaultKind::PrimaryRestored => primary.restore(&step.stream).await?,
            FaultKind::HistoryPruned => primary.prune(&step.stream).await?,
            FaultKind::ColumnAdded => {
                late_column::add(&self.primary, &tables[0], &step.stream, &watcher.secondary).await?
            }
            FaultKind::UpdateInPlace => {
                for table in &tables {
                    self.move_open_versions(table).await?;
                }
                true
            }
            FaultKind::VacuumFull => {
                lift = Lift::Release(Hold::vacuum(&self.primary, &tables, disturbances).await?);
                true
            }
            _ => {
                lift = Lift::Release(Hold::rewrite(&self.primary, &tables, disturbances).await?);
                true
            }
        };
        Ok(happened.then_some(Injection { verdict: Verdict::GoOn, felt: false, lift }))
    }
}

pub(super) fn cut(place: &Place, direction: Direction, bytes: u64) -> Lift {
    place.proxy.cut_after(direction, bytes.max(1));
    Lift::Calm(place.proxy.clone())
}

async fn limit_connections(place: &Place, limit: i32) -> Result<(), Failure> {
    place.execute(&format!("alter database {} connection limit {limit}", ident(&place.database))).await
}

/// Ends the worker's sessions; how many there were.
pub(super) async fn terminate(place: &Place) -> Result<i64, Failure> {
    let mut asker = place.asker().await?;
    let ended = format!(
        "select count(pg_terminate_backend(pid)) from pg_stat_activity where usename = '{MOVER}' and datname = current_database()"
    );
    let ended = asker.number(&ended).await?;
    asker.close().await;
    Ok(ended)
}

/// The table that the worker needs next while it holds others; `None` where it has all it needs.
fn contended(step: &Step, secondary: &SecondaryState) -> Option<String> {
    let control = &secondary.control;
    match Phase::of(step.step)? {
        Phase::BeforeCommit => None,
        Phase::Merge => Some(control.metrics.clone()),
        Phase::ChunkCommit | Phase::IndexBuild => Some(control.stream.clone()),
        _ => Some(control.chunk.clone()),
    }
}
