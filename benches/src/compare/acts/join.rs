//! A seed that a second process helps to copy.

use std::process::Command;

use crate::compare::acts::figure;
use crate::compare::marks::Mark;
use crate::compare::report::{Report, Table};
use crate::compare::sample::Sample;
use crate::compare::stage::Stage;
use crate::compare::worker::MERGE_TABLE;

/// Two processes of one stream each against one of two. Only the copy is shared: what lands the seed is the leader's, and
/// builds as many indexes at a time as it has streams.
pub(super) async fn two_processes(stage: &Stage, report: &mut Report) -> Result<(), String> {
    let people = stage.headline().await;
    let secondary = stage.live(&people);
    let (mut one, mut two) = (Sample::default(), Sample::default());
    let mut share = Sample::default();
    for _ in stage.rounds() {
        stage.seed(&secondary, &people, &["--parallelism", "2"]).await?;
        one.push(copy_seconds(stage).await?);
        stage.ground.clear_target().await;
        // A helper goes on looking for as long as a lease lasts.
        let helper =
            secondary.command(&["--join", "--parallelism", "1", "--lease", "1s", "--output", "json"]);
        let (leader, helped) = tokio::join!(secondary.sync(&["--parallelism", "1"]), rows_helped(helper));
        leader?;
        stage.expect_rows(MERGE_TABLE, "true", people.keys).await?;
        two.push(copy_seconds(stage).await?);
        share.push(figure(helped?) / figure(people.keys) * 100.0);
    }
    let head = ["who copies", "copy, seconds", "rows by the helper"];
    let mut table = Table::new("A seed by two processes", &head);
    table.row(["one process of two streams".to_owned(), one.to_string(), String::new()]);
    table.row(["two processes of one stream each".to_owned(), two.to_string(), share.text(0, " %")]);
    report.table(table);
    let ratios = two.per_pair(&one);
    let what = "copy by two processes of one stream each (sync --join) against one of two";
    report.mark(Mark::measured(what, ratios.median(), ratios.text(2, " ×"), 1.1, " ×"));
    Ok(())
}

/// Runs a helper to its end; the rows that it copied.
async fn rows_helped(mut helper: Command) -> Result<u64, String> {
    let output =
        tokio::task::spawn_blocking(move || helper.output()).await.map_err(|panic| panic.to_string())?;
    let output = output.map_err(|error| format!("the helper: {error}"))?;
    let reports: serde_json::Value =
        serde_json::from_slice(&output.stdout).map_err(|error| format!("what the helper says: {error}"))?;
    match reports.pointer("/0/rows").and_then(serde_json::Value::as_u64) {
        Some(rows) if rows > 0 => Ok(rows),
        _ => Err(format!("the helper copied nothing: {reports}")),
    }
}

async fn copy_seconds(stage: &Stage) -> Result<f64, String> {
    let milliseconds = u64::try_from(stage.told("copy_ms").await).map_err(|error| error.to_string())?;
    Ok(figure(milliseconds) / 1000.0)
}
