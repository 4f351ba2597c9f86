//! `pg_dump | psql` of a table that holds the live rows.

use std::process::Command;

use super::psql;
use crate::compare::children::{self, Finished};
use crate::compare::copy::Copy;
use crate::compare::ground::{Ground, TARGET};
use crate::compare::history::People;

pub(super) async fn copy(ground: &Ground, people: &People) -> Result<Vec<Finished>, String> {
    let copy = Copy::live(people);
    let mut dump = Command::new("pg_dump");
    dump.args(["-d", &ground.primary.url(&people.database), "-t", &copy.table]);
    let finished = children::pipe(dump, psql(&ground.secondary, TARGET, None)).await?;
    ground.on_target(&format!("vacuum analyze {}", copy.table)).await;
    Ok(finished.to_vec())
}
