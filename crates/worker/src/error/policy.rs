//! What follows from an error: retry, halt or report, the exit code, and the advice to a person.

use super::{Class, Error, server};
use crate::StreamName;

/// How a stream is seeded again, for advice.
fn seed_again(stream: Option<&StreamName>) -> String {
    format!(
        "to seed the stream again, run `{}`, then sync: readers keep what they see until the seed is committed",
        command(stream, "reset --reseed")
    )
}

/// The command line that does `what` to the stream; where it is not known which, a person fills the names in.
fn command(stream: Option<&StreamName>, what: &str) -> String {
    match stream {
        Some(stream) => stream.command(what),
        None => format!("milestream {what} --platform … --store …"),
    }
}

impl Error {
    /// The class decides between retry, halt and report. Exhaustive on purpose: a new error must be classed.
    pub fn class(&self) -> Class {
        match self {
            Error::Unreachable { .. }
            | Error::Silent { .. }
            | Error::Stalled { .. }
            | Error::LeaseLapsed { .. }
            | Error::Lagging { .. }
            | Error::Behind { .. }
            | Error::Injected { .. } => Class::Transient,
            Error::Statement { source, .. } => class_of_driver_error(source),
            Error::Rewritten { .. }
            | Error::Miscounted { .. }
            | Error::Altered { .. }
            | Error::SchemaMoved { .. } => Class::Replan,
            Error::Busy { .. } | Error::Fenced { .. } => Class::Busy,
            Error::Stopped | Error::Abandoned { .. } => Class::Stopped,
            Error::Refused { .. }
            | Error::Tls { .. }
            | Error::Pooler { .. }
            | Error::TooOld { .. }
            | Error::Encodings { .. }
            | Error::MissingTable { .. }
            | Error::MissingRight { .. }
            | Error::Unlockable { .. }
            | Error::Schema { .. }
            | Error::HashCollision { .. }
            | Error::KeysCoincide { .. }
            | Error::SeedUnstable { .. }
            | Error::PrimaryReset { .. }
            | Error::Pruned { .. }
            | Error::LiveRowsLost { .. }
            | Error::LiveRowsMoved { .. }
            | Error::SchemaChanged { .. }
            | Error::TurnTaken { .. }
            | Error::Diverged { .. }
            | Error::Unwritten { .. }
            | Error::TooManyDeletes { .. }
            | Error::Constraint { .. }
            | Error::BudgetSpent { .. }
            | Error::Unreadable { .. }
            | Error::Setup { .. } => Class::Blocked,
            Error::Invariant { .. } | Error::Panicked { .. } => Class::Bug,
        }
    }

    /// The process's exit code: 1 a person must act, 2 the set-up is wrong, 3 busy, 4 tried long enough, 5 stopped as
    /// asked, 70 a bug.
    pub fn exit_code(&self) -> u8 {
        match self {
            Error::Setup { .. } | Error::Refused { .. } => 2,
            Error::BudgetSpent { .. } => 4,
            error => match error.class() {
                Class::Blocked | Class::Replan => 1,
                Class::Busy => 3,
                Class::Transient => 4,
                Class::Stopped => 5,
                Class::Bug => 70,
            },
        }
    }

    /// What to do next, in a sentence or two.
    pub fn advice(&self) -> String {
        self.advise(None)
    }

    /// What to do next about an error of this stream, with its commands in full.
    pub fn advice_for(&self, stream: &StreamName) -> String {
        self.advise(Some(stream))
    }

