//! The worker as a process of its own, stopped at a step and killed there.

use std::path::PathBuf;
use std::sync::Arc;

use milestream_worker::observer::Step;

use super::asker::quoted;
use super::ledger::Capture;
use super::primary::PrimaryState;
use super::record::Recorder;
use super::secondary::{STAGING_KEPT, SecondaryState};
use super::{Failure, MOVER, World};
use crate::configuration::{Configured, ConfiguredPlatform};
use crate::fault::{FaultKind, Phase};
use crate::outcome::{Event, Property};
use crate::plan::{Cue, Keeps};
use crate::process::{Ended, Process};

/// How the worker's binary is started.
#[derive(Clone, Debug)]
pub struct WorkerBinary {
    /// The program.
    pub program: PathBuf,
    /// Arguments before the worker's own.
    pub arguments: Vec<String>,
}

/// Bounds as short as those of workers in this process, in `milestream.toml`.
const SETTINGS: &str = "lease = \"3s\"\nconnect_timeout = \"1500ms\"\nretry_pause_min = \"10ms\"\n";

/// Runs one sync of each stream of a secondary as a process that is killed at the cue.
pub(crate) async fn killed(world: &World, index: usize, cue: &Cue) -> Result<(), Failure> {
    let secondary = Arc::clone(&world.secondaries[index]);
    let primary = &world.primaries[secondary.plan.primary];
    let directory = tempfile::tempdir()?;
    configured(&*primary.lock().await, &secondary).write(directory.path())?;
    let stopped = start(world, &secondary, cue, directory.path()).await?;
    let recorder = &world.recorder;
    let name = secondary.plan.name.clone();
    match stopped {
        Ok((process, line)) => {
            recorder.fired(FaultKind::WorkerKilled, cue.at);
            recorder.happened(Event::Fault { secondary: name.clone(), fault: line, phase: cue.at });
            tokio::task::spawn_blocking(move || process.kill()).await.map_err(panicked)?;
            recorder.felt(FaultKind::WorkerKilled, cue.at);
        }
        Err(ended) => judge(&ended, &name, recorder),
    }
    let mut asker = secondary.place.asker().await?;
    for follower in &secondary.followers {
        if secondary.is_begun(&mut asker).await? {
            secondary.expire_lease(&follower.key, &mut asker).await?;
            take_stock(&*primary.lock().await, &secondary, &follower.key, recorder).await?;
        }
    }
    asker.close().await;
    Ok(())
}

async fn start(
    world: &World,
    secondary: &SecondaryState,
    cue: &Cue,
    directory: &std::path::Path,
) -> Result<Result<(Process, String), Ended>, Failure> {
    let binary = world.worker.program.display().to_string();
    let mut arguments = world.worker.arguments.clone();
    let stop_at = format!("{}:{}", step_of(cue.at), cue.nth);
    let (platform, store) = (&secondary.plan.name, &world.plan.store);
    let own = ["sync", "--platform", platform, "--store", store, "--max-streams", "1", "--stop-at", &stop_at];
    arguments.extend(own.map(str::to_owned));
    let directory = directory.to_owned();
    let ended = tokio::task::spawn_blocking(move || {
        let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
        Process::start(&binary, &directory, &arguments).stopped_or_ended()
    });
    ended.await.map_err(panicked)
}

fn step_of(phase: Phase) -> Step {
    phase.step()
}

/// A process that ended by itself, before it came to the step.
fn judge(ended: &Ended, secondary: &str, recorder: &Recorder) {
    let code = ended.status.code();
    // 0 done, 1 blocked, 4 tried long enough: the schedule's earlier faults may be why.
    if !matches!(code, Some(0 | 1 | 4)) {
        let what = format!("a worker process of {secondary} ended with {code:?}: {}", ended.stderr);
        recorder.violated(Property::Sound, what);
    }
}

