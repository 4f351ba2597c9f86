//! `{platform}_sync_stream`: where a stream stands.

use std::collections::{BTreeMap, BTreeSet};

use md5::{Digest, Md5};

use milestream_core::milestone::{BatchRange, LocalBatch, PrimaryBatch};

use super::ControlTables;
use crate::error::{Error, Result};
use crate::pair::Holding;
use crate::postgres::Session;
use crate::postgres::fields::Fields;
use crate::postgres::read::{BatchIdentity, Expectation, Relation};
use crate::postgres::sql::assembled;
use crate::shapes::Shapes;

/// The batch in flight: everything a resume needs, stored before a row moves.
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Flight {
    /// `None` for a seed, else X.
    pub(crate) from: Option<PrimaryBatch>,
    /// X of a seed, Y of an increment.
    pub(crate) to: PrimaryBatch,
    pub(crate) local: LocalBatch,
    /// The primary, and what must hold whenever it is read.
    pub(crate) primary: String,
    pub(crate) expectation: Expectation,
    /// Versions that the primary's metrics recorded over (X, Y], opened and closed; `None` where they are silent.
    pub(crate) recorded: Option<(i64, i64)>,
    pub(crate) rows_estimated: u64,
    /// Microseconds since the epoch, by the secondary's clock.
    pub(crate) started_us: i64,
    pub(crate) retries: i32,
    /// Plans made so far for this sync; a seed whose table changes under it is planned anew.
    pub(crate) plans: i32,
    /// Columns, types and key of each dataset when the plan was made.
    pub(crate) shapes: BTreeMap<String, String>,
    /// Of a seed of datasets that came to a stream: its watermark, X, which stays where it is.
    #[serde(default)]
    pub(crate) beside: Option<PrimaryBatch>,
    /// What the primary's batches counted and the increment does not bring; the ledger counts it there.
    #[serde(default)]
    pub(crate) apart: Vec<Relation>,
    /// Datasets of the watermark that the model has no more.
    #[serde(default)]
    pub(crate) left: BTreeSet<String>,
    /// The tables when the plan was made, which the watermark's shapes will be; `None` of a plan by an earlier version.
    #[serde(default)]
    pub(crate) tables: Option<Shapes>,
    /// The primary's batches through Y.
    #[serde(default)]
    pub(crate) history: Option<BatchHistory>,
}

impl Flight {
    pub(crate) fn is_seed(&self) -> bool {
        self.from.is_none()
    }

    /// The watermark that the stream has until the sync is committed.
    pub(crate) fn watermark(&self) -> Option<PrimaryBatch> {
        self.from.or(self.beside)
    }

    /// Whether the whole stream is seeded, so that whatever it was before is no more.
    pub(crate) fn is_seed_of_all(&self) -> bool {
        self.is_seed() && self.beside.is_none()
    }

    /// Whether it has a batch of its own on the secondary: a mirror's batches are the primary's, and that of a watermark
    /// that stays is committed already.
    pub(crate) fn has_batch(&self, holding: Holding) -> bool {
        holding != Holding::Mirror || self.beside.is_none()
    }

    /// (X, Y] of an increment.
    pub(crate) fn range(&self) -> Option<BatchRange> {
        self.from.map(|from| BatchRange::new(from, self.to))
    }

    /// Whether a dataset's increment is read by blocks: only those reads rest on the files of its leaves.
    pub(crate) fn is_by_blocks(&self, dataset: &str) -> bool {
        let mut relations = self.expectation.relations.iter();
        !self.is_seed()
            && relations.any(|relation| relation.dataset == dataset && !relation.leaves.is_empty())
    }

    /// Whether all chunks were cut when it was planned, so that whoever comes can claim some of them.
    pub(crate) fn is_cut_by_plan(&self) -> bool {
        self.is_seed() || self.shapes.keys().all(|dataset| self.is_by_blocks(dataset))
    }

    pub(crate) fn phase(&self) -> &'static str {
        if self.is_seed() { "seed" } else { "increment" }
    }
}

/// The primary a watermark belongs to.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct PrimaryIdentity {
    pub(crate) system: String,
    /// The watermark's batch as the primary recorded it.
    pub(crate) batch: BatchIdentity,
    /// All its batches through that one; `None` where an earlier version kept the last alone.
    #[serde(default)]
    pub(crate) history: Option<BatchHistory>,
}

/// A digest over the committed batches of a primary, so that the same history is known on another server.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct BatchHistory {
    /// Through this batch the primary itself computed the digest, from its first on.
    pub(crate) begun_at: PrimaryBatch,
    pub(crate) digest: String,
}

