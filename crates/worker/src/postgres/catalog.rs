//! What the catalog says of a table: columns, types, keys, indexes, leaves and files.

use serde::{Deserialize, Serialize};

use super::Session;
use super::fields::Fields;
use super::sql::{ident, literal};
use super::structures::{self, Dictionary, Use};
use crate::error::{Error, Result};
use crate::structure::{Candidate, Collation, Structure};

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
    /// Triggers and rules that may change what a write does, as a person reads them; partitions' included.
    pub(crate) hooks: Vec<String>,
    pub(crate) cascades: Vec<Cascade>,
    /// Rows the statistics expect, of a view or foreign table the planner; `None` before the first ANALYZE.
    pub(crate) rows_estimated: Option<f64>,
    /// Bytes of the main forks, leaves included.
    pub(crate) bytes: i64,
    /// Partitions and heirs of every level, in order of their OIDs.
    pub(crate) parts: Vec<Part>,
}

/// A relation whose rows a SELECT from its parent reads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Part {
    pub(crate) oid: u32,
    /// Qualified and quoted where it must be.
    pub(crate) table: String,
}

/// What kind of relation a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub(crate) enum RelationKind {
    #[serde(rename = "r")]
    Table,
    #[serde(rename = "p")]
    Partitioned,
    #[serde(rename = "v")]
    View,
    #[serde(rename = "m")]
    MaterializedView,
    #[serde(rename = "f")]
    Foreign,
    #[serde(other)]
    Other,
}

impl RelationKind {
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
    /// Tells a column from one of the same name that was dropped before it was added.
    pub(crate) attnum: i16,
    /// OID and modifier of its type, of meaning on this server only.
    pub(crate) type_id: String,
    /// What its type is.
    pub(crate) structure: Structure,
    pub(crate) nullable: bool,
    /// Its collation, where `collate "C"` can be written behind it.
    pub(crate) collation: Option<Collation>,
    /// Whether the server computes it, so that it cannot be written.
    pub(crate) generated: bool,
}

impl Column {
    /// The type as SQL writes it, modifiers included; qualified unless it is built in.
    pub(crate) fn sql_type(&self) -> &str {
        &self.structure.sql
    }

    /// Whether its equality takes values for one that are not the same.
    pub(crate) fn is_loose(&self) -> bool {
        self.collation.as_ref().is_some_and(|collation| !collation.deterministic) || self.structure.is_loose()
    }
}

/// An index as the catalog has it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct Index {
    pub(crate) name: String,
    pub(crate) columns: Vec<String>,
    pub(crate) unique: bool,
    /// `create index …`, as Postgres would write it.
    pub(crate) definition: String,
    /// Whether a constraint hangs on it.
    pub(crate) constraint: bool,
}

/// A foreign key by which the server itself deletes or changes rows of the table: CASCADE, SET NULL, SET DEFAULT.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct Cascade {
    pub(crate) name: String,
    /// Puts one in its place that only checks, when all rows are written.
    pub(crate) statement: String,
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

/// SQL for the columns of an index `x`, in order; empty strings for expressions.
const INDEX_COLUMNS: &str = "array_to_json(array(select coalesce(a.attname::text, '') \
     from unnest(x.indkey[0:x.indnkeyatts - 1]) with ordinality k(attnum, at) \
     left join pg_attribute a on a.attrelid = x.indrelid and a.attnum = k.attnum order by k.at))";

/// SQL for the users' triggers and rules on the writes of a relation `c`, those that never fire left out.
const HOOKS: &str = "array_to_json(array(select format('trigger %I (%s %s, %s())', g.tgname, \
        case when g.tgtype & 2 <> 0 then 'before' when g.tgtype & 64 <> 0 then 'instead of' else 'after' end, \
        concat_ws(' or ', case when g.tgtype & 4 <> 0 then 'insert' end, case when g.tgtype & 16 <> 0 then 'update' end, \
           case when g.tgtype & 8 <> 0 then 'delete' end), g.tgfoid::regproc) \
     from pg_trigger g where not g.tgisinternal and g.tgparentid = 0 and g.tgenabled in ('O', 'A') and g.tgtype & 28 <> 0 \
        and (g.tgrelid = c.oid or g.tgrelid in (select relid from pg_partition_tree(c.oid))) \
     union all select format('rule %I (on %s)', w.rulename, case w.ev_type when '2' then 'update' when '3' then 'insert' else 'delete' end) \
     from pg_rewrite w where w.ev_class = c.oid and w.ev_type in ('2', '3', '4') and w.ev_enabled in ('O', 'A') order by 1))";

