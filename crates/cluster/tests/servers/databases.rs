//! Databases, passwords and certificates of a server.

use crate::support::{ask, backend, connect, execute, server, start};
use milestream_cluster::{Error, ServerOptions, Tls};
use sqlx::ConnectOptions;
use sqlx::postgres::PgSslMode;

#[tokio::test]
async fn a_database_begins_as_a_copy_of_its_template() {
    let server = server("template").await;
    server.create_database("template of flights").await.unwrap();
    execute(&server, "template of flights", "create table t (v int); insert into t values (1), (2)").await;
    for name in ["one", "Two \"quoted\" ü"] {
        server.create_database_from_template(name, "template of flights").await.unwrap();
        assert_eq!(ask(&server, name, "select sum(v) from t").await, "3");
    }
    execute(&server, "one", "delete from t").await;
    assert_eq!(ask(&server, "template of flights", "select count(*) from t").await, "2");
}

#[tokio::test]
async fn a_template_is_waited_for_until_its_last_session_has_ended() {
    let server = server("busy-template").await;
    server.create_database("busy").await.unwrap();
    let session = connect(&server, "busy").await;
    let release = tokio::spawn(async move {
        tokio::time::sleep(std::time::Duration::from_millis(700)).await;
        drop(session);
    });
    server.create_database_from_template("copy", "busy").await.unwrap();
    release.await.unwrap();
    assert_eq!(ask(&server, "copy", "current_database()").await, "copy");
}

#[tokio::test]
async fn a_database_is_dropped_with_sessions_in_it_and_dropping_it_again_is_nothing() {
    let server = server("drop-database").await;
    server.create_database("gone").await.unwrap();
    let error = server.create_database("gone").await.unwrap_err();
    assert!(matches!(&error, Error::Sql { doing, .. } if doing.contains("gone")), "{error}");
    let _session = connect(&server, "gone").await;
    server.drop_database("gone").await.unwrap();
    server.drop_database("gone").await.unwrap();
    assert!(server.connect_options("gone").connect().await.is_err());
}

#[tokio::test]
async fn with_a_password_nobody_gets_in_without_it_even_after_a_restart() {
    let backend = backend().await;
    let password = "it's \"a\" pass/word";
    let options = ServerOptions { password: Some(password.to_owned()), ..ServerOptions::named("password") };
    let server = start(&backend, options).await;
    assert_eq!(server.password(), Some(password));
    for _ in 0..2 {
        assert_eq!(ask(&server, "postgres", "current_user").await, server.superuser());
        let wrong = server.connect_options("postgres").password("wrong").connect().await.unwrap_err();
        assert_eq!(wrong.as_database_error().unwrap().code().unwrap(), "28P01");
        let by_url: sqlx::postgres::PgConnectOptions = server.url("postgres").parse().unwrap();
        by_url.ssl_mode(PgSslMode::Disable).connect().await.unwrap();
        server.restart().await.unwrap();
    }
}

#[tokio::test]
async fn with_a_certificate_its_name_and_issuer_can_be_verified() {
    let rcgen::CertifiedKey { cert, signing_key } =
        rcgen::generate_simple_self_signed(["127.0.0.1".to_owned(), "localhost".to_owned()]).unwrap();
    let tls = Tls { certificate_pem: cert.pem(), key_pem: signing_key.serialize_pem() };
    let backend = backend().await;
    let server = start(&backend, ServerOptions { tls: Some(tls), ..ServerOptions::named("tls") }).await;
    let verified = server.connect_options("postgres").ssl_mode(PgSslMode::VerifyFull);
    let known = verified.clone().ssl_root_cert_from_pem(cert.pem().into_bytes());
    known.connect().await.unwrap();
    let unknown = verified.connect().await.unwrap_err();
    assert!(matches!(unknown, sqlx::Error::Tls(_) | sqlx::Error::Io(_)), "{unknown}");
    let used = "select ssl from pg_stat_ssl where pid = pg_backend_pid()";
    assert_eq!(ask(&server, "postgres", used).await, "true");
}
