//! The judgement of what an ingestion wrote: every version, the hashes beside it, what is staged, and the batch's own row.

use std::collections::BTreeMap;

use milestream_core::names;
use milestream_oracle::{Row, Shape, Version, differences};
use milestream_worker::ingest::IngestOutcome;
use serde_json::{Value, json};

use super::super::Failure;
use super::super::asker::{Asker, quoted};
use super::super::primary::{PrimaryState, StreamState};
use super::super::record::Recorder;
use super::{STAGING_KEPT, beside};
use crate::forensic::{Live, Table, ident};
use crate::outcome::Property;
use crate::plan::{Cell, Formula};

/// The columns of both hashes, in the order in which the model has them.
const HASHES: [&str; 2] = ["ds_surf_all_hash", "ds_surf_key_hash"];

/// A platform that ingested a batch.
struct Ingested<'a> {
    platform: String,
    stream: &'a StreamState,
    formula: Formula,
    batch: i32,
    /// Rows inserted, updated and deleted, as `batch_metrics` must count them.
    counts: [u64; 3],
    /// Live rows of each table at batches that are kept in staging, the newest last.
    staged: Vec<(i32, BTreeMap<String, Live>)>,
    /// Whether these are all that may be staged.
    is_all_that_is_staged: bool,
}

/// A table as it must be, with the names of its columns in the order of the expected rows.
struct Expected<'a> {
    of_table: &'a Table,
    /// Its quoted name.
    table: String,
    /// A condition on its rows.
    of: String,
    shape: Shape,
    rows: Vec<Row>,
}

/// Compares what a forensic primary holds after its newest batch with the model.
pub(super) async fn check(primary: &PrimaryState, at: usize, recorder: &Recorder) -> Result<(), Failure> {
    let stream = &primary.streams[at];
    let batch = stream.oracle.newest_batch();
    let counts = stream.oracle.counts_of(batch);
    let oldest = (batch - i32::try_from(STAGING_KEPT).unwrap_or(i32::MAX) + 1).max(1);
    let ingested = Ingested {
        platform: primary.plan.name.clone(),
        stream,
        formula: primary.plan.hash,
        batch,
        counts: [counts.opened, counts.closed_changed, counts.closed_gone],
        staged: (oldest..=batch).map(|batch| (batch, stream.live_at(batch))).collect(),
        is_all_that_is_staged: true,
    };
    let (formula, mut asker) = (primary.plan.hash, primary.place.asker().await?);
    let mut wrong = ingested.wrong_in_books(&mut asker).await?;
    for table in &stream.tables {
        let versions = stream.oracle.table(table.name()).versions_at(batch).into_iter();
        let expected = versions.map(|version| {
            let hashes = formula.hashes(table, &version.row);
            with(Version::into_row(version), hashes)
        });
        let mut shape = table.shape().of_versions();
        shape.columns.extend(HASHES.map(str::to_owned));
        let expected = ingested.expected(table, shape, expected.collect());
        wrong.push_str(&differs(&expected, &mut asker).await?);
        wrong.push_str(&ingested.wrongly_staged(table, &mut asker).await?);
    }
    asker.close().await;
    ingested.report(&wrong, recorder);
    Ok(())
}

