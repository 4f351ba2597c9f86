//! Plays a plan on real servers and judges what came of it.

mod asker;
mod conductor;
mod disk;
mod hands;
mod helpers;
mod hold;
mod ingesting;
mod inject;
mod judging;
mod late_column;
mod ledger;
mod modelled;
mod operator;
mod primary;
mod processes;
mod readers;
mod record;
mod rivals;
mod scenery;
mod secondary;
mod stage;
mod standby;
mod syncing;
mod watcher;

use std::sync::Arc;
use std::time::Duration;

use milestream_worker::sync::Tuning;
use tokio::sync::Mutex;

pub use processes::WorkerBinary;
pub use stage::Hall;

use crate::fault::FaultKind;
use crate::outcome::{Outcome, Property};
use crate::plan::hands::Hand;
use crate::plan::{Act, Cue, Plan, What};
use conductor::Active;
use primary::PrimaryState;
use record::Recorder;
use secondary::SecondaryState;

/// The role that the worker logs in as, everywhere.
const MOVER: &str = "mover";

/// A history is given up after this long; none has that much to do.
const HISTORY_MAX: Duration = Duration::from_secs(150);

/// Whether disks can be filled here: a small tmpfs must be mountable.
pub fn can_fill_disks() -> bool {
    disk::SmallDisk::is_possible()
}

