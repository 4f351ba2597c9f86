//! Digests of rows, equal on both sides when the rows are.
//!
//! A row's digest is `hash_record_extended(row(columns…), hash_record_extended(row(keys…), 0))`, summed beside the
//! count. The key is the seed, since without it a value swapped between two rows would leave the sum unchanged; a
//! sum, since XOR loses duplicates. Values are equal across server versions from 14 on.

use sqlx::postgres::PgRow;

use milestream_core::milestone::{LIVE, PrimaryBatch};

use crate::error::{Error, Result};
use crate::pair::{BATCH_IN, BATCH_OUT, Holding, Pair};
use crate::postgres::Session;
use crate::postgres::fields::Fields;
use crate::postgres::sql::{assembled, ident, list, literal};
use crate::sync::copying::Plan;
use crate::sync::ground::Ground;

/// Columns whose types hash the same everywhere: no enum or reg* type, which hash by OID, and nothing without a
/// hash function, however deep inside of arrays, composites, ranges and domains.
const HASHABLE: &str = "with recursive walk(attname, typoid) as ( \
        select a.attname::text, a.atttypid from pg_attribute a where a.attrelid = to_regclass($1) and a.attnum > 0 \
            and not a.attisdropped \
        union \
        select w.attname, inner_type.oid from walk w join pg_type t on t.oid = w.typoid \
            left join pg_range r on r.rngtypid = t.oid or r.rngmultitypid = t.oid \
            cross join lateral (select t.typelem as oid where t.typcategory = 'A' union select t.typbasetype \
                union select r.rngsubtype union select c.atttypid from pg_attribute c \
                    where c.attrelid = t.typrelid and t.typrelid <> 0 and c.attnum > 0 and not c.attisdropped) inner_type \
        where inner_type.oid is not null and inner_type.oid <> 0) \
    select attname, bool_and(t.typtype in ('d', 'c', 'r', 'm') or t.typcategory = 'A' or (t.typtype = 'b' \
        and t.typname not like 'reg%' and exists (select 1 from pg_opclass o join pg_am m on m.oid = o.opcmethod \
            and m.amname = 'hash' where o.opcintype = t.oid and o.opcdefault \
            or o.opcdefault and m.amname = 'hash' and t.oid = 1043 and o.opcintype = 25))) \
    from walk w join pg_type t on t.oid = w.typoid group by attname";

/// Count and sum of digests.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Digest {
    rows: String,
    sum: String,
}

/// Compares the digests of what has landed with those of the primary as of the plan's batch.
///
/// `doubled` says that the primary holds keys live more than once, of which the newest version counts.
///
/// # Errors
/// `Miscounted` when they differ; `Altered` where the columns tell in what.
pub(crate) async fn compare_landed(
    ground: &Ground,
    plan: &Plan,
    pair: &Pair,
    doubled: bool,
    secondary: &mut Session,
) -> Result<()> {
    let x = plan.flight.to;
    let mut primary = plan.sessions.reader(ground, &plan.upstream, "digest").await?;
    let through_text = text_columns(&mut primary, pair).await?;
    plan.flight
        .expectation
        .for_dataset(&pair.dataset)
        .open(&mut primary, &ground.session_name("digest"))
        .await?;
    let (here, there) = (Side::landing(pair), Side::primary(pair, x, doubled));
    let (expected, landed) = tokio::join!(
        ask(&mut primary, there.digest(pair, &through_text)),
        ask(secondary, here.digest(pair, &through_text))
    );
    let (expected, landed) = (expected?, landed?);
    let mut columns = String::new();
    if expected.rows == landed.rows && expected != landed {
        let wanted = primary.ask("computing digests of columns", there.columns(pair, &through_text)).await?;
        let found = secondary.ask("computing digests of columns", here.columns(pair, &through_text)).await?;
        columns = differing(pair, wanted.first(), found.first())?;
    }
    primary.commit("ending a read").await?;
    plan.sessions.keep_reader(primary);
    if expected == landed {
        return Ok(());
    }
    if !columns.is_empty() {
        return Err(Error::Altered { table: pair.primary_table.clone(), columns, batch: x });
    }
    let seen = format!(
        "the primary's rows as of batch {x} have digest {}/{}, those landed {}/{}: open versions changed in place",
        expected.rows, expected.sum, landed.rows, landed.sum
    );
    Err(Error::Miscounted { table: pair.primary_table.clone(), seen })
}