/// The same of the live-only platform beside it.
pub(super) async fn check_beside(
    primary: &mut PrimaryState,
    at: usize,
    outcome: IngestOutcome,
    recorder: &Recorder,
) -> Result<(), Failure> {
    let (platform, formula) = (beside(primary), primary.plan.hash);
    let stream = &mut primary.streams[at];
    let live = stream.live_in_source();
    let Some(mut held) = stream.pending.beside.take() else { return Ok(()) };
    let before = held.newest_batch();
    let rows = |live: &Live| {
        live.iter().map(|(key, columns)| Row { key: key.clone(), columns: columns.clone() }).collect()
    };
    let batch = held.commit_snapshot(live.iter().map(|(name, live)| (name.as_str(), rows(live))));
    let batch = batch.map_err(|mistake| Failure::Set { what: format!("a live-only platform: {mistake}") })?;
    let counts = held.changes_between(before, batch);
    for (name, live) in &live {
        let earlier: Live =
            held.table(name).live_at(before).into_iter().map(|row| (row.key, row.columns)).collect();
        let written = stream.pending.written.entry(name.clone()).or_default();
        written.retain(|key, _| live.contains_key(key));
        for (key, _) in live.iter().filter(|(key, columns)| earlier.get(*key) != Some(*columns)) {
            written.insert(key.clone(), batch);
        }
    }
    stream.pending.beside = Some(held);
    let stream = &primary.streams[at];
    let ingested = Ingested {
        platform,
        stream,
        formula,
        batch,
        counts: [counts.new, counts.changed, counts.gone],
        staged: vec![(batch, live.clone())],
        is_all_that_is_staged: false,
    };
    let mut asker = primary.place.asker().await?;
    let mut wrong = ingested.wrong_in_books(&mut asker).await?;
    if outcome.batch.0 != batch {
        wrong.push_str(&format!("it says that it ingested batch {}\n", outcome.batch));
    }
    for table in &stream.tables {
        let written = &stream.pending.written[table.name()];
        let expected = live[table.name()].iter().map(|(key, columns)| {
            let row = Row { key: key.clone(), columns: columns.clone() };
            let hashes = formula.hashes(table, &row);
            let mut row = with(row, hashes);
            row.columns.push(written.get(key).map(ToString::to_string));
            row
        });
        let mut shape = table.shape();
        shape.columns.extend(HASHES.into_iter().chain(["ds_surf_batch_id"]).map(str::to_owned));
        let expected = ingested.expected(table, shape, expected.collect());
        wrong.push_str(&differs(&expected, &mut asker).await?);
        wrong.push_str(&ingested.wrongly_staged(table, &mut asker).await?);
    }
    asker.close().await;
    ingested.report(&wrong, recorder);
    Ok(())
}

/// The highest batch that a stream's primary has committed.
pub(super) async fn newest_committed(primary: &PrimaryState, at: usize) -> Result<Option<i32>, Failure> {
    let metrics = ident(&names::platform_table(&primary.plan.name, "batch_metrics"));
    let mut asker = primary.place.asker().await?;
    let question = format!(
        "select max(batch_id) from {metrics} where key = {} and batch_status = 'committed'",
        quoted(&primary.streams[at].key)
    );
    let is_there = asker.value(&format!("select to_regclass({})", quoted(&metrics))).await?.is_some();
    let newest = if is_there { asker.value(&question).await? } else { None };
    asker.close().await;
    Ok(newest.and_then(|newest| newest.parse().ok()))
}

/// Lets the lease of an ingestion that is gone run out at once.
pub(super) async fn expire_lease(primary: &PrimaryState, at: usize) -> Result<(), Failure> {
    let stream = ident(&names::platform_table(&primary.plan.name, "sync_stream"));
    let expired = format!(
        "do $do$ begin if to_regclass({}) is not null then \
         update {stream} set lease_expires_at = clock_timestamp() - interval '1 second' where stream_key = {}; end if; end $do$",
        quoted(&stream),
        quoted(&primary.streams[at].key)
    );
    primary.place.execute(&expired).await
}

