//! A primary as it is played: its tables in Postgres, and the model of what they must hold.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use milestream_core::model::ColumnType;
use milestream_core::names;
use milestream_core::stream::{Column, Dataset, Stream};
use milestream_oracle::{LIVE, Operation, Primary, Row, Version};

use super::ingesting::{self, Pending};
use super::record::Recorder;
use super::stage::Place;
use super::{Failure, MOVER, scenery};
use crate::forensic::{Control, Live, Table, carry_out, ident, table_sql};
use crate::outcome::Event;
use crate::plan::premises::TypesThere;
use crate::plan::{BatchPlan, Cell, Change, Cue, DatasetPlan, Plan, PrimaryPlan, Unfinished, Writer};

/// A primary and the streams it writes.
pub(crate) struct PrimaryState {
    pub(crate) plan: PrimaryPlan,
    pub(crate) place: Arc<Place>,
    pub(crate) source: Option<Arc<Place>>,
    pub(crate) streams: Vec<StreamState>,
    history: Arc<Vec<BatchPlan>>,
    /// How often its tables were disturbed otherwise than by a batch: each excuses a new plan.
    pub(crate) disturbances: Arc<AtomicU64>,
    /// The next batch of the plan's history.
    cursor: usize,
    /// A merge table that a hand emptied: the index of its stream, and its quoted name.
    pub(super) emptied: Option<(usize, String)>,
}

/// One stream of a primary.
pub(crate) struct StreamState {
    pub(crate) key: String,
    pub(crate) stream: Stream,
    pub(crate) tables: Vec<Table>,
    /// The plan's index of each dataset.
    indices: Vec<usize>,
    datasets: Vec<DatasetPlan>,
    control: Control,
    /// What the primary's history is now.
    pub(crate) oracle: Primary,
    /// What it was after each batch, for going back.
    earlier: BTreeMap<i32, Primary>,
    /// The batches that restores went back to, in order.
    pub(crate) restored_to: Vec<i32>,
    /// Versions closed before this batch are gone.
    pub(crate) pruned_before: i32,
    /// What the source has and the primary has not, where the worker writes it.
    pub(super) pending: Pending,
}

impl StreamState {
    /// Whether a restore went back behind a batch, after so many restores.
    pub(crate) fn fell_below(&self, batch: i32, restores: usize) -> bool {
        self.restored_to.iter().skip(restores).any(|to| *to < batch)
    }
}

impl PrimaryState {
    /// Creates the primary's empty tables, or the source's where the worker writes the primary.
    pub(crate) async fn create(
        plan: &Plan,
        index: usize,
        place: Arc<Place>,
        source: Option<Arc<Place>>,
    ) -> Result<PrimaryState, Failure> {
        let primary = plan.primaries[index].clone();
        let streams = streams_of(plan, &primary);
        scenery::give_settings(&place, &primary.premises.settings).await?;
        match primary.writer {
            Writer::Tables => {
                let types = scenery::types_ddl(&scenery::kinds(&plan.datasets), TypesThere::Same);
                let mut statements = types + &streams[0].control.ddl();
                for table in streams.iter().flat_map(|stream| &stream.tables) {
                    statements.push_str(&table.primary_ddl(&primary.name, &plan.store));
                }
                // The worker may read and nothing else.
                statements.push_str(&format!("grant select on all tables in schema public to {MOVER};"));
                place.execute(&statements).await?;
            }
            Writer::Worker => {
                if let Some(source) = &source {
                    ingesting::create_source(source, &streams).await?;
                }
            }
        }
        let history = Arc::new(plan.history.clone());
        Ok(PrimaryState {
            plan: primary,
            place,
            source,
            streams,
            history,
            disturbances: Arc::default(),
            cursor: 0,
            emptied: None,
        })
    }

    pub(crate) fn stream(&self, key: &str) -> &StreamState {
        let found = self.streams.iter().find(|stream| stream.key == key);
        found.unwrap_or_else(|| panic!("the plan has no stream {key:?}"))
    }

    pub(crate) fn disturbances(&self) -> u64 {
        self.disturbances.load(Ordering::SeqCst)
    }

    pub(crate) fn has_batches_left(&self) -> bool {
        self.cursor < self.history.len()
    }

