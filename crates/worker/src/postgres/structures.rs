//! Reads from the catalog what types are made of: one walk for all types of a question, in its round trip.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::structure::{Attribute, Candidate, Collation, Extension, Form, Name, Provider, Structure};

/// Types nested deeper than this are not told apart. Postgres refuses a type that holds itself, so there is an end.
const DEPTH_MAX: u32 = 32;

/// Written before a question that spells types: a setting of the role or database would quote them all.
pub(crate) const SPELLING: &str = "select set_config('quote_all_identifiers', 'off', true);";

/// SQL for a common table expression: the OIDs of the types that `seeds` gives and of all that they are made of, each with
/// the collation that it has there.
pub(crate) fn walk(seeds: &str) -> String {
    format!(
        "walk(kind, rules) as ({seeds} union select part.kind, part.rules from walk w join pg_type t on t.oid = w.kind \
            cross join lateral (select t.typelem, 0::oid where {IS_ARRAY} \
            union all select t.typbasetype, t.typcollation where t.typtype = 'd' \
            union all select r.rngsubtype, r.rngcollation from pg_range r where r.rngtypid = t.oid \
            union all select r.rngtypid, 0 from pg_range r where r.rngmultitypid = t.oid \
            union all select a.atttypid, a.attcollation from pg_attribute a where t.typtype = 'c' and {IS_ATTRIBUTE}) \
            part(kind, rules))"
    )
}

/// Whether `t` is what its name ends in `[]` for; the two vectors of the catalog are scalars to everybody else.
const IS_ARRAY: &str = "t.typlen = -1 and t.typsubscript = 'pg_catalog.array_subscript_handler'::regproc \
     and t.oid not in (22, 30)";

const IS_ATTRIBUTE: &str = "a.attrelid = t.typrelid and a.attnum > 0 and not a.attisdropped";

/// SQL for a type of a column, attribute or domain, in the shape of [`Use`].
pub(crate) fn use_of(kind: &str, modifier: &str) -> String {
    format!(
        "json_build_object('kind', {kind}::int8, 'modifier', {modifier}, 'spelled', format_type({kind}, {modifier}))"
    )
}

/// SQL for what a [`walk`] found, in the shape of [`Dictionary`].
pub(crate) fn dictionary() -> String {
    format!(
        "json_build_object('nodes', (select coalesce(json_agg({}), '[]') from (select distinct kind from walk) w \
            join pg_type t on t.oid = w.kind join pg_namespace n on n.oid = t.typnamespace), \
         'collations', (select coalesce(json_object_agg(l.oid::int8, to_json(l)), '{{}}') from pg_collation l \
            where l.oid in (select rules from walk)), \
         'database', (select to_jsonb(b) - 'datacl' from pg_database b where b.datname = current_database()))",
        node()
    )
}

fn node() -> String {
    let base = use_of("t.typbasetype", "t.typtypmod");
    let attribute = use_of("a.atttypid", "a.atttypmod");
    format!(
        "json_build_object('oid', t.oid::int8, 'kind', t.typtype::text, 'schema', n.nspname, 'name', t.typname, \
         'built_in', n.nspname = 'pg_catalog' and t.oid < 16384, 'bare', format_type(t.oid, null), \
         'qualified', quote_ident(n.nspname) || '.' || quote_ident(t.typname), \
         'visible', pg_type_is_visible(t.oid), 'sends', t.typsend <> 0 and t.typreceive <> 0, 'collation', t.typcollation::int8, \
         'hashes', exists (select 1 from pg_opclass o join pg_am m on m.oid = o.opcmethod and m.amname = 'hash' \
            join pg_amproc p on p.amprocfamily = o.opcfamily and p.amproclefttype = o.opcintype \
                and p.amprocrighttype = o.opcintype and p.amprocnum = 2 \
            where o.opcdefault and o.opcintype = case t.oid when 1043 then 25 else t.oid end), \
         'extension', (select json_build_object('name', e.extname, 'version', e.extversion) from pg_depend d \
            join pg_extension e on e.oid = d.refobjid and d.refclassid = 'pg_catalog.pg_extension'::regclass \
            where d.classid = 'pg_catalog.pg_type'::regclass and d.objid = t.oid and d.deptype = 'e'), \
         'element', (select t.typelem::int8 where {IS_ARRAY}), \
         'base', (select {base} where t.typtype = 'd'), \
         'attributes', array_to_json(array(select json_build_object('name', a.attname, 'used', {attribute}, \
                'collation', a.attcollation::int8) \
            from pg_attribute a where t.typtype = 'c' and {IS_ATTRIBUTE} order by a.attnum)), \
         'labels', array_to_json(array(select l.enumlabel from pg_enum l where l.enumtypid = t.oid order by l.enumsortorder)), \
         'range', (select json_build_object('subtype', r.rngsubtype::int8, 'collation', r.rngcollation::int8, \
                'order', (select o.opcname from pg_opclass o where o.oid = r.rngsubopc), \
                'canonical', (select f.proname from pg_proc f where f.oid = r.rngcanonical)) \
            from pg_range r where r.rngtypid = t.oid), \
         'range_of', (select r.rngtypid::int8 from pg_range r where r.rngmultitypid = t.oid))"
    )
}

