//! What `grants` prints is enough, and nothing of it is too much.

use milestream_tests::System;
use serde_json::json;

const BINARY: &str = env!("CARGO_BIN_EXE_milestream-under-test");

async fn system() -> System {
    let columns = [("id", json!({"type": "Integer"})), ("state", json!({"type": "VarChar", "maxSize": 20}))];
    let source = "create schema shop; create table shop.orders (id integer primary key, state varchar(20)); \
                  insert into shop.orders select id, 'new' from generate_series(1, 500) id";
    System::new(BINARY, &columns, source).await
}

/// Rows of a secondary's live table.
async fn rows(system: &System, database: &str, table: &str) -> String {
    let question = format!("select string_agg(id || state, ',' order by id) from {table}");
    system.ask(database, &question).await.swap_remove(0).unwrap_or_default()
}

#[tokio::test]
async fn roles_that_got_what_is_printed_ingest_seed_and_follow() {
    let system = system().await;
    system.grant_all().await;
    system.synced("Hub");
    // The primary's tables are there now.
    system.grant_all().await;
    system.synced("Edge");
    system.synced("Archive");
    let change =
        "update shop.orders set state = 'paid' where id <= 10; delete from shop.orders where id > 490";
    system.execute("source", change).await;
    for platform in ["Hub", "Edge", "Archive"] {
        system.synced(platform);
    }
    let wanted = rows(&system, "source", "shop.orders").await;
    assert_eq!(rows(&system, "edge", "edge_shop_orders_merge").await, wanted);
    let live = "(select * from archive_shop_orders_merge where ds_surf_batch_out = 2147483647) live";
    assert_eq!(rows(&system, "archive", live).await, wanted);
}

#[tokio::test]
async fn a_right_that_is_taken_away_is_missed_by_plan_and_sync_by_its_statement() {
    let system = system().await;
    system.grant_all().await;
    system.synced("Hub");
    system.grant_all().await;
    let mut tried = 0;
    for (database, statement) in system.grants() {
        let platform = match database.as_str() {
            "source" => "Hub",
            // The primary's own role owns what it made; that it may make more is not asked for any more.
            "hub" if statement.contains("hub_role") => continue,
            "hub" if statement.contains("edge_role") => "Edge",
            "edge" => "Edge",
            _ => "Archive",
        };
        tried += 1;
        let revoke = statement.replace("GRANT", "REVOKE").replace(" TO ", " FROM ");
        system.execute(&database, &revoke).await;
        for command in ["plan", "sync"] {
            let ended = system.of(command, platform);
            let told = format!("{}{}", ended.stdout, ended.stderr);
            let right = statement.trim_start_matches("GRANT ").split_once(" TO ").expect("a role").0;
            let lacks = format!("lacks {}", right.to_lowercase());
            assert!(told.to_lowercase().contains(&lacks), "{command} without {statement}: {told}");
            assert!(told.contains("run: GRANT "), "{command} without {statement}: {told}");
        }
        system.execute(&database, &statement).await;
    }
    assert!(tried >= 10, "{tried} statements were tried");
    system.synced("Edge");
}

#[tokio::test]
async fn everything_that_is_missing_is_named_at_once_and_the_advice_is_enough() {
    let system = system().await;
    system.grant_all().await;
    system.synced("Hub");
    let connect = "grant connect on database";
    for database in ["hub", "edge"] {
        system.execute(database, &format!("{connect} {database} to edge_role")).await;
    }
    system.execute("hub", "revoke all on schema public from edge_role").await;
    system.execute("edge", "revoke all on schema public from edge_role").await;
    let ended = system.of("sync", "Edge");
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    let told = &ended.stderr;
    for right in [
        "USAGE on schema \"public\"",
        "SELECT on \"public\".\"hub_batch_metrics\", \"public\".\"hub_shop_orders_merge\"",
        "USAGE, CREATE on schema \"public\"",
    ] {
        assert!(told.contains(right), "{right} is not in {told}");
    }
    for part in told.split(" (127.0.0.1:").skip(1).filter(|part| part.contains("), as the owner, run: ")) {
        let database = part.split_once('/').and_then(|(_, rest)| rest.split_once(')')).expect("a database").0;
        let statements = part.split_once("run: ").expect("statements").1;
        let statements = &statements[..=statements.rfind(';').expect("an end")];
        system.execute(database, statements).await;
    }
    system.synced("Edge");
}

#[tokio::test]
async fn a_role_whose_credential_is_not_at_hand_is_a_variable_of_psql() {
    let system = system().await;
    std::fs::remove_file(system.path().join("secrets/edge/user")).expect("a file");
    let printed = system.run(&["grants", "--platform", "Edge"]);
    assert!(printed.status.success(), "{printed:?}");
    assert!(printed.stdout.contains("TO :\"edge_USER\";"), "{}", printed.stdout);
    assert!(printed.stdout.contains("psql -v"), "{}", printed.stdout);
}

#[tokio::test]
async fn the_script_names_every_database_and_every_role() {
    let system = system().await;
    let printed = system.run(&["grants"]).stdout.replace(&system.server.port().to_string(), "PORT");
    insta::assert_snapshot!(printed);
}
