//! The only way the primary is read: lock, compare with the plan, then read, in one READ ONLY transaction.
//!
//! `COPY (SELECT …)` and SELECT take their snapshot *before* they wait for the table's lock. Queued behind a
//! TRUNCATE or a rewriting ALTER they read no rows and report no error. So the lock comes first; under it neither
//! the table's file nor the primary's identity can change unseen, and only then a snapshot is taken.

use sqlx::Row;
use sqlx::postgres::PgRow;

use milestream_core::milestone::PrimaryBatch;

use super::fields::Fields;
use super::sql::{ident, literal};
use super::{Session, session_name};
use crate::error::{Error, Result};
use crate::tables::layout;

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

    /// One row: identity, then each batch's fingerprint, then each leaf's file.
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
        format!("select {}", answers.join(", "))
    }

    fn planned_leaves(&self) -> impl Iterator<Item = &PlannedLeaf> {
        self.relations.iter().flat_map(|relation| &relation.leaves).filter(|leaf| !leaf.filenode.is_empty())
    }

    /// Opens the read: begin, lock and compare, in one round trip.
    ///
    /// # Errors
    /// `PrimaryReset` when identity or a batch's row differ, `Rewritten` when a leaf has another file.
    pub(crate) async fn open(&self, session: &mut Session, name: &str) -> Result<()> {
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
        self.compare(&session.endpoint.to_string(), session.facts.in_recovery, |at| {
            answers.get(at).cloned().unwrap_or_default()
        })?;
        Ok(rows)
    }

    fn compare(&self, endpoint: &str, in_recovery: bool, answer: impl Fn(usize) -> String) -> Result<()> {
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
            }),
        }
    }
}

/// The name under which a platform keeps its batches, quoted.
pub(crate) fn metrics_table(platform: &str) -> String {
    ident(&milestream_core::names::platform_table(platform, "batch_metrics"))
}
