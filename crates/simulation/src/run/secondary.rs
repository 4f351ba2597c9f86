//! A secondary as it is played: its streams, what each must hold, and the comparison with what it does hold.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use milestream_core::names;
use milestream_oracle::Row;
use milestream_worker::Holding;
use milestream_worker::observer::Unobserved;
use milestream_worker::reset::{self, Order};
use milestream_worker::sync::{
    IncrementStrategy, Job, PrimaryChoice, SeedStrategy, Tuning, Upstream, VerifySeed,
};
use tokio::sync::Mutex;

use super::asker::{Asker, quoted};
use super::ledger::Ledger;
use super::primary::{PrimaryState, StreamState};
use super::scenery;
use super::stage::Place;
use super::{Failure, tuning};
use crate::forensic::{Table, ident};
use crate::plan::premises::TypesThere;
use crate::plan::values::Kind;
use crate::plan::{Formula, Keeps, Plan, SecondaryPlan, Strategy, Verify};

/// Staged batches that the secondaries keep.
pub(super) const STAGING_KEPT: u32 = 2;

/// A secondary and its streams.
pub(crate) struct SecondaryState {
    pub(crate) plan: SecondaryPlan,
    pub(crate) place: Arc<Place>,
    pub(crate) followers: Vec<Follower>,
    /// The quoted names of its control tables.
    pub(crate) control: ControlNames,
    /// How the primary computes the hash columns.
    pub(super) formula: Formula,
    /// Whether a column that joins late has a default on the primary.
    pub(super) late_column_has_default: bool,
    /// Kinds of the columns of all datasets.
    pub(super) kinds: BTreeSet<Kind>,
    /// Its types as they are now.
    types: std::sync::Mutex<TypesThere>,
}

/// The quoted names of a secondary's control tables.
pub(crate) struct ControlNames {
    pub(crate) stream: String,
    pub(crate) chunk: String,
    pub(super) history: String,
    pub(crate) metrics: String,
    pub(super) counter: String,
}

/// One stream of a secondary.
pub(crate) struct Follower {
    pub(crate) key: String,
    pub(crate) job: std::sync::Mutex<Job>,
    /// The tables of all datasets of the stream.
    pub(super) all: Vec<Table>,
    /// Datasets that its worker's model has: the first so many.
    pub(super) modelled: AtomicUsize,
    /// Kinds of their columns.
    pub(super) kinds: BTreeSet<Kind>,
    pub(crate) ledger: Mutex<Ledger>,
    /// Whether a reader has seen all of its tables.
    pub(super) is_there: AtomicBool,
}

impl SecondaryState {
    pub(crate) fn of(plan: &Plan, index: usize, place: Arc<Place>, primary: &PrimaryState) -> SecondaryState {
        let secondary = plan.secondaries[index].clone();
        let table = |suffix| ident(&names::platform_table(&secondary.name, suffix));
        let control = ControlNames {
            stream: table("sync_stream"),
            chunk: table("sync_chunk"),
            history: table("sync_history"),
            metrics: table("batch_metrics"),
            counter: table("batch_counter"),
        };
        let followers =
            primary.streams.iter().map(|stream| follower(&secondary, &place, primary, stream)).collect();
        let (kinds, types) = (scenery::kinds(&plan.datasets), secondary.premises.types.into());
        let late_column_has_default = plan.late_column_has_default;
        let formula = primary.plan.hash;
        SecondaryState {
            plan: secondary,
            place,
            followers,
            control,
            formula,
            late_column_has_default,
            kinds,
            types,
        }
    }

    pub(super) fn types_there(&self) -> std::sync::MutexGuard<'_, TypesThere> {
        self.types.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    pub(crate) fn follower(&self, key: &str) -> &Follower {
        let found = self.followers.iter().find(|follower| follower.key == key);
        found.unwrap_or_else(|| panic!("the plan has no stream {key:?}"))
    }

    /// Whether the worker has made its control tables.
    pub(crate) async fn is_begun(&self, asker: &mut Asker) -> Result<bool, Failure> {
        Ok(asker.value(&format!("select to_regclass({})", quoted(&self.control.stream))).await?.is_some())
    }