impl Ingested<'_> {
    fn report(&self, wrong: &str, recorder: &Recorder) {
        if !wrong.is_empty() {
            let Ingested { platform, batch, .. } = self;
            let what = format!("{platform} of {:?} at batch {batch}: {wrong}", self.stream.key);
            recorder.violated(Property::Ingestion, what);
        }
    }

    fn expected<'t>(&self, table: &'t Table, shape: Shape, rows: Vec<Row>) -> Expected<'t> {
        let merge = table.merge_table(&self.platform, &self.stream.stream.store);
        Expected { of_table: table, table: merge, of: "true".to_owned(), shape, rows }
    }

    /// How what is staged differs from the source as it was at each batch that is kept.
    async fn wrongly_staged(&self, table: &Table, asker: &mut Asker) -> Result<String, Failure> {
        let rows = self.staged.iter().flat_map(|(batch, live)| {
            live[table.name()].iter().map(move |(key, columns)| {
                let row = Row { key: key.clone(), columns: columns.clone() };
                let hashes = self.formula.hashes(table, &row);
                let mut row = with(row, hashes);
                row.key.push(Some(batch.to_string()));
                row
            })
        });
        let mut shape = table.shape();
        shape.key.push("ds_surf_batch_id".to_owned());
        shape.columns.extend(HASHES.map(str::to_owned));
        let staging = names::staging_table(&self.platform, &self.stream.stream.store, table.name());
        let of = if self.is_all_that_is_staged {
            "true".to_owned()
        } else {
            format!("ds_surf_batch_id = {}", self.batch)
        };
        differs(&Expected { of_table: table, table: ident(&staging), of, shape, rows: rows.collect() }, asker)
            .await
    }

    /// What is wrong about the counter and the batch's row.
    async fn wrong_in_books(&self, asker: &mut Asker) -> Result<String, Failure> {
        let table = |suffix| ident(&names::platform_table(&self.platform, suffix));
        let (metrics, counter) = (table("batch_metrics"), table("batch_counter"));
        let (key, batch) = (quoted(&self.stream.key), self.batch);
        let question = format!(
            "select (to_jsonb(m) - 'state')::text, m.state, (select \"currentBatch\" from {counter} where key = {key}), \
             (select string_agg(o.batch_id || ' ' || o.batch_status, ', ') from {metrics} o where o.key = {key} \
                and o.batch_status <> 'committed'), m.batch_end_time >= m.batch_start_time, \
             (select count(*) from {metrics} o where o.key = {key}) \
             from {metrics} m where key = {key} and batch_id = {batch}"
        );
        let row = asker.ask(&question).await?.into_iter().next().unwrap_or_default();
        let cell = |at: usize| row.get(at).cloned().flatten();
        let parsed =
            |at: usize| cell(at).and_then(|text| serde_json::from_str(&text).ok()).unwrap_or(Value::Null);
        let (found, state) = (parsed(0), parsed(1));
        let rows: usize = self.staged.last().map_or(0, |(_, live)| live.values().map(BTreeMap::len).sum());
        let datasets: Vec<_> = self.stream.tables.iter().map(Table::name).collect();
        let [inserted, updated, deleted] = self.counts;
        let compared = [
            ("batch_status", found["batch_status"].clone(), json!("committed")),
            ("records_inserted", found["records_inserted"].clone(), json!(inserted)),
            ("records_updated", found["records_updated"].clone(), json!(updated)),
            ("records_deleted", found["records_deleted"].clone(), json!(deleted)),
            ("total_records", found["total_records"].clone(), json!(rows)),
            ("state.all_datasets", state["all_datasets"].clone(), json!(datasets)),
            ("the counter", json!(cell(2)), json!(batch.to_string())),
            ("batches that are not committed", json!(cell(3)), Value::Null),
            ("that it ended after it began", json!(cell(4)), json!("t")),
            ("the number of batches", json!(cell(5)), json!(batch.to_string())),
        ];
        let wrong = compared.into_iter().filter(|(_, found, expected)| found != expected);
        Ok(wrong.map(|(what, found, expected)| format!("{what}: {found}, not {expected}\n")).collect())
    }
}

/// How a table differs from what it must hold.
async fn differs(expected: &Expected<'_>, asker: &mut Asker) -> Result<String, Failure> {
    let Expected { table, of, shape, rows, .. } = expected;
    let system = |name: &String| match name.as_str() {
        "batch_in" | "batch_out" => format!("ds_surf_{name}::text"),
        name => format!("{name}::text"),
    };
    let (mut names, columns) = expected.of_table.texts();
    names.extend(shape.key[names.len()..].iter().map(system));
    let behind = &shape.columns[columns.len()..];
    names.extend(columns);
    names.extend(behind.iter().map(system));
    let found = asker.ask(&format!("select {} from {table} where {of}", names.join(", "))).await?;
    let found = found.into_iter().map(|mut key| {
        let columns = key.split_off(shape.key.len());
        Row { key, columns }
    });
    let found = differences(shape, rows, &found.collect::<Vec<_>>());
    Ok(if found.is_empty() { String::new() } else { format!("{table}: {found}\n") })
}

fn with(mut row: Row, hashes: [Cell; 2]) -> Row {
    row.columns.extend(hashes);
    row
}
