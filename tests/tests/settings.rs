//! Whatever a server, a database or a role sets, the worker's sessions read and write values alike and are not ended.

#![allow(clippy::unwrap_used, reason = "a helper of a test fails as the test does")]

use std::collections::BTreeMap;
use std::sync::Arc;

use milestream_oracle::{Operation, Row};
use milestream_tests::{Configuration, Setting, Table, World, execute, texts};
use milestream_worker::{Endpoint, Holding, pinned_settings};

/// Settings that change neither a value nor how long a session lives, by the reason why.
const DOES_NOT_MATTER: [(&str, &[&str]); 12] = [
    (
        "every session has its own",
        &[
            "application_name",
            "client_encoding",
            "default_transaction_read_only",
            "lock_timeout",
            "statement_timeout",
        ],
    ),
    ("tables are found by it, so it stays the role's", &["search_path"]),
    (
        "a superuser has set it on purpose",
        &["session_replication_role", "event_triggers", "lo_compat_privileges", "allow_alter_system"],
    ),
    (
        "of one transaction, which sets its own",
        &["transaction_isolation", "transaction_read_only", "transaction_deferrable"],
    ),
    (
        "where things are stored",
        &[
            "default_tablespace",
            "temp_tablespaces",
            "default_table_access_method",
            "default_toast_compression",
        ],
    ),
    ("order of rows that nobody relies on", &["synchronize_seqscans"]),
    ("the language of messages", &["lc_messages"]),
    (
        "a default of functions that no column uses without saying so",
        &["default_text_search_config", "icu_validation_level"],
    ),
    ("checks when something is defined", &["check_function_bodies", "createrole_self_grant"]),
    (
        "when the server tidies up",
        &[
            "vacuum_freeze_min_age",
            "vacuum_freeze_table_age",
            "vacuum_multixact_freeze_min_age",
            "vacuum_multixact_freeze_table_age",
            "vacuum_failsafe_age",
            "vacuum_multixact_failsafe_age",
            "vacuum_cost_delay",
            "vacuum_cost_limit",
            "vacuum_cost_page_dirty",
            "vacuum_cost_page_hit",
            "vacuum_cost_page_miss",
            "vacuum_truncate",
            "vacuum_max_eager_freeze_failure_rate",
            "gin_pending_list_limit",
            "deadlock_timeout",
        ],
    ),
    (
        "which libraries are loaded, and from where",
        &[
            "dynamic_library_path",
            "extension_control_path",
            "extension_destdir",
            "local_preload_libraries",
            "session_preload_libraries",
        ],
    ),
    (
        "how others look at sessions",
        &["client_connection_check_interval", "idle_replication_slot_timeout", "wal_sender_timeout"],
    ),
];

#[tokio::test]
async fn every_setting_that_could_matter_is_pinned_or_has_its_reason() {
    let world = World::new(vec![Table::people()]).await;
    let known: Vec<&str> = pinned_settings()
        .map(|setting| setting.name)
        .chain(DOES_NOT_MATTER.iter().flat_map(|(_, names)| names.iter().copied()))
        .collect();
    let question = "select name, category from pg_settings where context in ('user', 'superuser', 'backend') \
                    and (category ~ '^(Client Connection Defaults|Version and Platform Compatibility|Lock Management)' \
                       or name ~ 'timeout|timezone|_output|style|fuzzy|synchronous_commit' or name = 'jit') order by name";
    let settings = world.ask("postgres", question).await;
    let new: Vec<_> = settings
        .iter()
        .filter(|row| !known.iter().any(|known| known.eq_ignore_ascii_case(row[0].as_deref().unwrap())))
        .collect();
    assert!(settings.len() > 30 && new.is_empty(), "neither pinned nor known not to matter: {new:?}");
    assert!(pinned_settings().all(|setting| !setting.why.is_empty()));
}

/// What a role could have set, for each of the pinned settings.
const ADVERSE: [(&str, &str); 33] = [
    ("datestyle", "SQL, DMY"),
    ("intervalstyle", "sql_standard"),
    ("timezone", "Asia/Kathmandu"),
    ("timezone_abbreviations", "India"),
    ("extra_float_digits", "-15"),
    ("bytea_output", "escape"),
    ("xmloption", "document"),
    ("xmlbinary", "hex"),
    ("array_nulls", "off"),
    ("lc_monetary", "C.UTF-8"),
    ("lc_numeric", "C.UTF-8"),
    ("lc_time", "C.UTF-8"),
    ("backslash_quote", "on"),
    ("standard_conforming_strings", "off"),
    ("transform_null_equals", "on"),
    ("quote_all_identifiers", "on"),
    ("gin_fuzzy_search_limit", "1"),
    ("row_security", "on"),
    ("default_transaction_isolation", "serializable"),
    ("default_transaction_deferrable", "on"),
    ("default_transaction_read_only", "on"),
    ("idle_session_timeout", "200ms"),
    ("idle_in_transaction_session_timeout", "200ms"),
    ("statement_timeout", "1ms"),
    ("lock_timeout", "1ms"),
    ("jit", "on"),
    ("client_min_messages", "debug5"),
    ("escape_string_warning", "on"),
    ("tcp_keepalives_idle", "1"),
    ("tcp_keepalives_interval", "1"),
    ("tcp_keepalives_count", "1"),
    ("tcp_user_timeout", "1000"),
    ("synchronous_commit", "off"),
];

/// Those that some versions do not know.
const ADVERSE_WHERE_KNOWN: [(&str, &str); 2] =
    [("transaction_timeout", "20ms"), ("restrict_nonsystem_relation_kind", "view, foreign-table")];

