//! The files that a stream's merge tables had at its watermark: a table that was truncated, restored, or dropped and made
//! again has others, and so has one that VACUUM FULL has rewritten.

use std::collections::BTreeMap;

use super::ControlTables;
use crate::error::Result;
use crate::postgres::Session;
use crate::postgres::fields::Fields;
use crate::postgres::sql::{assembled, ident};

/// SQL for the files of a relation that is named `t.name`, its partitions' included; NULL where there is none.
const FILES: &str = "(select string_agg(l.oid::text || ':' || coalesce(pg_relation_filenode(l.oid), 0), ' ' order by l.oid) \
     from (select to_regclass(t.name)::oid as oid union select relid::oid from pg_partition_tree(to_regclass(t.name))) l \
     where l.oid is not null)";

/// Datasets whose merge table has other files than at the watermark. Of a stream whose files were never noted, none.
///
/// `tables` has the unquoted name of each dataset's merge table.
pub(crate) async fn moved(
    session: &mut Session,
    control: &ControlTables,
    stream: &str,
    tables: &BTreeMap<String, String>,
) -> Result<Vec<String>> {
    let question = format!(
        "select t.dataset from unnest($2::text[], $3::text[]) t(dataset, name) join {} s on s.stream_key = $1 \
         where s.merge_files ->> t.dataset is distinct from {FILES} and s.merge_files ? t.dataset order by t.dataset",
        control.sync_stream
    );
    let (datasets, names) = named(tables);
    let query = sqlx::query(assembled(question)).bind(stream).bind(datasets).bind(names);
    let rows = session.rows("comparing the files of the merge tables", query).await?;
    rows.iter().map(|row| row.field(0)).collect()
}

/// Notes the files that these merge tables have, beside those of others; part of the transaction that moves the watermark, or of one that has
/// compared their rows.
pub(crate) async fn note(
    session: &mut Session,
    control: &ControlTables,
    stream: &str,
    tables: &BTreeMap<String, String>,
) -> Result<()> {
    let update = format!(
        "update {} set merge_files = coalesce(merge_files, '{{}}') || (select jsonb_object_agg(t.dataset, {FILES}) \
         from unnest($2::text[], $3::text[]) t(dataset, name)) where stream_key = $1",
        control.sync_stream
    );
    let (datasets, names) = named(tables);
    let query = sqlx::query(assembled(update)).bind(stream).bind(datasets).bind(names);
    session.run("noting the files of the merge tables", query).await.map(|_| ())
}

fn named(tables: &BTreeMap<String, String>) -> (Vec<String>, Vec<String>) {
    tables.iter().map(|(dataset, table)| (dataset.clone(), ident(table))).unzip()
}
