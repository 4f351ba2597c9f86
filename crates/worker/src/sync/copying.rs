//! The copy: workers claim chunks and bring each over in a transaction of its own.

use std::sync::Arc;
use std::time::Instant;

use sqlx::Row;
use sqlx::postgres::PgRow;
use tokio::task::JoinSet;

use milestream_core::chunk::{ChunkBounds, DeltaPosition, DeltaRange, Pace};
use milestream_core::milestone::PrimaryBatch;

use super::ground::Ground;
use super::job::{Upstream, VerifySeed};
use super::sessions::Sessions;
use crate::error::{Error, Result};
use crate::observer::{Happening, Step};
use crate::pair::{Holding, Pair};
use crate::postgres::Session;
use crate::postgres::copy::{Piped, Rows, Sink, Source, pipe};
use crate::postgres::fields::Fields;
use crate::postgres::read::Expectation;
use crate::statements::{block_delta, delta, seed};
use crate::tables::chunks::{self, Appetite, ChunkScope, Claimed, Progress};
use crate::tables::findings::{self, Found};
use crate::tables::lease::Lease;
use crate::tables::streams::Flight;

/// A sync in flight, as its workers see it.
pub(crate) struct Plan {
    pub(crate) flight: Flight,
    pub(crate) pairs: Vec<Pair>,
    pub(crate) generation: i32,
    pub(crate) lease: Lease,
    pub(crate) upstream: Upstream,
    pub(crate) sessions: Arc<Sessions>,
    /// Whether another process leads it.
    pub(crate) is_helped: bool,
}

impl Plan {
    /// A plan that this worker leads.
    pub(crate) fn led(
        flight: Flight,
        pairs: Vec<Pair>,
        generation: i32,
        lease: Lease,
        upstream: Upstream,
        sessions: Arc<Sessions>,
    ) -> Plan {
        Plan { flight, pairs, generation, lease, upstream, sessions, is_helped: false }
    }

    pub(crate) fn scope(&self, ground: &Ground) -> ChunkScope {
        ChunkScope {
            stream: ground.stream.clone(),
            generation: self.generation,
            token: self.lease.token(),
            worker: ground.worker.clone(),
        }
    }

    /// The plan as its observers are told of it.
    pub(crate) fn happening(&self, progress: Progress) -> Happening {
        Happening::Plan {
            from: self.flight.from,
            to: self.flight.to,
            local: self.flight.local,
            generation: self.generation,
            chunks: progress.chunks,
            chunks_done: progress.done,
            rows_estimated: self.flight.rows_estimated,
            rows_done: progress.rows,
        }
    }

    pub(crate) fn pair(&self, dataset: &str) -> Result<&Pair> {
        self.pairs.iter().find(|pair| pair.dataset == dataset).ok_or_else(|| {
            Error::setup(
                format!("the sync in flight holds dataset {dataset:?}, which the model no longer has"),
                "put the dataset back until this sync is committed",
            )
        })
    }
}

/// Copies all chunks that can be claimed, `parallelism` at a time. The first error ends all of them.
///
/// # Errors
/// Those of any worker; `Stopped` when the worker was asked to stop and chunks are left.
pub(crate) async fn copy_all(ground: &Arc<Ground>, plan: &Arc<Plan>, workers: usize) -> Result<()> {
    let mut crew = JoinSet::new();
    let workers = workers.max(1);
    for number in 0..workers {
        let (ground, plan) = (Arc::clone(ground), Arc::clone(plan));
        crew.spawn(async move { work(&ground, &plan, number, workers).await });
    }
    let mut stopped = false;
    while let Some(ended) = crew.join_next().await {
        match ended.map_err(|panic| Error::invariant("a copy worker", panic.to_string()))? {
            Ok(()) => {}
            // The others finish the chunks they have in hand.
            Err(Error::Stopped) => stopped = true,
            // Dropping the set aborts the others: their connections close, their chunks roll back.
            Err(error) => return Err(error),
        }
    }
    if stopped { Err(Error::Stopped) } else { Ok(()) }
}

