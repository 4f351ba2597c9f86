//! One name for two types: told before a row moves, with the statements that mend it where there are any.

use milestream_oracle::{Operation, Row};
use milestream_tests::{Setting, Table, World, texts};
use milestream_worker::sync::Job;
use milestream_worker::{Error, Holding};

pub(crate) const BOTH: [Holding; 2] = [Holding::LiveOnly, Holding::Mirror];

/// A world of one table `t` with an `id` and these columns, its types made in both databases.
pub(crate) async fn world(types: &str, columns: &[(&str, &str)]) -> World {
    let setting = Setting { types: types.into(), ..Setting::default() };
    World::of(setting, vec![Table::new("t", &[("id", "integer")], columns)]).await
}

pub(crate) fn row(id: i32, values: &[&str]) -> Row {
    let values: Vec<_> = values.iter().map(|value| Some(*value)).collect();
    Row { key: texts(&[Some(&id.to_string())]), columns: texts(&values) }
}

pub(crate) fn insert(id: i32, values: &[&str]) -> (&'static str, Operation) {
    ("t", Operation::Insert(row(id, values)))
}

pub(crate) fn update(id: i32, values: &[&str]) -> (&'static str, Operation) {
    ("t", Operation::Update(row(id, values)))
}

/// What a sync objects to; nothing may be there yet.
pub(crate) async fn refused(world: &World, job: &Job) -> String {
    match world.sync(job).await {
        Err(Error::Schema { differences, .. }) => differences,
        other => panic!("{other:?}"),
    }
}

/// Runs the statements that an error printed for the secondary.
pub(crate) async fn follow(world: &World, told: &str) {
    let mends = told.lines().filter_map(|line| line.trim().strip_prefix("on the secondary: "));
    let mends: Vec<_> = mends.collect();
    assert!(!mends.is_empty(), "{told}");
    for mend in mends {
        world.execute("secondary", mend).await;
    }
}

#[tokio::test]
async fn a_domain_of_another_base_is_refused_before_a_row_moves() {
    let types = "create domain amount as numeric(12,4); create domain code as integer; \
                 create domain moment as timestamp; create domain label as varchar(20)";
    let columns = [("amt", "amount"), ("code", "code"), ("at", "moment"), ("nm", "label")];
    let mut world = world(types, &columns).await;
    let other = "drop domain amount, code, moment, label; create domain amount as numeric(12,2); \
                 create domain code as date; create domain moment as timestamp(0); create domain label as char(20)";
    world.execute("secondary", other).await;
    world.commit(vec![insert(1, &["1.2345", "7305", "2024-01-01 12:00:00.75", "ab"])]).await;
    for holding in BOTH {
        let job = world.job("Edge", holding);
        let told = refused(&world, &job).await;
        for definition in ["domain over numeric(12,4)", "domain over numeric(12,2)", "domain over date"] {
            assert!(told.contains(definition), "{told}");
        }
        assert_eq!(told.lines().count(), 4, "{told}");
        assert_eq!(world.number("select count(*) from pg_class where relname ~ '^edge_store1_t_'").await, 0);
    }
}

#[tokio::test]
async fn attributes_in_another_order_are_refused() {
    let mut world = world("create type addr as (street text, zip text)", &[("home", "addr")]).await;
    world.execute("secondary", "drop type addr; create type addr as (zip text, street text)").await;
    world.commit(vec![insert(1, &["(Elm,12345)"])]).await;
    let told = refused(&world, &world.job("Edge", Holding::LiveOnly)).await;
    assert!(told.contains("attribute 1 is street text on the primary, zip text on the secondary"), "{told}");
}

#[tokio::test]
async fn a_type_that_is_not_there_is_named_with_the_statements_that_make_it() {
    let types = "create schema ext; create extension hstore schema ext; create type ext.mood as enum ('a', 'b'); \
                 create domain amount as numeric(12,4); create type addr as (street text, mood ext.mood[])";
    let columns = [("h", "ext.hstore"), ("home", "addr"), ("amt", "amount")];
    let mut world = world(types, &columns).await;
    world.execute("secondary", "drop type addr; drop domain amount; drop schema ext cascade").await;
    world.commit(vec![insert(1, &["\"a\"=>\"1\"", "(Elm,{b})", "1.5000"])]).await;
    let job = world.job("Edge", Holding::Mirror);
    let told = refused(&world, &job).await;
    follow(&world, &told).await;
    world.sync(&job).await.unwrap();
    world.assert_holds(&job, 1).await;
}