    /// Carries the next batch out, on every stream that it changes, while `cues` fall into the ingestions of a primary that
    /// the worker writes; false when there is none left.
    pub(crate) async fn commit(&mut self, cues: &[Cue], recorder: &Recorder) -> Result<bool, Failure> {
        let history = Arc::clone(&self.history);
        let Some(batch) = history.get(self.cursor) else { return Ok(false) };
        self.cursor += 1;
        let next = &history[self.cursor..];
        for at in 0..self.streams.len() {
            let committed = match self.plan.writer {
                Writer::Tables => self.write(at, batch).await?,
                Writer::Worker => ingesting::ingest(self, at, batch, next, cues, recorder).await?,
            };
            let (primary, stream) = (self.plan.name.clone(), self.streams[at].key.clone());
            if let Some(batch) = committed {
                recorder.happened(Event::Batch { primary, stream, batch });
            }
        }
        Ok(true)
    }

    /// Writes a batch as DataSurface does; the batch, `None` where a stream of its own has nothing to write.
    async fn write(&mut self, at: usize, batch: &BatchPlan) -> Result<Option<i32>, Failure> {
        let alone = self.streams.len() == 1;
        let stream = &mut self.streams[at];
        let mut live = stream.live();
        let operations = stream.operations(batch, &mut live.clone());
        if operations.is_empty() && !alone && stream.oracle.newest_batch() > 0 {
            return Ok(None);
        }
        let batch = stream.oracle.newest_batch() + 1;
        let mut statements = format!(
            "begin; set local extra_float_digits = 3; set local timezone = 'UTC';\n{}",
            stream.control.started(batch)
        );
        for table in &stream.tables {
            let its =
                operations.iter().filter(|(name, _)| *name == table.name()).map(|(_, operation)| operation);
            let changes = carry_out(live.entry(table.name().to_owned()).or_default(), its);
            let merge = table.merge_table(&self.plan.name, &stream.stream.store);
            statements.push_str(&table_sql(table, &merge, &changes, batch));
        }
        stream.take_in(&operations)?;
        let datasets: Vec<_> = stream.tables.iter().map(Table::name).collect();
        statements.push_str(&stream.control.committed(batch, stream.oracle.counts_of(batch), &datasets));
        statements.push_str("commit;");
        self.place.execute(&statements).await?;
        Ok(Some(batch))
    }

    /// Leaves the next batch of every stream in a status that does not count.
    pub(crate) async fn begin(&mut self, status: Unfinished) -> Result<(), Failure> {
        if self.plan.writer == Writer::Worker {
            return Ok(());
        }
        let left =
            |stream: &StreamState| stream.control.left(stream.oracle.newest_batch() + 1, status.name());
        let statements: String = self.streams.iter().map(left).collect();
        self.place.execute(&statements).await
    }

    /// Goes back by a batch or two, as a restored backup does; false when there is nothing to go back by.
    pub(crate) async fn restore(&mut self, key: &str) -> Result<bool, Failure> {
        let platform = self.plan.name.clone();
        let Some(stream) = self.streams.iter_mut().find(|stream| stream.key == key) else { return Ok(false) };
        let newest = stream.oracle.newest_batch();
        if newest < 2 {
            return Ok(false);
        }
        let batch = if newest > 3 { newest - 2 } else { newest - 1 };
        if batch < stream.pruned_before {
            // The copy would have what was pruned since; these tables do not.
            return Ok(false);
        }
        let mut statements = format!("begin; {}", stream.control.restored(batch));
        for table in &stream.tables {
            let merge = table.merge_table(&platform, &stream.stream.store);
            statements.push_str(&format!(
                "delete from {merge} where ds_surf_batch_in > {batch};
                 update {merge} set ds_surf_batch_out = {LIVE} where ds_surf_batch_out >= {batch} and ds_surf_batch_out < {LIVE};\n"
            ));
        }
        statements.push_str("commit;");
        self.place.execute(&statements).await?;
        stream.oracle = stream.earlier[&batch].clone();
        stream.restored_to.push(batch);
        Ok(true)
    }

