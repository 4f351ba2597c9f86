//! Digests of rows, equal on both sides when the rows are.
//!
//! A row's digest is `hash_record_extended(row(columns…), hash_record_extended(row(keys…), 0))`, summed beside the
//! count. The key is the seed, since without it a value swapped between two rows would leave the sum unchanged; a
//! sum, since XOR loses duplicates. Values are equal across server versions from 14 on; of types that hash in their
//! server's own way, or not at all, the text is hashed.

use sqlx::postgres::PgRow;

use milestream_core::milestone::{LIVE, PrimaryBatch};

use crate::error::{Error, Result};
use crate::pair::{BATCH_IN, BATCH_OUT, CarriedColumn, Holding, Pair};
use crate::postgres::Session;
use crate::postgres::fields::Fields;
use crate::postgres::sql::{ident, list, literal};
use crate::sync::copying::Plan;
use crate::sync::ground::Ground;

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
    plan.flight
        .expectation
        .for_dataset(&pair.dataset)
        .open(&mut primary, &ground.session_name("digest"))
        .await?;
    let (here, there) = (Side::landing(pair), Side::primary(pair, x, doubled));
    let (expected, landed) =
        tokio::join!(ask(&mut primary, there.digest(pair)), ask(secondary, here.digest(pair)));
    let (expected, landed) = (expected?, landed?);
    let mut columns = String::new();
    if expected.rows == landed.rows && expected != landed {
        let wanted = primary.ask("computing digests of columns", there.columns(pair)).await?;
        let found = secondary.ask("computing digests of columns", here.columns(pair)).await?;
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

async fn ask(session: &mut Session, question: String) -> Result<Digest> {
    let rows = session.ask("computing digests", question).await?;
    let row = rows.first().ok_or_else(|| Error::invariant("a digest", "it gave no row"))?;
    Ok(Digest { rows: row.field(0)?, sum: row.field(1)? })
}

/// Names of the columns whose digests differ.
fn differing(pair: &Pair, wanted: Option<&PgRow>, found: Option<&PgRow>) -> Result<String> {
    let (Some(wanted), Some(found)) = (wanted, found) else { return Ok(String::new()) };
    let mut differing = Vec::new();
    let names = pair
        .value_columns()
        .map(|column| column.name.as_str())
        .chain((pair.holding == Holding::Mirror).then_some(BATCH_OUT));
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
    fn digest(&self, pair: &Pair) -> String {
        let (keys, mut values) = self.expressions(pair);
        // A row without values still has a digest: that of its key.
        values.push(format!("{}::text", literal("row")));
        format!("select count(*)::text, {} from {}", sum(&values.join(", "), &keys.join(", ")), self.from)
    }

    /// The sum over each column beside the key.
    fn columns(&self, pair: &Pair) -> String {
        let (keys, values) = self.expressions(pair);
        let sums: Vec<_> = values.iter().map(|value| sum(value, &keys.join(", "))).collect();
        format!("select {} from {}", sums.join(", "), self.from)
    }

    /// What is hashed of a row: its key, and its other columns.
    fn expressions(&self, pair: &Pair) -> (Vec<String>, Vec<String>) {
        let expression = |column: &CarriedColumn| {
            let cast = column.cast.as_ref().map(|cast| format!("::{cast}")).unwrap_or_default();
            let text = if column.hashes { "" } else { "::text collate \"C\"" };
            format!("{}{cast}{text}", ident(&column.name))
        };
        let mut keys: Vec<_> = pair.key_columns().map(expression).collect();
        let mut values: Vec<_> = pair.value_columns().map(expression).collect();
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
