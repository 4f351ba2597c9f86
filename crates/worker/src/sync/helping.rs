//! `sync --join`: a process that copies chunks of a sync which another one leads.
//!
//! A helper claims under the leader's token, and never plans, lands or commits a sync. Its sessions are on record with
//! the lease, so that a takeover ends them, and whoever takes over raises the token, so that nothing of a helper's can
//! be committed under a lease that is no more.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;

use super::attempt::moved_shape;
use super::copying::{Plan, copy_all};
use super::datasets;
use super::ground::Ground;
use super::job::Job;
use super::peers::Peer;
use super::planning;
use super::recovery;
use super::retry::Budget;
use super::sessions::Sessions;
use crate::config::TimeSpan;
use crate::error::{Class, Error, Result};
use crate::observer::{Answer, Event, Happening, Notice, NoticeKind, Observer, Step};
use crate::postgres::Session;
use crate::tables::chunks;
use crate::tables::helped_chunks;
use crate::tables::lease::{Claim, Lease};
use crate::tables::migrations;
use crate::tables::streams::{self, Flight};

/// Time between two looks for something to do, soon after there was something.
const LOOK_SOON: Duration = Duration::from_millis(50);
/// The same when there has been nothing for a while.
const LOOK_EVERY: Duration = Duration::from_millis(400);

/// What a helper did.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Help {
    /// Chunks copied.
    pub chunks: u64,
    /// Rows in them.
    pub rows: u64,
    /// Why it ended.
    pub why: String,
}

/// Copies chunks of whatever sync of the stream is led elsewhere, as long as it is led: a seed, or an increment that is
/// read by blocks. Where nobody leads, one is waited for as long as a lease lasts, since it may only have died.
///
/// `stop` asks for an end after the chunks in flight.
///
/// # Errors
/// Those of [`crate::Error`] that another try would not mend; what was copied by then is durable.
pub async fn help(job: Arc<Job>, observer: Arc<dyn Observer>, stop: CancellationToken) -> Result<Help> {
    help_among(job, observer, stop, Peer::alone()).await
}

/// The same beside other streams of this process.
pub(crate) async fn help_among(
    job: Arc<Job>,
    observer: Arc<dyn Observer>,
    stop: CancellationToken,
    peer: Peer,
) -> Result<Help> {
    job.check_names()?;
    let counting = Arc::new(Counting { observer, counted: Mutex::default() });
    let ground = Arc::new(Ground::of(job, Arc::clone(&counting) as Arc<dyn Observer>, stop, peer));
    let _ended_waits = ground.end_waits();
    let mut budget = Budget::new(&ground.job.tuning);
    let mut leaderless_since = Instant::now();
    let mut waited = LOOK_EVERY;
    loop {
        let before = budget.progress();
        let ended = turn(&ground, &mut leaderless_since).await;
        budget.reached(counting.help().chunks);
        if budget.progress() != before {
            waited = LOOK_EVERY;
        }
        match ended {
            Ok(why) => return Ok(Help { why, ..counting.help() }),
            // The leader meets the same, and plans anew; whoever takes over raises the token.
            Err(error) if is_the_leaders(&error) => {
                ground.notice(NoticeKind::Helped, format!("{error}; waiting for what the leader does"));
                pause(&ground, waited).await?;
                waited = (waited * 2).min(ground.job.tuning.lease);
            }
            Err(error) => recovery::recover(&ground, &mut budget, before, None, error).await?,
        }
    }
}

/// Whether the leader mends what happened, or has been replaced.
fn is_the_leaders(error: &Error) -> bool {
    error.class() == Class::Replan || matches!(error, Error::Fenced { .. } | Error::PrimaryReset { .. })
}

/// Looks for chunks and copies them until nobody leads; why it ended.
async fn turn(ground: &Arc<Ground>, leaderless_since: &mut Instant) -> Result<String> {
    let job = &ground.job;
    let mut helper = Helper::begin(ground).await?;
    let mut before_look = LOOK_SOON;
    loop {
        ground.check_stop()?;
        match helper.look().await? {
            Sight::Chunks(plan) => {
                helper.report(&plan).await?;
                let copied = copy_all(ground, &Arc::new(*plan), job.tuning.parallelism).await;
                // It was led until just now, however long the copy took.
                *leaderless_since = Instant::now();
                copied?;
                before_look = LOOK_SOON;
            }
            Sight::Leader => *leaderless_since = Instant::now(),
            Sight::Nobody if leaderless_since.elapsed() > job.tuning.lease => break,
            Sight::Nobody => {}
        }
        pause(ground, before_look).await?;
        before_look = (before_look + LOOK_SOON / 10).min(LOOK_EVERY);
    }
    helper.end().await;
    Ok(format!("nobody has led the stream for {}", TimeSpan::from(job.tuning.lease)))
}