/// What a walk found, as the catalog tells it.
#[derive(Deserialize)]
pub(crate) struct Dictionary {
    nodes: Vec<Node>,
    collations: BTreeMap<i64, CatalogCollation>,
    database: DatabaseCollation,
}

/// A type where it is used, with its modifier.
#[derive(Clone, Deserialize)]
pub(crate) struct Use {
    pub(super) kind: i64,
    pub(super) modifier: i32,
    /// As `format_type` writes it; how it qualifies a name follows the search path.
    spelled: String,
}

#[derive(Deserialize)]
struct Node {
    oid: i64,
    kind: String,
    schema: String,
    name: String,
    built_in: bool,
    /// As `format_type` writes it without a modifier.
    bare: String,
    qualified: String,
    visible: bool,
    sends: bool,
    collation: i64,
    hashes: bool,
    extension: Option<Extension>,
    element: Option<i64>,
    base: Option<Use>,
    attributes: Vec<CatalogAttribute>,
    labels: Vec<String>,
    range: Option<CatalogRange>,
    range_of: Option<i64>,
}

#[derive(Deserialize)]
struct CatalogAttribute {
    name: String,
    used: Use,
    collation: i64,
}

#[derive(Deserialize)]
struct CatalogRange {
    subtype: i64,
    order: String,
    collation: i64,
    canonical: Option<String>,
}

/// A row of `pg_collation`; columns have changed their names from version to version.
#[derive(Deserialize)]
struct CatalogCollation {
    collname: String,
    collprovider: String,
    collisdeterministic: bool,
    collcollate: Option<String>,
    collctype: Option<String>,
    #[serde(alias = "colliculocale")]
    colllocale: Option<String>,
    collversion: Option<String>,
}

/// A row of `pg_database`.
#[derive(Deserialize)]
struct DatabaseCollation {
    /// From 15 on.
    #[serde(default = "libc")]
    datlocprovider: String,
    datcollate: String,
    datctype: String,
    #[serde(alias = "daticulocale")]
    datlocale: Option<String>,
    datcollversion: Option<String>,
}

fn libc() -> String {
    "c".to_owned()
}

impl Dictionary {
    /// The structure of a type that the walk has seen.
    pub(crate) fn structure(&self, used: &Use) -> Structure {
        self.nested(used, 0)
    }

    /// Every type that the walk has seen, without modifiers.
    pub(crate) fn candidates(&self) -> Vec<Candidate> {
        let candidate =
            |node: &Node| Candidate { structure: self.nested(&bare(node), 0), visible: node.visible };
        self.nodes.iter().map(candidate).collect()
    }

    /// A collation by its OID; none for 0, and for one that nobody uses.
    pub(crate) fn collation(&self, oid: i64) -> Option<Collation> {
        let row = self.collations.get(&oid)?;
        if row.collprovider == "d" {
            return Some(self.database_collation());
        }
        let locale = row.colllocale.as_ref();
        let spelled = |own: &Option<String>| locale.or(own.as_ref()).cloned().unwrap_or_default();
        Some(Collation {
            name: row.collname.clone(),
            provider: provider(&row.collprovider),
            collate: spelled(&row.collcollate),
            ctype: spelled(&row.collctype),
            deterministic: row.collisdeterministic,
            version: row.collversion.clone(),
        })
    }

