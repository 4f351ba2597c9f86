//! What the roles of the model must be allowed to do: as needs of a job, as rights that are missing, and as the
//! statements that grant them.

mod lacking;

use std::fmt;
use std::sync::Arc;

pub(crate) use lacking::{lacking, with_all_that_is_missing};

use milestream_core::names;

use crate::ingest::IngestJob;
use crate::pair::SecondaryNames;
use crate::postgres::Endpoint;
use crate::postgres::sql::ident;
use crate::sync::{Job, Tuning, Upstream};

/// What one role needs in one database.
#[derive(Clone, Debug)]
pub(crate) struct Needs {
    /// The database, and the role that logs in to it.
    pub(crate) endpoint: Arc<Endpoint>,
    pub(crate) needs: Vec<Need>,
}

/// One thing that a role does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// Reads a relation through its root.
    Read(Named),
    /// Reads a relation, and each of its leaves by its blocks.
    Scan(Named),
    /// Writes a table, which it makes where there is none.
    Write(Named),
    /// Drops a table or builds its indexes, and makes it anew.
    Own(Named),
    /// Compares what differs in a temporary table.
    Temporary,
    /// Asks which cluster it is.
    Identity,
    /// Sees what other sessions and replicas do.
    Load,
}

/// A relation by the names under which it is looked for, unquoted; the first that is there counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Named(pub(crate) Vec<Name>);

/// A relation's name, found by the search path where it has no schema.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Name {
    pub(crate) schema: Option<String>,
    pub(crate) name: String,
}

/// A right, as it is granted. Tables are quoted, and qualified where their schema is known.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Right {
    /// Privileges on the database itself, `CONNECT` for one.
    Database {
        /// As `GRANT` spells them.
        privileges: String,
        /// The database.
        database: String,
    },
    /// Privileges on a schema.
    Schema {
        /// As `GRANT` spells them.
        privileges: String,
        /// The schema.
        schema: String,
    },
    /// Privileges on tables, views or foreign tables.
    Tables {
        /// As `GRANT` spells them.
        privileges: String,
        /// The tables.
        tables: Vec<String>,
    },
    /// To be the owner of a table, or a member of the role that is.
    Owner {
        /// The table.
        table: String,
    },
    /// To read all rows of a table that has row-level security.
    EveryRow {
        /// The table.
        table: String,
    },
    /// To ask for the cluster's identity.
    Identity,
    /// To see the load of the server.
    Load,
}

/// What a role lacks in a database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lack {
    /// The database, as a person knows it.
    pub endpoint: String,
    /// The role.
    pub user: String,
    /// What is missing; never empty.
    pub rights: Vec<Right>,
}

impl Named {
    /// A relation that is found by the search path alone.
    fn plain(name: impl Into<String>) -> Named {
        Named(vec![Name { schema: None, name: name.into() }])
    }

    /// A source's table as it is configured: by its whole name, or else by what stands before and behind the first dot.
    fn configured(name: &str) -> Named {
        let mut names = vec![Name { schema: None, name: name.to_owned() }];
        if let Some((schema, table)) = name.split_once('.') {
            names.push(Name { schema: Some(schema.to_owned()), name: table.to_owned() });
        }
        Named(names)
    }
}

impl Named {
    /// Where it most likely is: a name with a dot names its schema.
    fn place<'n>(&'n self, schema: &'n str) -> (&'n str, &'n str) {
        self.0
            .last()
            .map_or((schema, ""), |name| (name.schema.as_deref().unwrap_or(schema), name.name.as_str()))
    }
}

impl Job {
    /// What the secondary's role needs in its own store.
    pub(crate) fn needs_of_store(&self) -> Needs {
        let datasets = self.stream.datasets.iter().map(|dataset| dataset.name.as_str());
        let needs = of_store(&self.platform, &self.stream.store, datasets);
        Needs { endpoint: Arc::clone(&self.secondary), needs }
    }

    /// What it needs in the store of a primary.
    pub(crate) fn needs_of(&self, upstream: &Upstream) -> Needs {
        let merge_table = |dataset| names::merge_table(&upstream.platform, &self.stream.store, dataset);
        let datasets = self.stream.datasets.iter();
        let mut needs = vec![
            Need::Identity,
            Need::Scan(Named::plain(names::platform_table(&upstream.platform, "batch_metrics"))),
        ];
        needs.extend(datasets.map(|dataset| Need::Scan(Named::plain(merge_table(&dataset.name)))));
        needs.extend(load(&self.tuning));
        Needs { endpoint: Arc::clone(&upstream.endpoint), needs }
    }
}

impl IngestJob {
    /// What the primary's role needs in its own store.
    pub(crate) fn needs_of_store(&self) -> Needs {
        let datasets = self.stream.datasets.iter().map(|dataset| dataset.name.as_str());
        let mut needs = of_store(&self.platform, &self.stream.store, datasets);
        needs.push(Need::Temporary);
        Needs { endpoint: Arc::clone(&self.store), needs }
    }

    /// What the role that reads the source needs there.
    pub(crate) fn needs_of_source(&self) -> Needs {
        let datasets = self.stream.datasets.iter();
        let tables = datasets.map(|dataset| Need::Read(Named::configured(self.source_table(dataset))));
        let needs = tables.chain(load(&self.tuning)).collect();
        Needs { endpoint: Arc::clone(&self.source), needs }
    }
}

