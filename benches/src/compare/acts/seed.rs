//! First seeds against everybody who copies the same rows.

use crate::compare::acts::figure;
use crate::compare::children::Finished;
use crate::compare::copy::Copy;
use crate::compare::history::People;
use crate::compare::marks::Mark;
use crate::compare::report::{Report, Table};
use crate::compare::rivals::{Hand, Rival, drop_plain_table, make_plain_table, together};
use crate::compare::sample::Sample;
use crate::compare::stage::Stage;
use crate::compare::worker::{MERGE_TABLE, Secondary};

/// What one way to copy took, round by round.
#[derive(Default)]
struct Taken {
    seconds: Sample,
    cpu: Sample,
    peak_mib: Sample,
}

impl Taken {
    fn add(&mut self, finished: Finished) {
        self.seconds.push(finished.took.as_secs_f64());
        self.cpu.push(finished.cpu.as_secs_f64());
        self.peak_mib.push(figure(finished.peak_kib) / 1024.0);
    }
}

/// A live-only seed with indexes and the count, against every rival that is here.
pub(super) async fn against_everybody(stage: &Stage, report: &mut Report) -> Result<(), String> {
    let people = stage.headline().await;
    let secondary = stage.live(&people);
    let mut rivals: Vec<(Rival, Taken)> = Vec::new();
    for rival in Rival::all(stage.arguments.sling.as_deref()) {
        match rival {
            Ok(rival) => rivals.push((rival, Taken::default())),
            Err(why) => report.remark(format!("SKIPPED: {why}")),
        }
    }
    if rivals.iter().any(|(rival, _)| rival.needs_plain_table()) {
        make_plain_table(&stage.ground, &people).await;
        report.remark(
            "pg_dump and pgcopydb copy a table of the live rows that was made for them, out of their time"
                .into(),
        );
    }
    stage.warm_up(&people).await?;
    let mut ours = Taken::default();
    for _ in stage.rounds() {
        ours.add(stage.seed(&secondary, &people, &[]).await?);
        let mut left = Vec::new();
        for (rival, mut taken) in rivals {
            match one_copy(stage, &people, &rival).await {
                Ok(finished) => {
                    taken.add(finished);
                    left.push((rival, taken));
                }
                Err(error) => report.remark(format!("SKIPPED: {} failed: {error}", rival.name())),
            }
        }
        rivals = left;
    }
    drop_plain_table(&stage.ground, &people).await;
    report_seed(&people, &ours, &rivals, report);
    Ok(())
}

async fn one_copy(stage: &Stage, people: &People, rival: &Rival) -> Result<Finished, String> {
    stage.ground.clear_target().await;
    let finished = rival.copy(&stage.ground, people).await?;
    stage.expect_rows(rival.table(), "true", people.keys).await?;
    Ok(finished)
}

fn report_seed(people: &People, ours: &Taken, rivals: &[(Rival, Taken)], report: &mut Report) {
    let title = format!("First seed, live-only, {} rows, with indexes and statistics", people.keys);
    let mut table = Table::new(
        title,
        &["who", "seconds", "Milestream against it", "client's CPU, seconds", "its memory, MiB"],
    );
    let row = |name: &str, taken: &Taken, ratio: String| {
        let has_process = taken.peak_mib.median() > 0.0;
        let shown = |text: String| if has_process { text } else { "none of its own".to_owned() };
        let (cpu, peak) = (shown(taken.cpu.text(2, "")), shown(taken.peak_mib.text(0, "")));
        [name.to_owned(), taken.seconds.text(2, ""), ratio, cpu, peak]
    };
    table.row(row("milestream", ours, String::new()));
    for (rival, taken) in rivals {
        table.row(row(rival.name(), taken, ours.seconds.per_pair(&taken.seconds).text(2, " ×")));
    }
    report.table(table);
    for (name, at_most) in [("hand", 0.9), ("hand-2", 1.2)] {
        let what = format!("first seed, live-only, {} rows, against {name}", people.keys);
        match rivals.iter().find(|(rival, _)| rival.name() == name) {
            Some((_, taken)) => {
                report.mark(ratio_mark(what, &ours.seconds.per_pair(&taken.seconds), at_most))
            }
            None => report.mark(Mark::not_measured(what, "there is no psql", at_most, " ×")),
        }
    }
    let a_million = ours.cpu.map(|seconds| seconds * 1e6 / figure(people.keys));
    let what = "worker's CPU a million rows of 150 bytes";
    report.mark(Mark::measured(what, a_million.median(), a_million.text(2, " s"), 0.25, " s"));
}

