//! What chunks cost beside their rows, and what is copied again after a kill.

use milestream_simulation::process::Process;

use crate::compare::acts::figure;
use crate::compare::marks::Mark;
use crate::compare::report::{Report, Table};
use crate::compare::sample::Sample;
use crate::compare::stage::Stage;

/// Chunks of the plan that is cut small.
const MANY: u64 = 200;
/// Fewer chunks of difference than this say nothing about one of them.
const DIFFERENCE_MIN: i64 = 50;
/// Chunks of the seed that is killed.
const CHUNKS_TO_KILL: u64 = 20;
/// The rows under way when it is killed are those of the chunks of this number and before it.
const KILLED_AT: u64 = 9;
const PARALLELISM: u32 = 2;

/// The same rows in one stream, in two chunks and in two hundred: the difference of the copies' times, a chunk.
pub(super) async fn bookkeeping(stage: &Stage, report: &mut Report) -> Result<(), String> {
    const WHAT: &str = "bookkeeping a chunk";
    const AT_MOST_MS: f64 = 5.0;
    let people = stage.small().await;
    let secondary = stage.live(&people);
    let mut each = Sample::default();
    for _ in stage.rounds() {
        let mut told = Vec::new();
        for rows in [people.keys / 2, people.keys / MANY] {
            let rows = rows.to_string();
            // Every chunk apart, or small ones would be copied together.
            let apart = ["--parallelism", "1", "--seed-chunk-rows", &rows, "--seed-chunk-time", "1ms"];
            stage.seed(&secondary, &people, &apart).await?;
            told.push((stage.told("chunks").await, stage.told("copy_ms").await));
        }
        let (few, many) = (told[0], told[1]);
        if many.0 - few.0 < DIFFERENCE_MIN {
            let why = format!("this build cut {} and {} chunks whatever it was asked for", few.0, many.0);
            report.mark(Mark::not_measured(WHAT, why, AT_MOST_MS, " ms"));
            return Ok(());
        }
        each.push(signed(many.1 - few.1) / signed(many.0 - few.0));
    }
    report.mark(Mark::measured(WHAT, each.median(), each.text(2, " ms"), AT_MOST_MS, " ms"));
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "a figure to be read")]
fn signed(count: i64) -> f64 {
    count as f64
}

/// A worker that is killed in the middle of its chunks, and the one that goes on after it.
pub(super) async fn kill(stage: &Stage, report: &mut Report) -> Result<(), String> {
    let people = stage.headline().await;
    let secondary = stage.live(&people);
    let (parallelism, rows) = (PARALLELISM.to_string(), (people.keys / CHUNKS_TO_KILL).to_string());
    let flags = [
        "--parallelism",
        &parallelism,
        "--seed-chunk-rows",
        &rows,
        "--seed-chunk-time",
        "1ms",
        "--lease",
        "1s",
    ];
    stage.ground.clear_target().await;
    let stop_at = format!("mid-chunk:{KILLED_AT}");
    let command = secondary.command(&[&flags[..], &["--stop-at", &stop_at]].concat());
    let at =
        tokio::task::spawn_blocking(move || killed(&command)).await.map_err(|panic| panic.to_string())??;
    // Nobody else may take the stream as long as the dead worker's lease stands.
    tokio::time::sleep(std::time::Duration::from_millis(1500)).await;
    let done = "select count(*) from edge_sync_chunk where status = 'done'";
    let done_before = stage.ground.ask_target(done).await;
    secondary.sync(&flags).await?;
    stage.expect_rows(crate::compare::worker::MERGE_TABLE, "true", people.keys).await?;
    let (chunks, copies) = (stage.told("chunks").await, stage.told("copies").await);
    let mut table = Table::new("A kill", &["killed", "chunks", "durable by then", "copied in all"]);
    table.row([at, chunks.to_string(), done_before.to_string(), copies.to_string()]);
    report.table(table);
    let again = copies - chunks;
    let what = format!("chunks copied again after a kill, parallelism {PARALLELISM}");
    report.mark(Mark::measured(
        what,
        signed(again),
        format!("{again} chunks"),
        figure(PARALLELISM.into()),
        " chunks",
    ));
    Ok(())
}

/// Starts the command, which stops itself, and kills it there; where that was.
fn killed(command: &std::process::Command) -> Result<String, String> {
    let text = |text: &std::ffi::OsStr| text.to_string_lossy().into_owned();
    let mut arguments: Vec<String> = command.get_args().map(text).collect();
    let configuration =
        arguments.iter().position(|argument| argument == "--config").ok_or("no configuration")?;
    // The process adds the configuration itself.
    let directory: Vec<String> = arguments.drain(configuration..configuration + 2).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let process = Process::start(&text(command.get_program()), directory[1].as_ref(), &arguments);
    let (process, line) =
        process.stopped_or_ended().map_err(|ended| format!("it ended by itself: {}", ended.stderr))?;
    process.kill();
    Ok(line.trim_start_matches("stopped ").to_owned())
}
