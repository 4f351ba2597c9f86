//! Which of several primaries a stream follows when the least lag decides.

use milestream_tests::{PRIMARY, Table, World, inserts};
use milestream_worker::sync::{PrimaryChoice, Upstream};
use milestream_worker::{Error, Holding};

/// A primary that has committed, and beside it another one that did so an hour before; it has no tables, so that whoever
/// chooses it finds that out.
async fn two_primaries() -> World {
    let mut world = World::new(vec![Table::people()]).await;
    world.commit(inserts("people", 0..20)).await;
    let other = "create table other_batch_metrics (like hub_batch_metrics including all); \
                 insert into other_batch_metrics select * from hub_batch_metrics; \
                 update other_batch_metrics set batch_end_time = batch_end_time - interval '1 hour'";
    world.execute("primary", other).await;
    world
}

/// The primary that a new secondary chooses of candidates in this order.
async fn chosen(world: &World, secondary: &str, order: [&str; 2], zone: Option<&str>) -> &'static str {
    let mut job = world.job(secondary, Holding::LiveOnly);
    let endpoint = job.upstreams[0].endpoint.clone();
    job.upstreams =
        order.map(|platform| Upstream { platform: platform.into(), endpoint: endpoint.clone() }).to_vec();
    job.primary_choice = PrimaryChoice::LeastLag;
    job.tuning.primary_timezone = zone.map(str::to_owned);
    match world.sync(&job).await {
        Ok(_) => PRIMARY,
        Err(Error::MissingTable { table, .. }) if table.contains("other") => "Other",
        Err(error) => panic!("{error}"),
    }
}

#[tokio::test]
async fn the_youngest_batch_decides_where_the_zone_is_known() {
    let world = two_primaries().await;
    assert_eq!(chosen(&world, "Edge1", [PRIMARY, "Other"], Some("UTC")).await, PRIMARY);
    assert_eq!(chosen(&world, "Edge2", ["Other", PRIMARY], Some("UTC")).await, PRIMARY);
}

#[tokio::test]
async fn the_first_that_answers_is_taken_where_ages_are_not_known() {
    let world = two_primaries().await;
    assert_eq!(chosen(&world, "Edge1", [PRIMARY, "Other"], None).await, PRIMARY);
    assert_eq!(chosen(&world, "Edge2", ["Other", PRIMARY], None).await, "Other");
    world.execute("primary", "delete from other_batch_metrics").await;
    assert_eq!(
        chosen(&world, "Edge3", ["Other", PRIMARY], None).await,
        PRIMARY,
        "one without a batch is passed over"
    );
}
