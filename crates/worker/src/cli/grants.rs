//! `grants`: every right that the roles of the model need, as statements for psql. Nothing is connected to.

use clap::Args;
use serde::Serialize;

use super::Surroundings;
use super::output::OutputArguments;
use super::selection::SelectionArguments;
use crate::config::{Keys, StreamJob};
use crate::error::Result;
use crate::rights::{Needs, Right};

/// Arguments of `grants`.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    selection: SelectionArguments,
    /// Schema in which the roles find the tables that are named without one, and make their own.
    #[arg(long, value_name = "NAME", default_value = "public")]
    schema: String,
    #[command(flatten)]
    output: OutputArguments,
    #[command(flatten)]
    keys: Keys,
}

/// What is to be granted in one database.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct Database {
    host: String,
    port: u16,
    database: String,
    roles: Vec<Role>,
}

/// What is to be granted to one role, in the order in which it is granted.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct Role {
    /// As SQL writes it; a variable of psql where the credential is not at hand.
    role: String,
    /// What the database is to the role: `primary Hub`, `source of Flights`.
    uses: Vec<String>,
    statements: Vec<String>,
    /// Statements that are needed only where things are not as usual.
    perhaps: Vec<String>,
}

pub(super) fn run(arguments: &Arguments, surroundings: &Surroundings) -> Result<()> {
    let configuration = surroundings.configuration()?;
    let (selected, strangers) =
        configuration.jobs_without_logins(&arguments.selection.for_reading(), &arguments.keys)?;
    for passed_over in &selected.passed_over {
        tracing::info!("passed over: {passed_over}");
    }
    let role = |user: &str| match strangers.contains(user) {
        true => format!(":{}", crate::postgres::sql::ident(user)),
        false => crate::postgres::sql::ident(user),
    };
    let mut databases = Vec::new();
    for needs in selected.streams.iter().flat_map(needs_of) {
        add(&mut databases, &needs, role(&needs.endpoint.user), &arguments.schema);
    }
    let databases: Vec<Database> = databases;
    arguments.output.write(&databases, || text(&databases))
}

fn needs_of(job: &StreamJob) -> Vec<Needs> {
    match job {
        StreamJob::Sync(job) => {
            let primaries = job.upstreams.iter().map(|upstream| job.needs_of(upstream));
            primaries.chain([job.needs_of_store()]).collect()
        }
        StreamJob::Ingest(job) => vec![job.needs_of_source(), job.needs_of_store()],
    }
}

fn add(databases: &mut Vec<Database>, needs: &Needs, role: String, schema: &str) {
    let endpoint = &needs.endpoint;
    let is_there = |known: &&mut Database| {
        (&known.host, known.port, &known.database) == (&endpoint.host, endpoint.port, &endpoint.database)
    };
    let at = databases.iter_mut().find(is_there);
    let database = match at {
        Some(database) => database,
        None => {
            let (host, port, database) = (endpoint.host.clone(), endpoint.port, endpoint.database.clone());
            databases.push(Database { host, port, database, roles: Vec::new() });
            let Some(added) = databases.last_mut() else { return };
            added
        }
    };
    let at = database.roles.iter().position(|known| known.role == role).unwrap_or_else(|| {
        let (uses, statements, perhaps) = (Vec::new(), Vec::new(), Vec::new());
        database.roles.push(Role { role, uses, statements, perhaps });
        database.roles.len() - 1
    });
    let role = &mut database.roles[at];
    let statements = |rights: Vec<Right>| rights.iter().map(|right| right.statement(&role.role)).collect();
    let (given, perhaps): (Vec<_>, Vec<_>) =
        (statements(needs.rights(schema)), statements(needs.rights_perhaps(schema)));
    extend(&mut role.uses, [endpoint.role.clone()]);
    extend(&mut role.statements, given);
    extend(&mut role.perhaps, perhaps);
}

/// Each once, in the order in which it came.
fn extend(known: &mut Vec<String>, more: impl IntoIterator<Item = String>) {
    for each in more {
        if !known.contains(&each) {
            known.push(each);
        }
    }
}

/// A script for psql, whoever runs it: it goes from database to database.
fn text(databases: &[Database]) -> String {
    let mut lines = vec![
        "-- Every right that the roles of this model need. Run it with psql as the owner of the databases and tables, or as a".to_owned(),
        "-- superuser. A table that is not there yet is refused: run it again after the primary's first batch.".to_owned(),
    ];
    if databases.iter().flat_map(|database| &database.roles).any(|role| role.role.starts_with(':')) {
        lines.push(
            "-- A role behind a colon is a credential that is not at hand: give it with psql -v NAME=role."
                .to_owned(),
        );
    }
    for database in databases {
        lines.push(String::new());
        lines.push(format!("-- Database {} on {}:{}", database.database, database.host, database.port));
        lines.push(connect(database));
        for role in &database.roles {
            lines.push(format!("-- {} uses it as {}", role.role, role.uses.join(", ")));
            lines.extend(role.statements.iter().cloned());
            if !role.perhaps.is_empty() {
                lines.push("-- only where somebody took the right away, or made the table:".to_owned());
                lines.extend(role.perhaps.iter().map(|statement| format!("--   {statement}")));
            }
        }
    }
    lines.join("\n")
}

/// psql's way to the database; what is not said here stays as it was, the user for one.
fn connect(database: &Database) -> String {
    let quoted = |text: &str| text.replace('\\', r"\\").replace('\'', r"\'").replace('"', "\"\"");
    format!(
        "\\connect -reuse-previous=on \"dbname='{}' host='{}' port='{}'\"",
        quoted(&database.database),
        quoted(&database.host),
        database.port
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_s_name_comes_through_psql_s_quotes() {
        let database = Database {
            host: "/var/run/postgresql".into(),
            port: 5432,
            database: "O'Hara \"x\" \\".into(),
            roles: Vec::new(),
        };
        assert_eq!(
            connect(&database),
            r#"\connect -reuse-previous=on "dbname='O\'Hara ""x"" \\' host='/var/run/postgresql' port='5432'""#
        );
    }
}
