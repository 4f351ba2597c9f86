//! `status` and `plan`: what they say of a stream, and with which exit code they end.

use milestream_cluster::ServerOptions;
use milestream_tests::{Configuration, Ended, Process, Setting, Table, World, deletes, inserts, updates};
use serde_json::Value;

const BINARY: &str = env!("CARGO_BIN_EXE_milestream-under-test");
const SETTINGS: &str =
    "retry_tries = 2\nretry_pause_min = \"10ms\"\nretry_pause_max = \"20ms\"\nlease = \"2s\"";
/// Nobody listens there.
const AWAY: [&str; 2] = ["--endpoints", "MergeDB_Hub=127.0.0.1:1"];

struct Watched {
    world: World,
    configuration: Configuration,
}

impl Watched {
    async fn new(server: ServerOptions) -> Watched {
        let setting = Setting { server, ..Setting::default() };
        let mut world = World::of(setting, vec![Table::people()]).await;
        world.commit(inserts("people", 0..20)).await;
        let configuration = Configuration::of(&world, SETTINGS);
        Watched { world, configuration }
    }

    /// A stream that is at the primary's second and newest batch.
    async fn synced() -> Watched {
        let mut watched = Watched::new(ServerOptions::named("status")).await;
        watched.world.commit(updates("people", 0..5, "second")).await;
        let ended = watched.run("sync", &[]);
        assert!(ended.status.success(), "{ended:?}");
        watched
    }

    fn run(&self, command: &str, more: &[&str]) -> Ended {
        let mut arguments = vec![command, "--platform", "Edge", "--store", "Store1"];
        arguments.extend(more);
        Process::run(BINARY, self.configuration.path(), &arguments)
    }

    /// What `status` says of the stream, as JSON.
    fn status(&self, more: &[&str]) -> Value {
        let mut arguments = vec!["--output", "json"];
        arguments.extend(more);
        let ended = self.run("status", &arguments);
        let streams: Value = serde_json::from_str(&ended.stdout).unwrap_or_else(|_| panic!("{ended:?}"));
        streams[0].clone()
    }

    /// The exit codes of `status` and `plan`.
    fn exit_codes(&self, more: &[&str]) -> [Option<i32>; 2] {
        ["status", "plan"].map(|command| self.run(command, more).status.code())
    }
}

#[tokio::test]
async fn a_stream_that_needs_nobody_is_exit_code_0() {
    let watched = Watched::synced().await;
    assert_eq!(watched.exit_codes(&[]), [Some(0), Some(0)]);
    assert_eq!(watched.status(&[])["phase"], "idle");
}

#[tokio::test]
async fn a_stream_that_halted_is_exit_code_1() {
    let watched = Watched::synced().await;
    watched.world.execute("primary", "alter table hub_store1_people_merge drop column town").await;
    watched.world.execute("primary", "update hub_batch_metrics set batch_id = 3 where batch_id = 1").await;
    assert_eq!(watched.run("sync", &[]).status.code(), Some(1));
    assert_eq!(watched.exit_codes(&[]), [Some(1), Some(1)]);
    let status = watched.run("status", &[]);
    assert!(status.stdout.contains(" halted "), "{status:?}");
}

#[tokio::test]
async fn a_stream_that_halted_on_what_no_plan_foresees_is_halted_for_plan_too() {
    let mut watched = Watched::synced().await;
    watched.world.commit(deletes("people", 0..20)).await;
    assert_eq!(watched.run("sync", &[]).status.code(), Some(1));
    assert_eq!(watched.exit_codes(&[]), [Some(1), Some(1)]);
    let plan = watched.run("plan", &[]).stdout;
    assert!(
        plan.contains("it is halted, and the next run tries again: the sync to batch 3 would delete"),
        "{plan}"
    );
    assert!(watched.run("sync", &["--max-delete-fraction", "1"]).status.success());
    assert_eq!(watched.exit_codes(&[]), [Some(0), Some(0)]);
}

#[tokio::test]
async fn a_primary_below_the_watermark_is_no_lag_of_none() {
    let watched = Watched::synced().await;
    watched.world.execute("primary", "delete from hub_batch_metrics where batch_id = 2").await;
    assert_eq!(watched.exit_codes(&[]), [Some(1), Some(1)]);
    let status = watched.run("status", &[]);
    assert!(!status.stdout.contains(" none "), "{status:?}");
    assert!(status.stdout.contains("was reset or restored since batch 2"), "{status:?}");
}

#[tokio::test]
async fn a_server_that_cannot_be_reached_is_exit_code_4() {
    let watched = Watched::synced().await;
    assert_eq!(watched.exit_codes(&AWAY), [Some(4), Some(4)]);
    let status = watched.run("status", &AWAY);
    assert!(status.stdout.contains(" unreachable "), "{status:?}");
    assert_eq!(watched.status(&AWAY)["watermark"], 2, "its own store was asked");
    let own_store_away = ["--endpoints", "MergeDB_Edge=127.0.0.1:1"];
    assert_eq!(watched.exit_codes(&own_store_away), [Some(4), Some(4)]);
}