    /// The stream's watermark.
    pub(crate) async fn watermark(&self, key: &str, asker: &mut Asker) -> Result<Option<i32>, Failure> {
        let question = format!(
            "select last_synced_primary_batch from {} where stream_key = {}",
            self.control.stream,
            quoted(key)
        );
        Ok(asker.value(&question).await?.and_then(|text| text.parse().ok()))
    }

    /// Lets the lease of a worker that is gone run out at once.
    pub(crate) async fn expire_lease(&self, key: &str, asker: &mut Asker) -> Result<(), Failure> {
        if !self.is_begun(asker).await? {
            return Ok(());
        }
        let update = format!(
            "update {} set lease_expires_at = clock_timestamp() - interval '1 second' where stream_key = {}",
            self.control.stream,
            quoted(key)
        );
        asker.execute(&update).await
    }

    /// Takes the sessions of a stream's worker off record, so that nobody can end them.
    pub(crate) async fn forget_backends(&self, key: &str, asker: &mut Asker) -> Result<(), Failure> {
        let update = format!(
            "update {} set lease_backends = '[]' where stream_key = {}",
            self.control.stream,
            quoted(key)
        );
        asker.execute(&update).await
    }

    /// Lets a stream begin anew, with the command that the worker advises where it cannot go on.
    pub(crate) async fn reset(&self, key: &str, asker: &mut Asker) -> Result<(), milestream_worker::Error> {
        let follower = self.follower(key);
        // Whoever led it is gone, or has no more to do.
        if let Err(failure) = self.expire_lease(key, asker).await {
            tracing::debug!(%failure, "a lease could not be ended");
        }
        let order = Order { reseed: true, dry_run: false };
        reset::of_secondary(Arc::new(follower.job(|_| {})), order, Arc::new(Unobserved)).await?;
        let mut ledger = follower.ledger.lock().await;
        (ledger.was_reset, ledger.capture) = (true, None);
        Ok(())
    }

    /// A reader's look: watermark and tables in one snapshot, taken behind the tables' locks so that a table that is
    /// just made visible is seen with the watermark that came with it.
    pub(crate) async fn sample(&self, key: &str, asker: &mut Asker) -> Result<(), Failure> {
        let follower = self.follower(key);
        let merges: Vec<_> = follower.tables().iter().map(|table| self.merge(follower, table)).collect();
        // Tables that are there once stay.
        if !follower.is_there.load(Ordering::Relaxed) {
            if !self.are_all_there(follower, asker).await? {
                return Ok(());
            }
            follower.is_there.store(true, Ordering::Relaxed);
        }
        let look = format!(
            "begin isolation level repeatable read read only; lock table {}, {stream} in access share mode; \
             select (select last_synced_primary_batch from {stream} where stream_key = {key}), {}, \
             (select string_agg(m.batch_id || ' ' || m.batch_status || ' ' || m.state, ', ') from {} m where m.key = {key} \
                and m.batch_status <> 'committed' and (m.state::jsonb ->> 'last_synced_primary_batch')::int is distinct from \
                (select last_synced_primary_batch from {stream} where stream_key = {key})); commit",
            merges.join(", "),
            self.digest_of(follower),
            self.control.metrics,
            stream = self.control.stream,
            key = quoted(key),
        );
        let row = asker.ask(&look).await?.into_iter().next().unwrap_or_default();
        let cell = |at: usize| row.get(at).cloned().flatten();
        let (watermark, digest) = (cell(0).and_then(|text| text.parse().ok()), cell(1).unwrap_or_default());
        let mut ledger = follower.ledger.lock().await;
        ledger.samples.insert((watermark, digest));
        // A batch that is not committed yet tells of what was synced before it.
        ledger.ahead.extend(cell(2).map(|state| format!("at watermark {watermark:?}: {state}")));
        Ok(())
    }