async fn work(ground: &Ground, plan: &Plan, number: usize, workers: usize) -> Result<()> {
    let scope = plan.scope(ground);
    let mut secondary = plan.sessions.writer(ground, &plan.lease, &format!("copy {number}")).await?;
    let mut primary: Option<Session> = None;
    let mut pace = Pace::aiming_at(ground.job.tuning.seed_chunk_time);
    loop {
        ground.check_stop()?;
        let appetite = Appetite { wanted: pace.wanted(), workers, sweeps: !plan.is_helped };
        let Some(claimed) = chunks::claim(&mut secondary, &ground.tables, &scope, appetite).await? else {
            // An overtaken worker claims nothing either; that must not look like an end.
            plan.lease.fence(&mut secondary).await?;
            break;
        };
        // The reader is opened for the first chunk, so that idle workers cost the primary nothing.
        if primary.is_none() {
            primary = Some(plan.sessions.reader(ground, &plan.upstream, &format!("copy {number}")).await?);
        }
        let Some(primary) = primary.as_mut() else { break };
        let began = Instant::now();
        let count = claimed.count;
        let mut copying = Copying { ground, plan, scope: &scope, primary, secondary: &mut secondary };
        match &claimed.bounds {
            ChunkBounds::Delta(range) => copying.delta(claimed.clone(), range.after.clone()).await?,
            ChunkBounds::Blocks(_) | ChunkBounds::Keys(_) | ChunkBounds::Sweep => {
                copying.bounded(claimed).await?
            }
        }
        pace.saw(count, began.elapsed());
    }
    plan.sessions.keep_writer(secondary);
    if let Some(primary) = primary {
        plan.sessions.keep_reader(primary);
    }
    Ok(())
}

/// One worker's hands on one chunk.
struct Copying<'a> {
    ground: &'a Ground,
    plan: &'a Plan,
    scope: &'a ChunkScope,
    primary: &'a mut Session,
    secondary: &'a mut Session,
}