async fn pause(ground: &Ground, time: Duration) -> Result<()> {
    tokio::select! {
        () = tokio::time::sleep(time) => Ok(()),
        () = ground.stop.cancelled() => Err(Error::Stopped),
    }
}

/// What a helper sees of a stream.
enum Sight {
    /// Nobody leads it.
    Nobody,
    /// It is led, and there is nothing to claim at the moment.
    Leader,
    /// A sync in flight with chunks that nobody has.
    Chunks(Box<Plan>),
}

/// A helper's own session, and those that it copies over.
struct Helper<'g> {
    ground: &'g Ground,
    session: Session,
    sessions: Arc<Sessions>,
    /// The leader's token under which `sessions` are on record.
    token: i64,
}

impl Helper<'_> {
    async fn begin(ground: &Ground) -> Result<Helper<'_>> {
        let (job, name) = (&ground.job, ground.session_name("help"));
        let session = Session::connect(&job.secondary, &name, job.tuning.writing_patience()).await?;
        ground.waits.note(&session);
        Ok(Helper { ground, session, sessions: Arc::default(), token: 0 })
    }

    async fn look(&mut self) -> Result<Sight> {
        let (job, tables) = (&self.ground.job, &self.ground.tables);
        // The leader makes the tables, and brings them up to date.
        if !migrations::are_current(&mut self.session, tables).await? {
            return Ok(Sight::Nobody);
        }
        let row = streams::load(&mut self.session, tables, &self.ground.stream).await?;
        if row.lease_owner.is_none() {
            return Ok(Sight::Nobody);
        }
        let Some(flight) = row.flight.filter(Flight::is_cut_by_plan) else { return Ok(Sight::Leader) };
        if !helped_chunks::is_any_to_help_with(&mut self.session, tables, &self.ground.stream, row.generation)
            .await?
        {
            return Ok(Sight::Leader);
        }
        if self.token != row.lease_token {
            // Another leader could not end them: they are on record with the one before.
            self.sessions.close().await;
            self.token = row.lease_token;
        }
        let upstream = job.upstream(&flight.primary)?.clone();
        let mut primary = self.sessions.reader(self.ground, &upstream, "help").await?;
        let datasets = datasets::of_flight(job, &flight);
        let (pairs, _) = planning::pairs(job, &upstream, &mut primary, &mut self.session, &datasets).await?;
        // Before a chunk is claimed that could not be read.
        flight.expectation.open(&mut primary, &self.ground.session_name("help")).await?;
        primary.commit("ending a look").await?;
        self.sessions.keep_reader(primary);
        let claim = Claim {
            stream: self.ground.stream.clone(),
            owner: self.ground.worker.clone(),
            duration: job.tuning.lease,
        };
        let lease = Lease::of_another(tables, claim, row.lease_token);
        let (generation, sessions) = (row.generation, Arc::clone(&self.sessions));
        let plan = Plan { flight, pairs, generation, lease, upstream, sessions, is_helped: true };
        match moved_shape(&plan) {
            Some(moved) => Err(moved),
            None => Ok(Sight::Chunks(Box::new(plan))),
        }
    }

    async fn report(&mut self, plan: &Plan) -> Result<()> {
        let Ground { tables, stream, .. } = self.ground;
        let progress = chunks::progress(&mut self.session, tables, stream, plan.generation).await?;
        self.ground.reach(Step::Planned, plan.happening(progress)).await
    }

    async fn end(self) {
        self.sessions.close().await;
        self.session.close().await;
    }
}

/// Counts what becomes durable on its way to the observer.
struct Counting {
    observer: Arc<dyn Observer>,
    counted: Mutex<Help>,
}

impl Counting {
    fn help(&self) -> Help {
        self.counted.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Observer for Counting {
    fn at<'a>(&'a self, event: &'a Event) -> Answer<'a> {
        if let (Step::ChunkCommitted, Happening::Chunk { count, rows, .. }) = (event.step, &event.happening) {
            let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
            counted.chunks += u64::from(*count);
            counted.rows += rows;
        }
        self.observer.at(event)
    }

    fn notice(&self, notice: &Notice) {
        self.observer.notice(notice);
    }
}