/// Names of the columns that must be hashed as text.
async fn text_columns(primary: &mut Session, pair: &Pair) -> Result<Vec<String>> {
    let query = sqlx::query(assembled(HASHABLE.to_owned())).bind(&pair.primary_table);
    let rows = primary.rows("looking which types can be hashed", query).await?;
    let mut columns = Vec::new();
    for row in &rows {
        if !row.field::<bool>(1)? {
            columns.push(row.field(0)?);
        }
    }
    Ok(columns)
}

async fn ask(session: &mut Session, question: String) -> Result<Digest> {
    let rows = session.ask("computing digests", question).await?;
    let row = rows.first().ok_or_else(|| Error::invariant("a digest", "it gave no row"))?;
    Ok(Digest { rows: row.field(0)?, sum: row.field(1)? })
}

/// Names of the columns whose digests differ.
fn differing(pair: &Pair, wanted: Option<&PgRow>, found: Option<&PgRow>) -> Result<String> {
    let (Some(wanted), Some(found)) = (wanted, found) else { return Ok(String::new()) };
    let mut differing = Vec::new();
    let names = pair.value_names().chain((pair.holding == Holding::Mirror).then_some(BATCH_OUT));
    for (at, name) in names.enumerate() {
        if wanted.field::<&str>(at)? != found.field::<&str>(at)? {
            differing.push(ident(name));
        }
    }
    Ok(differing.join(", "))
}

/// The rows of one side.
struct Side {
    from: String,
    batch_out: String,
}

impl Side {
    fn primary(pair: &Pair, x: PrimaryBatch, doubled: bool) -> Side {
        let table = &pair.primary_table;
        let (keys, as_of) = match pair.holding {
            Holding::LiveOnly => {
                (list(pair.key_names()), format!("{BATCH_IN} <= {x} and {BATCH_OUT} >= {x}"))
            }
            Holding::Mirror => (String::new(), format!("{BATCH_IN} <= {x}")),
        };
        let from = match doubled {
            false => format!("{table} where {as_of}"),
            true => format!(
                "(select distinct on ({keys}) * from {table} where {as_of} order by {keys}, {BATCH_IN} desc) newest"
            ),
        };
        Side { from, batch_out: format!("case when {BATCH_OUT} >= {x} then {LIVE} else {BATCH_OUT} end") }
    }

    fn landing(pair: &Pair) -> Side {
        Side { from: ident(&pair.names.landing), batch_out: BATCH_OUT.to_owned() }
    }

    /// Count and sum over whole rows.
    fn digest(&self, pair: &Pair, through_text: &[String]) -> String {
        let (keys, mut values) = self.expressions(pair, through_text);
        // A row without values still has a digest: that of its key.
        values.push(format!("{}::text", literal("row")));
        format!("select count(*)::text, {} from {}", sum(&values.join(", "), &keys.join(", ")), self.from)
    }

    /// The sum over each column beside the key.
    fn columns(&self, pair: &Pair, through_text: &[String]) -> String {
        let (keys, values) = self.expressions(pair, through_text);
        let sums: Vec<_> = values.iter().map(|value| sum(value, &keys.join(", "))).collect();
        format!("select {} from {}", sums.join(", "), self.from)
    }

    /// What is hashed of a row: its key, and its other columns.
    fn expressions(&self, pair: &Pair, through_text: &[String]) -> (Vec<String>, Vec<String>) {
        let expression = |name: &str| match through_text.iter().any(|text| text == name) {
            true => format!("{}::text", ident(name)),
            false => match pair.columns.iter().find(|column| column.name == name) {
                Some(column) if column.source_type != column.target_type => {
                    format!("{}::{}", ident(name), column.target_type)
                }
                _ => ident(name),
            },
        };
        let mut keys: Vec<_> = pair.key_names().map(expression).collect();
        let mut values: Vec<_> = pair.value_names().map(expression).collect();
        if pair.holding == Holding::Mirror {
            keys.push(BATCH_IN.to_owned());
            values.push(self.batch_out.clone());
        }
        (keys, values)
    }
}

fn sum(values: &str, keys: &str) -> String {
    format!(
        "coalesce(sum(hash_record_extended(row({values}), hash_record_extended(row({keys}), 0))::numeric), 0)::text"
    )
}
