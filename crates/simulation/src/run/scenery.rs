//! What people leave for the worker before the first batch: settings of its role, types, and merge tables.

use std::collections::BTreeSet;

use super::asker::{Asker, quoted};
use super::primary::physical;
use super::secondary::{Follower, SecondaryState};
use super::stage::Place;
use super::{Failure, MOVER};
use crate::forensic::{Table, ident};
use crate::plan::premises::{Premises, Setting, TablesThere, TypesThere};
use crate::plan::values::Kind;
use crate::plan::{DatasetPlan, Keeps};

/// The schema of types that are elsewhere.
const ELSEWHERE: &str = "attic";

/// Types that were made before, so that those that follow have other OIDs.
const SHIFT: usize = 5;

/// The kinds of all columns.
pub(crate) fn kinds(datasets: &[DatasetPlan]) -> BTreeSet<Kind> {
    let columns = datasets.iter().flat_map(|dataset| dataset.key.iter().chain(&dataset.columns));
    columns.map(|column| column.kind).collect()
}

/// Gives the worker's role the settings that this server's version knows.
pub(crate) async fn give_settings(place: &Place, settings: &[Setting]) -> Result<(), Failure> {
    if settings.is_empty() {
        return Ok(());
    }
    let mut asker = place.asker().await?;
    for Setting { name, value } in settings {
        let known = format!("select 1 from pg_settings where lower(name) = lower({})", quoted(name));
        if asker.value(&known).await?.is_some() {
            let (database, name) = (ident(&place.database), ident(name));
            let set = format!("alter role {MOVER} in database {database} set {name} to {}", quoted(value));
            asker.execute(&set).await?;
        }
    }
    asker.close().await;
    Ok(())
}

/// The types of people's own, in the order in which one needs another; each with the statement that makes it.
fn types(there: TypesThere) -> [(Kind, &'static str, String); 4] {
    let labels = match there {
        TypesThere::Reordered => "'happy', 'sad', 'ok'",
        TypesThere::Relabelled => "'sad', 'fine', 'happy'",
        _ => "'sad', 'ok', 'happy'",
    };
    let base = match there {
        TypesThere::Rounded => "numeric(12,2)",
        TypesThere::Rebased => "double precision",
        _ => "numeric(12,4)",
    };
    let street_and_zip = match there {
        TypesThere::Swapped => "zip varchar, street varchar",
        _ => "street varchar, zip varchar",
    };
    let subtype = if there == TypesThere::Resubtyped { "double precision" } else { "numeric" };
    let schema = if there == TypesThere::Elsewhere { ELSEWHERE } else { "public" };
    let made = |kind: Kind, what: &'static str, body: String| {
        (kind, what, format!("create {what} {schema}.{} as {body};\n", kind.sql()))
    };
    [
        made(Kind::Mood, "type", format!("enum ({labels})")),
        made(Kind::Price, "domain", base.to_owned()),
        made(Kind::Address, "type", format!("({street_and_zip}, worth {schema}.{})", Kind::Price.sql())),
        made(Kind::Span, "type", format!("range (subtype = {subtype})")),
    ]
}

/// Statements that make the types of people's own; none where no column has one.
pub(crate) fn types_ddl(kinds: &BTreeSet<Kind>, there: TypesThere) -> String {
    if !kinds.iter().any(|kind| kind.is_of_people()) {
        return String::new();
    }
    let schema = match there {
        TypesThere::Elsewhere => {
            format!("create schema {ELSEWHERE}; grant usage on schema {ELSEWHERE} to {MOVER};\n")
        }
        _ => String::new(),
    };
    let shift = if there == TypesThere::Shifted { SHIFT } else { 0 };
    let earlier = (0..shift).map(|n| format!("create type \"earlier {n}\" as enum ('x');\n"));
    let made = types(there).into_iter().map(|(_, _, statement)| statement);
    [schema].into_iter().chain(earlier).chain(made).collect()
}

