//! Versioned, idempotent creation of the control tables.

use super::ControlTables;
use crate::error::{Error, Result};
use crate::postgres::Session;
use crate::postgres::fields::Fields;
use crate::postgres::sql::{assembled, literal};

/// Statements of each version, in order. A version that has been released is never edited; changes are appended.
fn versions(tables: &ControlTables) -> Vec<String> {
    vec![
        format!(
        "create table if not exists {counter} (key varchar(255) primary key, \"currentBatch\" integer);
         create table if not exists {metrics} (key varchar(255), batch_id integer, batch_start_time timestamp, \
            batch_end_time timestamp null, batch_status varchar(32), records_inserted integer null, \
            records_updated integer null, records_deleted integer null, total_records integer null, \
            state varchar(2048) null, primary key (key, batch_id));
         create table {stream} (stream_key varchar(255) primary key, phase varchar(16) not null default 'idle', \
            primary_platform text, primary_identity jsonb, last_synced_primary_batch integer, \
            flight jsonb, generation integer not null default 0, \
            lease_owner text, lease_token bigint not null default 0, lease_expires_at timestamptz, \
            lease_backends jsonb not null default '[]', schema_versions jsonb, halted_reason text, \
            updated_at timestamptz not null default now());
         create table {chunk} (stream_key varchar(255) not null, generation integer not null, chunk integer not null, \
            dataset text not null, bounds jsonb not null, status varchar(16) not null default 'pending', \
            rows bigint not null default 0, bytes bigint not null default 0, copies integer not null default 0, \
            found_opened bigint, found_closed bigint, \
            started_at timestamptz, finished_at timestamptz, worker text, \
            primary key (stream_key, generation, chunk));
         create table {history} (stream_key varchar(255) not null, local_batch integer not null, kind varchar(16) not null, \
            primary_platform text not null, from_batch integer, to_batch integer not null, \
            rows_inserted bigint not null, rows_updated bigint not null, rows_deleted bigint not null, \
            rows_staged bigint not null, bytes bigint not null, chunks integer not null, copies integer not null, generations integer not null, \
            copy_ms bigint not null, landing_ms bigint not null, merge_ms bigint not null, commit_ms bigint not null, \
            retries integer not null, worker text not null, started_at timestamptz not null, \
            committed_at timestamptz not null default clock_timestamp(), \
            primary key (stream_key, local_batch, committed_at));",
        counter = tables.batch_counter,
        metrics = tables.batch_metrics,
        stream = tables.sync_stream,
        chunk = tables.sync_chunk,
        history = tables.sync_history,
        ),
        // What an increment that is read by blocks must have brought.
        format!("alter table {} add column rows_expected bigint;", tables.sync_chunk),
        // Which session copies a chunk, so that the leader can tell whether a helper's is still there.
        format!("alter table {} add column backend jsonb;", tables.sync_chunk),
        // What readers see of a stream that a person asked to seed again.
        format!("alter table {} add column reseeding jsonb;", tables.sync_stream),
        // Why a stream stands that goes on by itself at the next sync.
        format!("alter table {} add column waiting_reason text;", tables.sync_stream),
        // Which files the merge tables had at the watermark.
        format!("alter table {} add column merge_files jsonb;", tables.sync_stream),
        // Datasets that left the model, and the batch as of which their tables stay.
        format!("alter table {} add column datasets_left jsonb;", tables.sync_stream),
        // What the tables looked like at the watermark, and the batch of ours that brought it.
        format!(
            "alter table {stream} add column shapes jsonb, add column local_batch integer;
         update {stream} s set local_batch = (select h.local_batch from {history} h where h.stream_key = s.stream_key \
            order by h.committed_at desc limit 1) where s.last_synced_primary_batch is not null;",
            stream = tables.sync_stream,
            history = tables.sync_history
        ),
        // How far the server had come that a chunk was read from.
        format!("alter table {} add column position pg_lsn;", tables.sync_chunk),
    ]
}

/// Brings the control tables to this build's version; one round trip when there is nothing to do.
///
/// # Errors
/// `Setup` when the tables were made by a newer Milestream.
pub(crate) async fn migrate(session: &mut Session, tables: &ControlTables) -> Result<()> {
    let versions = versions(tables);
    let newest = i32::try_from(versions.len()).unwrap_or(i32::MAX);
    if current(session, tables).await? == Some(newest) {
        return Ok(());
    }
    session.begin().await?;
    // Two workers that start together: the second waits here and then finds everything done.
    let lock = format!("select pg_advisory_xact_lock(hashtext({}))", literal(&tables.sync_migration));
    session.execute("waiting for another migration", lock).await?;
    let create = format!(
        "create table if not exists {} (version integer primary key, applied_at timestamptz not null default now())",
        tables.sync_migration
    );
    session.execute("creating the migration table", create).await?;
    let done = current(session, tables).await?.unwrap_or(0);
    if done > newest {
        return Err(made_by_newer(session, tables, done));
    }
    for (version, statements) in (1..).zip(&versions).skip(usize::try_from(done).unwrap_or(0)) {
        session
            .execute(&format!("migrating the control tables to version {version}"), statements.clone())
            .await?;
        let mark = format!("insert into {} (version) values ({version})", tables.sync_migration);
        session.execute("recording a migration", mark).await?;
    }
    session.commit("committing the migration of the control tables").await
}

/// Whether the control tables are there; readers need not make them.
pub(crate) async fn are_there(session: &mut Session, tables: &ControlTables) -> Result<bool> {
    Ok(current(session, tables).await?.is_some())
}

/// Whether the control tables are those of this build; an older one's are brought up to date by whoever leads.
///
/// # Errors
/// `Setup` when the tables were made by a newer Milestream.
pub(crate) async fn are_current(session: &mut Session, tables: &ControlTables) -> Result<bool> {
    let newest = i32::try_from(versions(tables).len()).unwrap_or(i32::MAX);
    match current(session, tables).await? {
        Some(version) if version > newest => Err(made_by_newer(session, tables, version)),
        version => Ok(version == Some(newest)),
    }
}

fn made_by_newer(session: &Session, tables: &ControlTables, version: i32) -> Error {
    let known = versions(tables).len();
    Error::setup(
        format!(
            "{}: {} is at version {version}, this build knows {known}",
            session.endpoint, tables.sync_migration
        ),
        "run the newer Milestream that made these tables",
    )
}

/// The version of the control tables; `None` where there are none.
async fn current(session: &mut Session, tables: &ControlTables) -> Result<Option<i32>> {
    let exists = sqlx::query("select to_regclass($1) is not null").bind(&tables.sync_migration);
    let row = session.row("looking for the control tables", exists).await?;
    if !row.map_or(Ok(false), |row| row.field(0))? {
        return Ok(None);
    }
    let newest = sqlx::query(assembled(format!("select max(version) from {}", tables.sync_migration)));
    let row = session.row("reading the version of the control tables", newest).await?;
    row.map_or(Ok(None), |row| row.field(0))
}