    fn advise(&self, stream: Option<&StreamName>) -> String {
        match self {
            Error::Unreachable { .. } | Error::Silent { .. } => {
                "check that the server runs and that host and port in the model (or `endpoints` in milestream.toml) are right; \
                 nothing is lost, and the sync is taken up again when the server is back"
                    .into()
            }
            Error::Refused { .. } => {
                "check the database's name in the model, the credential's _USER and _PASSWORD variables (or the files in the secrets directory), and the server's pg_hba.conf".into()
            }
            Error::Tls { .. } => {
                "give the server's root certificate with `tls_root_cert`, or ask by name for less with `tls = \"require\"` or `\"disable\"`".into()
            }
            Error::Pooler { .. } => "connect to the server itself, or to a pool in session mode".into(),
            Error::TooOld { .. } => "upgrade the server".into(),
            Error::Encodings { .. } => "move one of the databases to the encoding of the other (UTF8 by preference)".into(),
            Error::Statement { source, .. } => advice_for_driver_error(source),
            Error::Constraint { mend: Some(mend), .. } => format!(
                "if rows of one batch trade values, or one refers to another, let the constraint be deferred: `{mend}`; Milestream \
                 then checks it when all rows are written. If it is broken then, too, mend the row on the primary, or drop the \
                 constraint; then sync again"
            ),
            Error::Constraint { mend: None, .. } => {
                "rows of the primary break a constraint of the secondary, or trade values where it cannot be deferred: mend the rows on \
                 the primary, or drop the constraint, then sync again"
                    .into()
            }
            Error::LeaseLapsed { .. } => "the link to the secondary or the server hangs; the sync goes on by itself".into(),
            Error::Lagging { .. } => "the sync goes on by itself when the standby has caught up".into(),
            Error::Behind { .. } => {
                "the sync goes on by itself when the standby has caught up, or another server answers; let `endpoints` name one \
                 server where that takes too long"
                    .into()
            }
            Error::SchemaChanged { .. } => format!(
                "seeding brings old rows to the primary's values. Bring model, primary and secondary to the same columns and \
                 types; then, {}",
                seed_again(stream)
            ),
            Error::TurnTaken { .. } => format!(
                "Milestream and another program cannot take turns on a stream yet, since a sync from the older watermark would \
                 leave rows that are deleted since. Let only one of them write it; to go on with Milestream, {}",
                seed_again(stream)
            ),
            Error::Stalled { .. } => "the link or the server hangs; the sync goes on by itself when it answers again".into(),
            Error::MissingTable { endpoint, .. } => format!(
                "check the names of platform, store and dataset in the model, the role's search_path on {endpoint}, and whether the primary has ingested the store yet"
            ),
            Error::MissingRight { lacks } => crate::rights::advice(lacks),
            Error::Unlockable { .. } => "pull from the table itself, or set `seed_strategy = \"keys\"` where it says that suffices".into(),
            Error::Schema { differences, .. } => {
                // Statements that mend a difference stand below it.
                let mended = differences.lines().any(|line| line.starts_with("    on the "));
                let statements = if mended { "run the statements above; where there is none, " } else { "" };
                format!("{statements}bring model, primary and secondary to the same columns and types, then sync again")
            }
            Error::HashCollision { .. } => {
                "let Milestream create the table (it is then unique on the model's key), or drop the unique index on ds_surf_key_hash and `interchange`".into()
            }
            Error::KeysCoincide { .. } => {
                "give the key columns the same types and collations in both databases, then sync again".into()
            }
            Error::Rewritten { .. }
            | Error::Miscounted { .. }
            | Error::Altered { .. }
            | Error::SchemaMoved { .. } => {
                "the sync is planned anew by itself".into()
            }
            Error::SeedUnstable { last, .. } if matches!(**last, Error::Altered { .. }) => {
                "compare a row of the table on both sides: if the column's type reads or writes its values differently on the two \
                 servers, give it one that does not; if something updates the primary's open versions in place (a backfill), stop \
                 it; then sync again"
                    .into()
            }
            Error::SeedUnstable { .. } => {
                "find what rewrites the primary's table or updates its open versions in place (VACUUM FULL, TRUNCATE, a backfill), stop it, then sync again".into()
            }
            Error::PrimaryReset { .. } => {
                format!("find out why the primary's batches changed; if the primary is right, {}", seed_again(stream))
            }
            Error::Pruned { .. } => format!("the missing versions cannot be pulled any more; {}", seed_again(stream)),
            Error::LiveRowsLost { .. } => {
                format!(
                    "rows were removed from the primary's merge tables outside of its batches: restore them, then sync again; if they are \
                     meant to be gone, sync once with `--verify-seed off`; if they were history that was pruned while the seed was in \
                     flight, {}",
                    seed_again(stream)
                )
            }
            Error::LiveRowsMoved { batch, anew, .. } => format!(
                "something else wrote to the merge tables: bring them back to what batch {batch} left, then run again; or let the \
                 stream begin anew with batch 1 ({anew}), after which its secondaries have to be seeded again"
            ),
            Error::Diverged { hooks, .. } if hooks.is_empty() => {
                format!("something else wrote to the secondary's table; {}", seed_again(stream))
            }
            Error::Diverged { table, hooks, .. } | Error::Unwritten { table, hooks, .. } => match hooks.is_empty() {
                true => "keep away whatever else writes to the table, then run again".into(),
                false => format!(
                    "drop or disable {} on {table}, or let it pass what Milestream writes as it is; then run again",
                    hooks.join(" and ")
                ),
            },
            Error::TooManyDeletes { .. } => {
                "check that the primary, or the source, was not emptied by mistake; if the deletions are meant, sync once with --max-delete-fraction 1".into()
            }
            Error::Busy { .. } => "nothing to do: the other worker goes on; if it is dead its lease ends by itself".into(),
            Error::Fenced { .. } => "nothing to do: the other worker goes on".into(),
            Error::Stopped | Error::Abandoned { .. } => "run sync again to go on".into(),
            Error::Injected { .. } => "this failure was asked for".into(),
            Error::BudgetSpent { last, resumes: true, .. } => {
                format!("{}; then sync again, it goes on where it stood", last.advise(stream))
            }
            Error::BudgetSpent { last, resumes: false, .. } => {
                format!("{}; then sync again, the batch is read anew from its source", last.advise(stream))
            }
            Error::Setup { remedy, .. } => remedy.clone(),
            Error::Unreadable { .. } => "lay the table out as DataSurface does: key and batch_status text, batch_id and the counts integer, the times timestamp, state \
                 text; then sync again"
                    .into(),
            Error::Invariant { .. } | Error::Panicked { .. } => "please report this with the log; the secondary still holds its last watermark".into(),
        }
    }
}