#[test]
fn every_pinned_setting_is_tried_with_another_value() {
    let adverse: BTreeMap<_, _> = ADVERSE.into_iter().chain(ADVERSE_WHERE_KNOWN).collect();
    for setting in pinned_settings().filter(|setting| setting.name != "milestream.session") {
        let tried = adverse.get(setting.name);
        assert!(tried.is_some_and(|value| *value != setting.value), "{}: {tried:?}", setting.name);
    }
}

/// A table that is copied as text, for the arrays of its enum, with a value that each setting would change.
fn odd_table(has_xml: bool) -> Table {
    let columns = [
        ("moods", "mood[]"),
        ("texts", "text[]"),
        ("at", "timestamptz"),
        ("day", "date"),
        ("lasts", "interval"),
        ("ratio", "double precision"),
        ("bytes", "bytea"),
        ("price", "money"),
        ("said", "text"),
    ];
    let columns: Vec<_> = columns.into_iter().chain(has_xml.then_some(("doc", "xml"))).collect();
    Table::new("odds", &[("id", "integer")], &columns)
}

fn odd_row(has_xml: bool, id: i32, said: &str) -> Row {
    let mut columns = texts(&[
        Some("{sad,NULL}"),
        Some("{a,NULL,\"NULL\"}"),
        Some("2003-02-01 04:05:06.789+00"),
        Some("2003-02-01"),
        Some("-10 mons -3 days +04:05:06.7"),
        Some("0.30000000000000004"),
        Some("\\x00ff5c27"),
        Some("$1.50"),
        Some(said),
    ]);
    columns.extend(has_xml.then(|| Some("<a/>text<b/>".to_owned())));
    Row { key: texts(&[Some(&id.to_string())]), columns }
}

/// Some builds of the server know no xml.
async fn has_xml() -> bool {
    let question = "select setting from pg_config where name = 'CONFIGURE'";
    let configured = World::new(Vec::new()).await.value("postgres", question).await;
    configured.is_some_and(|configured| configured.contains("libxml"))
}

async fn odd_world(has_xml: bool) -> World {
    let setting = Setting { types: "create type mood as enum ('sad', 'glad')".into(), ..Setting::default() };
    let mut world = World::of(setting, vec![odd_table(has_xml)]).await;
    let rows = (0..300).map(|id| ("odds", Operation::Insert(odd_row(has_xml, id, r"it's \ here"))));
    world.commit(rows.collect()).await;
    world
}

/// A role that has every setting another way.
async fn adverse_role(world: &World) {
    let mut statements = vec!["create role odd superuser login".to_owned()];
    let known = "select string_agg(name, ',') from pg_settings";
    let known = world.value("postgres", known).await.unwrap();
    let where_known =
        ADVERSE_WHERE_KNOWN.into_iter().filter(|(name, _)| known.split(',').any(|it| it == *name));
    for (name, value) in ADVERSE.into_iter().chain(where_known) {
        statements.push(format!("alter role odd set {name} = '{}'", value.replace(", ", "', '")));
    }
    // Each by itself: what is set for the role does not hold for the session that sets it.
    for statement in statements {
        execute(&world.connect_options("postgres"), statement).await;
    }
}

#[tokio::test]
async fn values_arrive_as_they_are_whatever_the_role_sets_on_both_sides() {
    let has_xml = has_xml().await;
    let mut world = odd_world(has_xml).await;
    adverse_role(&world).await;
    for (platform, holding) in [("Edge", Holding::LiveOnly), ("Archive", Holding::Mirror)] {
        let mut job = world.job(platform, holding);
        let odd = |endpoint: &Endpoint| Arc::new(Endpoint { user: "odd".into(), ..endpoint.clone() });
        job.upstreams[0].endpoint = odd(&job.upstreams[0].endpoint);
        job.secondary = odd(&job.secondary);
        world.sync(&job).await.unwrap();
        let rows = (0..40).map(|id| ("odds", Operation::Update(odd_row(has_xml, id, platform))));
        let batch = world.commit(rows.collect()).await;
        world.sync(&job).await.unwrap();
        world.assert_holds(&job, batch).await;
        let nulls =
            format!("select count(*) from {} where texts[2] is not null", world.merge_table(&job, "odds"));
        assert_eq!(world.number(nulls).await, 0);
        assert_eq!(world.history(&job, "retries").await, [[Some("0".to_owned())], [Some("0".to_owned())]]);
    }
}

#[tokio::test]
async fn what_the_environment_says_to_other_clients_does_not_reach_the_sessions() {
    let world = odd_world(false).await;
    let configuration = Configuration::of(&world, "parallelism = 1");
    let status = std::process::Command::new(env!("CARGO_BIN_EXE_milestream-under-test"))
        .args(["sync", "--platform", "Edge", "--store", "Store1", "--config"])
        .arg(configuration.path())
        .env("PGOPTIONS", "-c search_path=nowhere -c default_transaction_read_only=on")
        .envs([("PGSSLMODE", "verify-full"), ("PGSSLROOTCERT", "/nowhere"), ("PGAPPNAME", "other")])
        .envs([("PGHOST", "nowhere"), ("PGPORT", "1"), ("PGDATABASE", "nowhere"), ("PGUSER", "nobody")])
        .envs([("PGPASSWORD", "wrong"), ("PGPASSFILE", "/nowhere"), ("PGHOSTADDR", "192.0.2.1")])
        .status()
        .unwrap();
    assert!(status.success(), "{status}");
    let job = world.job("Edge", Holding::LiveOnly);
    world.assert_holds(&job, 1).await;
}
