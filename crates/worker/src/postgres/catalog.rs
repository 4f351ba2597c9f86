//! What the catalog says of a table: columns, types, keys, indexes, leaves and files.

use sqlx::Row;
use sqlx::postgres::PgRow;

use super::Session;
use super::sql::ident;
use crate::error::{Error, Result};

/// A relation as the catalog has it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Table {
    pub(crate) oid: u32,
    pub(crate) schema: String,
    pub(crate) name: String,
    pub(crate) kind: RelationKind,
    pub(crate) columns: Vec<Column>,
    /// Columns of the primary key, in order; empty without one.
    pub(crate) primary_key: Vec<String>,
    pub(crate) indexes: Vec<Index>,
    /// Rows the statistics expect, of a view or foreign table the planner; `None` before the first ANALYZE.
    pub(crate) rows_estimated: Option<f64>,
    /// Bytes of the main forks, leaves included.
    pub(crate) bytes: i64,
}

/// What kind of relation a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RelationKind {
    Table,
    Partitioned,
    View,
    MaterializedView,
    Foreign,
    Other,
}

impl RelationKind {
    fn parse(relkind: &str) -> RelationKind {
        match relkind {
            "r" => RelationKind::Table,
            "p" => RelationKind::Partitioned,
            "v" => RelationKind::View,
            "m" => RelationKind::MaterializedView,
            "f" => RelationKind::Foreign,
            _ => RelationKind::Other,
        }
    }

    /// Whether `LOCK TABLE` can be used before a read.
    pub(crate) fn is_lockable(self) -> bool {
        matches!(self, RelationKind::Table | RelationKind::Partitioned)
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            RelationKind::Table => "table",
            RelationKind::Partitioned => "partitioned table",
            RelationKind::View => "view",
            RelationKind::MaterializedView => "materialized view",
            RelationKind::Foreign => "foreign table",
            RelationKind::Other => "relation of another kind",
        }
    }
}

/// A column as the catalog has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Column {
    pub(crate) name: String,
    /// The type as SQL writes it, modifiers included.
    pub(crate) sql_type: String,
    pub(crate) nullable: bool,
    /// Whether `collate "C"` can be written behind it.
    pub(crate) collatable: bool,
    /// Whether binary COPY carries it between servers: arrays and composites of user-defined types
    /// send the server's own OIDs along, `regclass` and its like are nothing else, and some types have no binary form.
    pub(crate) binary: bool,
    /// Whether the server computes it, so that it cannot be written.
    pub(crate) generated: bool,
    /// Whether its collation calls texts equal that are not the same.
    pub(crate) loose: bool,
}

/// An index as the catalog has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Index {
    pub(crate) name: String,
    pub(crate) columns: Vec<String>,
    pub(crate) unique: bool,
    /// `create index …`, as Postgres would write it.
    pub(crate) definition: String,
    /// Whether a constraint hangs on it.
    pub(crate) constraint: bool,
}

/// A leaf of a table that can be read by blocks.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Leaf {
    pub(crate) oid: u32,
    /// Qualified and quoted.
    pub(crate) table: String,
    pub(crate) filenode: String,
    pub(crate) blocks: u32,
    pub(crate) rows_estimated: Option<f64>,
}

impl Table {
    /// Schema-qualified and quoted.
    pub(crate) fn qualified(&self) -> String {
        format!("{}.{}", ident(&self.schema), ident(&self.name))
    }

    pub(crate) fn column(&self, name: &str) -> Option<&Column> {
        self.columns.iter().find(|column| column.name == name)
    }

    /// The index, if any, whose leading columns are these.
    pub(crate) fn index_on(&self, leading: &[&str]) -> Option<&Index> {
        self.indexes.iter().find(|index| {
            index.columns.len() >= leading.len()
                && leading.iter().zip(&index.columns).all(|(wanted, column)| wanted == column)
        })
    }
}

const RELATION: &str = "select c.oid, n.nspname::text, c.relname::text, c.relkind::text, \
     has_table_privilege(c.oid, 'select'), \
     (select sum(greatest(l.reltuples, 0))::float8 from pg_class l where (l.oid = c.oid or l.oid in \
        (select relid from pg_partition_tree(c.oid) where isleaf)) and l.reltuples >= 0 and l.relkind <> 'p'), \
     (select coalesce(sum(pg_relation_size(l.oid)), 0)::int8 from pg_class l where l.relkind in ('r', 'm') and \
        (l.oid = c.oid or l.oid in (select relid from pg_partition_tree(c.oid) where isleaf))) \
     from pg_class c join pg_namespace n on n.oid = c.relnamespace where c.oid = to_regclass($1)";

const COLUMNS: &str = "select a.attname::text, format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attcollation <> 0, \
     a.attgenerated <> '' or a.attidentity = 'a', \
     t.typsend <> 0 and t.typreceive <> 0 and t.typname !~ '^_?reg' and (t.oid < 16384 or t.typtype = 'e' \
        or (t.typtype = 'b' and t.typelem = 0) or (t.typtype = 'd' and t.typbasetype < 16384)), \
     coalesce((select not l.collisdeterministic from pg_collation l where l.oid = a.attcollation), false) \
     from pg_attribute a join pg_type t on t.oid = a.atttypid \
     where a.attrelid = $1 and a.attnum > 0 and not a.attisdropped order by a.attnum";

const INDEXES: &str = "select i.relname::text, x.indisunique and x.indpred is null, x.indisprimary, \
     pg_get_indexdef(x.indexrelid), \
     exists (select 1 from pg_constraint k where k.conindid = x.indexrelid), \
     array(select coalesce(a.attname::text, '') from unnest(x.indkey[0:x.indnkeyatts - 1]) with ordinality k(attnum, at) \
        left join pg_attribute a on a.attrelid = x.indrelid and a.attnum = k.attnum order by k.at) \
     from pg_index x join pg_class i on i.oid = x.indexrelid where x.indrelid = $1 and x.indisvalid order by i.relname";