/// Connections come back, locks are released, space is freed: these SQLSTATE classes are worth another try.
fn class_of_driver_error(error: &sqlx::Error) -> Class {
    match error {
        sqlx::Error::Io(_) | sqlx::Error::Protocol(_) | sqlx::Error::Tls(_) => Class::Transient,
        sqlx::Error::Database(database) => match database.code().as_deref() {
            // The server could not read what it was sent, and will not the next time; a pooler says the same of its own
            // troubles, and then ends the session.
            Some("08P01") if !server::of(error).is_some_and(server::is_fatal) => Class::Blocked,
            // 08 connection, 40 rollback and deadlock, 53 resources (disk full, too many connections),
            // 57 operator intervention (terminated, shutdown, cancelled), 55P03 lock not available, 58 system error,
            // 42501 a right that may be granted again is no transient matter, so it is left out.
            Some(code)
                if ["08", "40", "53", "57", "58"].iter().any(|class| code.starts_with(class))
                    || code == "55P03" =>
            {
                Class::Transient
            }
            // Internal errors (XX000) of the server and its limits (54000) are for its people.
            _ => Class::Blocked,
        },
        _ => Class::Bug,
    }
}

fn advice_for_driver_error(error: &sqlx::Error) -> String {
    let Some(server) = server::of(error) else {
        return "the connection broke; the sync is taken up again when it is made again".into();
    };
    let advice = match server.code() {
        "42501" => {
            "grant the right that is missing (`milestream grants` prints all that are needed), then sync again"
        }
        "53100" => "free space on the server; the sync goes on by itself",
        "40001" if server::is_recovery_conflict(server) => {
            "the server is a hot standby, and what was read there was removed on its primary: set hot_standby_feedback = on, or \
             raise max_standby_streaming_delay (max_standby_archive_delay), on the standby, or read from the primary itself"
        }
        "57014" => {
            "the statement was cancelled: raise `statement_timeout` if it ran into it; the sync goes on by itself"
        }
        "53300" => "raise max_connections, or lower `parallelism`",
        "25006" => "the server is read-only: point the secondary at one that takes writes",
        "54000" => {
            "a value is beyond a limit of the server: an index, a row or a list takes no more; shorten the value, or leave its \
             column out of the key or the index that is named"
        }
        "XX000" | "XX001" | "XX002" => {
            "the server itself failed: see its log for this moment, and look for damaged tables or extensions; nothing was \
             committed"
        }
        "08P01" => "the server could not read what it was sent: compare the types of both sides",
        "23505" => {
            "another row has this key: find out which of the two is wrong, or whether the constraint must be there"
        }
        "23502" | "23503" | "23514" | "23P01" => {
            "a row of the primary breaks a constraint of the secondary: mend the row, or drop the constraint, then sync again"
        }
        _ => "the server's message says what it objects to; mend that, then sync again",
    };
    advice.to_owned()
}

#[cfg(test)]
mod tests {
    use milestream_core::milestone::PrimaryBatch;
    use milestream_core::stream::Stream;

    use super::*;

    #[test]
    fn whoever_has_to_seed_again_is_told_the_command_in_full() {
        let (endpoint, batch) = (String::from("hub:5432/merge"), PrimaryBatch(7));
        let (stream, table) = (String::from("Store1#people"), String::from("\"edge_people\""));
        let seen = String::from("what was seen");
        let errors = [
            Error::PrimaryReset { endpoint: endpoint.clone(), watermark: batch, seen: seen.clone() },
            Error::Pruned {
                endpoint: endpoint.clone(),
                from: batch,
                to: PrimaryBatch(8),
                what: "closed",
                found: 1,
                recorded: 2,
            },
            Error::LiveRowsLost { endpoint, stream, batch, found: 1, recorded: 2 },
            Error::Diverged { table, seen, hooks: Vec::new() },
        ];
        let people = Stream { store: "Store1".into(), dataset: Some("people".into()), datasets: Vec::new() };
        let people = StreamName::of("Edge", &people);
        for error in errors {
            let advice = error.advice_for(&people);
            let command = "`milestream reset --reseed --platform Edge --store Store1 --dataset people`";
            assert!(advice.contains(command), "{advice}");
            assert!(!advice.contains(['{', '}']) && !advice.contains("sync_stream"), "{advice}");
        }
    }
}
