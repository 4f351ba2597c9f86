//! The same life in a container. `.ci/image` builds the image these tests look for; without Docker or the image
//! they say that they are skipped.

use std::time::Duration;

use milestream_cluster::{Backend, Error, Server, ServerOptions, Tls};
use sqlx::postgres::PgSslMode;
use sqlx::{ConnectOptions, Executor};
use testcontainers::core::client::docker_client_instance;

use crate::support::{ask, connect, execute, start};

async fn containers() -> Option<Backend> {
    let named = std::env::var("MILESTREAM_POSTGRES_IMAGE").ok().filter(|name| !name.is_empty());
    let image = named.unwrap_or_else(|| "milestream-postgres:local".to_owned());
    let backend = match Backend::container(&image).await {
        Ok(backend) => backend,
        Err(error) => {
            eprintln!("SKIPPED: {error}");
            return None;
        }
    };
    if let Err(error) = docker_client_instance().await.unwrap().inspect_image(&image).await {
        eprintln!("SKIPPED: image {image} is not here ({error}); `.ci/image` builds it");
        return None;
    }
    Some(backend)
}

async fn containers_named(name: &str) -> usize {
    use testcontainers::bollard::query_parameters::ListContainersOptionsBuilder;
    let filters = std::collections::HashMap::from([("label", vec![format!("milestream={name}")])]);
    let options = ListContainersOptionsBuilder::new().all(true).filters(&filters).build();
    docker_client_instance().await.unwrap().list_containers(Some(options)).await.unwrap().len()
}

#[tokio::test]
async fn a_container_lives_as_a_local_server_does() {
    let Some(backend) = containers().await else { return };
    let name = format!("container-{}", std::process::id());
    let server = start(&backend, ServerOptions::named(&name).with_setting("work_mem", "123kB")).await;
    assert_eq!(ask(&server, "postgres", "current_setting('work_mem')").await, "123kB");
    let port = server.port();
    execute(&server, "postgres", "create table kept (v int); insert into kept values (7)").await;
    type End = for<'a> fn(&'a Server) -> std::pin::Pin<Box<dyn Future<Output = Result<(), Error>> + 'a>>;
    let ends: [End; 3] = [|s| Box::pin(s.stop()), |s| Box::pin(s.stop_immediate()), |s| Box::pin(s.kill())];
    for end in ends {
        end(&server).await.unwrap();
        assert!(!server.is_running().await.unwrap());
        assert!(server.connect_options("postgres").connect().await.is_err());
        assert!(matches!(server.pause().await, Err(Error::NotRunning { .. })));
        server.restart().await.unwrap();
        assert_eq!(server.port(), port);
        assert_eq!(ask(&server, "postgres", "select v from kept").await, "7");
    }
    assert!(server.log_tail().await.unwrap().contains("ready to accept connections"));
    assert_eq!(containers_named(&name).await, 1);
    drop(server);
    assert_eq!(containers_named(&name).await, 0);
}

#[tokio::test]
async fn a_paused_container_makes_clients_wait_and_can_be_killed() {
    let Some(backend) = containers().await else { return };
    let server = start(&backend, ServerOptions::named("paused-container")).await;
    let mut connection = connect(&server, "postgres").await;
    server.pause().await.unwrap();
    server.pause().await.unwrap();
    assert!(server.is_running().await.unwrap());
    let waiting = tokio::spawn(async move { connection.execute("select 1").await.map(|_| ()) });
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!waiting.is_finished());
    server.resume().await.unwrap();
    tokio::time::timeout(Duration::from_secs(10), waiting).await.unwrap().unwrap().unwrap();
    server.pause().await.unwrap();
    server.kill().await.unwrap();
    server.restart().await.unwrap();
    server.pause().await.unwrap();
    server.restart().await.unwrap();
    assert_eq!(ask(&server, "postgres", "1").await, "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_container_takes_passwords_certificates_and_templates() {
    let Some(backend) = containers().await else { return };
    let rcgen::CertifiedKey { cert, signing_key } =
        rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let tls = Tls { certificate_pem: cert.pem(), key_pem: signing_key.serialize_pem() };
    let password = Some("pass'word".to_owned());
    let options = ServerOptions { password, tls: Some(tls), ..ServerOptions::named("closed-container") };
    let server = start(&backend, options).await;
    for _ in 0..2 {
        let verified = server.connect_options("postgres").ssl_mode(PgSslMode::VerifyFull);
        let verified = verified.ssl_root_cert_from_pem(cert.pem().into_bytes());
        verified.clone().connect().await.unwrap();
        assert!(verified.password("wrong").connect().await.is_err());
        server.restart().await.unwrap();
    }
    execute(&server, "postgres", "create table t (v int)").await;
    server.create_database_from_template("copy", "postgres").await.unwrap();
    assert_eq!(ask(&server, "copy", "select count(*) from t").await, "0");
}

#[test]
fn a_container_dropped_outside_a_runtime_is_removed_too() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let server = runtime.block_on(async {
        let backend = containers().await?;
        Some(start(&backend, ServerOptions::named("outside")).await)
    });
    let Some(server) = server else { return };
    let port = server.port();
    drop(runtime);
    drop(server);
    assert!(std::net::TcpStream::connect(("127.0.0.1", port)).is_err());
}