    /// Removes every closed version; false when there is none.
    pub(crate) async fn prune(&mut self, key: &str) -> Result<bool, Failure> {
        let platform = self.plan.name.clone();
        let Some(stream) = self.streams.iter_mut().find(|stream| stream.key == key) else { return Ok(false) };
        let newest = stream.oracle.newest_batch();
        let (mut asker, mut removed) = (self.place.asker().await?, 0);
        for table in &stream.tables {
            let merge = table.merge_table(&platform, &stream.stream.store);
            let delete = format!(
                "with gone as (delete from {merge} where ds_surf_batch_out < {newest} returning 1) select count(*) from gone"
            );
            removed += asker.number(&delete).await?;
        }
        asker.close().await;
        if removed == 0 {
            return Ok(false);
        }
        stream.pruned_before = newest;
        Ok(true)
    }

    /// The quoted names of a stream's merge tables.
    pub(crate) fn merge_tables(&self, key: &str) -> Vec<String> {
        let stream = self.stream(key);
        stream.tables.iter().map(|table| table.merge_table(&self.plan.name, &stream.stream.store)).collect()
    }
}

impl StreamState {
    /// Its datasets, as the plan has them.
    pub(crate) fn datasets(&self) -> &[DatasetPlan] {
        &self.datasets
    }

    /// The live rows of its tables.
    pub(super) fn live(&self) -> BTreeMap<String, Live> {
        self.live_at(self.oracle.newest_batch())
    }

    /// The rows of its tables that are live at a batch.
    pub(super) fn live_at(&self, batch: i32) -> BTreeMap<String, Live> {
        let rows = |name: &str| -> Live {
            self.oracle.table(name).live_at(batch).into_iter().map(|row| (row.key, row.columns)).collect()
        };
        self.tables.iter().map(|table| (table.name().to_owned(), rows(table.name()))).collect()
    }

    /// The operations of a batch that are this stream's, made valid for what is live, and carried out on it.
    pub(super) fn operations(
        &self,
        batch: &BatchPlan,
        live: &mut BTreeMap<String, Live>,
    ) -> Vec<(String, Operation)> {
        let mut operations = Vec::new();
        for change in &batch.changes {
            let Some(at) = self.indices.iter().position(|index| *index == change.dataset()) else { continue };
            let name = self.tables[at].name();
            let rows = live.entry(name.to_owned()).or_default();
            let done = operations_of(&self.datasets[at], rows, change).into_iter();
            operations.extend(done.map(|operation| (name.to_owned(), operation)));
        }
        operations
    }

    /// Commits the operations in the model.
    pub(crate) fn take_in(&mut self, operations: &[(String, Operation)]) -> Result<i32, Failure> {
        let named = operations.iter().map(|(name, operation)| (name.as_str(), operation.clone()));
        let batch = self.oracle.commit(named);
        let batch = batch.map_err(|mistake| Failure::Set { what: format!("a plan's batch: {mistake}") })?;
        self.earlier.insert(batch, self.oracle.clone());
        Ok(batch)
    }

    /// The versions of a table that a mirror holds as of a batch, if those closed before `pruned_before` were gone
    /// when it was seeded.
    pub(crate) fn versions(oracle: &Primary, table: &str, batch: i32, pruned_before: i32) -> Vec<Row> {
        let versions = oracle.table(table).versions_at(batch).into_iter();
        versions.filter(|version| version.batch_out >= pruned_before).map(Version::into_row).collect()
    }
}

/// What a change amounts to, given what is there; nothing where there is nothing to remove.
fn operations_of(table: &DatasetPlan, live: &mut Live, change: &Change) -> Vec<Operation> {
    let mut put = |key: Vec<Cell>, mut columns: Vec<Cell>, spelling: &[Cell]| {
        columns.extend(spelled_of(table, &key, spelling));
        let row = Row { key: key.clone(), columns: columns.clone() };
        match live.insert(key, columns) {
            Some(_) => Operation::Update(row),
            None => Operation::Insert(row),
        }
    };
    match change {
        Change::Put { key, columns, spelling, bytes, .. } => {
            let sizes = bytes.iter().copied().chain(std::iter::repeat(0));
            let columns = columns.iter().zip(sizes).map(|(cell, bytes)| repeated(cell, bytes));
            vec![put(key.clone(), columns.collect(), spelling)]
        }
        Change::Fill { first, count, .. } => {
            let record = |number: u16| put(table.key_of(number), table.columns_of(number), &[]);
            (*first..first.saturating_add(*count)).map(record).collect()
        }
        Change::Remove { key, .. } => {
            live.remove(key).map(|_| Operation::Delete(key.clone())).into_iter().collect()
        }
    }
}