    /// Whether all of a stream's tables are there.
    pub(super) async fn are_all_there(
        &self,
        follower: &Follower,
        asker: &mut Asker,
    ) -> Result<bool, Failure> {
        let merges = follower.tables().iter().map(|table| self.merge(follower, table));
        let there = merges.chain([self.control.stream.clone()]);
        let there = there.map(|table| format!("to_regclass({}) is not null", quoted(&table)));
        let all_there = format!("select {}", there.collect::<Vec<_>>().join(" and "));
        Ok(asker.value(&all_there).await?.as_deref() == Some("t"))
    }

    /// Whether the worker may say that the primary is not what it was.
    pub(crate) async fn is_reset_real(&self, key: &str, primary: &StreamState) -> bool {
        let ledger = self.follower(key).ledger.lock().await;
        let capture = ledger.capture.as_ref();
        let has_capture_gone =
            capture.is_some_and(|capture| primary.fell_below(capture.to, capture.restores));
        drop(ledger);
        has_capture_gone || self.is_behind_us(key, primary).await
    }

    /// Whether the primary went back behind what the secondary holds. A batch in flight that it lost is none of that.
    pub(crate) async fn is_behind_us(&self, key: &str, primary: &StreamState) -> bool {
        let ledger = self.follower(key).ledger.lock().await;
        ledger.held.as_ref().is_some_and(|held| primary.fell_below(held.watermark, held.restores))
    }

    /// A digest of all that readers see of a stream, as an expression: its tables, its newest committed batch and its syncs.
    pub(super) fn digest_of(&self, follower: &Follower) -> String {
        let digest = |table: &Table| {
            // Columns that were added are not looked at.
            let mut names = names_of(table, self.plan.holding);
            names.extend(["ds_surf_all_hash", "ds_surf_key_hash"].map(str::to_owned));
            names.extend((self.plan.holding == Keeps::LiveOnly).then(|| "ds_surf_batch_id".to_owned()));
            let row = format!("row({})::text", names.join(", "));
            format!(
                "(select coalesce(md5(string_agg({row}, E'\\n' order by {row} collate \"C\")), '') from {})",
                self.merge(follower, table)
            )
        };
        let digests: Vec<_> = follower.tables().iter().map(digest).collect();
        let key = quoted(&follower.key);
        format!(
            "concat((select max(batch_id) from {} where key = {key} and batch_status = 'committed'), ' ', \
             (select count(*) from {} where stream_key = {key}), '|', concat_ws(' ', {}))",
            self.control.metrics,
            self.control.history,
            digests.join(", ")
        )
    }

    pub(super) async fn digest(&self, follower: &Follower, asker: &mut Asker) -> Result<String, Failure> {
        Ok(asker.value(&format!("select {}", self.digest_of(follower))).await?.unwrap_or_default())
    }

    pub(crate) fn merge(&self, follower: &Follower, table: &Table) -> String {
        table.merge_table(&self.plan.name, &follower.store())
    }

    /// Its tables as they are, for snapshots and reports.
    pub(crate) async fn tables(&self, asker: &mut Asker) -> Result<String, Failure> {
        let mut text = String::new();
        for follower in &self.followers {
            let watermark =
                if self.is_begun(asker).await? { self.watermark(&follower.key, asker).await? } else { None };
            text.push_str(&format!("{} of {:?} at {watermark:?}\n", self.plan.name, follower.key));
            for table in follower.tables() {
                let merge = self.merge(follower, table);
                let mut rows = rows_of(table, &merge, self.plan.holding, asker).await?.unwrap_or_default();
                rows.sort();
                text.push_str(&format!("  {}: {} rows\n", table.name(), rows.len()));
                for row in rows {
                    let cells: Vec<_> = row.key.iter().chain(&row.columns).map(shown).collect();
                    text.push_str(&format!("    {}\n", cells.join(" | ")));
                }
            }
        }
        Ok(text)
    }
}

impl Follower {
    /// The tables of the datasets that its worker's model has.
    pub(crate) fn tables(&self) -> &[Table] {
        &self.all[..self.modelled.load(Ordering::SeqCst)]
    }

    /// Whether its worker's model lacks datasets.
    pub(crate) fn lacks_datasets(&self) -> bool {
        self.tables().len() < self.all.len()
    }

