//! A standby follows its server, and stands still when it is told to.

use std::time::Duration;

use crate::support::{ask, execute, server};
use milestream_cluster::ServerOptions;

const ROWS: &str = "select count(*) from kept";

#[tokio::test]
async fn a_standby_has_what_was_there_gets_what_comes_and_can_be_held_back() {
    let server = server("followed").await;
    execute(&server, "postgres", "create table kept (v int); insert into kept values (1)").await;
    let standby = server.standby(ServerOptions::named("standby")).await.unwrap();
    assert_eq!(ask(&standby, "postgres", "pg_is_in_recovery()").await, "true");
    assert_eq!(ask(&standby, "postgres", ROWS).await, "1");
    execute(&server, "postgres", "insert into kept values (2)").await;
    while ask(&standby, "postgres", ROWS).await != "2" {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    execute(&standby, "postgres", "select pg_wal_replay_pause()").await;
    execute(&server, "postgres", "insert into kept values (3)").await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(ask(&standby, "postgres", ROWS).await, "2");
    standby.restart().await.unwrap();
    while ask(&standby, "postgres", ROWS).await != "3" {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
