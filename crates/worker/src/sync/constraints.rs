//! Constraints that people put on a secondary's tables: those that can be deferred are checked when all rows are written,
//! and one that a merge breaks is named with the statement that makes it deferrable.
//!
//! Two rows may trade values of a second unique index, and a row may refer to one that another dataset brings: both hold
//! at the end of a merge, and not behind each of its statements.

use crate::error::{Broken, Error, Result};
use crate::postgres::Session;
use crate::postgres::fields::Fields;
use crate::postgres::sql::{ident, literal};

/// Lets constraints that can be deferred wait for the end of the merge; part of the committing transaction.
pub(super) async fn defer(secondary: &mut Session) -> Result<()> {
    let statement = "set constraints all deferred";
    secondary.execute("deferring constraints", statement.into()).await.map(|_| ())
}

/// The error of a write that broke a constraint, with the statement that lets it be deferred, where that cannot be yet; of
/// the table's own key, that the table has rows which it must not have. Ends its transaction to look.
pub(super) async fn explain(error: Error, secondary: &mut Session) -> Result<Error> {
    let Some(broken) = error.broken_constraint() else { return Ok(error) };
    secondary.rollback().await?;
    let rows = secondary.ask("looking up a constraint", question(&broken)).await?;
    let Some(row) = rows.first() else {
        return Ok(Error::Constraint { broken: Box::new(error), mend: None });
    };
    if row.field::<Option<&str>>(1)? == Some("p") {
        let table = format!("{}.{}", ident(&broken.schema), ident(&broken.table));
        let seen = format!("it has a row that the batch brings; {error}");
        return Ok(Error::Diverged { table, seen, hooks: Vec::new() });
    }
    Ok(Error::Constraint { broken: Box::new(error), mend: row.field(0)? })
}

/// The statement that makes a constraint deferrable, and the constraint's type. There is no statement for one that is
/// deferrable, that a partition has from its root, or that a foreign key refers to, nor for an index that says more than
/// a constraint can. RESTRICT is never deferred.
fn question(broken: &Broken) -> String {
    let (schema, table, name) = (literal(&broken.schema), literal(&broken.table), literal(&broken.name));
    let again = |definition: &str| {
        format!(
            "format('alter table %I.%I drop constraint %I, add constraint %I %s deferrable', {schema}, {table}, {name}, {name}, \
             {definition})"
        )
    };
    format!(
        "select case \
           when c.relispartition or k.conparentid <> 0 then null \
           when exists (select 1 from pg_constraint f where f.contype = 'f' and f.conindid = x.indexrelid) then null \
           when k.contype = 'f' and 'r' in (k.confdeltype, k.confupdtype) then {without_restrict} \
           when k.condeferrable then null \
           when k.contype = 'f' then format('alter table %I.%I alter constraint %I deferrable', {schema}, {table}, {name}) \
           when k.oid is not null then {deferrable} \
           when x.indisunique and x.indpred is null and x.indexprs is null and x.indnkeyatts = x.indnatts \
             and not coalesce((to_jsonb(x) ->> 'indnullsnotdistinct')::boolean, false) \
             and not exists (select 1 from pg_opclass o where o.oid = any (x.indclass::oid[]) and not o.opcdefault) \
             and not exists (select 1 from unnest(x.indkey::int2[], x.indcollation::oid[]) p(attnum, collation_id) \
               join pg_attribute a on a.attrelid = c.oid and a.attnum = p.attnum and a.attcollation <> p.collation_id) \
           then format('drop index %I.%I; alter table %I.%I add constraint %I unique (%s) deferrable', n.nspname, {name}, {schema}, \
             {table}, {name}, (select string_agg(quote_ident(a.attname), ', ' order by p.at) from unnest(x.indkey::int2[]) \
               with ordinality p(attnum, at) join pg_attribute a on a.attrelid = c.oid and a.attnum = p.attnum)) end, \
           k.contype::text \
         from pg_class c join pg_namespace n on n.oid = c.relnamespace \
         left join pg_constraint k on k.conrelid = c.oid and k.conname = {name} \
         left join (pg_index x join pg_class i on i.oid = x.indexrelid and i.relname = {name}) on x.indrelid = c.oid \
         where n.nspname = {schema} and c.relname = {table}",
        without_restrict = again(
            "regexp_replace(replace(pg_get_constraintdef(k.oid), ' DEFERRABLE', ''), ' ON (DELETE|UPDATE) RESTRICT', '', 'g')"
        ),
        deferrable = again("pg_get_constraintdef(k.oid)")
    )
}