    /// The platform that it follows.
    pub(super) fn primary(&self) -> String {
        let job = self.job.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        job.upstreams.first().map(|upstream| upstream.platform.clone()).unwrap_or_default()
    }

    pub(super) fn store(&self) -> String {
        self.job.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).stream.store.clone()
    }

    /// The job, with bounds of one's own for the run.
    pub(crate) fn job(&self, change: impl FnOnce(&mut Tuning)) -> Job {
        let mut job = self.job.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).clone();
        job.stream.datasets.truncate(self.tables().len());
        change(&mut job.tuning);
        job
    }
}

fn shown(cell: &Option<String>) -> String {
    cell.as_ref().map_or("∅".to_owned(), |text| format!("{text:?}"))
}

/// The rows of a merge table as texts; `None` where there is no such table.
pub(crate) async fn rows_of(
    table: &Table,
    merge: &str,
    holding: Keeps,
    asker: &mut Asker,
) -> Result<Option<Vec<Row>>, Failure> {
    if asker.value(&format!("select to_regclass({})", quoted(merge))).await?.is_none() {
        return Ok(None);
    }
    let names = names_of(table, holding);
    let width = table.key().len() + usize::from(holding == Keeps::Mirror);
    let rows = asker.ask(&format!("select {} from {merge}", names.join(", "))).await?;
    let row = |mut key: Vec<Option<String>>| {
        let columns = key.split_off(width);
        Row { key, columns }
    };
    Ok(Some(rows.into_iter().map(row).collect()))
}

/// The columns of a merge table as texts: the key, of a mirror with `batch_in`, and the others, with `batch_out`.
fn names_of(table: &Table, holding: Keeps) -> Vec<String> {
    let (mut names, columns) = table.texts();
    let milestone = |name: &str| (holding == Keeps::Mirror).then(|| format!("{name}::text"));
    names.extend(milestone("ds_surf_batch_in"));
    names.extend(columns);
    names.extend(milestone("ds_surf_batch_out"));
    names
}

fn follower(
    plan: &SecondaryPlan,
    place: &Arc<Place>,
    primary: &PrimaryState,
    stream: &StreamState,
) -> Follower {
    let upstream =
        Upstream { platform: primary.plan.name.clone(), endpoint: primary.place.endpoint("primary") };
    let job = Job {
        platform: plan.name.clone(),
        holding: match plan.holding {
            Keeps::LiveOnly => Holding::LiveOnly,
            Keeps::Mirror => Holding::Mirror,
        },
        stream: stream.stream.clone(),
        upstreams: vec![upstream],
        primary_choice: PrimaryChoice::First,
        secondary: place.endpoint("secondary"),
        staging_batches_to_keep: Some(STAGING_KEPT),
        platforms: BTreeSet::new(),
        tuning: plan.limits.on(Tuning {
            parallelism: plan.parallelism,
            seed_chunk_rows: plan.chunk_rows,
            seed_chunk_time: plan.chunk_time(),
            seed_strategy: match plan.strategy {
                Strategy::Blocks => SeedStrategy::Blocks,
                Strategy::Keys => SeedStrategy::Keys,
            },
            increment_strategy: match plan.increments {
                Strategy::Blocks => IncrementStrategy::Blocks,
                Strategy::Keys => IncrementStrategy::Keys,
            },
            verify_seed: match plan.verify {
                Verify::Count => VerifySeed::Count,
                Verify::Content => VerifySeed::Content,
                Verify::Off => VerifySeed::Off,
            },
            max_rows_per_sync: plan.max_rows_per_sync,
            // A standby that stands still is waited for in vain.
            retry_tries: if primary.plan.has_standby { 8 } else { tuning().retry_tries },
            ..tuning()
        }),
    };
    Follower {
        key: stream.key.clone(),
        job: std::sync::Mutex::new(job),
        all: stream.tables.clone(),
        modelled: AtomicUsize::new(stream.tables.len()),
        kinds: scenery::kinds(stream.datasets()),
        ledger: Mutex::default(),
        is_there: AtomicBool::new(false),
    }
}