#[tokio::test]
async fn a_wrong_password_is_exit_code_2() {
    let server = ServerOptions { password: Some("right".into()), ..ServerOptions::named("guarded") };
    let watched = Watched::new(server).await;
    watched.configuration.write("secrets/world/password", "wrong");
    assert_eq!(watched.run("sync", &[]).status.code(), Some(2));
    assert_eq!(watched.exit_codes(&[]), [Some(2), Some(2)]);
}

#[tokio::test]
async fn what_heals_by_itself_is_waiting_and_not_halted() {
    let watched = Watched::synced().await;
    let away = watched.run("sync", &AWAY);
    assert_eq!(away.status.code(), Some(4), "{away:?}");
    assert_eq!(watched.exit_codes(&[]), [Some(0), Some(0)]);
    let standing = watched.status(&[]);
    assert_eq!((&standing["phase"], &standing["halted"]), (&Value::from("waiting"), &Value::Null));
    let text = watched.run("status", &[]).stdout;
    assert!(text.contains("the next sync goes on by itself") && !text.contains("halted"), "{text}");
    assert!(watched.run("sync", &[]).status.success());
    assert_eq!(watched.status(&[])["phase"], "idle");
}

#[tokio::test]
async fn tables_of_an_older_build_are_read_as_they_are() {
    let watched = Watched::synced().await;
    watched.world.execute("secondary", "alter table edge_sync_stream drop column waiting_reason").await;
    assert_eq!(watched.exit_codes(&[]), [Some(0), Some(0)]);
}

/// Ends the second batch at the wall time of Kathmandu, as a primary there writes it.
const IN_KATHMANDU: &str = "update hub_batch_metrics set batch_start_time = now() at time zone 'Asia/Kathmandu', \
                            batch_end_time = now() at time zone 'Asia/Kathmandu' where batch_id = 2";

/// One batch behind a primary whose batches have the local time of Kathmandu.
async fn behind_kathmandu(server: ServerOptions) -> Watched {
    let mut watched = Watched::new(server).await;
    assert!(watched.run("sync", &[]).status.success());
    watched.world.commit(updates("people", 0..5, "second")).await;
    watched.world.execute("primary", IN_KATHMANDU).await;
    watched
}

fn is_young(seconds: &Value) -> bool {
    seconds.as_f64().is_some_and(|seconds| (0.0..60.0).contains(&seconds))
}

#[tokio::test]
async fn an_age_in_a_zone_that_nobody_named_is_not_known() {
    let watched = behind_kathmandu(ServerOptions::named("zones")).await;
    let lag = &watched.status(&[])["lag"];
    assert_eq!((&lag["batches"], &lag["seconds"]), (&Value::from(1), &Value::Null));
    assert!(watched.run("status", &[]).stdout.contains("1 batch, ?"));
    let in_kathmandu = &watched.status(&["--primary-timezone", "Asia/Kathmandu"])["lag"]["seconds"];
    assert!(is_young(in_kathmandu), "{in_kathmandu}");
    let from_the_future = &watched.status(&["--primary-timezone", "Europe/London"])["lag"]["seconds"];
    assert_eq!(from_the_future, &Value::Null, "an age below zero is none");
    watched
        .world
        .execute("primary", "update hub_batch_metrics set batch_end_time = null where batch_id = 2")
        .await;
    assert_eq!(watched.exit_codes(&[]), [Some(0), Some(0)]);
}

#[tokio::test]
async fn a_zone_that_the_server_does_not_know_is_said() {
    let watched = behind_kathmandu(ServerOptions::named("zones")).await;
    let wrong = ["--primary-timezone", "Asia/Katmandoo"];
    let lag = &watched.status(&wrong)["lag"];
    assert!(
        lag["error"].as_str().is_some_and(|error| error.contains("no time zone \"Asia/Katmandoo\"")),
        "{lag}"
    );
    assert!(lag["advice"].as_str().is_some_and(|advice| advice.contains("primary_timezone")), "{lag}");
    assert_eq!(watched.run("status", &wrong).status.code(), Some(2));
}

#[tokio::test]
async fn a_server_that_keeps_commit_times_needs_no_zone() {
    let server = ServerOptions::named("commits").with_setting("track_commit_timestamp", "on");
    let watched = behind_kathmandu(server).await;
    let seconds = &watched.status(&[])["lag"]["seconds"];
    assert!(is_young(seconds), "{seconds}");
}

#[tokio::test]
async fn times_with_a_zone_need_no_other() {
    let mut watched = Watched::new(ServerOptions::named("zones")).await;
    let change = "alter table hub_batch_metrics \
                  alter batch_start_time type timestamptz, alter batch_end_time type timestamptz";
    watched.world.execute("primary", change).await;
    assert!(watched.run("sync", &[]).status.success());
    watched.world.commit(updates("people", 0..5, "second")).await;
    let seconds = &watched.status(&[])["lag"]["seconds"];
    assert!(is_young(seconds), "{seconds}");
}

#[tokio::test]
async fn a_view_of_the_batches_has_no_commit_times() {
    let server = ServerOptions::named("commits").with_setting("track_commit_timestamp", "on");
    let watched = behind_kathmandu(server).await;
    let view = "alter table hub_batch_metrics rename to batches; \
                create view hub_batch_metrics as select * from batches";
    watched.world.execute("primary", view).await;
    assert_eq!(watched.status(&[])["lag"]["seconds"], Value::Null);
}
