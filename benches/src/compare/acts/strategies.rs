//! A large increment: the way the worker chooses against each way it could have chosen.

use crate::compare::acts::seed::ratio_mark;
use crate::compare::marks::Mark;
use crate::compare::report::{Report, Table};
use crate::compare::sample::Sample;
use crate::compare::stage::Stage;

const WAYS: [&str; 3] = ["auto", "keys", "blocks"];
const KEPT: &str = "kept_for_strategies";
const FLAG: &str = "--increment-strategy";

pub(super) async fn forced(stage: &Stage, report: &mut Report) -> Result<(), String> {
    const WHAT: &str = "increment of 30 % against the better of both ways to read it";
    const AT_MOST: f64 = 1.25;
    if !stage.binary.knows(FLAG) {
        let why = format!("it waits for a worker that knows {FLAG}");
        report.mark(Mark::not_measured(WHAT, why, AT_MOST, " ×"));
        return Ok(());
    }
    let people = stage.headline().await;
    let secondary = stage.live(&people);
    let mut taken = WAYS.map(|_| Sample::default());
    for _ in stage.rounds() {
        stage.seed(&secondary, &people, &[]).await?;
        stage.ground.keep_target(KEPT).await;
        people.replace(&stage.ground.primary, people.keys * 3 / 10).await;
        for (way, sample) in WAYS.iter().zip(&mut taken) {
            stage.ground.restore_target(KEPT).await;
            sample.push(secondary.sync(&[FLAG, way]).await?.took.as_secs_f64());
        }
    }
    stage.ground.secondary.drop_database(KEPT).await.map_err(|error| error.to_string())?;
    let mut table = Table::new("An increment of 30 %", &["read", "seconds"]);
    for (way, sample) in WAYS.iter().zip(&taken) {
        table.row([(*way).to_owned(), sample.to_string()]);
    }
    report.table(table);
    let [auto, keys, blocks] = &taken;
    let better = if keys.median() < blocks.median() { keys } else { blocks };
    report.mark(ratio_mark(WHAT, &auto.per_pair(better), AT_MOST));
    Ok(())
}