    fn database_collation(&self) -> Collation {
        let row = &self.database;
        let provider = provider(&row.datlocprovider);
        let locale = row.datlocale.as_ref().filter(|_| provider != Provider::Libc);
        Collation {
            name: "default".to_owned(),
            provider,
            collate: locale.unwrap_or(&row.datcollate).clone(),
            ctype: locale.unwrap_or(&row.datctype).clone(),
            deterministic: true,
            version: row.datcollversion.clone(),
        }
    }

    fn nested(&self, used: &Use, depth: u32) -> Structure {
        let node = self.nodes.iter().find(|node| node.oid == used.kind).filter(|_| depth < DEPTH_MAX);
        let Some(node) = node else {
            return Structure { sql: used.spelled.clone(), form: Form::Opaque };
        };
        let part = |kind: i64| {
            let found = self.nodes.iter().find(|node| node.oid == kind);
            let unknown = Use { kind, modifier: -1, spelled: format!("type {kind}") };
            Box::new(self.nested(&found.map_or(unknown, bare), depth + 1))
        };
        let name = Name { schema: node.schema.clone(), name: node.name.clone() };
        let form = match (node.kind.as_str(), node.element) {
            (_, Some(element)) => {
                let spelled = used.spelled.trim_end_matches("[]").to_owned();
                let element = Use { kind: element, modifier: used.modifier, spelled };
                let element = Box::new(self.nested(&element, depth + 1));
                return Structure { sql: format!("{}[]", element.sql), form: Form::Array { element } };
            }
            ("b", None) => return self.base_type(node, used, name),
            ("d", None) => match &node.base {
                Some(base) => Form::Domain {
                    name,
                    base: Box::new(self.nested(base, depth + 1)),
                    collation: self.collation(node.collation),
                },
                None => Form::Opaque,
            },
            ("c", None) => {
                let attribute = |attribute: &CatalogAttribute| Attribute {
                    name: attribute.name.clone(),
                    structure: self.nested(&attribute.used, depth + 1),
                    collation: self.collation(attribute.collation),
                };
                Form::Composite { name, attributes: node.attributes.iter().map(attribute).collect() }
            }
            ("e", None) => Form::Enum { name, labels: node.labels.clone() },
            ("r", None) => match &node.range {
                Some(range) => Form::Range {
                    name,
                    subtype: part(range.subtype),
                    order: range.order.clone(),
                    collation: self.collation(range.collation),
                    canonical: range.canonical.clone(),
                },
                None => Form::Opaque,
            },
            ("m", None) => match node.range_of {
                Some(range) => Form::Multirange { name, range: part(range) },
                None => Form::Opaque,
            },
            _ => Form::Opaque,
        };
        Structure { sql: spelled(node), form }
    }

    fn base_type(&self, node: &Node, used: &Use, name: Name) -> Structure {
        if node.built_in {
            let form = Form::BuiltIn {
                name: name.name,
                modifier: used.modifier,
                sends: node.sends,
                hashes: node.hashes,
            };
            return Structure { sql: used.spelled.clone(), form };
        }
        let modifiers = used.spelled.strip_prefix(&node.bare).unwrap_or_default().to_owned();
        let sql = format!("{}{modifiers}", node.qualified);
        let folds = (node.collation != 0).then(|| self.database_collation());
        let extension = node.extension.clone();
        Structure { sql, form: Form::Added { name, extension, modifiers, sends: node.sends, folds } }
    }
}

fn bare(node: &Node) -> Use {
    Use { kind: node.oid, modifier: -1, spelled: node.bare.clone() }
}

fn spelled(node: &Node) -> String {
    if node.built_in { node.bare.clone() } else { node.qualified.clone() }
}

fn provider(letter: &str) -> Provider {
    match letter {
        "i" => Provider::Icu,
        "b" => Provider::BuiltIn,
        _ => Provider::Libc,
    }
}
