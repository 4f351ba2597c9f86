//! The demo's history: what happens to the source in each of twelve months.
//!
//! The flights are real, their later corrections are invented, by rules without chance. A flight's *lot*,
//! `(flight + 7 * day) % 50`, decides what will befall it, and lots do not overlap, so in one step a row changes at
//! most once and `Changes` counts exactly what a primary that reads the source after every step must find:
//!
//! | lot | fate |
//! |---|---|
//! | 2..=12 | in the month of that number, delays of all earlier months grow by 15 minutes |
//! | 20 | cancelled one month later: its times become NULL |
//! | 30..=34, days 10, 20, 30 | removed one month later, inserted again two months later |
//! | 35..=39, days 10, 20, 30 | removed one month later for good |
//! | 40 | removed ten months later, inserted again in the month after |
//!
//! Days 10, 20 and 30 have no twins under DataSurface's key hash, so of the flights that share one none is lost for
//! good. Lot 40 is there for those that do: in November a flight of January leaves in the very step in which its
//! twin arrives, and in December it is back beside it. A blank time zone that turns from NULL to '' and back is the
//! other change that an equal hash would hide.

use sqlx::{Connection, PgConnection};

use super::flights::{Flights, MONTHS};
use crate::error::{Error, Result};

/// Rows of all four tables that one step inserted, updated and deleted; a changed key counts as one deleted and one
/// inserted. No row is counted twice in a step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Changes {
    pub(crate) inserted: u64,
    pub(crate) updated: u64,
    pub(crate) deleted: u64,
}

/// Creates the empty source tables.
pub(crate) async fn create_source(conn: &mut PgConnection) -> Result<()> {
    let created = sqlx::raw_sql(include_str!("source.sql")).execute(conn).await;
    created.map(drop).map_err(|error| failed("creating the source tables", error))
}

/// Brings the source from `month - 1` to `month` (1 to 12) in one transaction.
///
/// # Errors
/// A month that is not the next one, rows whose key is there already, and whatever the server refuses.
pub(crate) async fn advance(conn: &mut PgConnection, month: u32, flights: &Flights) -> Result<Changes> {
    let mut tx = conn.begin().await.map_err(|error| failed("beginning a month", error))?;
    check_is_next(&mut tx, month).await?;
    let mut changes = Changes::default();
    if month == 1 {
        changes.inserted += copy(&mut tx, COPY_AIRLINES, &flights.airlines).await?;
        changes.inserted += copy(&mut tx, COPY_AIRPORTS, &flights.airports).await?;
        changes.inserted += copy(&mut tx, COPY_PLANES, &flights.planes).await?;
    }
    changes.inserted += copy(&mut tx, COPY_FLIGHTS, flights.month(month)).await?;
    for event in EVENTS {
        changes.count(event.effect, happen(&mut tx, event, month).await?);
    }
    changes.inserted += insert_again(&mut tx, month, flights).await?;
    tx.commit().await.map_err(|error| failed("committing a month", error))?;
    Ok(changes)
}

#[derive(Clone, Copy)]
enum Effect {
    Inserts,
    Updates,
    Deletes,
    /// To whoever matches rows by key, an update of the key is a deletion and an insertion.
    ChangesKeys,
}

impl Changes {
    fn count(&mut self, effect: Effect, rows: u64) {
        match effect {
            Effect::Inserts => self.inserted += rows,
            Effect::Updates => self.updated += rows,
            Effect::Deletes => self.deleted += rows,
            Effect::ChangesKeys => {
                self.inserted += rows;
                self.deleted += rows;
            }
        }
    }
}

/// Something that may happen in a month; its statement takes the month's number and does nothing in the others.
struct Event {
    doing: &'static str,
    effect: Effect,
    sql: &'static str,
}