impl Needs {
    /// The rights that the role must be given, as they are known without asking: `schema` is where it finds tables that
    /// are named without one.
    pub(crate) fn rights(&self, schema: &str) -> Vec<Right> {
        let makes_tables = self.needs.iter().any(|need| matches!(need, Need::Write(_) | Need::Own(_)));
        let temporary = if self.needs.contains(&Need::Temporary) { ", TEMPORARY" } else { "" };
        let mut rights = vec![Right::Database {
            privileges: format!("CONNECT{temporary}"),
            database: self.endpoint.database.clone(),
        }];
        if makes_tables {
            rights.push(Right::Schema { privileges: "USAGE, CREATE".into(), schema: schema.to_owned() });
        }
        for need in &self.needs {
            match need {
                Need::Read(relation) | Need::Scan(relation) => {
                    let (schema, name) = relation.place(schema);
                    let tables = vec![format!("{}.{}", ident(schema), ident(name))];
                    rights.push(Right::Schema { privileges: "USAGE".into(), schema: schema.to_owned() });
                    rights.push(Right::Tables { privileges: "SELECT".into(), tables });
                }
                Need::Load => rights.push(Right::Load),
                Need::Write(_) | Need::Own(_) | Need::Temporary | Need::Identity => {}
            }
        }
        rights
    }

    /// Rights that a role has by itself, unless they were taken from everybody, or tables were made by somebody else.
    pub(crate) fn rights_perhaps(&self, schema: &str) -> Vec<Right> {
        let mut rights = Vec::new();
        for need in &self.needs {
            match need {
                Need::Identity => rights.push(Right::Identity),
                Need::Write(relation) => {
                    let (schema, name) = relation.place(schema);
                    rights.push(Right::Owner { table: format!("{}.{}", ident(schema), ident(name)) });
                }
                _ => {}
            }
        }
        rights
    }
}

/// What every platform does in its own store.
fn of_store<'d>(platform: &str, store: &str, datasets: impl Iterator<Item = &'d str>) -> Vec<Need> {
    let control =
        ["batch_counter", "batch_metrics", "sync_stream", "sync_chunk", "sync_history", "sync_migration"];
    let mut needs: Vec<Need> =
        control.map(|suffix| Need::Write(Named::plain(names::platform_table(platform, suffix)))).to_vec();
    for dataset in datasets {
        let SecondaryNames { merge, staging, landing, sweep } = SecondaryNames::of(platform, store, dataset);
        needs.push(Need::Write(Named::plain(merge)));
        needs.extend([staging, landing, sweep].map(|name| Need::Own(Named::plain(name))));
    }
    needs
}

fn load(tuning: &Tuning) -> Option<Need> {
    let is_asked = tuning.pause_replication_lag.is_some() || tuning.pause_active_sessions.is_some();
    is_asked.then_some(Need::Load)
}

impl Right {
    /// The statement that gives the right; `role` is written as SQL writes it.
    pub(crate) fn statement(&self, role: &str) -> String {
        match self {
            Right::Database { privileges, database } => {
                format!("GRANT {privileges} ON DATABASE {} TO {role};", ident(database))
            }
            Right::Schema { privileges, schema } => {
                format!("GRANT {privileges} ON SCHEMA {} TO {role};", ident(schema))
            }
            Right::Tables { privileges, tables } => {
                format!("GRANT {privileges} ON {} TO {role};", tables.join(", "))
            }
            Right::Owner { table } => format!("ALTER TABLE {table} OWNER TO {role};"),
            Right::EveryRow { .. } => format!("ALTER ROLE {role} BYPASSRLS;"),
            Right::Identity => format!("GRANT EXECUTE ON FUNCTION pg_catalog.pg_control_system() TO {role};"),
            Right::Load => format!("GRANT pg_read_all_stats TO {role};"),
        }
    }
}

impl fmt::Display for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Right::Database { privileges, database } => {
                write!(f, "{privileges} on database {}", ident(database))
            }
            Right::Schema { privileges, schema } => write!(f, "{privileges} on schema {}", ident(schema)),
            Right::Tables { privileges, tables } => write!(f, "{privileges} on {}", tables.join(", ")),
            Right::Owner { table } => write!(f, "the ownership of {table}"),
            Right::EveryRow { table } => {
                write!(f, "BYPASSRLS to read every row of {table}, which has row-level security")
            }
            Right::Identity => f.write_str("EXECUTE on pg_control_system()"),
            Right::Load => f.write_str("membership in pg_read_all_stats"),
        }
    }
}

impl fmt::Display for Lack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rights: Vec<_> = self.rights.iter().map(ToString::to_string).collect();
        write!(f, "{}: user {:?} lacks {}", self.endpoint, self.user, rights.join("; "))
    }
}

impl Lack {
    fn of(endpoint: &Endpoint, rights: Vec<Right>) -> Option<Lack> {
        let (endpoint, user) = (endpoint.to_string(), endpoint.user.clone());
        (!rights.is_empty()).then_some(Lack { endpoint, user, rights })
    }

    fn statements(&self) -> String {
        let role = ident(&self.user);
        self.rights.iter().map(|right| right.statement(&role)).collect::<Vec<_>>().join(" ")
    }
}

/// All that is missing, as an error says it.
pub(crate) fn told(lacks: &[Lack]) -> String {
    lacks.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// What to do about all that is missing.
pub(crate) fn advice(lacks: &[Lack]) -> String {
    let runs = match lacks {
        [only] => format!("as the owner, run: {}", only.statements()),
        several => several
            .iter()
            .map(|lack| format!("on {}, as the owner, run: {}", lack.endpoint, lack.statements()))
            .collect::<Vec<_>>()
            .join(" "),
    };
    format!("`milestream grants` prints all that the roles of the model need; {runs}")
}
