//! The primary's `batch_metrics`, as its readers see them.

use std::collections::BTreeSet;

use sqlx::postgres::PgRow;

use milestream_core::milestone::PrimaryBatch;

use crate::error::{Error, Result};
use crate::pair::Holding;
use crate::postgres::Session;
use crate::postgres::fields::Fields;
use crate::postgres::read::{BatchIdentity, FINGERPRINT, POSITION, Position, SYSTEM};
use crate::postgres::sql::{assembled, literal};
use crate::tables::layout;

const UNDEFINED_TABLE: &str = "42P01";
const INSUFFICIENT_PRIVILEGE: &str = "42501";
/// Classes of what the server says of columns that are missing or of another type, and of values that do not fit one.
const UNFIT_CLASSES: [&str; 2] = ["22", "42"];

/// A committed batch as a reader of the primary sees it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct CommittedBatch {
    pub(crate) batch: PrimaryBatch,
    /// Versions opened and closed, as recorded; `None` where the metrics are silent.
    pub(crate) opened: Option<i64>,
    pub(crate) closed: Option<i64>,
    pub(crate) fingerprint: String,
    /// The datasets it counted; empty where its state does not say.
    pub(crate) datasets: Vec<String>,
}

impl CommittedBatch {
    /// Reads a row that [`question`] asked for.
    fn of_row(metrics: &str, row: &PgRow) -> Result<CommittedBatch> {
        Ok(CommittedBatch {
            batch: PrimaryBatch(layout::batch_id(metrics, row.field(0)?)?),
            opened: row.field(1)?,
            closed: row.field(2)?,
            fingerprint: row.field(3)?,
            datasets: datasets(row.field(4)?),
        })
    }

    pub(crate) fn identity(&self) -> BatchIdentity {
        BatchIdentity { batch: self.batch, fingerprint: self.fingerprint.clone() }
    }

    /// Rows recorded: versions opened and closed.
    pub(crate) fn rows(&self) -> Option<i64> {
        Some(self.opened? + self.closed?)
    }
}

/// From which on committed batches are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BatchesFrom {
    /// This one (inclusive).
    Batch(PrimaryBatch),
    /// The newest: it alone.
    Newest,
}

/// The server that answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reached {
    /// The cluster's identifier and the database's OID.
    pub(crate) system: String,
    pub(crate) in_recovery: bool,
    /// How far it had come before it was asked for its batches.
    pub(crate) position: Option<Position>,
}

impl Reached {
    fn of_row(row: &PgRow) -> Result<Reached> {
        Ok(Reached {
            system: row.field::<Option<String>>(0)?.unwrap_or_default(),
            in_recovery: row.field::<Option<String>>(1)?.as_deref() == Some("true"),
            position: row.field::<Option<String>>(2)?.map(Position),
        })
    }
}

/// Who the primary is, and its committed batches. In one round trip: an idle sync asks nothing more.
///
/// # Errors
/// `MissingTable` and `MissingRight` for the table of batches.
pub(crate) async fn committed(
    primary: &mut Session,
    metrics: &str,
    stream: &str,
    from: BatchesFrom,
) -> Result<(Reached, Vec<CommittedBatch>)> {
    let question = format!("select {SYSTEM}, {POSITION}; {}", question(metrics, stream, from));
    let rows = match primary.ask("reading the primary's batches", question).await {
        Ok(rows) => rows,
        Err(error) => {
            // What is missing is found out only where something is.
            return Err(match error.sqlstate().as_deref() {
                Some(UNDEFINED_TABLE | INSUFFICIENT_PRIVILEGE) => {
                    lacking(primary, metrics).await.unwrap_or(error)
                }
                Some(code) if UNFIT_CLASSES.contains(&code.get(..2).unwrap_or_default()) => {
                    layout::unreadable(primary, metrics).await?.unwrap_or(error)
                }
                _ => error,
            });
        }
    };
    let mut rows = rows.iter();
    let reached = rows.next().map_or(Ok(Reached::default()), Reached::of_row)?;
    let batches = rows.map(|row| CommittedBatch::of_row(metrics, row)).collect::<Result<_>>()?;
    Ok((reached, batches))
}

/// A digest over all committed batches through `x`, from the first that is recorded on.
pub(crate) async fn digest_through(
    primary: &mut Session,
    metrics: &str,
    stream: &str,
    x: PrimaryBatch,
) -> Result<String> {
    let question = format!(
        "select md5(coalesce(string_agg(m.batch_id::text || '|' || {FINGERPRINT}, E'\\n' order by m.batch_id), '')) \
         from {} where m.key = {} and m.batch_status = 'committed' and m.batch_id <= {x}",
        layout::rows(metrics),
        literal(stream)
    );
    let rows = primary.ask("digesting the primary's batches", question).await?;
    rows.first().map_or(Ok(String::new()), |row| row.field(0))
}

