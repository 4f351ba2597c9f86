//! One sync of a secondary, with whatever falls into it, and the judgement of how it ended.

use std::sync::Arc;

use milestream_worker::observer::Observer;
use milestream_worker::sync::{self, Outcome, Tuning, Until};
use milestream_worker::{Class, Error};
use tokio_util::sync::CancellationToken;

use super::conductor::{Active, Conducting, Conductor};
use super::inject::Injector;
use super::readers::Reader;
use super::secondary::{Follower, SecondaryState};
use super::watcher::Watcher;
use super::{Failure, World};
use crate::fault::{Fault, FaultKind};
use crate::outcome::{Event, Property, Sometimes};
use crate::plan::{Cue, What, Writer};

/// Tries at convergence: what a person has to do first comes in between.
const TRIES_MAX: usize = 4;

/// How a sync ended.
enum End {
    /// It did what there was to do.
    Done(Outcome),
    /// It failed as it may, and a person has done as it advised.
    Excused,
    /// It failed as it must not; that is on record.
    Violated,
}

impl World {
    /// Syncs all streams of a secondary, one after the other. Takes over what goes on from an earlier sync, and
    /// returns what still goes on.
    pub(crate) async fn sync(
        &self,
        index: usize,
        until_caught_up: bool,
        cues: &[Cue],
        active: Option<Active>,
    ) -> Result<Option<Active>, Failure> {
        let secondary = &self.secondaries[index];
        let conductor = Arc::new(self.conductor(index, cues, active));
        let until = if until_caught_up { Until::CaughtUp } else { Until::OneSync };
        let reader = Reader::start(Arc::clone(secondary));
        for follower in &secondary.followers {
            if self.recorder.is_violated() {
                break;
            }
            let ended = self.run(secondary, follower, until, &conductor, bounds(cues)).await;
            conductor.watcher.settle().await;
            let text = ended.as_ref().err().map(ToString::to_string);
            if let Some(text) = &text {
                conductor.failed(text);
            }
            if let Some(failure) = conductor.watcher.failure() {
                return Err(failure);
            }
            // Whatever was felt is over before anybody looks at the tables.
            let active = conductor.finish().await?;
            let goes_on = active.is_some();
            conductor.go_on_with(active);
            self.judge(secondary, follower, ended, conductor.has_fired()).await?;
            if !goes_on {
                self.check_held(secondary, follower).await?;
            }
        }
        reader.stop().await;
        for follower in &secondary.followers {
            secondary.check_samples(&follower.key, &self.recorder).await;
        }
        conductor.finish().await
    }

    /// Brings a secondary up to date without faults.
    pub(crate) async fn converge(&self, index: usize) -> Result<(), Failure> {
        let secondary = &self.secondaries[index];
        let mut asker = secondary.place.asker().await?;
        for follower in &secondary.followers {
            secondary.expire_lease(&follower.key, &mut asker).await?;
            self.converge_stream(index, follower).await?;
        }
        asker.close().await;
        Ok(())
    }

    async fn converge_stream(&self, index: usize, follower: &Follower) -> Result<(), Failure> {
        let secondary = &self.secondaries[index];
        let at = format!("{} of {:?}", secondary.plan.name, follower.key);
        for _ in 0..TRIES_MAX {
            let conductor = Arc::new(self.conductor(index, &[], None));
            let ended = self.run(secondary, follower, Until::CaughtUp, &conductor, |_| {}).await;
            conductor.watcher.settle().await;
            if let Some(failure) = conductor.watcher.failure() {
                return Err(failure);
            }
            let outcome = match self.judge(secondary, follower, ended, false).await? {
                End::Done(outcome) => outcome,
                End::Excused => continue,
                End::Violated => return Ok(()),
            };
            self.check_held(secondary, follower).await?;
            let (newest, went_back) = {
                let primary = self.primaries[secondary.plan.primary].lock().await;
                let stream = primary.stream(&follower.key);
                (stream.oracle.newest_batch(), secondary.is_behind_us(&follower.key, stream).await)
            };
            if let Some(table) = follower.ledger.lock().await.remade() {
                let what = format!("{at}: a hand emptied {table:?} or made it again, and nobody noticed");
                self.recorder.violated(Property::Definite, what);
            }
            if went_back {
                let what = format!("{at}: the primary went back behind its watermark, and nobody noticed");
                self.recorder.violated(Property::Exactness, what);
            }
            let watermark = outcome.watermark.map_or(0, |batch| batch.0);
            if watermark != newest {
                let what = format!("{at}: caught up at {watermark}, the primary is at {newest}");
                self.recorder.violated(Property::Convergence, what);
            }
            // The batch in flight, and one catch-up; more only where one sync may not span everything.
            // Datasets that came are seeded by a sync of their own.
            let most = if self.plan.has_datasets_come() { 3 } else { 2 };
            if outcome.syncs > most && secondary.plan.max_rows_per_sync >= 1_000_000 {
                let what = format!("{at}: it took {} syncs to catch up", outcome.syncs);
                self.recorder.violated(Property::Convergence, what);
            }
            return Ok(());
        }
        let what = format!("{at}: not caught up after {TRIES_MAX} tries, each with what was advised");
        self.recorder.violated(Property::Convergence, what);
        Ok(())
    }