/// A mark whose figure is a ratio in pairs.
pub(super) fn ratio_mark(what: impl Into<String>, ratios: &Sample, at_most: f64) -> Mark {
    Mark::measured(what, ratios.median(), ratios.text(2, " ×"), at_most, " ×")
}

/// A forensic mirror with all history, against two pipes that copy the same rows and build the same indexes.
pub(super) async fn mirror(stage: &Stage, report: &mut Report) -> Result<(), String> {
    const AT_MOST: f64 = 1.25;
    let people = stage.headline().await;
    let what = "seed, forensic mirror with history, against hand-2";
    if !Hand::is_here() {
        report.mark(Mark::not_measured(what, "there is no psql", AT_MOST, " ×"));
        return Ok(());
    }
    let secondary = Secondary::mirror(&stage.binary, &stage.ground, &people);
    let versions = people
        .ask(&stage.ground.primary, &format!("select count(*) from {}", crate::compare::history::TABLE))
        .await;
    let versions = u64::try_from(versions).unwrap_or(0);
    let copy = Copy::mirror(&people);
    stage.warm_up(&people).await?;
    let (mut ours, mut hand) = (Taken::default(), Taken::default());
    for _ in stage.rounds() {
        stage.ground.clear_target().await;
        ours.add(secondary.sync(&[]).await?);
        stage.expect_rows(MERGE_TABLE, "true", versions).await?;
        stage.ground.clear_target().await;
        let began = std::time::Instant::now();
        let processes = Hand::TWO.copy(&stage.ground, &people, &copy).await?;
        hand.add(together(&processes, began.elapsed()));
        stage.expect_rows(&copy.table, "true", versions).await?;
    }
    let ratios = ours.seconds.per_pair(&hand.seconds);
    let mut table = Table::new(
        format!("Forensic mirror, {versions} versions, six indexes"),
        &["who", "seconds", "Milestream against it"],
    );
    table.row(["milestream".to_owned(), ours.seconds.text(2, ""), String::new()]);
    table.row(["hand-2".to_owned(), hand.seconds.text(2, ""), ratios.text(2, " ×")]);
    report.table(table);
    report.mark(ratio_mark(what, &ratios, AT_MOST));
    Ok(())
}

/// Time a row of a large table against a small one.
pub(super) async fn slope(stage: &Stage, report: &mut Report) -> Result<(), String> {
    let (few, many) = stage.arguments.slope_keys();
    let (small, large) = (stage.table(few).await, stage.table(many).await);
    stage.warm_up(&large).await?;
    let (mut of_small, mut of_large) = (Sample::default(), Sample::default());
    for _ in stage.rounds() {
        for (people, sample) in [(&small, &mut of_small), (&large, &mut of_large)] {
            let finished = stage.seed(&stage.live(people), people, &[]).await?;
            sample.push(finished.took.as_secs_f64() * 1e6 / figure(people.keys));
        }
    }
    let mut table = Table::new("Seconds a million rows", &["rows", "seconds a million"]);
    table.row([few.to_string(), of_small.to_string()]);
    table.row([many.to_string(), of_large.to_string()]);
    report.table(table);
    let what = format!("time a row at {many} rows against {few}");
    report.mark(ratio_mark(what, &of_large.per_pair(&of_small), 1.25));
    Ok(())
}