#[tokio::test]
async fn a_label_that_is_added_halts_with_the_statement_that_adds_it() {
    let types = "create type st as enum ('open', 'merged')";
    let mut world = world(types, &[("state", "st"), ("hist", "st[]")]).await;
    world.commit(vec![insert(1, &["open", "{open}"]), insert(2, &["merged", "{}"])]).await;
    let jobs = BOTH.map(|holding| world.job(&format!("Edge{holding:?}"), holding));
    for job in &jobs {
        world.sync(job).await.unwrap();
    }
    world.execute("primary", "alter type st add value 'closed' before 'merged'").await;
    world.commit(vec![update(1, &["closed", "{closed,open}"])]).await;
    let told = refused(&world, &jobs[0]).await;
    // Both columns need it, and it can be run once.
    assert_eq!(told.matches("ALTER TYPE public.st ADD VALUE 'closed' BEFORE 'merged';").count(), 1, "{told}");
    follow(&world, &told).await;
    for job in &jobs {
        world.sync(job).await.unwrap();
        world.assert_holds(job, 2).await;
    }
}

#[tokio::test]
async fn a_label_that_is_renamed_on_the_primary_alone_halts() {
    let types = "create type st as enum ('open', 'merged')";
    let mut world = world(types, &[("state", "st")]).await;
    world.commit(vec![insert(1, &["open"]), insert(2, &["open"])]).await;
    let job = world.job("Edge", Holding::LiveOnly);
    world.sync(&job).await.unwrap();
    world.execute("primary", "alter type st rename value 'open' to 'opened'").await;
    world.commit(vec![("t", Operation::Update(row(2, &["merged"])))]).await;
    let told = refused(&world, &job).await;
    assert!(told.contains("label 1 is \"opened\" on the primary, \"open\" on the secondary"), "{told}");
    follow(&world, &told).await;
    assert_eq!(
        world.value("secondary", "select state from edge_store1_t_merge where id = 1").await.as_deref(),
        Some("opened")
    );
}

#[tokio::test]
async fn a_column_that_is_narrower_or_missing_is_mended_by_what_is_printed() {
    let columns = [("price", "numeric(12,4)"), ("note", "varchar(40)"), ("extra", "text")];
    let mut world = world("", &columns).await;
    let narrow = "create table edge_store1_t_merge (id integer primary key, price numeric(12,2), note varchar(10), \
                  mine integer not null, ds_surf_all_hash varchar(32) not null, \
                  ds_surf_key_hash varchar(32) not null, ds_surf_batch_id integer not null)";
    world.execute("secondary", narrow).await;
    world.commit(vec![insert(1, &["1.2345", "longer than ten", "x"])]).await;
    let job = world.job("Edge", Holding::LiveOnly);
    let told = refused(&world, &job).await;
    follow(&world, &told).await;
    world.sync(&job).await.unwrap();
    world.assert_holds(&job, 1).await;
}

#[tokio::test]
async fn a_column_dropped_and_added_again_in_mid_seed_plans_the_seed_anew() {
    use milestream_tests::At;
    use milestream_worker::observer::Step;
    use milestream_worker::sync::Until;
    let mut world = world("", &[("note", "text")]).await.with_tuning(|tuning| tuning.seed_chunk_rows = 1);
    world.commit((0..2000).map(|id| insert(id, &["old"])).collect()).await;
    let job = world.job("Edge", Holding::LiveOnly);
    let stop = std::sync::Arc::new(At::stop(Step::ChunkCommitted, 1));
    let stopped = world.sync_with(&job, Until::OneSync, stop).await;
    assert!(matches!(stopped, Err(Error::Abandoned { .. })), "{stopped:?}");
    let renewed = "alter table hub_store1_t_merge drop note; alter table hub_store1_t_merge add note text default 'new'";
    world.execute("primary", renewed).await;
    world.expire_lease(&job).await;
    world.sync(&job).await.unwrap();
    assert_eq!(world.number("select count(*) from edge_store1_t_merge where note = 'new'").await, 2000);
}
