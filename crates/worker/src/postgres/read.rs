//! The only way the primary is read: lock, compare with the plan, then read, in one READ ONLY transaction.
//!
//! `COPY (SELECT …)` and SELECT take their snapshot *before* they wait for the table's lock. Queued behind a
//! TRUNCATE or a rewriting ALTER they read no rows and report no error. So the lock comes first; under it neither
//! the table's file nor the primary's identity can change unseen, and only then a snapshot is taken.

use sqlx::Row;
use std::time::{Duration, Instant};

use sqlx::postgres::PgRow;

use milestream_core::milestone::PrimaryBatch;

use super::fields::Fields;
use super::sql::{ident, literal};
use super::{Session, session_name};
use crate::error::{Error, Result};
use crate::tables::layout;

/// How long a read waits for a standby that is behind before another connection is tried.
const STANDBY_PATIENCE: Duration = Duration::from_secs(2);
const STANDBY_LOOK_EVERY: Duration = Duration::from_millis(100);

/// What must still hold when a planned read happens.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Expectation {
    /// `pg_control_system().system_identifier`, and the database's OID: two databases of a server are two primaries.
    pub(crate) system: String,
    /// The primary's table of batches, quoted.
    pub(crate) metrics_table: String,
    /// The stream's key there.
    pub(crate) stream_key: String,
    /// Batches whose rows in `batch_metrics` must be what they were.
    pub(crate) batches: Vec<BatchIdentity>,
    /// Relations to lock, and the file each leaf had when the plan was made.
    pub(crate) relations: Vec<Relation>,
    /// How far the server had come that the plan was made on; a standby that is read must have come as far.
    #[serde(default)]
    pub(crate) position: Option<Position>,
}

/// A batch as the primary recorded it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct BatchIdentity {
    pub(crate) batch: PrimaryBatch,
    /// Start, end, status and counts, as text.
    pub(crate) fingerprint: String,
}

/// A relation that is read.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Relation {
    pub(crate) dataset: String,
    /// Qualified and quoted.
    pub(crate) table: String,
    /// Views and foreign tables cannot be locked.
    pub(crate) lockable: bool,
    pub(crate) leaves: Vec<PlannedLeaf>,
    /// The columns that are carried.
    #[serde(default)]
    pub(crate) columns: Vec<PlannedColumn>,
}

/// A column and what the catalog called it when the plan was made.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct PlannedColumn {
    pub(crate) name: String,
    /// Its number, and its type's OID and modifier: a column that is dropped and added again has another number.
    pub(crate) identity: String,
}

/// A leaf and its file when the plan was made; empty when rewrites do not matter to the read.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct PlannedLeaf {
    pub(crate) table: String,
    pub(crate) filenode: String,
}

/// SQL for a database's identity: the cluster's identifier and the database's OID.
pub(crate) const SYSTEM: &str = "(select system_identifier::text from pg_control_system()) || '/' || \
     (select oid::text from pg_database where datname = current_database())";

/// SQL for whether a server is in recovery, and how far it has come: has written, or replayed.
pub(crate) const POSITION: &str = "pg_is_in_recovery()::text, (case when pg_is_in_recovery() \
     then pg_last_wal_replay_lsn() else pg_current_wal_insert_lsn() end)::text";

/// A place in the log of a server's changes, `X/Y` in hexadecimal as servers write it. A standby that has replayed it shows
/// everything that its primary showed there.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub(crate) struct Position(pub(crate) String);

impl Position {
    /// Whether this is `other`, or comes after it. One that cannot be read comes after nothing.
    pub(crate) fn has_reached(&self, other: &Position) -> bool {
        self.number().is_some_and(|here| other.number().is_none_or(|there| here >= there))
    }

    /// The later of the two.
    pub(crate) fn later(self, other: Option<Position>) -> Position {
        match other {
            Some(other) if !self.has_reached(&other) => other,
            _ => self,
        }
    }

    fn number(&self) -> Option<u64> {
        let (high, low) = self.0.split_once('/')?;
        Some(u64::from_str_radix(high, 16).ok()? << 32 | u64::from_str_radix(low, 16).ok()?)
    }
}

/// SQL for the fingerprint of a batch's row, one of [`layout::rows`].
pub(crate) const FINGERPRINT: &str = "concat_ws('|', m.batch_start_time::text, m.batch_end_time::text, m.batch_status, \
     coalesce(o.fields ->> 'records_inserted', ''), coalesce(o.fields ->> 'records_updated', ''), \
     coalesce(o.fields ->> 'records_deleted', ''), coalesce(o.fields ->> 'total_records', ''))";

impl Expectation {
    /// The same expectation for one dataset's relations only.
    pub(crate) fn for_dataset(&self, dataset: &str) -> Expectation {
        let relations =
            self.relations.iter().filter(|relation| relation.dataset == dataset).cloned().collect();
        Expectation { relations, ..self.clone() }
    }

    /// The same expectation for one leaf's file only; its root is locked all the same.
    pub(crate) fn for_leaf(mut self, leaf: &str) -> Expectation {
        for relation in &mut self.relations {
            relation.leaves.retain(|planned| planned.table == leaf);
        }
        self
    }

