//! Digests of rows, equal on both sides when the rows are.
//!
//! A row's digest is `hash_record_extended(row(columns…), hash_record_extended(row(keys…), 0))`, summed beside the
//! count. The key is the seed, since without it a value swapped between two rows would leave the sum unchanged; a
//! sum, since XOR loses duplicates. Values are equal across server versions from 14 on.

use milestream_core::milestone::{LIVE, PrimaryBatch};

use crate::error::{Error, Result};
use crate::pair::{BATCH_IN, BATCH_OUT, Holding, Pair};
use crate::postgres::Session;
use crate::postgres::fields::Fields;
use crate::postgres::sql::{assembled, ident, literal};
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
/// # Errors
/// `Miscounted` when they differ.
pub(crate) async fn compare_landed(
    ground: &Ground,
    plan: &Plan,
    pair: &Pair,
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
    let expected = ask(&mut primary, of_primary(pair, x, &through_text)).await?;
    primary.commit("ending a read").await?;
    plan.sessions.keep_reader(primary);
    let landed = ask(secondary, of_landing(pair, &through_text)).await?;
    if expected == landed {
        return Ok(());
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

fn of_primary(pair: &Pair, x: PrimaryBatch, through_text: &[String]) -> String {
    let as_of = match pair.holding {
        Holding::LiveOnly => format!("{BATCH_IN} <= {x} and {BATCH_OUT} >= {x}"),
        Holding::Mirror => format!("{BATCH_IN} <= {x}"),
    };
    let out = format!("case when {BATCH_OUT} >= {x} then {LIVE} else {BATCH_OUT} end");
    digest(pair, &pair.primary_table, &as_of, &out, through_text)
}

fn of_landing(pair: &Pair, through_text: &[String]) -> String {
    digest(pair, &ident(&pair.names.landing), "true", BATCH_OUT, through_text)
}

fn digest(pair: &Pair, table: &str, condition: &str, batch_out: &str, through_text: &[String]) -> String {
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
        values.push(batch_out.to_owned());
    }
    // A row without values still has a digest: that of its key.
    values.push(format!("{}::text", literal("row")));
    format!(
        "select count(*)::text, coalesce(sum(hash_record_extended(row({}), hash_record_extended(row({}), 0))::numeric), 0)::text \
         from {table} where {condition}",
        values.join(", "),
        keys.join(", ")
    )
}