/// What there is to say of the table of batches that cannot be read; `None` where it can.
async fn lacking(primary: &mut Session, metrics: &str) -> Option<Error> {
    let question = format!("select has_table_privilege(to_regclass({}), 'select')", literal(metrics));
    let rows = match primary.ask("looking for the primary's batches", question).await {
        Ok(rows) => rows,
        Err(error) => return Some(error),
    };
    let endpoint = primary.endpoint.to_string();
    let readable = rows.first().map_or(Ok(None), |row| row.field::<Option<bool>>(0));
    match readable.unwrap_or(None) {
        Some(true) => None,
        Some(false) => Some(Error::unreadable(&primary.endpoint, metrics)),
        None => Some(Error::MissingTable { endpoint, table: metrics.to_owned() }),
    }
}

/// SQL for the committed batches of a stream, in order; [`CommittedBatch::of_row`] reads the answer. Started, ingested
/// and failed ones do not count: their ids may be used again.
fn question(metrics_table: &str, stream: &str, from: BatchesFrom) -> String {
    let of_stream = format!("m.key = {} and m.batch_status = 'committed'", literal(stream));
    let first = match from {
        BatchesFrom::Batch(batch) => batch.to_string(),
        BatchesFrom::Newest => format!("(select max(m.batch_id) from {metrics_table} m where {of_stream})"),
    };
    format!(
        "select m.batch_id::text, {INSERTED}, {UPDATED} + {DELETED}, {FINGERPRINT}, {DATASETS} \
         from {} where {of_stream} and m.batch_id >= {first} order by m.batch_id",
        layout::rows(metrics_table)
    )
}

/// What a batch recorded, out of its JSON.
const INSERTED: &str = "(o.fields ->> 'records_inserted')::numeric::int8";
const UPDATED: &str = "(o.fields ->> 'records_updated')::numeric::int8";
const DELETED: &str = "(o.fields ->> 'records_deleted')::numeric::int8";

/// The list of datasets in a batch's state, as text: taken out by the server, since states are long and many.
const DATASETS: &str = r#"substring(o.fields ->> 'state' from '"all_datasets"\s*:\s*(\[[^]]*\])')"#;

/// Whether a batch's state says that it was pulled from another platform.
const PULLED: &str = r#"coalesce(o.fields ->> 'state', '') ~ '"last_synced_primary_batch"\s*:\s*\d'"#;

fn datasets(list: Option<&str>) -> Vec<String> {
    list.and_then(|list| serde_json::from_str(list).ok()).unwrap_or_default()
}

/// What a primary's batches leave live, as they recorded it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RecordedLive {
    pub(crate) versions: i64,
    /// The datasets that the batches counted; empty where their states do not say.
    pub(crate) datasets: BTreeSet<String>,
}

/// Versions opened less versions closed, over all batches through `x`; on a live-only platform, whose batches count keys,
/// keys that are new less keys that are gone. `None` where that is no sum of what is live:
/// batches or counts are missing, or the platform is a secondary itself, which counts keys.
pub(crate) async fn recorded_live(
    session: &mut Session,
    metrics_table: &str,
    stream: &str,
    x: PrimaryBatch,
    counting: Holding,
) -> Result<Option<RecordedLive>> {
    let closed = match counting {
        Holding::LiveOnly => DELETED.to_owned(),
        Holding::Mirror => format!("{UPDATED} - {DELETED}"),
    };
    let question = format!(
        "select sum(net)::int8, array_agg(distinct datasets) filter (where datasets is not null) \
         from (select {INSERTED} - {closed} as net, {PULLED} as pulled, {DATASETS} as datasets from {} \
            where m.key = $1 and m.batch_status = 'committed' and m.batch_id between 1 and $2) batch \
         having count(net) = $2 and not bool_or(pulled)",
        layout::rows(metrics_table)
    );
    let query = sqlx::query(assembled(question)).bind(stream).bind(x.0);
    let row = session.row("adding up the primary's batches", query).await?;
    let Some(row) = row else { return Ok(None) };
    let lists: Vec<String> = row.field::<Option<_>>(1)?.unwrap_or_default();
    let datasets = lists.iter().flat_map(|list| datasets(Some(list))).collect();
    Ok(Some(RecordedLive { versions: row.field(0)?, datasets }))
}