    fn lock_statement(&self) -> Option<String> {
        let tables: Vec<_> =
            self.relations.iter().filter(|relation| relation.lockable).map(|r| r.table.as_str()).collect();
        (!tables.is_empty()).then(|| format!("lock table {} in access share mode;", tables.join(", ")))
    }

    /// One row: identity, then each batch's fingerprint, then each leaf's file, then the columns' identities, then how far
    /// the server has come.
    fn question(&self) -> String {
        let mut answers = vec![SYSTEM.to_owned()];
        for identity in &self.batches {
            answers.push(format!(
                "(select {FINGERPRINT} from {} where m.key = {} and m.batch_id = {})",
                layout::rows(&self.metrics_table),
                literal(&self.stream_key),
                identity.batch
            ));
        }
        // One answer for all leaves: a select list ends at 1 664 entries, partitions do not.
        let leaves: Vec<_> = self.planned_leaves().map(|leaf| literal(&leaf.table)).collect();
        if !leaves.is_empty() {
            answers.push(format!(
                "array_to_string(array(select coalesce(pg_relation_filenode(to_regclass(leaf)), 0) \
                 from unnest(array[{}]) with ordinality planned(leaf, at) order by at), ' ')",
                leaves.join(", ")
            ));
        }
        let columns: Vec<_> = self.planned_columns().collect();
        if !columns.is_empty() {
            let list = |of: fn(&(&Relation, &PlannedColumn)) -> String| {
                columns.iter().map(of).collect::<Vec<_>>().join(", ")
            };
            answers.push(format!(
                "array_to_string(array(select concat_ws(':', a.attnum, a.atttypid, a.atttypmod) \
                 from unnest(array[{}], array[{}]) with ordinality planned(relation, name, at) left join pg_attribute a \
                 on a.attrelid = to_regclass(relation) and a.attname = name and not a.attisdropped order by at), ' ')",
                list(|(relation, _)| literal(&relation.table)),
                list(|(_, column)| literal(&column.name))
            ));
        }
        answers.push(POSITION.to_owned());
        format!("select {}", answers.join(", "))
    }

    fn planned_columns(&self) -> impl Iterator<Item = (&Relation, &PlannedColumn)> {
        self.relations
            .iter()
            .flat_map(|relation| relation.columns.iter().map(move |column| (relation, column)))
    }

    fn planned_leaves(&self) -> impl Iterator<Item = &PlannedLeaf> {
        self.relations.iter().flat_map(|relation| &relation.leaves).filter(|leaf| !leaf.filenode.is_empty())
    }

    /// Opens the read: begin, lock and compare, in one round trip.
    ///
    /// # Errors
    /// `PrimaryReset` when identity or a batch's row differ, `Rewritten` when a leaf has another file.
    pub(crate) async fn open(&self, session: &mut Session, name: &str) -> Result<()> {
        self.wait_for_standby(session).await?;
        self.open_with(session, name, "locking and checking the primary's tables", "").await.map(|_| ())
    }

    /// Opens the read and asks for one row of its snapshot, all in one round trip.
    ///
    /// # Errors
    /// Those of [`Expectation::open`], and of the question, which is asked in any case.
    pub(crate) async fn open_asking(
        &self,
        session: &mut Session,
        name: &str,
        doing: &str,
        question: &str,
    ) -> Result<PgRow> {
        self.wait_for_standby(session).await?;
        let mut rows = self.open_with(session, name, doing, question).await?;
        let answer = rows.pop().filter(|_| rows.len() == 1);
        answer.ok_or_else(|| Error::invariant(doing, "a question that has one answer gave none or many"))
    }

    /// The row of the check, and those of the question.
    async fn open_with(
        &self,
        session: &mut Session,
        name: &str,
        doing: &str,
        question: &str,
    ) -> Result<Vec<PgRow>> {
        let text = format!(
            "begin isolation level repeatable read read only; set local application_name = {}; {} {}; {question}",
            literal(&session_name::shown(name)),
            self.lock_statement().unwrap_or_default(),
            self.question()
        );
        let rows = session.ask(doing, text).await?;
        let row = rows.first().ok_or_else(|| {
            Error::invariant(session.endpoint.to_string(), "the check before a read gave no row")
        })?;
        let answers = (0..row.len()).map(|at| Ok(row.field::<Option<String>>(at)?.unwrap_or_default()));
        let answers = answers.collect::<Result<Vec<_>>>()?;
        let read_at = answers.last().filter(|position| !position.is_empty()).cloned().map(Position);
        self.compare(&session.endpoint.to_string(), session.facts.in_recovery, read_at.as_ref(), |at| {
            answers.get(at).cloned().unwrap_or_default()
        })?;
        self.compare_columns(&answers)?;
        let is_primary = answers.len() > 1 && answers[answers.len() - 2] == "false";
        session.facts.in_recovery &= !is_primary;
        session.read_at = read_at;
        Ok(rows)
    }

