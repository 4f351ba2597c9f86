//! What a platform writes down of its syncs: `batch_counter`, `batch_metrics`, `sync_history` and `sync_stream`.

use std::collections::BTreeMap;

use serde_json::Value;

use super::super::Failure;
use super::super::asker::{Asker, quoted};
use super::super::ledger::{Ledger, When};
use super::super::secondary::{Follower, SecondaryState};
use super::Looked;
use crate::plan::Keeps;

/// Seconds by which two clocks of one machine may differ, and a commit may last.
const COMMIT_SECONDS_MAX: u32 = 150;

/// What was written down of a stream's syncs, and must stay as it is.
#[derive(Clone, Debug, Default)]
pub(crate) struct Books {
    /// Rows of `batch_metrics` as text, by batch.
    metrics: BTreeMap<i32, String>,
    /// Rows of `sync_history` as text, in the order of their commits.
    pub(in crate::run) history: Vec<String>,
}

/// A commit as `sync_history` has it.
pub(crate) struct Committed {
    pub(super) local: i32,
    /// Rows inserted, updated and deleted.
    pub(super) counts: [String; 3],
}

impl SecondaryState {
    /// The commit of a batch as `sync_history` has it; `None` where it has none.
    pub(super) async fn committed(
        &self,
        follower: &Follower,
        to: i32,
        asker: &mut Asker,
    ) -> Result<Option<Committed>, Failure> {
        let question = format!(
            "select local_batch, rows_inserted, rows_updated, rows_deleted from {} where stream_key = {} and to_batch = {to} \
             order by committed_at desc limit 1",
            self.control.history,
            quoted(&follower.key)
        );
        let row = asker.ask(&question).await?.into_iter().next();
        Ok(row.and_then(|row| {
            let mut cells = row.into_iter().map(Option::unwrap_or_default);
            let local = cells.next()?.parse().ok()?;
            Some(Committed { local, counts: [cells.next()?, cells.next()?, cells.next()?] })
        }))
    }

    /// What is wrong about what was written down of a commit, each in a sentence. `rows` is what the sync must have
    /// staged, or landed.
    pub(super) async fn wrong_in_books(
        &self,
        looked: &Looked<'_>,
        ledger: &Ledger,
        rows: usize,
        asker: &mut Asker,
    ) -> Result<Vec<String>, Failure> {
        let came = ledger.came(looked.follower.tables(), looked.capture);
        let mut wrong = self.wrong_in_row(looked, rows, &came, asker).await?;
        if looked.when == When::AtOnce {
            wrong.extend(self.wrong_at_rest(looked, asker).await?);
        }
        Ok(wrong)
    }

    /// What changed of earlier commits though nothing may, each in a sentence; the ledger then holds what is written
    /// down now.
    pub(super) async fn wrongly_rewritten(
        &self,
        looked: &Looked<'_>,
        ledger: &mut Ledger,
        asker: &mut Asker,
    ) -> Result<Vec<String>, Failure> {
        let Looked { follower, capture, committed, when } = *looked;
        let now = self.books(follower, asker).await?;
        let is_of_others =
            self.plan.holding == Keeps::Mirror && !ledger.came(follower.tables(), capture).is_empty();
        let wrong = match ledger.was_reset {
            true => Vec::new(),
            false => changed(&ledger.books, &now, (!is_of_others).then_some(committed.local), when),
        };
        ledger.books = now;
        Ok(wrong)
    }

    async fn books(&self, follower: &Follower, asker: &mut Asker) -> Result<Books, Failure> {
        let key = quoted(&follower.key);
        let metrics = format!(
            "select batch_id, to_jsonb(m)::text from {} m where key = {key} and batch_status = 'committed' order by batch_id",
            self.control.metrics
        );
        let metrics = asker.ask(&metrics).await?.into_iter().filter_map(|row| {
            let mut cells = row.into_iter().map(Option::unwrap_or_default);
            Some((cells.next()?.parse().ok()?, cells.next()?))
        });
        let metrics = metrics.collect();
        let history = format!(
            "select to_jsonb(h)::text from {} h where stream_key = {key} order by committed_at",
            self.control.history
        );
        let history = asker.ask(&history).await?.into_iter().flatten().flatten().collect();
        Ok(Books { metrics, history })
    }