/// Something of the simulation itself that did not work.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// A server.
    #[error(transparent)]
    Cluster(#[from] milestream_cluster::Error),
    /// A statement of the simulation's own.
    #[error("{source} (asking: {question})")]
    Question {
        /// The beginning of the statement.
        question: String,
        /// What the server said.
        source: sqlx::Error,
    },
    /// A connection of the simulation's own.
    #[error("the simulation's own connection: {0}")]
    Connection(#[from] sqlx::Error),
    /// Files, processes and sockets.
    #[error("the simulation's own files: {0}")]
    Io(#[from] std::io::Error),
    /// The worker that writes a primary.
    #[error("the worker could not ingest: {0}")]
    Ingestion(Box<milestream_worker::Error>),
    /// Anything else about the scene that is set.
    #[error("{what}")]
    Set {
        /// What it is.
        what: String,
    },
}

/// A history as it is played.
pub(crate) struct World {
    pub(crate) plan: Arc<Plan>,
    pub(crate) primaries: Vec<Arc<Mutex<PrimaryState>>>,
    pub(crate) secondaries: Vec<Arc<SecondaryState>>,
    pub(crate) recorder: Arc<Recorder>,
    pub(crate) worker: WorkerBinary,
    stage: stage::Stage,
}

/// Plays a plan.
///
/// # Errors
/// When the simulation itself could not go on; what the worker did wrong is in the outcome.
pub async fn play(plan: &Plan, hall: &Hall, worker: &WorkerBinary) -> Result<Outcome, Failure> {
    let world = World::set(plan, hall, worker).await?;
    let played = tokio::time::timeout(HISTORY_MAX, Box::pin(world.play())).await;
    match played {
        Ok(played) => played?,
        Err(_) => {
            let what = format!("the history did not end within {} s", HISTORY_MAX.as_secs());
            world.recorder.violated(Property::Sound, what);
        }
    }
    let tables = match world.recorder.is_violated() {
        // A server may be down.
        true => String::new(),
        false => world.tables().await?,
    };
    Ok(world.recorder.close(tables))
}

/// Bounds of the workers: short, since nothing here takes long unless it hangs.
pub(crate) fn tuning() -> Tuning {
    Tuning {
        lease: Duration::from_secs(3),
        connect_timeout: Duration::from_millis(1_500),
        lock_timeout: Duration::from_millis(400),
        statement_timeout: Duration::from_millis(4_000),
        silence_timeout: Duration::from_millis(500),
        retry_tries: 60,
        retry_window: Duration::from_secs(60),
        retry_pause_min: Duration::from_millis(10),
        retry_pause_max: Duration::from_millis(150),
        max_delete_fraction: 1.0,
        maintenance_work_mem: "16MB".into(),
        ..Tuning::default()
    }
}

impl World {
    async fn set(plan: &Plan, hall: &Hall, worker: &WorkerBinary) -> Result<World, Failure> {
        let stage = hall.stage(plan).await?;
        let mut primaries = Vec::new();
        for (index, place) in stage.primaries.iter().enumerate() {
            let source = stage.sources[index].clone();
            let state = PrimaryState::create(plan, index, Arc::clone(place), source).await?;
            primaries.push(Arc::new(Mutex::new(state)));
        }
        for place in &stage.primaries {
            place.catch_up().await?;
        }
        let mut secondaries = Vec::new();
        for (index, place) in stage.secondaries.iter().enumerate() {
            let primary = primaries[plan.secondaries[index].primary].lock().await;
            let secondary = SecondaryState::of(plan, index, Arc::clone(place), &primary);
            secondary.furnish().await?;
            secondaries.push(Arc::new(secondary));
        }
        let (plan, recorder) = (Arc::new(plan.clone()), Arc::new(Recorder::new()));
        Ok(World { plan, primaries, secondaries, recorder, worker: worker.clone(), stage })
    }

    async fn play(&self) -> Result<(), Failure> {
        let mut active: Vec<Option<Active>> = self.secondaries.iter().map(|_| None).collect();
        for act in &self.plan.schedule {
            if self.recorder.is_violated() {
                return Ok(());
            }
            match act {
                Act::Commit { primary } => {
                    self.clear_for_batch(*primary, &mut active).await?;
                    self.primaries[*primary].lock().await.commit(&[], &self.recorder).await?;
                }
                Act::Ingest { primary, cues } => {
                    self.clear_for_batch(*primary, &mut active).await?;
                    self.primaries[*primary].lock().await.commit(cues, &self.recorder).await?;
                }
                Act::Begin { primary, status } => {
                    self.clear_for_batch(*primary, &mut active).await?;
                    self.primaries[*primary].lock().await.begin(*status).await?
                }
                Act::Empty { primary, dataset } => {
                    self.clear_for_batch(*primary, &mut active).await?;
                    let primary = &mut *self.primaries[*primary].lock().await;
                    Box::pin(ingesting::empty(primary, *dataset, &self.recorder)).await?;
                }
                Act::Replay { primary, goes_on: false } => self.stage.primaries[*primary].halt().await?,
                Act::Replay { primary, goes_on: true } => self.stage.primaries[*primary].catch_up().await?,
                Act::ColumnAhead { primary } => {
                    self.clear_for_batch(*primary, &mut active).await?;
                    let primary = self.primaries[*primary].lock().await;
                    late_column::add_ahead(&primary, self.plan.late_column_has_default).await?;
                }
                Act::Model { secondary, datasets } => self.model(*secondary, *datasets).await?,
                Act::Hand { secondary, hand } => {
                    end(&mut active[*secondary]).await?;
                    self.meddle(*secondary, *hand).await?;
                }
                Act::Sync { secondary, until_caught_up, cues } => match killing(cues) {
                    Some(cue) => {
                        self.clear_for_sync(*secondary, &mut active).await?;
                        end(&mut active[*secondary]).await?;
                        processes::killed(self, *secondary, cue).await?;
                    }
                    None => {
                        self.clear_for_sync(*secondary, &mut active).await?;
                        let left = active[*secondary].take();
                        active[*secondary] = self.sync(*secondary, *until_caught_up, cues, left).await?;
                    }
                },
            }
        }
        for left in &mut active {
            end(left).await?;
        }
        self.settle().await
    }

    async fn meddle(&self, secondary: usize, hand: Hand) -> Result<(), Failure> {
        let secondary = &self.secondaries[secondary];
        if secondary.meddle(hand).await? {
            self.operated(secondary, &format!("a hand {}", hand.does.meaning()));
        }
        Ok(())
    }

    /// Ends what goes on at a primary and would keep it from its next batch.
    async fn clear_for_batch(&self, primary: usize, active: &mut [Option<Active>]) -> Result<(), Failure> {
        for (index, left) in active.iter_mut().enumerate() {
            let is_in_the_way = left.as_ref().is_some_and(|left| left.fault.keeps_primary_from_committing());
            if self.plan.secondaries[index].primary == primary && is_in_the_way {
                end(left).await?;
            }
        }
        Ok(())
    }

    /// Ends what goes on at a secondary's primary because of another: it is meant for that one's worker.
    async fn clear_for_sync(&self, secondary: usize, active: &mut [Option<Active>]) -> Result<(), Failure> {
        let primary = self.plan.secondaries[secondary].primary;
        for (index, left) in active.iter_mut().enumerate() {
            let is_in_the_way = left.as_ref().is_some_and(|left| left.fault.stands_at_the_primary());
            if index != secondary && self.plan.secondaries[index].primary == primary && is_in_the_way {
                end(left).await?;
            }
        }
        Ok(())
    }

    /// Faults have stopped: the rest of the history is carried out, and every secondary must converge.
    async fn settle(&self) -> Result<(), Failure> {
        for place in self.stage.primaries.iter().chain(&self.stage.secondaries) {
            place.proxy.calm();
        }
        for primary in &self.primaries {
            let mut primary = primary.lock().await;
            while primary.has_batches_left() {
                primary.commit(&[], &self.recorder).await?;
            }
        }
        for place in &self.stage.primaries {
            place.catch_up().await?;
        }
        for index in 0..self.secondaries.len() {
            if !self.recorder.is_violated() {
                self.converge(index).await?;
            }
            let lacks_any = self.secondaries[index].followers.iter().any(secondary::Follower::lacks_datasets);
            if lacks_any && !self.recorder.is_violated() {
                self.model(index, usize::MAX).await?;
                self.converge(index).await?;
            }
        }
        for primary in &self.primaries {
            if !self.recorder.is_violated() {
                self.check_untouched(&*primary.lock().await).await?;
            }
        }
        Ok(())
    }

    /// The primary's tables hold what the model says, whatever the secondaries did.
    async fn check_untouched(&self, primary: &PrimaryState) -> Result<(), Failure> {
        let mut asker = primary.place.asker().await?;
        for stream in &primary.streams {
            let newest = stream.oracle.newest_batch();
            if newest == 0 {
                continue;
            }
            for table in &stream.tables {
                let merge = table.merge_table(&primary.plan.name, &self.plan.store);
                let rows = secondary::rows_of(table, &merge, crate::plan::Keeps::Mirror, &mut asker).await?;
                let shape = table.shape().of_versions();
                let expected = primary::StreamState::versions(
                    &stream.oracle,
                    table.name(),
                    newest,
                    stream.pruned_before,
                );
                let found = milestream_oracle::differences(&shape, &expected, &rows.unwrap_or_default());
                if !found.is_empty() {
                    let what = format!("{} of {}: {found}", table.name(), primary.plan.name);
                    self.recorder.violated(Property::ReadOnly, what);
                }
            }
        }
        asker.close().await;
        Ok(())
    }

    async fn tables(&self) -> Result<String, Failure> {
        let mut text = String::new();
        for secondary in &self.secondaries {
            let mut asker = secondary.place.asker().await?;
            text.push_str(&secondary.tables(&mut asker).await?);
            asker.close().await;
        }
        Ok(text)
    }
}

async fn end(active: &mut Option<Active>) -> Result<(), Failure> {
    match active.take() {
        Some(active) => active.lift.bring_about().await,
        None => Ok(()),
    }
}

/// The cue on which the worker, a process of its own, is killed.
fn killing(cues: &[Cue]) -> Option<&Cue> {
    cues.iter().find(|cue| matches!(cue.what, What::Fault(fault) if fault.kind == FaultKind::WorkerKilled))
}