impl Copying<'_> {
    /// Opens the read of a chunk; with a question to the ledger, what is found in its snapshot.
    async fn open_read(
        &mut self,
        claimed: &Claimed,
        expectation: &Expectation,
        ledger: Option<&str>,
    ) -> Result<Option<Found>> {
        self.ground.wait_for_leave(self.primary).await?;
        let name = self.ground.session_name(&format!("chunk {}", claimed.chunk));
        let found = match ledger {
            None => expectation.open(self.primary, &name).await.map(|()| None)?,
            Some(ledger) => {
                let doing = "opening a read and counting the ledger";
                Some(found(&expectation.open_asking(self.primary, &name, doing, ledger).await?)?)
            }
        };
        reach(self.ground, Step::ChunkOpened, claimed, Piped::default()).await?;
        Ok(found)
    }

    /// A chunk whose bounds were planned: read, write and mark, all or nothing.
    async fn bounded(&mut self, mut claimed: Claimed) -> Result<()> {
        let plan = self.plan;
        let pair = plan.pair(&claimed.dataset)?;
        let mut expectation = plan.flight.expectation.for_dataset(&claimed.dataset);
        if let ChunkBounds::Blocks(range) = &claimed.bounds {
            expectation = expectation.for_leaf(&range.leaf);
        }
        if claimed.bounds == ChunkBounds::Sweep {
            let tables = &self.ground.tables;
            let farthest = chunks::farthest(self.secondary, tables, self.scope, &claimed.dataset).await?;
            if let Some(farthest) = farthest {
                expectation.position = Some(farthest.later(expectation.position.take()));
            }
        }
        let Statements { copy_out, copy_in } = statements(plan, pair, &claimed.bounds)?;
        // Counted in the sweep's own snapshot: it is the last that the increment takes.
        let ledger = match (plan.flight.range(), &claimed.bounds) {
            (Some(range), ChunkBounds::Sweep) => Some(match self.ground.job.tuning.verify_seed {
                VerifySeed::Off => delta::ledger(pair, range),
                VerifySeed::Count | VerifySeed::Content => block_delta::ledger(pair, range),
            }),
            _ => None,
        };
        let found = self.open_read(&claimed, &expectation, ledger.as_deref()).await?;
        claimed.position = self.primary.read_at.clone();
        self.secondary.begin().await?;
        let piped = {
            let mut source = self.ground.kindness.read(self.primary, &copy_out).await?;
            if claimed.bounds == ChunkBounds::Sweep {
                source = source.unhurried();
            }
            let sink = Sink::open(self.secondary, &copy_in).await?;
            let mut midway_reached = false;
            let (ground, claimed) = (self.ground, &claimed);
            pipe(source, sink, |bytes| {
                let first = !std::mem::replace(&mut midway_reached, true);
                let happening = happening(claimed, Piped { rows: 0, bytes });
                async move { if first { ground.reach(Step::MidChunk, happening).await } else { Ok(()) } }
            })
            .await?
        };
        let (ground, scope) = (self.ground, self.scope);
        // All rows are here, so the read is ended beside what is still to be done with them: a round trip less.
        let (ended, committed) = tokio::join!(self.primary.commit("ending a read"), async {
            if let Some(found) = found {
                let tables = &ground.tables;
                findings::record_found(self.secondary, tables, scope, claimed.chunk, found).await?;
            }
            mark_done(ground, plan, scope, self.secondary, &claimed, piped).await?;
            commit(ground, &plan.lease, self.secondary, &claimed, piped).await
        });
        committed.and(ended)
    }

    /// A dataset's delta: one ordered stream, cut into chunks as it is received.
    async fn delta(&mut self, claimed: Claimed, after: Option<DeltaPosition>) -> Result<()> {
        let plan = self.plan;
        let pair = plan.pair(&claimed.dataset)?;
        let range = plan
            .flight
            .range()
            .ok_or_else(|| Error::invariant("a seed", "one of its chunks is a delta's"))?;
        let expectation = plan.flight.expectation.for_dataset(&claimed.dataset);
        let mut found = self.open_read(&claimed, &expectation, Some(&delta::ledger(pair, range))).await?;
        let copy_out = delta::copy_out(pair, range, plan.flight.local, after.as_ref());
        let (ground, scope, tables) = (self.ground, self.scope, &self.ground.tables);
        let chunk_rows = ground.job.tuning.seed_chunk_rows.max(1);
        let mut rows = Rows::new(pair.format(), delta::leading_fields(pair));
        let mut source = self.ground.kindness.read(self.primary, &copy_out).await?;
        let mut claimed = claimed;
        let piped = loop {
            self.secondary.begin().await?;
            if let Some(found) = found.take() {
                findings::record_found(self.secondary, tables, scope, claimed.chunk, found).await?;
            }
            let received =
                receive(ground, &claimed, pair, &mut source, &mut rows, self.secondary, chunk_rows).await?;
            let through = received.last_key.map(|key| position(pair, key)).transpose()?;
            let following = if received.ended { None } else { through.clone() };
            let after = match &claimed.bounds {
                ChunkBounds::Delta(range) => range.after.clone(),
                _ => None,
            };
            claimed.bounds = ChunkBounds::Delta(DeltaRange { after, through: following.clone() });
            mark_done(ground, plan, scope, self.secondary, &claimed, received.piped).await?;
            let next = match following {
                None => None,
                Some(_) => {
                    let bounds = ChunkBounds::Delta(DeltaRange { after: following, through: None });
                    Some(chunks::follow(self.secondary, tables, scope, &claimed, bounds).await?)
                }
            };
            let Some(next) = next else { break received.piped };
            commit(ground, &plan.lease, self.secondary, &claimed, received.piped).await?;
            claimed = next;
            ground.check_stop()?;
        };
        rows.finish()?;
        drop(source);
        let (ended, committed) = tokio::join!(
            self.primary.commit("ending a read"),
            commit(ground, &plan.lease, self.secondary, &claimed, piped)
        );
        committed.and(ended)
    }
}

fn found(row: &PgRow) -> Result<Found> {
    let rows_expected = (row.len() > 2).then(|| row.field(2).and_then(counted)).transpose()?;
    Ok(Found { opened: counted(row.field(0)?)?, closed: counted(row.field(1)?)?, rows_expected })
}

/// How a chunk is read, and where it is written.
struct Statements {
    copy_out: String,
    copy_in: String,
}

fn statements(plan: &Plan, pair: &Pair, bounds: &ChunkBounds) -> Result<Statements> {
    let (to, local, names) = (plan.flight.to, plan.flight.local, &pair.names);
    let unplanned = |of: &str| Err(Error::invariant(of, format!("one of its chunks is {bounds:?}")));
    let (copy_out, copy_in) = match (plan.flight.range(), bounds) {
        (None, ChunkBounds::Blocks(range)) => {
            (seed::blocks(pair, to, range), seed::copy_in(pair, &names.landing))
        }
        (None, ChunkBounds::Keys(range)) => {
            (seed::keys(pair, to, range), seed::copy_in(pair, &names.landing))
        }
        (None, ChunkBounds::Sweep) => (seed::sweep(pair, to), seed::copy_in(pair, &names.sweep)),
        (None, ChunkBounds::Delta(_)) => return unplanned("a seed"),
        (Some(range), ChunkBounds::Blocks(blocks)) => {
            (block_delta::blocks(pair, range, local, blocks), delta::copy_in(pair, &names.landing))
        }
        (Some(range), ChunkBounds::Sweep) => {
            (block_delta::sweep(pair, range, local), delta::copy_in(pair, &names.landing))
        }
        (Some(_), ChunkBounds::Keys(_) | ChunkBounds::Delta(_)) => return unplanned("an increment"),
    };
    Ok(Statements { copy_out, copy_in })
}