impl BatchHistory {
    /// The history once these batches have followed.
    pub(crate) fn followed_by<'b>(
        mut self,
        batches: impl Iterator<Item = &'b BatchIdentity>,
    ) -> BatchHistory {
        for BatchIdentity { batch, fingerprint } in batches {
            let digest = Md5::digest(format!("{}\n{batch}|{fingerprint}", self.digest).as_bytes());
            self.digest = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        }
        self
    }
}

/// A stream that is to be seeded again because a person asked for it, until that seed is committed.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Reseeding {
    /// The batch whose state its tables still hold.
    pub(crate) readers_batch: PrimaryBatch,
    /// Tables that keep a mirror's history of then.
    pub(crate) kept: Vec<String>,
}

/// A digest of each dataset's columns, types and key.
pub(crate) type SchemaVersions = serde_json::Map<String, serde_json::Value>;

/// A stream's row.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct StreamRow {
    pub(crate) primary: Option<String>,
    pub(crate) identity: Option<PrimaryIdentity>,
    pub(crate) watermark: Option<PrimaryBatch>,
    pub(crate) flight: Option<Flight>,
    /// Generation of the newest plan.
    pub(crate) generation: i32,
    pub(crate) lease_owner: Option<String>,
    pub(crate) lease_until: Option<String>,
    pub(crate) lease_token: i64,
    /// Why it waits for a person.
    pub(crate) halted_reason: Option<String>,
    /// Why the last sync gave up, where the next goes on by itself.
    pub(crate) waiting_reason: Option<String>,
    /// The datasets that the stream had at its watermark, each with its columns' digest.
    pub(crate) schema_versions: Option<SchemaVersions>,
    /// What readers see while the stream is seeded again.
    pub(crate) reseeding: Option<Reseeding>,
    /// Datasets that left the model, whose tables stay as of a batch.
    pub(crate) datasets_left: BTreeMap<String, PrimaryBatch>,
    /// What their tables looked like then; `None` where an earlier version did not keep it.
    pub(crate) shapes: Option<Shapes>,
    /// The batch of this platform that brought the watermark.
    pub(crate) local: Option<LocalBatch>,
    /// The newest batch of the stream that is committed on this platform, whoever committed it.
    pub(crate) newest_committed: Option<LocalBatch>,
}

/// Reads a stream's row; a stream that was never touched has the default one.
pub(crate) async fn load(session: &mut Session, tables: &ControlTables, stream: &str) -> Result<StreamRow> {
    // As JSON what came with a later version: whoever only reads may find tables that nobody has brought up to date yet.
    let question = format!(
        "select primary_platform, primary_identity::text, last_synced_primary_batch, flight::text, generation, \
         case when lease_expires_at > clock_timestamp() then lease_owner end, \
         date_trunc('second', lease_expires_at)::text, halted_reason, schema_versions::text, lease_token, \
         (to_jsonb(s) -> 'reseeding')::text, to_jsonb(s) ->> 'waiting_reason', \
         (to_jsonb(s) -> 'datasets_left')::text, (to_jsonb(s) -> 'shapes')::text, (to_jsonb(s) ->> 'local_batch')::int, \
         (select max(m.batch_id)::int8 from {} m where m.key = $1 and m.batch_status::text = 'committed') \
         from {} s where stream_key = $1",
        tables.batch_metrics, tables.sync_stream
    );
    let query = sqlx::query(assembled(question)).bind(stream);
    let Some(row) = session.row("reading the stream's state", query).await? else {
        return Ok(StreamRow::default());
    };
    Ok(StreamRow {
        primary: row.field(0)?,
        identity: parse(tables, row.field(1)?)?,
        watermark: row.field::<Option<i32>>(2)?.map(PrimaryBatch),
        flight: parse(tables, row.field(3)?)?,
        generation: row.field(4)?,
        lease_owner: row.field(5)?,
        lease_until: row.field(6)?,
        halted_reason: row.field(7)?,
        schema_versions: parse(tables, row.field(8)?)?,
        lease_token: row.field(9)?,
        // Tables of an older build have no such columns until somebody leads.
        reseeding: parse::<Option<Reseeding>>(tables, row.field(10)?)?.flatten(),
        waiting_reason: row.field(11)?,
        datasets_left: parse::<Option<_>>(tables, row.field(12)?)?.flatten().unwrap_or_default(),
        shapes: parse::<Option<Shapes>>(tables, row.field(13)?)?.flatten(),
        local: row.field::<Option<i32>>(14)?.map(LocalBatch),
        newest_committed: row
            .field::<Option<i64>>(15)?
            .map(|batch| LocalBatch(i32::try_from(batch).unwrap_or(i32::MAX))),
    })
}

