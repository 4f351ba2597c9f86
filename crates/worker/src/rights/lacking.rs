//! Asks a database which of the rights that a role needs it does not have.

use sqlx::postgres::PgRow;

use super::{Lack, Need, Needs, Right};
use crate::error::{Error, Result};
use crate::postgres::Session;
use crate::postgres::fields::Fields;
use crate::postgres::session::Patience;
use crate::postgres::sql::{ident, literal};

const INSUFFICIENT_PRIVILEGE: &str = "42501";
/// What a role is told that may not use the schema: that there is no such table, or no schema to make one in.
const SEEMS_TO_BE_MISSING: [&str; 2] = ["42P01", "3F000"];

/// What the role lacks of what it needs, in one round trip over a session of its own; `None` when it lacks nothing.
/// Tables that are not there are nobody's right.
pub(crate) async fn lacking(needs: &Needs, session: &mut Session) -> Result<Option<Lack>> {
    let rows = session.ask("asking for rights", question(&needs.needs)).await?;
    Ok(Lack::of(&needs.endpoint, gathered(&rows, &needs.endpoint.database)?))
}

/// As [`lacking`], over a session that is made for it; that the role may not connect is a right that it lacks.
async fn lacking_there(needs: &Needs, patience: Patience) -> Result<Option<Lack>> {
    let mut session = match Session::connect_reader(&needs.endpoint, "rights", patience).await {
        Ok(session) => session,
        Err(Error::MissingRight { lacks }) => return Ok(lacks.into_iter().next()),
        Err(error) => return Err(error),
    };
    let lack = lacking(needs, &mut session).await;
    session.close().await;
    lack
}

/// An error that may come of a right that is missing, with all that is missing in these databases in its place. What
/// cannot be asked is left out: the error is known, and stays where nothing more is.
pub(crate) async fn with_all_that_is_missing(error: Error, needs: &[Needs], patience: Patience) -> Error {
    let may_be_a_right = match &error {
        Error::MissingRight { .. } | Error::MissingTable { .. } => true,
        error => error.sqlstate().is_some_and(|code| {
            code == INSUFFICIENT_PRIVILEGE || SEEMS_TO_BE_MISSING.contains(&code.as_str())
        }),
    };
    if !may_be_a_right {
        return error;
    }
    let mut lacks = Vec::new();
    for needs in needs {
        match lacking_there(needs, patience).await {
            Ok(lack) => lacks.extend(lack),
            Err(unasked) => tracing::debug!(%unasked, "rights could not be asked for"),
        }
    }
    if lacks.is_empty() { error } else { Error::MissingRight { lacks } }
}

/// Rows of the answer as rights: tables of one kind of privilege together.
fn gathered(rows: &[PgRow], database: &str) -> Result<Vec<Right>> {
    let mut rights: Vec<Right> = Vec::new();
    for row in rows {
        let text = |at: usize| row.field::<Option<String>>(at).map(Option::unwrap_or_default);
        let (kind, schema, table, wanted) = (text(0)?, text(1)?, text(2)?, text(3)?);
        let table = format!("{}.{}", ident(&schema), ident(&table));
        let right = match kind.as_str() {
            "database" => Right::Database { privileges: wanted, database: database.to_owned() },
            "schema" => Right::Schema { privileges: wanted, schema },
            "owner" => Right::Owner { table },
            "row" => Right::EveryRow { table },
            "identity" => Right::Identity,
            "load" => Right::Load,
            _ => {
                let known = rights.iter_mut().find_map(|right| match right {
                    Right::Tables { privileges, tables } if *privileges == wanted => Some(tables),
                    _ => None,
                });
                if let Some(tables) = known {
                    tables.push(table);
                    continue;
                }
                Right::Tables { privileges: wanted, tables: vec![table] }
            }
        };
        rights.push(right);
    }
    Ok(rights)
}

/// One row a right that is missing: kind, schema, table, privileges.
///
/// Names are looked up in the catalog's own tables and not through `to_regclass`, for which a schema that may not be
/// used is not there, or an error.
fn question(needs: &[Need]) -> String {
    let mut named = Vec::new();
    let mut others = Vec::new();
    for (at, need) in needs.iter().enumerate() {
        let (kind, relation) = match need {
            Need::Read(relation) => ("read", relation),
            Need::Scan(relation) => ("scan", relation),
            Need::Write(relation) => ("write", relation),
            Need::Own(relation) => ("own", relation),
            Need::Temporary => {
                others.push(
                    "select 'database', null, null, 'TEMPORARY', 0 \
                             where not has_database_privilege(current_database(), 'temporary')",
                );
                continue;
            }
            Need::Identity => {
                others.push(
                    "select 'identity', null, null, null, 0 \
                             where not has_function_privilege('pg_catalog.pg_control_system()', 'execute')",
                );
                continue;
            }
            Need::Load => {
                others.push(
                    "select 'load', null, null, null, 0 \
                             where not pg_has_role('pg_read_all_stats', 'usage')",
                );
                continue;
            }
        };
        named.extend(relation.0.iter().enumerate().map(|(choice, name)| {
            let schema = name.schema.as_ref().map_or("null".to_owned(), |schema| literal(schema));
            format!("({at}, {choice}, '{kind}', {schema}::text, {}::text)", literal(&name.name))
        }));
    }
    let others: String = others.iter().map(|other| format!(" union all {other}")).collect();
    include_str!("lacking.sql").replace("/*needed*/", &named.join(", ")).replace("/*others*/", &others)
}