async fn reach(ground: &Ground, step: Step, claimed: &Claimed, piped: Piped) -> Result<()> {
    ground.reach(step, happening(claimed, piped)).await
}

fn happening(claimed: &Claimed, piped: Piped) -> Happening {
    Happening::Chunk {
        dataset: claimed.dataset.clone(),
        chunk: claimed.chunk,
        count: claimed.count,
        rows: piped.rows,
        bytes: piped.bytes,
    }
}

/// Marks a chunk done in the transaction that holds its rows.
///
/// # Errors
/// `Fenced` when whoever took over has given the chunk to another worker; `Invariant` when nobody took over.
async fn mark_done(
    ground: &Ground,
    plan: &Plan,
    scope: &ChunkScope,
    secondary: &mut Session,
    claimed: &Claimed,
    piped: Piped,
) -> Result<()> {
    let marked = chunks::mark_done(secondary, &ground.tables, scope, claimed, piped).await;
    if matches!(marked, Err(Error::Invariant { .. })) {
        plan.lease.fence(secondary).await?;
    }
    marked
}

/// Commits a chunk, its rows and its mark; the fence is the last thing before.
async fn commit(
    ground: &Ground,
    lease: &Lease,
    secondary: &mut Session,
    claimed: &Claimed,
    piped: Piped,
) -> Result<()> {
    reach(ground, Step::ChunkCommitting, claimed, piped).await?;
    lease.fence(secondary).await?;
    secondary.commit("committing a chunk").await?;
    reach(ground, Step::ChunkCommitted, claimed, piped).await
}

/// A count that came as text.
pub(crate) fn counted(text: &str) -> Result<i64> {
    text.parse().map_err(|_| Error::invariant("a count", format!("{text:?} is no number")))
}

/// What one chunk of a delta received.
struct Received {
    piped: Piped,
    /// The last row's leading fields.
    last_key: Option<Vec<String>>,
    /// Whether the stream came to its end.
    ended: bool,
}

/// Writes up to `rows_max` rows of the stream into the staging table.
async fn receive(
    ground: &Ground,
    claimed: &Claimed,
    pair: &Pair,
    source: &mut Source<'_>,
    rows: &mut Rows,
    secondary: &mut Session,
    rows_max: u64,
) -> Result<Received> {
    let format = pair.format();
    let mut sink = Sink::open(secondary, &delta::copy_in(pair, &pair.names.staging)).await?;
    sink.put(format.header()).await?;
    let (mut taken, mut last, mut ended, mut midway) = (0, None, false, false);
    while taken < rows_max && !ended {
        while taken < rows_max
            && let Some(row) = rows.next()?
        {
            let flushed = sink.put(&row.bytes).await?;
            last = Some(row);
            taken += 1;
            if flushed && !midway {
                midway = true;
                reach(ground, Step::MidChunk, claimed, Piped { rows: taken, bytes: sink.bytes() }).await?;
            }
        }
        if taken < rows_max {
            match source.next().await? {
                Some(bytes) => rows.feed(&bytes),
                None => ended = true,
            }
        }
    }
    if !midway {
        reach(ground, Step::MidChunk, claimed, Piped { rows: taken, bytes: sink.bytes() }).await?;
    }
    sink.put(format.trailer()).await?;
    let last_key = last.map(|row| row.leading_text()).transpose()?;
    Ok(Received { piped: sink.finish().await?, last_key, ended })
}

/// The position of a row, from its leading fields.
fn position(pair: &Pair, mut key: Vec<String>) -> Result<DeltaPosition> {
    let batch_in = match pair.holding {
        Holding::LiveOnly => None,
        Holding::Mirror => {
            let batch = key.pop().unwrap_or_default();
            let batch =
                batch.parse().map_err(|_| Error::invariant("a delta", format!("{batch:?} is no batch")))?;
            Some(PrimaryBatch(batch))
        }
    };
    Ok(DeltaPosition { key, batch_in })
}