/// SQL for the foreign keys of a relation `c` of schema `n` by which the server writes to it, those of partitions left out.
const CASCADES: &str = "array_to_json(array(select json_build_object('name', k.conname, 'statement', \
        format('ALTER TABLE %I.%I DROP CONSTRAINT %I, ADD CONSTRAINT %I %s%s;', n.nspname, c.relname, k.conname, k.conname, \
           regexp_replace(pg_get_constraintdef(k.oid), ' ON (DELETE|UPDATE) (CASCADE|SET NULL|SET DEFAULT)( [(][^)]*[)])?', '', 'g'), \
           case when k.condeferrable then '' else ' DEFERRABLE' end)) \
     from pg_constraint k where k.conrelid = c.oid and k.contype = 'f' and k.conparentid = 0 \
        and (k.confdeltype in ('c', 'n', 'd') or k.confupdtype in ('c', 'n', 'd')) order by k.conname))";

/// SQL for a relation `c` of schema `n` as JSON, in the shape of [`Answer`].
fn relation() -> String {
    let used = structures::use_of("a.atttypid", "a.atttypmod");
    format!(
        "json_build_object('readable', has_table_privilege(c.oid, 'select'), \
     'table', json_build_object('oid', c.oid::int8, 'schema', n.nspname, 'name', c.relname, 'kind', c.relkind::text, \
     'rows_estimated', (select sum(greatest(l.reltuples, 0))::float8 from pg_class l where (l.oid = c.oid or l.oid in \
        (select relid from pg_partition_tree(c.oid) where isleaf)) and l.reltuples >= 0 and l.relkind <> 'p'), \
     'bytes', (select coalesce(sum(pg_relation_size(l.oid)), 0)::int8 from pg_class l where l.relkind in ('r', 'm') and \
        (l.oid = c.oid or l.oid in (select relid from pg_partition_tree(c.oid) where isleaf))), \
     'parts', (with recursive tree(oid) as (select i.inhrelid from pg_inherits i where i.inhparent = c.oid and c.relhassubclass \
           union select i.inhrelid from pg_inherits i join tree on i.inhparent = tree.oid) \
        select coalesce(json_agg(json_build_object('oid', tree.oid::int8, 'table', format('%I.%I', s.nspname, p.relname)) \
           order by tree.oid), '[]') from tree join pg_class p on p.oid = tree.oid join pg_namespace s on s.oid = p.relnamespace), \
     'columns', array_to_json(array(select json_build_object('name', a.attname, 'attnum', a.attnum, 'used', {used}, \
           'nullable', not a.attnotnull, 'collation', a.attcollation::int8, \
           'generated', a.attgenerated <> '' or a.attidentity = 'a') \
        from pg_attribute a \
        where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped order by a.attnum)), \
     'primary_key', coalesce((select {INDEX_COLUMNS} from pg_index x where x.indrelid = c.oid and x.indisprimary), '[]'), \
     'hooks', {HOOKS}, 'cascades', {CASCADES}, \
     'indexes', array_to_json(array(select json_build_object('name', i.relname, 'columns', {INDEX_COLUMNS}, \
           'unique', x.indisunique and x.indpred is null, 'definition', pg_get_indexdef(x.indexrelid), \
           'constraint', exists (select 1 from pg_constraint k where k.conindid = x.indexrelid)) \
        from pg_index x join pg_class i on i.oid = x.indexrelid \
        where x.indrelid = c.oid and x.indisvalid and pg_get_indexdef(x.indexrelid) is not null order by i.relname))))"
    )
}