fn parse<T: serde::de::DeserializeOwned>(tables: &ControlTables, text: Option<String>) -> Result<Option<T>> {
    let parse = |text: String| {
        serde_json::from_str(&text).map_err(|error| {
            Error::invariant(&tables.sync_stream, format!("what it holds cannot be read: {error}"))
        })
    };
    text.map(parse).transpose()
}

fn json(what: &str, value: &impl serde::Serialize) -> Result<String> {
    serde_json::to_string(value).map_err(|error| Error::invariant(what, format!("it has no JSON: {error}")))
}

/// Stores a plan; the caller's transaction stores its chunks and starts its batch.
pub(crate) async fn store_flight(
    session: &mut Session,
    tables: &ControlTables,
    stream: &str,
    flight: &Flight,
    generation: i32,
) -> Result<()> {
    let update = format!(
        "update {} set phase = $2, flight = $3::jsonb, generation = $4, primary_platform = $5, halted_reason = null, \
         updated_at = now() where stream_key = $1",
        tables.sync_stream
    );
    let query = sqlx::query(assembled(update))
        .bind(stream)
        .bind(flight.phase())
        .bind(json("a plan", flight)?)
        .bind(generation)
        .bind(&flight.primary);
    session.run("storing the plan", query).await.map(|_| ())
}

/// Moves the watermark to the flight's batch, notes which datasets of which columns it stands for, and which it left
/// behind, and ends the flight; part of the committing transaction.
///
/// # Errors
/// `Invariant` when the watermark is not where the flight began.
pub(crate) async fn land(
    session: &mut Session,
    tables: &ControlTables,
    stream: &str,
    flight: &Flight,
    versions: &SchemaVersions,
) -> Result<()> {
    let batch = flight.expectation.batches.iter().find(|identity| identity.batch == flight.to);
    let identity = PrimaryIdentity {
        system: flight.expectation.system.clone(),
        batch: batch.cloned().ok_or_else(|| Error::invariant("a plan", "it does not know its own batch"))?,
        history: flight.history.clone(),
    };
    let identity = json("an identity", &identity)?;
    // What changed after the plan was made old rows do not hold. A seed's are kept as it leaves them.
    let shapes = flight.tables.as_ref().filter(|_| !flight.is_seed());
    let left: BTreeMap<_, _> = flight.left.iter().map(|dataset| (dataset, flight.watermark())).collect();
    let came: Vec<&str> = versions.keys().map(String::as_str).collect();
    let update = format!(
        "update {} set phase = 'idle', flight = null, last_synced_primary_batch = $2, primary_identity = $3::jsonb, \
         schema_versions = case when $6 then coalesce(schema_versions, '{{}}') else '{{}}' end || $5::jsonb, \
         datasets_left = nullif((coalesce(datasets_left, '{{}}') || $7::jsonb) - $8::text[], '{{}}'), \
         shapes = coalesce($9::jsonb, shapes), local_batch = $10, reseeding = null, halted_reason = null, updated_at = now() \
         where stream_key = $1 and last_synced_primary_batch is not distinct from $4",
        tables.sync_stream
    );
    let query = sqlx::query(assembled(update))
        .bind(stream)
        .bind(flight.to.0)
        .bind(identity)
        .bind(flight.watermark().map(|watermark| watermark.0))
        .bind(json("schema versions", versions)?)
        .bind(flight.beside.is_some())
        .bind(json("datasets that left", &left)?)
        .bind(came)
        .bind(shapes.map(|shapes| json("shapes", shapes)).transpose()?)
        .bind(flight.local.0);
    match session.run("moving the watermark", query).await? {
        1 => Ok(()),
        _ => Err(Error::invariant(
            format!("{} of stream {stream:?}", tables.sync_stream),
            "the watermark is not where this sync began",
        )),
    }
}

/// Keeps what the tables look like, beside those of other datasets where only some came; part of the transaction that
/// commits a seed.
pub(crate) async fn keep_shapes(
    session: &mut Session,
    tables: &ControlTables,
    stream: &str,
    shapes: &Shapes,
    is_beside: bool,
) -> Result<()> {
    let update = format!(
        "update {} set shapes = case when $3 then coalesce(shapes, '{{}}') else '{{}}' end || $2::jsonb \
         where stream_key = $1",
        tables.sync_stream
    );
    let query = sqlx::query(assembled(update)).bind(stream).bind(json("shapes", shapes)?).bind(is_beside);
    session.run("keeping what the tables look like", query).await.map(|_| ())
}

/// Gives the flight up: nothing of it has been merged, and what it was going to is no more.
pub(crate) async fn drop_flight(session: &mut Session, tables: &ControlTables, stream: &str) -> Result<()> {
    let update = format!(
        "update {} set phase = 'idle', flight = null, updated_at = now() where stream_key = $1",
        tables.sync_stream
    );
    session.run("giving up a sync", sqlx::query(assembled(update)).bind(stream)).await.map(|_| ())
}

