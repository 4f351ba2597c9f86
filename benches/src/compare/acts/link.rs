//! A primary that is far away: the same seed and increment over a link of 50 ms.

use std::time::Duration;

use crate::compare::acts::increment::ONE_PERCENT;
use crate::compare::children::Finished;
use crate::compare::history::People;
use crate::compare::link::{Link, Traffic};
use crate::compare::marks::Mark;
use crate::compare::report::{Report, Table};
use crate::compare::sample::Sample;
use crate::compare::stage::Stage;
use crate::compare::worker::Secondary;

const ONE_WAY: Duration = Duration::from_millis(25);
/// Round trips that a far primary may cost beyond its share of the time.
const ROUND_TRIPS_ALLOWED: f64 = 8.0;
const KEPT: &str = "kept_for_the_far";

/// One kind of sync over both links.
#[derive(Default)]
struct Both {
    near: Sample,
    far: Sample,
    near_trips: Sample,
    far_trips: Sample,
}

/// Both links have the same proxy, so that its own cost is on both sides.
pub(super) async fn far(stage: &Stage, report: &mut Report) -> Result<(), String> {
    let people = stage.headline().await;
    let port = stage.ground.primary.port();
    let near = Link::to(port, Duration::ZERO).await.map_err(|error| error.to_string())?;
    let far = Link::to(port, ONE_WAY).await.map_err(|error| error.to_string())?;
    let (by_near, by_far) =
        (stage.live(&people).through(near.port()), stage.live(&people).through(far.port()));
    let (mut seed, mut increment) = (Both::default(), Both::default());
    for _ in stage.rounds() {
        seed.add_near(stage.seed(&by_near, &people, &[]).await?, near.take());
        seed.add_far(stage.seed(&by_far, &people, &[]).await?, far.take());
        stage.ground.keep_target(KEPT).await;
        people.replace(&stage.ground.primary, people.keys / ONE_PERCENT).await;
        increment.add_near(one_increment(stage, &by_near, &people).await?, near.take());
        stage.ground.restore_target(KEPT).await;
        increment.add_far(one_increment(stage, &by_far, &people).await?, far.take());
    }
    tell(&[("seed", &seed), ("increment of 1 %", &increment)], report);
    stage.ground.secondary.drop_database(KEPT).await.map_err(|error| error.to_string())
}

async fn one_increment(stage: &Stage, secondary: &Secondary, people: &People) -> Result<Finished, String> {
    let finished = secondary.sync(&[]).await?;
    let held = format!(
        "select count(*) from edge_sync_history where kind = 'increment' and to_batch = {}",
        people.newest()
    );
    match stage.ground.ask_target(&held).await {
        1 => Ok(finished),
        count => Err(format!("{count} increments to batch {}, not one", people.newest())),
    }
}

impl Both {
    fn add_near(&mut self, finished: Finished, seen: Traffic) {
        self.near.push(finished.took.as_secs_f64());
        self.near_trips.push(super::figure(seen.round_trips));
    }

    fn add_far(&mut self, finished: Finished, seen: Traffic) {
        self.far.push(finished.took.as_secs_f64());
        self.far_trips.push(super::figure(seen.round_trips));
    }
}

fn tell(kinds: &[(&str, &Both)], report: &mut Report) {
    let head = ["sync", "local, seconds", "at 50 ms, seconds", "round trips, local", "round trips at 50 ms"];
    let mut table = Table::new("A primary 50 ms away", &head);
    for (name, both) in kinds {
        let trips = [both.near_trips.text(0, ""), both.far_trips.text(0, "")];
        table.row([(*name).to_owned(), both.near.to_string(), both.far.to_string()].into_iter().chain(trips));
    }
    report.table(table);
    let allowed = ROUND_TRIPS_ALLOWED * 2.0 * ONE_WAY.as_secs_f64();
    for (name, both) in kinds {
        let ratios = both.far.map(|seconds| seconds - allowed).per_pair(&both.near);
        let beyond = (both.far.median() - both.near.median()) / (2.0 * ONE_WAY.as_secs_f64());
        let shown = format!("{}; it took {beyond:.0} round trips longer", ratios.text(2, " ×"));
        let what = format!("{name} over a link of 50 ms against local, less 8 round trips");
        report.mark(Mark::measured(what, ratios.median(), shown, 1.3, " ×"));
    }
}