/// What the catalog answers of a relation.
#[derive(Deserialize)]
struct Answer {
    /// Whether it may be read.
    readable: bool,
    table: CatalogTable,
}

/// A [`Table`] whose types are still to be looked up.
#[derive(Deserialize)]
struct CatalogTable {
    oid: u32,
    schema: String,
    name: String,
    kind: RelationKind,
    columns: Vec<CatalogColumn>,
    primary_key: Vec<String>,
    indexes: Vec<Index>,
    rows_estimated: Option<f64>,
    bytes: i64,
    hooks: Vec<String>,
    cascades: Vec<Cascade>,
    parts: Vec<Part>,
}

#[derive(Deserialize)]
struct CatalogColumn {
    name: String,
    attnum: i16,
    used: Use,
    nullable: bool,
    collation: i64,
    generated: bool,
}

impl CatalogTable {
    fn resolve(self, dictionary: &Dictionary) -> Table {
        let column = |column: CatalogColumn| Column {
            structure: dictionary.structure(&column.used),
            collation: dictionary.collation(column.collation),
            name: column.name,
            attnum: column.attnum,
            type_id: format!("{}:{}", column.used.kind, column.used.modifier),
            nullable: column.nullable,
            generated: column.generated,
        };
        Table {
            oid: self.oid,
            schema: self.schema,
            name: self.name,
            kind: self.kind,
            columns: self.columns.into_iter().map(column).collect(),
            primary_key: self.primary_key,
            indexes: self.indexes,
            rows_estimated: self.rows_estimated,
            bytes: self.bytes,
            hooks: self.hooks,
            cascades: self.cascades,
            parts: self.parts,
        }
    }
}

/// Looks a table up by its unqualified name in the search path; `None` when there is none.
///
/// # Errors
/// `MissingRight` when it may not be read.
pub(crate) async fn find(session: &mut Session, name: &str) -> Result<Option<Table>> {
    find_quoted(session, &ident(name)).await
}

/// Like [`find`], by a name that is quoted already and may be qualified.
pub(crate) async fn find_quoted(session: &mut Session, quoted: &str) -> Result<Option<Table>> {
    Ok(find_all(session, &[quoted.to_owned()]).await?.pop().flatten())
}

/// Looks tables up by their quoted names, in one round trip however many they are; in the order of the names.
///
/// # Errors
/// `MissingRight` for the first that may not be read.
pub(crate) async fn find_all(session: &mut Session, quoted: &[String]) -> Result<Vec<Option<Table>>> {
    let rows = session.ask("looking tables up", tables_question(quoted)).await?;
    // Behind the row of the setting come the types, then one row a table.
    let mut answers = rows.iter().skip(1);
    let dictionary: Dictionary = match answers.next() {
        Some(row) => read(row.field(0)?)?,
        None => return Err(Error::invariant("the catalog", "it told nothing of types")),
    };
    let mut tables = Vec::with_capacity(quoted.len());
    for row in answers {
        let Some(text) = row.field::<Option<&str>>(0)? else {
            tables.push(None);
            continue;
        };
        let answer: Answer = read(text)?;
        let mut table = answer.table.resolve(&dictionary);
        if !answer.readable {
            return Err(Error::unreadable(&session.endpoint, table.qualified()));
        }
        if matches!(table.kind, RelationKind::View | RelationKind::Foreign) && table.rows_estimated.is_none()
        {
            table.rows_estimated = rows_planned(session, &table.qualified()).await?;
        }
        tables.push(Some(table));
    }
    Ok(tables)
}

/// One row for the setting that spells types, one with all types, then one a name.
fn tables_question(quoted: &[String]) -> String {
    let names: Vec<_> = quoted.iter().map(|name| literal(name)).collect();
    let columns = "select a.atttypid, a.attcollation from named join pg_attribute a on a.attrelid = named.relation \
                   and a.attnum > 0 and not a.attisdropped";
    format!(
        "{} with recursive named(relation, at) as materialized (select to_regclass(n.name)::oid, n.at \
            from unnest(array[{}]::text[]) with ordinality n(name, at)), \
         {} select {}::text, 0 as at union all \
         select (select {}::text from pg_class c join pg_namespace n on n.oid = c.relnamespace \
            where c.oid = named.relation and has_table_privilege(c.oid, 'select') is not null), named.at \
         from named order by at",
        structures::SPELLING,
        names.join(", "),
        structures::walk(columns),
        structures::dictionary(),
        relation()
    )
}

