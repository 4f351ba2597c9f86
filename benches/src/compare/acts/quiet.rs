//! A sync with nothing new: what is paid every time a scheduler looks.

use std::sync::Arc;
use std::time::{Duration, Instant};

use milestream_worker::observer::Unobserved;
use milestream_worker::sync::{self, Until};
use tokio_util::sync::CancellationToken;

use crate::compare::acts::figure;
use crate::compare::link::Link;
use crate::compare::marks::Mark;
use crate::compare::report::Report;
use crate::compare::sample::Sample;
use crate::compare::stage::Stage;
use crate::compare::worker::Secondary;

const LOOKS: usize = 20;

pub(super) async fn nothing_new(stage: &Stage, report: &mut Report) -> Result<(), String> {
    let people = stage.small().await;
    let secondary = stage.live(&people);
    stage.seed(&secondary, &people, &[]).await?;
    let (mut inside, mut outside) = (Sample::default(), Sample::default());
    for _ in 0..LOOKS {
        inside.push(in_process(&secondary).await? * 1e3);
        outside.push(secondary.sync(&[]).await?.took.as_secs_f64() * 1e3);
    }
    let link =
        Link::to(stage.ground.primary.port(), Duration::ZERO).await.map_err(|error| error.to_string())?;
    stage.live(&people).through(link.port()).sync(&[]).await?;
    let seen = link.take();
    let shown = format!("{} over {} connections", seen.round_trips, seen.connections);
    let what = |of: &str| format!("sync with nothing new: {of}");
    report.mark(Mark::measured(what("round trips to the primary"), figure(seen.round_trips), shown, 6.0, ""));
    report.mark(Mark::measured(what("in process"), inside.median(), inside.text(1, " ms"), 15.0, " ms"));
    report.mark(Mark::measured(what("as a command"), outside.median(), outside.text(1, " ms"), 60.0, " ms"));
    Ok(())
}

/// Seconds of a sync in this process.
async fn in_process(secondary: &Secondary) -> Result<f64, String> {
    let job = Arc::new(secondary.job());
    let began = Instant::now();
    let done = sync::run(job, Until::OneSync, Arc::new(Unobserved), CancellationToken::new());
    let outcome = Box::pin(done).await.map_err(|error| error.to_string())?;
    let took = began.elapsed().as_secs_f64();
    if outcome.syncs == 0 { Ok(took) } else { Err("there was something new after all".to_owned()) }
}