/// Looks a table up by its unqualified name in the search path; `None` when there is none.
///
/// # Errors
/// `MissingRight` when it may not be read.
pub(crate) async fn find(session: &mut Session, name: &str) -> Result<Option<Table>> {
    find_quoted(session, &ident(name)).await
}

/// Like [`find`], by a name that is quoted already and may be qualified.
pub(crate) async fn find_quoted(session: &mut Session, quoted: &str) -> Result<Option<Table>> {
    let row = session.row("looking a table up", sqlx::query(RELATION).bind(quoted)).await?;
    let Some(row) = row else { return Ok(None) };
    let oid = row.get::<sqlx::postgres::types::Oid, _>(0);
    let mut table = Table {
        oid: oid.0,
        schema: row.get(1),
        name: row.get(2),
        kind: RelationKind::parse(row.get(3)),
        columns: Vec::new(),
        primary_key: Vec::new(),
        indexes: Vec::new(),
        rows_estimated: row.get(5),
        bytes: row.get(6),
    };
    if !row.get::<bool, _>(4) {
        return Err(Error::MissingRight {
            endpoint: session.endpoint.to_string(),
            user: session.endpoint.user.clone(),
            privilege: "SELECT".into(),
            table: table.qualified(),
        });
    }
    let columns = session.rows("reading a table's columns", sqlx::query(COLUMNS).bind(oid)).await?;
    table.columns = columns.iter().map(column).collect();
    if matches!(table.kind, RelationKind::View | RelationKind::Foreign) && table.rows_estimated.is_none() {
        table.rows_estimated = rows_planned(session, &table.qualified()).await?;
    }
    for row in session.rows("reading a table's indexes", sqlx::query(INDEXES).bind(oid)).await? {
        let index = Index {
            name: row.get(0),
            columns: row.get(5),
            unique: row.get(1),
            definition: row.get(3),
            constraint: row.get(4),
        };
        if row.get::<bool, _>(2) {
            table.primary_key = index.columns.clone();
        }
        table.indexes.push(index);
    }
    Ok(Some(table))
}

/// Rows that the planner expects of a relation that has no statistics of its own.
async fn rows_planned(session: &mut Session, table: &str) -> Result<Option<f64>> {
    let rows = session
        .ask("estimating a relation's rows", format!("explain (format json) select * from {table}"))
        .await?;
    // The simple protocol answers in text, but says that it is JSON.
    let plan = rows.first().map(|row| row.get_unchecked::<&str, _>(0));
    let plan: Option<serde_json::Value> = plan.and_then(|plan| serde_json::from_str(plan).ok());
    Ok(plan.and_then(|plan| plan.pointer("/0/Plan/Plan Rows")?.as_f64()))
}

/// Like [`find`], for a table that must be there.
pub(crate) async fn require(session: &mut Session, name: &str) -> Result<Table> {
    let found = find(session, name).await?;
    found.ok_or_else(|| Error::MissingTable { endpoint: session.endpoint.to_string(), table: ident(name) })
}

fn column(row: &PgRow) -> Column {
    Column {
        name: row.get(0),
        sql_type: row.get(1),
        nullable: !row.get::<bool, _>(2),
        collatable: row.get(3),
        generated: row.get(4),
        binary: row.get(5),
        loose: row.get(6),
    }
}

/// The leaves of a table or partitioned table, each with its file and its size in blocks.
///
/// Children by plain inheritance count as leaves too: a SELECT from the parent would read them.
pub(crate) async fn leaves(session: &mut Session, table: &Table) -> Result<Vec<Leaf>> {
    let question = "with recursive tree(oid) as (select $1::oid union select i.inhrelid from pg_inherits i join tree on i.inhparent = tree.oid) \
         select c.oid, n.nspname::text, c.relname::text, coalesce(pg_relation_filenode(c.oid), 0)::text, \
         (pg_relation_size(c.oid) / current_setting('block_size')::int8)::int8, \
         case when c.reltuples >= 0 then c.reltuples::float8 end, c.relkind::text, has_table_privilege(c.oid, 'select') \
         from tree join pg_class c on c.oid = tree.oid join pg_namespace n on n.oid = c.relnamespace \
         where c.relkind <> 'p' order by c.oid";
    let oid = sqlx::postgres::types::Oid(table.oid);
    let rows = session.rows("reading a table's leaves", sqlx::query(question).bind(oid)).await?;
    rows.iter()
        .map(|row| {
            let qualified = format!("{}.{}", ident(row.get(1)), ident(row.get(2)));
            if row.get::<&str, _>(6) != "r" {
                return Err(Error::Unlockable {
                    endpoint: session.endpoint.to_string(),
                    table: qualified,
                    kind: "partition that is no plain table".into(),
                    reason: "it cannot be read by blocks".into(),
                });
            }
            // A right on the root is enough to read through it, not to read a leaf by its blocks.
            if !row.get::<bool, _>(7) {
                return Err(Error::MissingRight {
                    endpoint: session.endpoint.to_string(),
                    user: session.endpoint.user.clone(),
                    privilege: "SELECT".into(),
                    table: qualified,
                });
            }
            let blocks: i64 = row.get(4);
            Ok(Leaf {
                oid: row.get::<sqlx::postgres::types::Oid, _>(0).0,
                table: qualified,
                filenode: row.get(3),
                blocks: u32::try_from(blocks).map_err(|_| {
                    Error::invariant(row.get::<&str, _>(2), "a table of more than 2^32 blocks")
                })?,
                rows_estimated: row.get(5),
            })
        })
        .collect()
}