fn read<'a, T: Deserialize<'a>>(answer: &'a str) -> Result<T> {
    serde_json::from_str(answer).map_err(|error| {
        Error::invariant("the catalog", format!("what it says of a table cannot be read: {error}"))
    })
}

/// Types of those names, in whatever schemas they are, and what they are made of.
pub(crate) async fn find_types<'a>(
    session: &mut Session,
    names: impl IntoIterator<Item = &'a str>,
) -> Result<Vec<Candidate>> {
    let names: Vec<_> = names.into_iter().map(literal).collect();
    if names.is_empty() {
        return Ok(Vec::new());
    }
    let named =
        format!("select t.oid, t.typcollation from pg_type t where t.typname in ({})", names.join(", "));
    let question = format!(
        "{} with recursive {} select {}::text",
        structures::SPELLING,
        structures::walk(&named),
        structures::dictionary()
    );
    let rows = session.ask("looking types up", question).await?;
    match rows.last() {
        Some(row) => Ok(read::<Dictionary>(row.field(0)?)?.candidates()),
        None => Ok(Vec::new()),
    }
}

/// Rows that the planner expects of a relation that has no statistics of its own.
async fn rows_planned(session: &mut Session, table: &str) -> Result<Option<f64>> {
    let rows = session
        .ask("estimating a relation's rows", format!("explain (format json) select * from {table}"))
        .await?;
    // The simple protocol answers in text, but says that it is JSON.
    let plan = rows.first().map_or(Ok(None), |row| row.text(0))?;
    let plan: Option<serde_json::Value> = plan.and_then(|plan| serde_json::from_str(plan).ok());
    Ok(plan.and_then(|plan| plan.pointer("/0/Plan/Plan Rows")?.as_f64()))
}

/// The leaves of a table or partitioned table, each with its file and its size in blocks.
///
/// Children by plain inheritance count as leaves too: a SELECT from the parent would read them.
pub(crate) async fn leaves(session: &mut Session, table: &Table) -> Result<Vec<Leaf>> {
    let question = format!(
        "with recursive tree(oid) as (select {}::oid union select i.inhrelid from pg_inherits i join tree on i.inhparent = tree.oid) \
         select c.oid, n.nspname::text, c.relname::text, coalesce(pg_relation_filenode(c.oid), 0)::text, \
         (pg_relation_size(c.oid) / current_setting('block_size')::int8)::int8, \
         case when c.reltuples >= 0 then c.reltuples::float8 end, c.relkind::text, has_table_privilege(c.oid, 'select') \
         from tree join pg_class c on c.oid = tree.oid join pg_namespace n on n.oid = c.relnamespace \
         where c.relkind <> 'p' order by c.oid",
        table.oid
    );
    let rows = session.ask("reading a table's leaves", question).await?;
    rows.iter()
        .map(|row| {
            let qualified = format!("{}.{}", ident(row.field(1)?), ident(row.field(2)?));
            if row.field::<&str>(6)? != "r" {
                return Err(Error::Unlockable {
                    endpoint: session.endpoint.to_string(),
                    table: qualified,
                    kind: "partition that is no plain table".into(),
                    reason: "it cannot be read by blocks".into(),
                });
            }
            // A right on the root is enough to read through it, not to read a leaf by its blocks.
            if !row.field::<bool>(7)? {
                return Err(Error::unreadable(&session.endpoint, qualified));
            }
            let blocks: i64 = row.field(4)?;
            let blocks = u32::try_from(blocks)
                .map_err(|_| Error::invariant(&qualified, "a table of more than 2^32 blocks"))?;
            Ok(Leaf {
                oid: row.field::<sqlx::postgres::types::Oid>(0)?.0,
                table: qualified,
                filenode: row.field(3)?,
                blocks,
                rows_estimated: row.field(5)?,
            })
        })
        .collect()
}
