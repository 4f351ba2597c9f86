//! Sling, with its source a query and its target a table that is there already, so that types are the same.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::compare::children::{self, Finished};
use crate::compare::copy::Copy;
use crate::compare::ground::{Ground, TARGET};
use crate::compare::history::People;

/// The program that was named, or one in PATH.
///
/// # Errors
/// That there is none.
pub(super) fn find(named: Option<&Path>) -> Result<PathBuf, String> {
    let in_path = || ["sling", "sling-linux-amd64"].into_iter().find_map(super::find);
    let found = named.map(Path::to_owned).or_else(in_path).filter(|program| program.is_file());
    found.ok_or_else(|| {
        "sling is not installed (PyPI has it as sling-linux-amd64; --sling or SLING_BIN names it)".into()
    })
}

pub(super) async fn copy(program: &Path, ground: &Ground, people: &People) -> Result<Vec<Finished>, String> {
    let copy = Copy::live(people);
    ground.on_target(&copy.create()).await;
    let home = tempfile::tempdir().map_err(|error| error.to_string())?;
    let plain = |url: String| format!("{url}?sslmode=disable");
    let mut run = Command::new(program);
    run.args([
        "run",
        "--src-conn",
        &plain(ground.primary.url(&people.database)),
        "--src-stream",
        &copy.select(None),
    ]);
    run.args(["--tgt-conn", &plain(ground.secondary.url(TARGET)), "--tgt-object"]);
    run.arg(format!("public.{}", copy.table)).args(["--mode", "truncate"]);
    run.env("SLING_HOME_DIR", home.path()).env("SLING_DISABLE_TELEMETRY", "true");
    let finished = children::finish(run).await?;
    super::finish_table(ground, &copy).await;
    Ok(vec![finished])
}