    fn conductor(&self, index: usize, cues: &[Cue], active: Option<Active>) -> Conductor {
        let secondary = &self.secondaries[index];
        let watcher = Watcher::new(
            Arc::clone(&self.primaries[secondary.plan.primary]),
            Arc::clone(secondary),
            Arc::clone(&self.recorder),
        );
        let injector = Injector {
            primary: Arc::clone(&self.stage.primaries[secondary.plan.primary]),
            secondary: Arc::clone(&secondary.place),
        };
        Conductor::new(Arc::new(watcher), injector, cues, active)
    }

    async fn run(
        &self,
        secondary: &SecondaryState,
        follower: &Follower,
        until: Until,
        conductor: &Arc<Conductor>,
        bounds: impl FnOnce(&mut Tuning),
    ) -> Result<Outcome, Error> {
        let fraction = secondary.delete_fraction(&*follower.ledger.lock().await);
        let job = Arc::new(follower.job(|tuning| {
            tuning.max_delete_fraction = fraction;
            bounds(tuning);
        }));
        let observer: Arc<dyn Observer> = Arc::new(Conducting(Arc::clone(conductor)));
        // On a task of its own, so that a panic is an end like others.
        let run = tokio::spawn(sync::run(job, until, observer, CancellationToken::new()));
        match run.await {
            Ok(ended) => ended,
            Err(panic) => {
                let what = format!("{}: the worker panicked: {panic}", secondary.plan.name);
                self.recorder.violated(Property::Sound, what);
                Err(Error::Stopped)
            }
        }
    }

