//! Constraints that people put on a secondary's tables: those that can be deferred are checked when all rows are written,
//! and one that a merge breaks is named with the statement that makes it deferrable.
//!
//! Two rows may trade values of a second unique index, and a row may refer to one that another dataset brings: both hold
//! at the end of a merge, and not behind each of its statements.

use crate::error::{Broken, Error, Result};
use crate::postgres::Session;
use crate::postgres::fields::Fields;
use crate::postgres::sql::literal;

/// Lets constraints that can be deferred wait for the end of the merge; part of the committing transaction.
pub(super) async fn defer(secondary: &mut Session) -> Result<()> {
    let statement = "set constraints all deferred";
    secondary.execute("deferring constraints", statement.into()).await.map(|_| ())
}

/// The error of a write, with the statement that lets its constraint be deferred, where it broke one that cannot be.
/// Ends its transaction to look.
pub(super) async fn explain(error: Error, secondary: &mut Session) -> Result<Error> {
    let Some(broken) = error.broken_constraint() else { return Ok(error) };
    secondary.rollback().await?;
    let rows = secondary.ask("looking up a constraint", deferrable_as(&broken)).await?;
    let mend = rows.first().map(|row| row.field::<Option<String>>(0)).transpose()?.flatten();
    Ok(Error::Constraint { broken: Box::new(error), mend })
}

/// The statement that makes a constraint deferrable; none for one that is, and for an index that no constraint can have.
fn deferrable_as(broken: &Broken) -> String {
    let (schema, table, name) = (literal(&broken.schema), literal(&broken.table), literal(&broken.name));
    format!(
        "select case \
           when k.condeferrable then null \
           when k.contype = 'f' then format('alter table %I.%I alter constraint %I deferrable', {schema}, {table}, {name}) \
           when k.oid is not null then format('alter table %I.%I drop constraint %I, add constraint %I %s deferrable', \
             {schema}, {table}, {name}, {name}, pg_get_constraintdef(k.oid)) \
           when x.indisunique and x.indpred is null and x.indexprs is null then format( \
             'drop index %I.%I; alter table %I.%I add constraint %I unique (%s) deferrable', n.nspname, {name}, {schema}, {table}, \
             {name}, (select string_agg(quote_ident(a.attname), ', ' order by p.at) from unnest(x.indkey[0:x.indnkeyatts - 1]) \
               with ordinality p(attnum, at) join pg_attribute a on a.attrelid = c.oid and a.attnum = p.attnum)) end \
         from pg_class c join pg_namespace n on n.oid = c.relnamespace \
         left join pg_constraint k on k.conrelid = c.oid and k.conname = {name} and k.contype in ('f', 'u', 'x') \
         left join (pg_index x join pg_class i on i.oid = x.indexrelid and i.relname = {name}) on x.indrelid = c.oid \
         where n.nspname = {schema} and c.relname = {table}"
    )
}