    /// Asked before the read takes its snapshot: what is replayed meanwhile the snapshot may lack.
    async fn wait_for_standby(&self, session: &mut Session) -> Result<()> {
        match &self.position {
            Some(planned) => wait_for_standby(session, planned).await,
            None => Ok(()),
        }
    }

    /// A column that was dropped and added again since the plan was made holds other values in the same file.
    fn compare_columns(&self, answers: &[String]) -> Result<()> {
        let at = 1 + self.batches.len() + usize::from(self.planned_leaves().next().is_some());
        let found = answers.get(at).map_or("", String::as_str);
        let mut found = found.split(' ');
        let moved = self
            .planned_columns()
            .map(|(relation, column)| (relation, column, found.next().unwrap_or_default()))
            .find(|(_, column, found)| column.identity != *found);
        let Some((relation, column, found)) = moved else { return Ok(()) };
        let shown = |identity: &str| match identity.split_once(':') {
            Some((number, kind)) => format!("{} as column {number} of type {kind}", column.name),
            None => format!("no {}", column.name),
        };
        Err(Error::SchemaMoved {
            dataset: relation.dataset.clone(),
            planned: shown(&column.identity),
            found: shown(found),
        })
    }

    fn compare(
        &self,
        endpoint: &str,
        in_recovery: bool,
        read_at: Option<&Position>,
        answer: impl Fn(usize) -> String,
    ) -> Result<()> {
        let watermark = self.batches.first().map_or(PrimaryBatch(0), |identity| identity.batch);
        let reset = |watermark, seen| Error::PrimaryReset { endpoint: endpoint.to_owned(), watermark, seen };
        if answer(0) != self.system {
            let seen = format!("it was database {}, now it is {}", self.system, answer(0));
            return Err(reset(watermark, seen));
        }
        for (at, identity) in self.batches.iter().enumerate() {
            let found = answer(1 + at);
            if found.is_empty() && in_recovery {
                return Err(Error::Lagging { endpoint: endpoint.to_owned(), batch: identity.batch });
            }
            if found.is_empty() {
                let seen = format!("batch {} is gone from batch_metrics", identity.batch);
                return Err(reset(identity.batch, seen));
            }
            if found != identity.fingerprint {
                let seen =
                    format!("batch {} was {}, now it is {found}", identity.batch, identity.fingerprint);
                return Err(reset(identity.batch, seen));
            }
        }
        let mut leaves = self.planned_leaves().peekable();
        if leaves.peek().is_none() {
            return Ok(());
        }
        let files = answer(1 + self.batches.len());
        let mut files = files.split(' ');
        match leaves
            .map(|leaf| (leaf, files.next().unwrap_or("0")))
            .find(|(leaf, found)| leaf.filenode != *found)
        {
            None => Ok(()),
            Some((leaf, found)) => Err(Error::Rewritten {
                endpoint: endpoint.to_owned(),
                table: leaf.table.clone(),
                planned: leaf.filenode.clone(),
                found: found.to_owned(),
                position: read_at.map(|position| position.0.as_str().into()),
            }),
        }
    }
}

/// Waits a while until a session's server has come as far as `seen`, where it is a standby.
///
/// # Errors
/// `Behind` when it takes longer; another connection may reach another server. Those of the server.
pub(crate) async fn wait_for_standby(session: &mut Session, seen: &Position) -> Result<()> {
    if !session.facts.in_recovery {
        return Ok(());
    }
    let began = Instant::now();
    loop {
        let here = position(session).await?;
        if here.as_ref().is_some_and(|here| here.has_reached(seen)) {
            return Ok(());
        }
        if began.elapsed() > STANDBY_PATIENCE {
            return Err(Error::Behind {
                endpoint: session.endpoint.to_string(),
                replayed: here.map_or("nothing".into(), |here| here.0),
                seen: seen.0.clone(),
            });
        }
        tokio::time::sleep(STANDBY_LOOK_EVERY).await;
    }
}

/// How far the server of a session has come.
///
/// # Errors
/// Those of the server.
pub(crate) async fn position(session: &mut Session) -> Result<Option<Position>> {
    let rows = session.ask("asking how far the server has come", format!("select {POSITION}")).await?;
    Ok(rows.first().map_or(Ok(None), |row| row.field::<Option<String>>(1))?.map(Position))
}

/// The name under which a platform keeps its batches, quoted.
pub(crate) fn metrics_table(platform: &str) -> String {
    ident(&milestream_core::names::platform_table(platform, "batch_metrics"))
}

#[cfg(test)]
mod tests {
    use super::Position;

    #[test]
    fn positions_are_numbers_in_two_halves() {
        let at = |text: &str| Position(text.to_owned());
        assert!(at("1/0").has_reached(&at("0/FFFFFFFF")) && at("0/A").has_reached(&at("0/A")));
        assert!(!at("0/9").has_reached(&at("0/10")) && !at("").has_reached(&at("0/0")));
        assert_eq!(at("0/9").later(Some(at("0/10"))), at("0/10"));
        assert_eq!(at("2/0").later(Some(at("1/FF"))), at("2/0"));
    }
}
