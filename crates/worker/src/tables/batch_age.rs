//! How long ago a batch was committed, where that can be known.
//!
//! `batch_end_time` is a local time without a zone of whoever wrote it. So an age comes from the commit time of the row
//! where the server keeps those, from a time that has a zone or a batch that names it, or from the zone of the settings; else it is
//! not known. An age below zero is none either: its clock or its zone is not the one that was taken for it.

use super::layout;
use crate::error::{Error, Result};
use crate::postgres::Session;
use crate::postgres::fields::Fields;
use crate::postgres::sql::literal;

/// Seconds since a batch was committed, by the server's clock; since it began where it has not ended. `zone` is the one in
/// which the platform writes its times, where that was said. `None` where it cannot be known.
///
/// # Errors
/// `Setup` for a zone that the server does not know.
pub(crate) async fn of_batch(
    session: &mut Session,
    metrics_table: &str,
    stream: &str,
    batch: i32,
    zone: Option<&str>,
) -> Result<Option<f64>> {
    let keeps_commit_times = keeps_commit_times(session, metrics_table).await?;
    let by_commit = if keeps_commit_times { BY_COMMIT } else { "null" };
    let in_zone = zone.map_or("null".to_owned(), literal);
    let question = format!(
        "select extract(epoch from clock_timestamp() - coalesce({by_commit}, {}))::float8 from {} \
         where m.key = {} and m.batch_id = {batch}",
        by_time(&in_zone),
        layout::rows(metrics_table),
        literal(stream)
    );
    let rows = match session.ask("asking for the age of a batch", question).await {
        Ok(rows) => rows,
        Err(error) if error.sqlstate().as_deref() == Some(NO_SUCH_ZONE) => {
            return Err(unknown_zone(session, zone.unwrap_or("of the batch")));
        }
        Err(error) => return Err(error),
    };
    let age: Option<f64> = rows.first().map(|row| row.field(0)).transpose()?.flatten();
    Ok(age.filter(|age| *age >= 0.0))
}

/// SQLSTATE of a time zone that the server does not know.
const NO_SUCH_ZONE: &str = "22023";

fn unknown_zone(session: &Session, zone: &str) -> Error {
    Error::setup(
        format!("{} knows no time zone {zone:?}", session.endpoint),
        "correct `primary_timezone`; the names are in the server's pg_timezone_names",
    )
}

/// When the row's last writer committed.
const BY_COMMIT: &str = "pg_xact_commit_timestamp(m.xmin)";

/// Whether the server keeps the commit times of the table's rows: rows of a view have none, and a standby has them only if
/// its primary does, which it does not tell.
async fn keeps_commit_times(session: &mut Session, metrics_table: &str) -> Result<bool> {
    let question = format!(
        "select current_setting('track_commit_timestamp') = 'on' and not pg_is_in_recovery() \
         and (select relkind = 'r' from pg_class where oid = to_regclass({}))",
        literal(metrics_table)
    );
    let rows = session.ask("asking whether commit times are kept", question).await?;
    Ok(rows.first().map(|row| row.field::<Option<bool>>(0)).transpose()?.flatten().unwrap_or(false))
}

/// SQL for the batch's own time: as it is where its type has a zone, else in the zone that its state names, or in `zone`.
fn by_time(zone: &str) -> String {
    let time = "coalesce(m.batch_end_time, m.batch_start_time)";
    let named = r#"substring(o.fields ->> 'state' from '"time_zone"\s*:\s*"([^"\\]*)"')"#;
    format!(
        "(case when pg_typeof({time})::text = 'timestamp with time zone' then {time}::text::timestamptz \
         when {time}::text not in ('infinity', '-infinity') then ({time}::text || ' ' || coalesce({named}, {zone}))::timestamptz end)"
    )
}