    /// Judges how a sync ended; where it failed as it may, a person does as the error advises.
    async fn judge(
        &self,
        secondary: &SecondaryState,
        follower: &Follower,
        ended: Result<Outcome, Error>,
        had_faults: bool,
    ) -> Result<End, Failure> {
        let error = match ended {
            Ok(outcome) => {
                follower.ledger.lock().await.may_delete = false;
                return Ok(End::Done(outcome));
            }
            Err(error) => error,
        };
        if self.recorder.is_violated() {
            return Ok(End::Violated);
        }
        let (name, stream) = (secondary.plan.name.clone(), follower.key.clone());
        self.recorder.happened(Event::Failed { secondary: name.clone(), stream, error: error.to_string() });
        let violated = |property: Property, why: &str| {
            self.recorder.violated(property, format!("{name} of {:?} {why}: {error}", follower.key));
            Ok(End::Violated)
        };
        match &error {
            // The worker looks dead: its lease ends.
            Error::Abandoned { .. } => {
                let mut asker = secondary.place.asker().await?;
                secondary.expire_lease(&follower.key, &mut asker).await?;
                asker.close().await;
            }
            Error::PrimaryReset { .. } => {
                let primary = self.primaries[secondary.plan.primary].lock().await;
                if !secondary.is_reset_real(&follower.key, primary.stream(&follower.key)).await {
                    return violated(Property::Definite, "saw a reset that was none");
                }
                drop(primary);
                self.reseed(secondary, follower, "the stream begins anew, as advised after a reset").await?;
            }
            // Of a seed that was stopped, what is pruned may have been live at its batch.
            Error::Pruned { .. } | Error::LiveRowsLost { .. } => {
                if self.primaries[secondary.plan.primary].lock().await.stream(&follower.key).pruned_before
                    == 0
                {
                    return violated(Property::Definite, "missed history that was there");
                }
                self.reseed(secondary, follower, "the stream begins anew, as advised after a pruning")
                    .await?;
            }
            Error::Schema { .. } | Error::SchemaMoved { .. } if follower.has_late_column() => {
                self.take_late_column(secondary, follower).await?;
            }
            Error::Schema { .. } if secondary.may_refuse_types(follower) => {
                self.mend_types(secondary, follower).await?;
            }
            Error::TooManyDeletes { .. } if secondary.may_refuse_deletes(follower).await => {
                self.recorder.saw(Sometimes::RefusedDeletes);
                follower.ledger.lock().await.may_delete = true;
                self.operated(secondary, "the deletions were meant: the next sync may delete all");
            }
            Error::Diverged { .. } | Error::TooManyDeletes { .. }
                if secondary.is_meddled_with(follower).await =>
            {
                self.clear_up(secondary, follower).await?;
            }
            Error::SchemaChanged { .. }
                if follower.has_late_column() || secondary.may_refuse_types(follower) =>
            {
                self.reseed(secondary, follower, "the stream begins anew, as advised after a column changed")
                    .await?;
            }
            Error::SeedUnstable { .. }
                if self.primaries[secondary.plan.primary].lock().await.disturbances() > 0 => {}
            Error::Fenced { .. } if self.plan.has(FaultKind::Takeover) => {
                self.recorder.saw(Sometimes::FencedOff)
            }
            // Whoever could not give the lease back leaves it to its time.
            Error::Busy { .. } if self.recorder.has_fired() => {
                let mut asker = secondary.place.asker().await?;
                secondary.expire_lease(&follower.key, &mut asker).await?;
                asker.close().await;
            }
            Error::MissingRight { .. } | Error::Statement { .. } | Error::MissingTable { .. }
                if had_faults
                    && self.plan.has(FaultKind::PermissionRevoked)
                    && error.class() == Class::Blocked => {}
            Error::BudgetSpent { .. } if had_faults => {}
            // Whoever would read from a standby that stands still waits for as long as the budget lasts.
            Error::Lagging { .. } | Error::BudgetSpent { .. } if self.is_primary_behind(secondary) => {
                self.stage.primaries[secondary.plan.primary].catch_up().await?;
                self.operated(secondary, "the primary's standby was let go on");
            }
            // A primary that the worker writes has no tables before its first batch.
            Error::MissingTable { .. } if !self.is_begun(secondary, follower).await => {}
            error if error.class() == Class::Bug => return violated(Property::Sound, "calls itself a bug"),
            _ => return violated(Property::Definite, "failed"),
        }
        Ok(End::Excused)
    }

    fn is_primary_behind(&self, secondary: &SecondaryState) -> bool {
        self.stage.primaries[secondary.plan.primary].is_behind()
    }

    async fn is_begun(&self, secondary: &SecondaryState, follower: &Follower) -> bool {
        let primary = self.primaries[secondary.plan.primary].lock().await;
        primary.plan.writer == Writer::Tables || primary.stream(&follower.key).oracle.newest_batch() > 0
    }

    async fn check_held(&self, secondary: &SecondaryState, follower: &Follower) -> Result<(), Failure> {
        if self.recorder.is_violated() {
            return Ok(());
        }
        let pruned_before =
            self.primaries[secondary.plan.primary].lock().await.stream(&follower.key).pruned_before;
        secondary.check_held(&follower.key, Some(pruned_before), &self.recorder).await
    }
}

/// Bounds that some faults need: a statement can only take too long where it may wait long enough for a lock.
fn bounds(cues: &[Cue]) -> impl FnOnce(&mut Tuning) {
    let waits = cues
        .iter()
        .any(|cue| matches!(cue.what, What::Fault(Fault { kind: FaultKind::StatementTimeout, .. })));
    move |tuning| {
        if waits {
            (tuning.statement_timeout, tuning.lock_timeout) = (tuning.lock_timeout, tuning.statement_timeout);
        }
    }
}
