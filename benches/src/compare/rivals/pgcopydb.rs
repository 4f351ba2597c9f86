//! pgcopydb, two tables' parts and two indexes at a time, of a table that holds the live rows.

use std::process::Command;

use crate::compare::children::{self, Finished};
use crate::compare::copy::Copy;
use crate::compare::ground::{Ground, TARGET};
use crate::compare::history::People;

pub(super) async fn copy(ground: &Ground, people: &People) -> Result<Vec<Finished>, String> {
    let copy = Copy::live(people);
    let work = tempfile::tempdir().map_err(|error| error.to_string())?;
    let filters = work.path().join("filters.ini");
    let only = format!("[include-only-table]\npublic.{}\n", copy.table);
    std::fs::write(&filters, only).map_err(|error| error.to_string())?;
    let mut clone = Command::new("pgcopydb");
    clone.args([
        "clone",
        "--no-owner",
        "--no-acl",
        "--skip-extensions",
        "--table-jobs",
        "2",
        "--index-jobs",
        "2",
    ]);
    clone.args([
        "--source",
        &ground.primary.url(&people.database),
        "--target",
        &ground.secondary.url(TARGET),
    ]);
    clone.arg("--filters").arg(&filters).arg("--dir").arg(work.path().join("work"));
    // It gathers statistics itself.
    Ok(vec![children::finish(clone).await?])
}