const EVENTS: &[Event] = &[
    Event {
        doing: "correcting delays",
        effect: Effect::Updates,
        sql: "update flights set dep_delay = dep_delay + 15, arr_delay = arr_delay + 15
               where month < $1 and (flight + 7 * day) % 50 = $1 and dep_delay is not null",
    },
    Event {
        doing: "cancelling flights",
        effect: Effect::Updates,
        sql: "update flights set dep_time = null, dep_delay = null, arr_time = null, arr_delay = null, air_time = null
               where month = $1 - 1 and (flight + 7 * day) % 50 = 20 and dep_time is not null",
    },
    Event {
        doing: "removing flights",
        effect: Effect::Deletes,
        sql: "delete from flights
               where month = $1 - 1 and day % 10 = 0 and (flight + 7 * day) % 50 between 30 and 39",
    },
    Event {
        doing: "removing flights of ten months ago",
        effect: Effect::Deletes,
        sql: "delete from flights where month = $1 - 10 and (flight + 7 * day) % 50 = 40",
    },
    Event {
        doing: "renaming airlines",
        effect: Effect::Updates,
        sql: "update airlines set name = renamed.name
                from (values (5, 'FL', 'AirTran Airways (Southwest)'), (12, 'US', 'American Airlines Group Inc.'))
                     as renamed (month, carrier, name)
               where renamed.month = $1 and airlines.carrier = renamed.carrier and airlines.name <> renamed.name",
    },
    Event {
        doing: "adding airports",
        effect: Effect::Inserts,
        sql: "insert into airports (faa, name, lat, lon, alt, tz, dst, tzone)
              select faa, name, lat, lon, alt, -4, 'N', tzone
                from (values (2, 'BQN', 'Rafael Hernández', 18.4948611, -67.1294444, 237, 'America/Puerto_Rico'),
                             (4, 'PSE', 'Mercedita', 18.0083056, -66.5630000, 29, 'America/Puerto_Rico'),
                             (7, 'SJU', 'Luis Muñoz Marín Intl', 18.4394167, -66.0018333, 9, 'America/Puerto_Rico'),
                             (10, 'STT', 'Cyril E King', 18.3373056, -64.9733611, 23, 'America/St_Thomas'))
                     as added (month, faa, name, lat, lon, alt, tzone)
               where month = $1
                  on conflict do nothing",
    },
    Event {
        doing: "blanking time zones",
        effect: Effect::Updates,
        sql: "update airports set tzone = '' where $1 = 6 and tzone is null",
    },
    Event {
        doing: "clearing blank time zones",
        effect: Effect::Updates,
        sql: "update airports set tzone = null where $1 = 9 and tzone = ''",
    },
    Event {
        doing: "refitting planes",
        effect: Effect::Updates,
        sql: "update planes set seats = seats + 6 where $1 = 8 and model = 'A320-214'",
    },
    Event {
        doing: "retiring planes",
        effect: Effect::Deletes,
        sql: "delete from planes
               where tailnum = (select tailnum from planes where $1 % 3 = 0
                                 order by year, tailnum collate \"C\" limit 1)",
    },
    Event {
        doing: "registering a plane anew",
        effect: Effect::ChangesKeys,
        sql: "update planes set tailnum = 'C-FLTS'
               where tailnum = (select tailnum from planes where $1 = 10 order by tailnum collate \"C\" limit 1)
                 and not exists (select from planes where tailnum = 'C-FLTS')",
    },
];

async fn happen(conn: &mut PgConnection, event: &Event, month: u32) -> Result<u64> {
    let done = sqlx::query(event.sql).bind(i64::from(month)).execute(conn).await;
    Ok(done.map_err(|error| failed(event.doing, error))?.rows_affected())
}

async fn check_is_next(conn: &mut PgConnection, month: u32) -> Result<()> {
    let at: i64 = sqlx::query_scalar("select coalesce(max(month), 0)::bigint from flights")
        .fetch_one(conn)
        .await
        .map_err(|error| failed("asking for the last month", error))?;
    if (1..=MONTHS).contains(&month) && i64::from(month) == at + 1 {
        return Ok(());
    }
    Err(Error::Invariant {
        at: SOURCE.into(),
        what: format!("it stands at month {at} of {MONTHS}, so month {month} is not the next"),
    })
}

/// Some flights that were removed come back as they were first filed; the source keeps no copy, the data does.
async fn insert_again(conn: &mut PgConnection, month: u32, flights: &Flights) -> Result<u64> {
    sqlx::raw_sql("create temporary table filed (like flights) on commit drop")
        .execute(&mut *conn)
        .await
        .map_err(|error| failed("preparing to insert flights again", error))?;
    for ago in [2, 11] {
        copy(conn, COPY_FILED, flights.month(month.saturating_sub(ago))).await?;
    }
    let inserted = sqlx::query(
        "insert into flights select * from filed
          where month = $1 - 2 and day % 10 = 0 and (flight + 7 * day) % 50 between 30 and 34
             or month = $1 - 11 and (flight + 7 * day) % 50 = 40",
    )
    .bind(i64::from(month))
    .execute(conn)
    .await
    .map_err(|error| failed("inserting flights again", error))?;
    Ok(inserted.rows_affected())
}

const COPY_AIRLINES: &str = "copy airlines from stdin (format csv, null 'NA')";
const COPY_AIRPORTS: &str = "copy airports from stdin (format csv, null 'NA')";
const COPY_PLANES: &str = "copy planes from stdin (format csv, null 'NA')";
const COPY_FLIGHTS: &str = "copy flights from stdin (format csv, null 'NA')";
const COPY_FILED: &str = "copy filed from stdin (format csv, null 'NA')";

/// sqlx flushes at every send; 64 KiB at a time is where that stops to cost.
const SEND_BYTES: usize = 64 * 1024;

async fn copy(conn: &mut PgConnection, statement: &'static str, csv: &[u8]) -> Result<u64> {
    let mut sink = conn.copy_in_raw(statement).await.map_err(|error| failed(statement, error))?;
    for part in csv.chunks(SEND_BYTES) {
        sink.send(part).await.map_err(|error| failed(statement, error))?;
    }
    sink.finish().await.map_err(|error| failed(statement, error))
}

const SOURCE: &str = "the demo's source";

fn failed(doing: &str, source: sqlx::Error) -> Error {
    Error::Statement { endpoint: SOURCE.into(), doing: doing.into(), source: Box::new(source) }
}