/// Statements that make a dataset's merge table beforehand.
fn table_ddl(table: &Table, merge: &str, holding: Keeps, premises: &Premises, there: TablesThere) -> String {
    let elsewhere =
        if premises.types == TypesThere::Elsewhere { format!("{ELSEWHERE}.") } else { String::new() };
    let typed = |kind: &str| {
        if kind.starts_with('"') && kind != Kind::Byte.sql() {
            format!("{elsewhere}{kind}")
        } else {
            kind.to_owned()
        }
    };
    let columns = table.key().iter().chain(table.columns());
    let mut columns: Vec<_> =
        columns.map(|(name, kind)| format!("{} {}", physical(name), typed(kind))).collect();
    columns.extend(["all", "key"].map(|hash| format!("ds_surf_{hash}_hash varchar(32) not null")));
    let milestones: &[&str] = match holding {
        Keeps::LiveOnly => &["ds_surf_batch_id"],
        Keeps::Mirror => &["ds_surf_batch_in", "ds_surf_batch_out"],
    };
    columns.extend(milestones.iter().map(|name| format!("{name} integer not null")));
    if there.extra_column {
        columns.push("\"kept by hand\" varchar default 'nothing yet'".to_owned());
    }
    if there.reversed {
        columns.reverse();
    }
    let mut key: Vec<_> = table.key().iter().map(|(name, _)| physical(name)).collect();
    let first = key[0].clone();
    key.extend((holding == Keeps::Mirror).then(|| "ds_surf_batch_in".to_owned()));
    let index = if there.indexed { format!("create index on {merge} ({first});") } else { String::new() };
    format!(
        "create table if not exists {merge} ({}, primary key ({})); {index} alter table {merge} owner to {MOVER};\n",
        columns.join(", "),
        key.join(", ")
    )
}

impl SecondaryState {
    /// Leaves its database as the plan's people do.
    pub(crate) async fn furnish(&self) -> Result<(), Failure> {
        give_settings(&self.place, &self.plan.premises.settings).await?;
        let statements =
            types_ddl(&self.kinds, self.plan.premises.types) + &self.tables_ddl(&self.plan.premises);
        if !statements.is_empty() {
            self.place.execute(&statements).await?;
        }
        if self.plan.premises.tables.is_none() {
            return Ok(());
        }
        // Whatever people made stays.
        let mut asker = self.place.asker().await?;
        for follower in &self.followers {
            for table in follower.tables() {
                let structure = self.structure(follower, table, &mut asker).await?;
                follower.ledger.lock().await.structures.insert(table.name().to_owned(), structure);
            }
        }
        asker.close().await;
        Ok(())
    }

    fn tables_ddl(&self, premises: &Premises) -> String {
        let Some(there) = premises.tables else { return String::new() };
        let ddl = |follower: &Follower| {
            let of = |table: &Table| {
                table_ddl(table, &self.merge(follower, table), self.plan.holding, premises, there)
            };
            follower.tables().iter().map(of).collect::<String>()
        };
        self.followers.iter().map(ddl).collect()
    }

    /// Whether the types of a stream are still others than the primary's, so that nothing may be written.
    pub(crate) fn has_other_types(&self, follower: &Follower) -> bool {
        let there = *self.types_there();
        follower.kinds.iter().any(|kind| there.change(*kind))
    }

    /// Whether a worker may refuse the types of a stream.
    pub(crate) fn may_refuse_types(&self, follower: &Follower) -> bool {
        let there = *self.types_there();
        follower.kinds.iter().any(|kind| there.may_be_refused(*kind))
    }

    /// Makes the types that are refused as the primary has them, and the tables that nothing was written to.
    pub(crate) async fn mend_types(&self, asker: &mut Asker) -> Result<(), Failure> {
        let there = std::mem::take(&mut *self.types_there());
        let refused = |(kind, ..): &(Kind, &str, String)| there.may_be_refused(*kind);
        let gone: Vec<_> = types(there).into_iter().filter(refused).collect();
        let names: Vec<_> = gone.iter().map(|(kind, ..)| quoted(kind.sql())).collect();
        let tables = format!(
            "select string_agg(distinct format('%I.%I', n.nspname, c.relname), ', ') \
             from pg_class c join pg_namespace n on n.oid = c.relnamespace join pg_attribute a on a.attrelid = c.oid \
             join pg_type t on t.oid = a.atttypid left join pg_type e on e.oid = t.typelem \
             where c.relkind = 'r' and format('%I', coalesce(e.typname, t.typname)) in ({})",
            names.join(", ")
        );
        if let Some(tables) = asker.value(&tables).await? {
            asker.execute(&format!("drop table {tables}")).await?;
        }
        let schema = if there == TypesThere::Elsewhere { ELSEWHERE } else { "public" };
        for (kind, what, _) in gone.iter().rev() {
            asker.execute(&format!("drop {what} {schema}.{}", kind.sql())).await?;
        }
        for (kind, _, statement) in types(TypesThere::Same) {
            if there.may_be_refused(kind) {
                asker.execute(&statement).await?;
            }
        }
        let plain = TablesThere { indexed: false, ..self.plan.premises.tables.unwrap_or_default() };
        let tables = self.plan.premises.tables.map(|_| plain);
        asker.execute(&self.tables_ddl(&Premises { tables, ..Premises::default() })).await
    }
}