/// A text repeated up to so many bytes; as it is where it has them, or is empty.
fn repeated(cell: &Cell, bytes: usize) -> Cell {
    let text = cell.as_ref()?;
    let times = if text.is_empty() { 1 } else { (bytes / text.len()).max(1) };
    Some(text.repeat(times))
}

/// The texts of those parts of a key that can be written in several ways.
fn spelled_of(dataset: &DatasetPlan, key: &[Cell], spelling: &[Cell]) -> Vec<Cell> {
    let written = |at: usize| {
        let kind = dataset.key[at].kind;
        let known = || key[at].as_ref().map(|known| kind.spelled(known, 0));
        kind.canonical().map(|_| spelling.get(at).cloned().unwrap_or_else(known))
    };
    (0..key.len()).filter_map(written).collect()
}

fn streams_of(plan: &Plan, primary: &PrimaryPlan) -> Vec<StreamState> {
    let all: Vec<usize> = (0..plan.datasets.len()).collect();
    let groups: Vec<Vec<usize>> =
        if plan.together { vec![all] } else { all.into_iter().map(|index| vec![index]).collect() };
    groups.into_iter().map(|indices| stream_of(plan, primary, indices)).collect()
}

fn stream_of(plan: &Plan, primary: &PrimaryPlan, indices: Vec<usize>) -> StreamState {
    let datasets: Vec<_> = indices.iter().map(|index| &plan.datasets[*index]).collect();
    let dataset = (!plan.together).then(|| datasets[0].name.clone());
    let stream = Stream {
        store: plan.store.clone(),
        dataset,
        datasets: datasets.iter().map(|dataset| modelled(dataset)).collect(),
    };
    let written_here = primary.writer == Writer::Tables;
    let tables: Vec<_> = datasets.iter().map(|dataset| table_of(dataset, written_here)).collect();
    let oracle = Primary::new(tables.iter().map(Table::shape));
    let key = stream.key();
    StreamState {
        control: Control::of(&primary.name, &key),
        earlier: BTreeMap::from([(0, oracle.clone())]),
        restored_to: Vec::new(),
        pruned_before: 0,
        pending: Pending::none(primary.live_only_beside.then(|| oracle.clone())),
        key,
        stream,
        tables,
        datasets: datasets.into_iter().cloned().collect(),
        indices,
        oracle,
    }
}

fn modelled(plan: &DatasetPlan) -> Dataset {
    let column = |nullable: bool| {
        move |column: &crate::plan::ColumnPlan| Column {
            name: column.name.clone(),
            // Where a table exists its catalog decides, not the model.
            column_type: column.kind.modelled().unwrap_or(ColumnType::VarChar { max_size: None }),
            nullable,
        }
    };
    let columns: Vec<_> =
        plan.key.iter().map(column(false)).chain(plan.columns.iter().map(column(true))).collect();
    let ordered = (0..columns.len()).map(|at| columns[plan.order.get(at).copied().unwrap_or(at)].clone());
    Dataset {
        name: plan.name.clone(),
        columns: ordered.collect(),
        key: plan.key.iter().map(|column| column.name.clone()).collect(),
    }
}

/// A dataset's table; where the worker writes it, it makes it as well.
fn table_of(plan: &DatasetPlan, written_here: bool) -> Table {
    let columns = |columns: &[crate::plan::ColumnPlan]| {
        columns.iter().map(|column| (column.name.clone(), column.kind.sql().to_owned())).collect::<Vec<_>>()
    };
    let table = Table::of(&plan.name, columns(&plan.key), columns(&plan.columns)).ordered(&plan.order);
    let table = table.spelled(plan.key.iter().map(|column| column.kind.canonical()).collect());
    let table = if plan.sparse { table.sparse() } else { table };
    let table = if plan.worn { table.worn() } else { table };
    if written_here { table.partitioned(plan.partitions) } else { table }
}

/// A column's quoted name in Postgres.
pub(crate) fn physical(name: &str) -> String {
    ident(&names::physical_column(name))
}
