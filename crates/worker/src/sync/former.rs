//! A secondary that goes by another name now: its tables have the old one. It would be seeded beside them, though renaming
//! them is all that it takes.

use std::collections::BTreeSet;

use milestream_core::milestone::PrimaryBatch;
use milestream_core::names::{POSTGRES_IDENTIFIER_MAX, platform_table};

use super::job::Job;
use crate::StreamName;
use crate::error::{Error, Result};
use crate::postgres::Session;
use crate::postgres::fields::Fields;
use crate::postgres::sql::{assembled, ident};
use crate::tables::migrations;

/// How the table of a platform's streams is called behind the platform's name.
const STREAMS: &str = "_sync_stream";

/// Looks, where the platform has no tables yet, for tables of one that the model does not have and that hold the stream.
///
/// # Errors
/// `Setup` with the statements that rename them.
pub(crate) async fn require_none(job: &Job, session: &mut Session) -> Result<()> {
    if job.platforms.is_empty() || migrations::are_there(session, &job.tables()).await? {
        return Ok(());
    }
    let known: BTreeSet<String> =
        job.platforms.iter().map(|name| platform_table(name, &STREAMS[1..])).collect();
    for table in tables_like(session, "%\\_sync\\_stream").await? {
        if known.contains(&table) {
            continue;
        }
        if let Some(watermark) = watermark(session, &table, &job.stream_key()).await? {
            return Err(renamed(job, session, &table, watermark).await?);
        }
    }
    Ok(())
}

/// Tables in the search path whose names are like this.
async fn tables_like(session: &mut Session, pattern: &str) -> Result<Vec<String>> {
    let question = "select relname::text from pg_class where relkind in ('r', 'p') and pg_table_is_visible(oid) \
                    and relname like $1 order by relname";
    let rows =
        session.rows("looking for tables of a former name", sqlx::query(question).bind(pattern)).await?;
    rows.iter().map(|row| row.field(0)).collect()
}

/// The batch that the stream holds by that table; `None` also where it may not be read, and so is not ours.
async fn watermark(session: &mut Session, table: &str, stream: &str) -> Result<Option<PrimaryBatch>> {
    let allowed = sqlx::query("select has_table_privilege(to_regclass($1), 'select')").bind(ident(table));
    let allowed = session.row("looking whether a table may be read", allowed).await?;
    if allowed.map_or(Ok(None), |row| row.field::<Option<bool>>(0))? != Some(true) {
        return Ok(None);
    }
    let question = format!(
        "select (to_jsonb(s) ->> 'last_synced_primary_batch')::int4 from {} s where to_jsonb(s) ->> 'stream_key' = $1",
        ident(table)
    );
    let row = session
        .row("reading a stream of a former name", sqlx::query(assembled(question)).bind(stream))
        .await?;
    Ok(row.map_or(Ok(None), |row| row.field::<Option<i32>>(0))?.map(PrimaryBatch))
}

async fn renamed(job: &Job, session: &mut Session, table: &str, batch: PrimaryBatch) -> Result<Error> {
    let former = table.strip_suffix(STREAMS).unwrap_or(table);
    let pattern = former.replace('\\', "\\\\").replace('_', "\\_").replace('%', "\\%");
    let tables = tables_like(session, &format!("{pattern}\\_%")).await?;
    let statements: Vec<_> = tables.iter().filter_map(|table| rename(job, former, table)).collect();
    let again = StreamName::of(&job.platform, &job.stream).command("reset --reseed");
    Ok(Error::setup(
        format!(
            "platform {:?} has no tables in {}, where {} of a platform that the model does not have holds stream {:?} as of \
             batch {batch}",
            job.platform,
            session.endpoint,
            ident(table),
            job.stream_key()
        ),
        format!(
            "if the platform was renamed, rename its tables as well, and it goes on without a seed: {}; to seed it beside \
             them, run `{again}`, then sync",
            statements.join("; ")
        ),
    ))
}

/// The statement that gives a table the platform's new name. Tables of another platform, whose name begins with the former
/// one, stay.
fn rename(job: &Job, former: &str, table: &str) -> Option<String> {
    let is_anothers = job.platforms.iter().any(|platform| {
        let prefix = format!("{}_", platform.to_lowercase());
        prefix.len() > former.len() + 1 && table.starts_with(&prefix)
    });
    let new = format!("{}{}", job.platform.to_lowercase(), table.strip_prefix(former)?);
    let fits = new.len() <= POSTGRES_IDENTIFIER_MAX;
    (fits && !is_anothers).then(|| format!("alter table {} rename to {}", ident(table), ident(&new)))
}