/// Notes that the watermark's primary is found on another server, or in another database.
pub(crate) async fn adopt(
    session: &mut Session,
    tables: &ControlTables,
    stream: &str,
    system: &str,
) -> Result<()> {
    let update = format!(
        "update {} set primary_identity = jsonb_set(primary_identity, '{{system}}', to_jsonb($2::text)) \
         where stream_key = $1",
        tables.sync_stream
    );
    let query = sqlx::query(assembled(update)).bind(stream).bind(system);
    session.run("noting where the primary is", query).await.map(|_| ())
}

/// Counts a retry of the flight, for the history.
pub(crate) async fn count_retry(session: &mut Session, tables: &ControlTables, stream: &str) -> Result<()> {
    let update = format!(
        "update {} set flight = jsonb_set(flight, '{{retries}}', to_jsonb((flight ->> 'retries')::int + 1)) \
         where stream_key = $1 and flight is not null",
        tables.sync_stream
    );
    session.run("counting a retry", sqlx::query(assembled(update)).bind(stream)).await.map(|_| ())
}

/// Gives the stream's primary another name, under which it goes on.
pub(crate) async fn rename_primary(
    session: &mut Session,
    tables: &ControlTables,
    stream: &str,
    name: &str,
) -> Result<()> {
    let update = format!(
        "update {} set primary_platform = $2, updated_at = now() where stream_key = $1",
        tables.sync_stream
    );
    let query = sqlx::query(assembled(update)).bind(stream).bind(name);
    session.run("renaming the primary", query).await.map(|_| ())
}

/// Forgets how often a seed was planned, once it has been given up: taken up again it may be planned anew as often.
pub(crate) async fn forget_plans(session: &mut Session, tables: &ControlTables, stream: &str) -> Result<()> {
    let update = format!(
        "update {} set flight = jsonb_set(flight, '{{plans}}', '0') where stream_key = $1 and flight is not null",
        tables.sync_stream
    );
    session.run("giving up a seed", sqlx::query(assembled(update)).bind(stream)).await.map(|_| ())
}

/// Why a stream stands, for `status`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Standstill {
    /// A person has to act first.
    Halted(String),
    /// The next sync goes on by itself.
    Waiting(String),
}

/// Records why a stream stands; nothing once another worker has led since `token` did.
pub(crate) async fn stand_still(
    session: &mut Session,
    tables: &ControlTables,
    stream: &str,
    token: i64,
    why: &Standstill,
) -> Result<()> {
    let (halted, waiting) = match why {
        Standstill::Halted(reason) => (Some(reason), None),
        Standstill::Waiting(reason) => (None, Some(reason)),
    };
    let update = format!(
        "update {} set halted_reason = $3, waiting_reason = $4, updated_at = now() \
         where stream_key = $1 and lease_token = $2",
        tables.sync_stream
    );
    let query = sqlx::query(assembled(update)).bind(stream).bind(token).bind(halted).bind(waiting);
    session.run("recording why the stream stands", query).await.map(|_| ())
}

/// Forgets why a stream stood once it goes on under `token`.
pub(crate) async fn go_on(
    session: &mut Session,
    tables: &ControlTables,
    stream: &str,
    token: i64,
) -> Result<()> {
    let update = format!(
        "update {} set halted_reason = null, waiting_reason = null where stream_key = $1 and lease_token = $2 \
         and (halted_reason is not null or waiting_reason is not null)",
        tables.sync_stream
    );
    let query = sqlx::query(assembled(update)).bind(stream).bind(token);
    session.run("clearing a halt", query).await.map(|_| ())
}

/// Forgets that the stream ever followed a primary, now that the platform ingests it itself: its table will not
/// hold the watermark's state any more. The former primary, if there was one.
pub(crate) async fn become_primary(
    session: &mut Session,
    tables: &ControlTables,
    stream: &str,
) -> Result<Option<String>> {
    let update = format!(
        "update {stream_table} t set phase = 'idle', flight = null, last_synced_primary_batch = null, \
         primary_platform = null, primary_identity = null, schema_versions = null, shapes = null, \
         local_batch = null, reseeding = null, updated_at = now() \
         from {stream_table} former where t.stream_key = $1 and former.stream_key = t.stream_key \
         and former.primary_platform is not null returning former.primary_platform",
        stream_table = tables.sync_stream
    );
    let row = session.row("becoming a primary", sqlx::query(assembled(update)).bind(stream)).await?;
    row.map(|row| row.field(0)).transpose()
}
