//! How cost grows with rows, width, streams and changes, as pictures.

use std::time::Instant;

use crate::compare::acts::figure;
use crate::compare::copy::Copy;
use crate::compare::history::People;
use crate::compare::picture::{Chart, Line};
use crate::compare::report::{Report, Table};
use crate::compare::rivals::Hand;
use crate::compare::sample::Sample;
use crate::compare::stage::Stage;

/// Parts of the headline table.
const SIZES: [u64; 4] = [10, 4, 2, 1];
const WIDTHS: [u32; 4] = [1, 200, 800, 1600];
const STREAMS: [u32; 3] = [1, 2, 4];
/// One of so many rows is replaced.
const CHANGES: [u64; 4] = [1000, 100, 20, 10];

/// Seeds by rows, width and streams; before any increment has made a table longer than the others.
pub(super) async fn of_seeds(stage: &Stage, report: &mut Report) -> Result<(), String> {
    rows(stage, report).await?;
    width(stage, report).await?;
    streams(stage, report).await
}

/// Points of two lines: Milestream, and COPY into COPY by hand.
#[derive(Default)]
struct Lines {
    ours: Vec<(f64, f64)>,
    hand: Vec<(f64, f64)>,
}

impl Lines {
    async fn add(&mut self, stage: &Stage, people: &People, at: f64) -> Result<(), String> {
        let (mut ours, mut hand) = (Sample::default(), Sample::default());
        for _ in stage.rounds() {
            ours.push(stage.seed(&stage.live(people), people, &[]).await?.took.as_secs_f64());
            if Hand::is_here() {
                hand.push(by_hand(stage, people).await?);
            }
        }
        self.ours.push((at, ours.median()));
        if !hand.is_empty() {
            self.hand.push((at, hand.median()));
        }
        Ok(())
    }

    fn into_chart(self, title: String, across: &str) -> Chart {
        let line = |name: &str, points| Line { name: name.to_owned(), points };
        let lines = vec![line("milestream", self.ours), line("hand, one stream", self.hand)];
        Chart { title, across: across.to_owned(), up: "seconds".to_owned(), lines }
    }
}

async fn by_hand(stage: &Stage, people: &People) -> Result<f64, String> {
    stage.ground.clear_target().await;
    let began = Instant::now();
    Hand::ONE.copy(&stage.ground, people, &Copy::live(people)).await?;
    Ok(began.elapsed().as_secs_f64())
}

async fn rows(stage: &Stage, report: &mut Report) -> Result<(), String> {
    let mut lines = Lines::default();
    for part in SIZES {
        let people = stage.table(stage.arguments.keys() / part).await;
        lines.add(stage, &people, figure(people.keys)).await?;
    }
    finish(lines.into_chart("A seed with indexes, by rows".into(), "rows"), "rows", stage, report)
}

async fn width(stage: &Stage, report: &mut Report) -> Result<(), String> {
    let mut lines = Lines::default();
    let keys = stage.arguments.keys() / 10;
    for width in WIDTHS {
        let people = People::build(&stage.ground.primary, "wide", keys, width).await;
        lines.add(stage, &people, f64::from(width)).await?;
    }
    stage.ground.primary.drop_database("people_wide").await.map_err(|error| error.to_string())?;
    let title = format!("A seed of {keys} rows, by the width of a further column");
    finish(lines.into_chart(title, "bytes of the further column"), "width", stage, report)
}

async fn streams(stage: &Stage, report: &mut Report) -> Result<(), String> {
    let people = stage.headline().await;
    let secondary = stage.live(&people);
    let mut points = Vec::new();
    for streams in STREAMS {
        let parallelism = streams.to_string();
        let mut sample = Sample::default();
        for _ in stage.rounds() {
            let finished = stage.seed(&secondary, &people, &["--parallelism", &parallelism]).await?;
            sample.push(finished.took.as_secs_f64());
        }
        points.push((f64::from(streams), sample.median()));
    }
    let title = format!("A seed of {} rows, by streams", people.keys);
    finish(ours_alone(title, "parallelism", points), "streams", stage, report)
}

/// Increments by what changed.
pub(super) async fn of_increments(stage: &Stage, report: &mut Report) -> Result<(), String> {
    let people = stage.headline().await;
    let secondary = stage.live(&people);
    stage.seed(&secondary, &people, &[]).await?;
    let mut points = Vec::new();
    for part in CHANGES {
        let (mut sample, mut rows) = (Sample::default(), 0);
        for _ in stage.rounds() {
            rows = people.replace(&stage.ground.primary, people.keys / part).await;
            sample.push(secondary.sync(&[]).await?.took.as_secs_f64());
        }
        points.push((figure(rows), sample.median()));
    }
    let title = format!("An increment on {} rows, by what changed", people.keys);
    finish(ours_alone(title, "rows replaced", points), "changes", stage, report)
}

fn ours_alone(title: String, across: &str, points: Vec<(f64, f64)>) -> Chart {
    let line = Line { name: "milestream".to_owned(), points };
    Chart { title, across: across.to_owned(), up: "seconds".to_owned(), lines: vec![line] }
}

/// Draws the chart, and gives its figures as a table.
fn finish(chart: Chart, name: &str, stage: &Stage, report: &mut Report) -> Result<(), String> {
    chart.draw(&stage.arguments.plots.join(format!("{name}.svg")))?;
    let names: Vec<_> = chart.lines.iter().map(|line| format!("{}, seconds", line.name)).collect();
    let head: Vec<_> =
        std::iter::once(chart.across.as_str()).chain(names.iter().map(String::as_str)).collect();
    let mut table = Table::new(chart.title.clone(), &head);
    for (at, point) in chart.lines[0].points.iter().enumerate() {
        let figures = chart
            .lines
            .iter()
            .map(|line| line.points.get(at).map_or(String::new(), |(_, y)| format!("{y:.2}")));
        table.row(std::iter::once(format!("{:.0}", point.0)).chain(figures));
    }
    report.table(table);
    Ok(())
}