    /// The commit's own rows.
    async fn wrong_in_row(
        &self,
        looked: &Looked<'_>,
        rows: usize,
        came: &[String],
        asker: &mut Asker,
    ) -> Result<Vec<String>, Failure> {
        let Looked { follower, capture, committed, .. } = *looked;
        let (key, local) = (quoted(&follower.key), committed.local);
        let question = format!(
            "select m.state, (to_jsonb(m) - 'state')::text, to_jsonb(h)::text, \
             m.batch_end_time >= m.batch_start_time and h.committed_at >= h.started_at \
               and abs(extract(epoch from h.committed_at - m.batch_end_time at time zone 'UTC')) < {COMMIT_SECONDS_MAX} \
             from {} h left join {} m on m.key = h.stream_key and m.batch_id = h.local_batch \
             where h.stream_key = {key} and h.to_batch = {} order by h.committed_at desc limit 1",
            self.control.history, self.control.metrics, capture.to
        );
        let row = asker.ask(&question).await?.into_iter().next().unwrap_or_default();
        let mut cells = row.into_iter().map(Option::unwrap_or_default);
        let mut parsed = || -> Value {
            let text = cells.next().unwrap_or_default();
            serde_json::from_str(&text).unwrap_or(Value::Null)
        };
        let (state, metrics, history) = (parsed(), parsed(), parsed());
        let times = cells.next().unwrap_or_default();
        let is_seed = capture.from.is_none();
        // A batch of datasets that came is theirs alone, and none of the first seed.
        let all = || follower.tables().iter().map(|table| Value::from(table.name())).collect::<Vec<_>>();
        let datasets = if came.is_empty() { all() } else { came.iter().cloned().map(Value::from).collect() };
        let is_first = is_seed && came.is_empty();
        // A mirror has the primary's batches: they are in the one that the others came to.
        let is_of_others = !came.is_empty() && self.plan.holding == Keeps::Mirror;
        let kind = if is_seed { "seed" } else { "increment" };
        let mut wrong = Vec::new();
        let mut expect = |place: &str, found: &Value, expected: Value| {
            let is_meant = !is_of_others || place.contains("sync_history");
            if is_meant && *found != expected {
                wrong.push(format!("batch {local}: {place} is {found}, not {expected}"));
            }
        };
        expect("batch_metrics.batch_status", &metrics["batch_status"], "committed".into());
        expect("batch_metrics.total_records", &metrics["total_records"], rows.into());
        expect("state.all_datasets", &state["all_datasets"], datasets.into());
        expect("state.current_dataset_index", &state["current_dataset_index"], 0.into());
        expect("state.current_offset", &state["current_offset"], 0.into());
        expect("state.last_synced_primary_batch", &state["last_synced_primary_batch"], capture.to.into());
        expect("state.is_seed_phase", &state["is_seed_phase"], is_first.into());
        expect("state.job_state.is_seed_batch", &state["job_state"]["is_seed_batch"], is_first.into());
        expect("state.job_state.remote_batch_id", &state["job_state"]["remote_batch_id"], capture.to.into());
        let offset = if is_seed { rows } else { 0 };
        expect("state.seed_offset", &state["seed_offset"], offset.into());
        expect("state.seed_chunk_size", &state["seed_chunk_size"], self.plan.chunk_rows.into());
        expect("sync_history.kind", &history["kind"], kind.into());
        expect("sync_history.from_batch", &history["from_batch"], capture.from.into());
        expect("sync_history.rows_staged", &history["rows_staged"], rows.into());
        let primary = follower.primary();
        expect("sync_history.primary_platform", &history["primary_platform"], primary.into());
        let brought = history["bytes"].as_u64().is_some_and(|bytes| rows == 0 || bytes > 0);
        expect("that sync_history.bytes is of rows", &brought.into(), true.into());
        let counted =
            ["chunks", "copies", "generations", "copy_ms", "landing_ms", "merge_ms", "commit_ms", "retries"];
        let is_counted = counted.iter().all(|name| history[*name].as_i64().is_some_and(|count| count >= 0));
        expect("that sync_history counts from 0 on", &is_counted.into(), true.into());
        expect("the order of the times", &times.into(), "t".into());
        Ok(wrong)
    }

    /// What is written down of a stream in which nothing goes on.
    async fn wrong_at_rest(&self, looked: &Looked<'_>, asker: &mut Asker) -> Result<Vec<String>, Failure> {
        let Looked { follower, capture, committed, .. } = *looked;
        let (key, local, to) = (quoted(&follower.key), committed.local, capture.to);
        let mut wrong = Vec::new();
        let counter = self.control.counter.as_str();
        let current =
            asker.value(&format!("select \"currentBatch\" from {counter} where key = {key}")).await?;
        if current != Some(local.to_string()) {
            wrong.push(format!("batch_counter is at {current:?} after batch {local}"));
        }
        let open = format!(
            "select string_agg(batch_id || ' ' || batch_status, ', ') from {} where key = {key} \
             and (batch_status is distinct from 'committed' or batch_id > {local})",
            self.control.metrics
        );
        if let Some(open) = asker.value(&open).await? {
            wrong.push(format!("batch_metrics has {open} beside batch {local}, which is the newest"));
        }
        let stream = format!(
            "select (to_jsonb(s))::text from {} s where stream_key = {key} and not (phase = 'idle' and flight is null \
             and halted_reason is null and waiting_reason is null and last_synced_primary_batch = {to} \
             and local_batch = {local} and primary_platform = {})",
            self.control.stream,
            quoted(&follower.primary())
        );
        if let Some(stream) = asker.value(&stream).await? {
            wrong.push(format!("sync_stream is not at rest at batch {to}: {stream}"));
        }
        Ok(wrong)
    }
}

/// What was written down before and is another now, or written down beside the one new batch; `None` where none is new.
fn changed(before: &Books, now: &Books, local: Option<i32>, when: When) -> Vec<String> {
    let mut wrong = Vec::new();
    for (batch, row) in &before.metrics {
        match now.metrics.get(batch) {
            Some(found) if found == row => {}
            found => wrong.push(format!("batch_metrics of batch {batch} was {row} and is {found:?}")),
        }
    }
    let new: Vec<_> = now.metrics.keys().filter(|batch| !before.metrics.contains_key(batch)).collect();
    if new != local.iter().collect::<Vec<_>>() {
        wrong.push(format!("batches {new:?} are new in batch_metrics, the commit was of {local:?}"));
    }
    if before.metrics.last_key_value().is_some_and(|(newest, _)| local.is_some_and(|local| *newest >= local))
    {
        wrong.push(format!("batch {local:?} comes after {:?}", before.metrics.last_key_value()));
    }
    let kept = now.history.len().checked_sub(1).map(|kept| &now.history[..kept]);
    if when == When::AtOnce && kept != Some(before.history.as_slice()) {
        wrong.push(format!("sync_history was {:?} and is {:?}", before.history, now.history));
    }
    wrong
}