/// What a process did is read off its tables.
async fn take_stock(
    primary: &PrimaryState,
    secondary: &SecondaryState,
    key: &str,
    recorder: &Recorder,
) -> Result<(), Failure> {
    let mut asker = secondary.place.asker().await?;
    let watermark = secondary.watermark(key, &mut asker).await?;
    let question = format!(
        "select generation, flight ->> 'from', flight ->> 'to' from {} where stream_key = {}",
        secondary.control.stream,
        quoted(key)
    );
    let row = asker.ask(&question).await?.into_iter().next().unwrap_or_default();
    let number = |at: usize| row.get(at).cloned().flatten().and_then(|text| text.parse::<i32>().ok());
    {
        let mut ledger = secondary.follower(key).ledger.lock().await;
        // A stream that was reset begins anew.
        let held = ledger.held.as_ref().filter(|_| !ledger.was_reset).map(|held| held.watermark);
        if let Some(to) = watermark.filter(|_| watermark != held)
            && ledger.capture.as_ref().is_none_or(|capture| capture.to != to)
        {
            ledger.capture = Some(Capture::of(primary, key, 0, held, to));
        }
        if let (Some(generation), Some(to)) = (number(0), number(2)) {
            let is_known = ledger.capture.as_ref().is_some_and(|capture| capture.generation == generation);
            if !is_known {
                ledger.capture = Some(Capture::of(primary, key, generation, number(1), to));
                ledger.done.clear();
            }
            let question = format!(
                "select chunk from {} where stream_key = {} and generation = {generation} and status = 'done'",
                secondary.control.chunk,
                quoted(key)
            );
            let done = asker.ask(&question).await?.into_iter().flatten().flatten();
            ledger.done.extend(done.filter_map(|chunk| chunk.parse().ok()).map(|chunk| (generation, chunk)));
        }
    }
    asker.close().await;
    secondary.check_held(key, Some(primary.stream(key).pruned_before), recorder).await
}

fn configured(primary: &PrimaryState, secondary: &SecondaryState) -> Configured {
    let platform = |name: &str, is_forensic, endpoint: &milestream_worker::Endpoint| ConfiguredPlatform {
        name: name.to_owned(),
        is_forensic,
        host: endpoint.host.clone(),
        port: endpoint.port,
        database: endpoint.database.clone(),
    };
    let plan = &secondary.plan;
    let keeps_versions = plan.holding == Keeps::Mirror;
    let named = |strategy| match strategy {
        crate::plan::Strategy::Blocks => "blocks",
        crate::plan::Strategy::Keys => "keys",
    };
    let (seeds, increments) = (named(plan.strategy), named(plan.increments));
    let verify = match plan.verify {
        crate::plan::Verify::Count => "count",
        crate::plan::Verify::Content => "content",
        crate::plan::Verify::Off => "off",
    };
    Configured {
        streams: secondary.followers.iter().map(|follower| follower.job(|_| {}).stream).collect(),
        platforms: vec![
            platform(&primary.plan.name, true, &primary.place.endpoint("primary")),
            platform(&plan.name, keeps_versions, &secondary.place.endpoint("secondary")),
        ],
        primaries: vec![primary.plan.name.clone()],
        user: MOVER.to_owned(),
        password: "trusted".to_owned(),
        staging_batches_to_keep: STAGING_KEPT,
        settings: format!(
            "{SETTINGS}seed_chunk_rows = {}\nseed_chunk_time = \"{}ms\"\nparallelism = {}\nseed_strategy = \"{seeds}\"\n\
             increment_strategy = \"{increments}\"\nverify_seed = \"{verify}\"\nmax_rows_per_sync = {}\nmax_delete_fraction = {:.2}\ninterchange = {}\n",
            plan.chunk_rows,
            plan.chunk_time().as_millis(),
            plan.parallelism,
            plan.max_rows_per_sync,
            plan.limits.delete_fraction(),
            plan.limits.interchange
        ),
    }
}

fn panicked(panic: tokio::task::JoinError) -> Failure {
    Failure::Set { what: format!("a worker process: {panic}") }
}
