//! Tables that are not, or not any more, of the shape a sync was planned for.

use std::sync::Arc;

use milestream_oracle::Operation;
use milestream_tests::{At, Table, Tape, World, inserts, person, updates};
use milestream_worker::observer::{NoticeKind, Observers, Step};
use milestream_worker::sync::Until;
use milestream_worker::{Error, Holding};

const PRIMARY_TABLE: &str = "hub_store1_people_merge";

async fn people(holding: Holding) -> (World, milestream_worker::sync::Job) {
    let mut world = World::new(vec![Table::people().sparse()]).await;
    world.commit(inserts("people", 0..300)).await;
    let job = world.job("Edge", holding);
    (world, job)
}

#[tokio::test]
async fn a_column_that_is_widened_in_mid_seed_plans_the_seed_anew() {
    let (mut world, job) = people(Holding::LiveOnly).await;
    let stopped = world.sync_with(&job, Until::OneSync, Arc::new(At::stop(Step::ChunkCommitted, 2))).await;
    assert!(matches!(stopped, Err(Error::Abandoned { .. })), "{stopped:?}");
    world.expire_lease(&job).await;
    world.execute("primary", format!("alter table {PRIMARY_TABLE} alter column name type varchar(80)")).await;
    let long = "n".repeat(70);
    world.commit(vec![("people", Operation::Update(person(1, &long, None)))]).await;
    let tape = Arc::new(Tape::default());
    let observer = Arc::new(Observers::default().and(Arc::clone(&tape) as _));
    world.sync_with(&job, Until::CaughtUp, observer).await.unwrap();
    let replanned = tape.notices(NoticeKind::Replanned);
    assert!(
        replanned.len() == 1 && replanned[0].contains("changed since the sync was planned"),
        "{replanned:?}"
    );
    world.assert_holds(&job, 2).await;
}

#[tokio::test]
async fn an_index_name_that_is_taken_is_refused_before_a_row_moves() {
    let (world, job) = people(Holding::LiveOnly).await;
    world.sync(&job).await.unwrap();
    // Kept under another name, as one keeps an audit trail; its indexes keep theirs.
    world
        .execute(
            "secondary",
            "alter table edge_store1_people_merge rename to edge_people_kept; delete from edge_sync_stream",
        )
        .await;
    let refused = world.sync(&job).await.unwrap_err();
    assert!(refused.to_string().contains("edge_store1_people_merge_pkey (of edge_people_kept)"), "{refused}");
    assert!(
        refused.advice().contains("alter index edge_store1_people_merge_pkey rename to"),
        "{}",
        refused.advice()
    );
    for index in ["pkey", "key_hash", "all_hash"] {
        let name = format!("edge_store1_people_merge_{index}");
        world.execute("secondary", format!("alter index {name} rename to {name}_old")).await;
    }
    world.sync(&job).await.unwrap();
    world.assert_holds(&job, 1).await;
}

#[tokio::test]
async fn a_staging_table_of_another_shape_is_made_anew() {
    let (mut world, job) = people(Holding::Mirror).await;
    world.sync(&job).await.unwrap();
    // As DataSurface's Python lays it out: one version a key and batch.
    world
        .execute(
            "secondary",
            "alter table edge_store1_people_staging drop constraint edge_store1_people_staging_pkey; \
             alter table edge_store1_people_staging add primary key (id, ds_surf_batch_id)",
        )
        .await;
    world.commit(updates("people", 0..20, "once")).await;
    world.commit(updates("people", 0..20, "twice")).await;
    let tape = Arc::new(Tape::default());
    world.sync_with(&job, Until::CaughtUp, Arc::clone(&tape) as _).await.unwrap();
    assert!(tape.notices(NoticeKind::Warning).iter().any(|text| text.contains("made anew")));
    world.assert_holds(&job, 3).await;
}

#[tokio::test]
async fn a_mirror_can_be_seeded_again_without_a_new_batch() {
    let (world, job) = people(Holding::Mirror).await;
    world.sync(&job).await.unwrap();
    world
        .execute(
            "secondary",
            "delete from edge_sync_stream; update edge_store1_people_merge set town = 'x' where id < 9",
        )
        .await;
    world.sync(&job).await.unwrap();
    world.assert_holds(&job, 1).await;
}
