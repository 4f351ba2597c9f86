//! Postgres' own logical replication: the initial copy of a subscription, whose publication has the live rows.

use std::time::{Duration, Instant};

use super::{Rival, finish_table};
use crate::compare::children::Finished;
use crate::compare::copy::Copy;
use crate::compare::ground::Ground;
use crate::compare::history::{People, TABLE};
use crate::people::execute_in;

const LOOK: Duration = Duration::from_millis(10);
const PATIENCE: Duration = Duration::from_secs(3600);
const COPIED: &str = "select count(*) from pg_subscription_rel where srsubstate in ('s', 'r')";

pub(super) async fn copy(ground: &Ground, people: &People) -> Result<Vec<Finished>, String> {
    // A subscription finds its table by the name that it has on the primary.
    let copy = Copy::live_as(people, TABLE);
    ground.on_target(&copy.create()).await;
    let publish = format!(
        "drop publication if exists people; create publication people for table {TABLE} ({}) where ({}) with (publish = 'insert')",
        copy.columns, copy.condition
    );
    people.execute(&ground.primary, &publish).await;
    let subscribe = format!(
        "create subscription people connection 'host={} port={} user={} dbname={}' publication people",
        ground.primary.host(),
        ground.primary.port(),
        ground.primary.superuser(),
        people.database
    );
    ground.on_target(&subscribe).await;
    let began = Instant::now();
    while ground.ask_target(COPIED).await == 0 {
        if began.elapsed() > PATIENCE {
            return Err("the table was not copied within an hour".to_owned());
        }
        tokio::time::sleep(LOOK).await;
    }
    finish_table(ground, &copy).await;
    Ok(Vec::new())
}

/// Ends the subscription and its slot, or the target could not be dropped.
pub(super) async fn forget(ground: &Ground, rival: &Rival) {
    if matches!(rival, Rival::Logical) {
        execute_in(&ground.secondary, crate::compare::ground::TARGET, "drop subscription people").await;
    }
}
