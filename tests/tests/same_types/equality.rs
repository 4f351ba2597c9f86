//! Keys are matched by each server's own equality, which has to be the same.

use milestream_oracle::{Operation, Row};
use milestream_tests::{Setting, Table, World, texts};
use milestream_worker::Holding;

use super::redefined::refused;

async fn users(types: &str, kind: &str) -> World {
    let setting = Setting { types: types.into(), ..Setting::default() };
    World::of(setting, vec![Table::new("users", &[("mail", kind)], &[("n", "integer")])]).await
}

fn user(mail: &str) -> (&'static str, Operation) {
    ("users", Operation::Insert(Row { key: texts(&[Some(mail)]), columns: texts(&[Some("1")]) }))
}

/// Makes the secondary's database anew, with ICU as its locale provider.
async fn folds_by_icu(world: &World, types: &str) {
    world.disconnect().await;
    world.execute("primary", "drop database secondary with (force)").await;
    let create = "create database secondary locale_provider icu icu_locale 'und' locale 'C' encoding 'UTF8' template template0";
    world.execute("primary", create).await;
    world.execute("secondary", types).await;
}

#[tokio::test]
async fn a_key_that_the_two_databases_fold_differently_is_refused_before_a_row_moves() {
    let types =
        "create extension citext; create domain mail as citext; create type pair as (a integer, b citext)";
    for (kind, value) in [("citext", "É@x"), ("mail", "É@x"), ("citext[]", "{É@x}"), ("pair", "(1,É@x)")]
    {
        let mut world = users(types, kind).await;
        folds_by_icu(&world, types).await;
        world.commit(vec![user(value)]).await;
        for holding in [Holding::LiveOnly, Holding::Mirror] {
            let told = refused(&world, &world.job("Edge", holding)).await;
            assert!(told.contains("libc C on the primary and icu und"), "{kind}: {told}");
        }
    }
}

#[tokio::test]
async fn a_key_of_text_is_the_same_under_any_deterministic_collation() {
    let mut world = users("", "text").await;
    folds_by_icu(&world, "").await;
    world.commit(vec![user("É@x"), user("é@x")]).await;
    let job = world.job("Edge", Holding::LiveOnly);
    world.sync(&job).await.unwrap();
    world.assert_holds(&job, 1).await;
}

#[tokio::test]
async fn a_key_that_both_fold_alike_arrives() {
    let mut world = users("create extension citext", "citext").await;
    world.commit(vec![user("A@x"), user("b@x")]).await;
    let job = world.job("Edge", Holding::Mirror);
    world.sync(&job).await.unwrap();
    world.assert_holds(&job, 1).await;
}

#[tokio::test]
async fn a_nondeterministic_collation_within_a_type_is_refused_as_a_key() {
    let types = "create collation loose (provider = icu, locale = 'und-u-ks-level1', deterministic = false); \
                 create type pair as (a integer, b text collate loose)";
    let mut world = users(types, "pair").await;
    world.commit(vec![user("(1,a)")]).await;
    let told = refused(&world, &world.job("Edge", Holding::LiveOnly)).await;
    assert!(told.contains("nondeterministic collation"), "{told}");
}
