//! TLS: certificates are checked, and weaker only when asked by name.

use std::sync::Arc;

use milestream_cluster::{ServerOptions, Tls};
use milestream_tests::{Setting, Table, World, inserts};
use milestream_worker::sync::Job;
use milestream_worker::{Endpoint, Error, Holding, TlsMode};

/// A world whose server has a certificate for `localhost`, and the file of that certificate.
async fn world_with_certificate() -> (World, tempfile::NamedTempFile) {
    let rcgen::CertifiedKey { cert, signing_key } =
        rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let tls = Tls { certificate_pem: cert.pem(), key_pem: signing_key.serialize_pem() };
    let server = ServerOptions { tls: Some(tls), ..ServerOptions::named("tls") };
    let mut world = World::of(Setting { server, ..Setting::default() }, vec![Table::people()]).await;
    world.commit(inserts("people", 0..50)).await;
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), cert.pem()).expect("a written file");
    (world, file)
}

/// The job whose primary is reached over TLS.
fn job_over(world: &World, host: &str, tls: TlsMode, root: Option<&std::path::Path>) -> Job {
    let mut job = world.job("Edge", Holding::LiveOnly);
    job.upstreams[0].endpoint = Arc::new(Endpoint {
        host: host.to_owned(),
        tls,
        tls_root_cert: root.map(Into::into),
        ..world.endpoint("primary Hub", "primary")
    });
    job
}

#[tokio::test]
async fn a_certificate_for_the_host_by_a_known_root_is_trusted() {
    let (world, root) = world_with_certificate().await;
    let job = job_over(&world, "localhost", TlsMode::VerifyFull, Some(root.path()));
    world.sync(&job).await.unwrap();
    world.assert_holds(&job, 1).await;
}

#[tokio::test]
async fn a_certificate_for_another_host_is_refused() {
    let (world, root) = world_with_certificate().await;
    let job = job_over(&world, "127.0.0.1", TlsMode::VerifyFull, Some(root.path()));
    let refused = world.sync(&job).await.unwrap_err();
    assert!(matches!(refused, Error::Tls { .. }), "{refused}");
    assert!(refused.to_string().contains("primary Hub"), "{refused}");
}

#[tokio::test]
async fn a_certificate_by_an_unknown_root_is_refused_and_taken_when_asked_by_name() {
    let (world, _) = world_with_certificate().await;
    let refused = world.sync(&job_over(&world, "localhost", TlsMode::VerifyFull, None)).await.unwrap_err();
    assert!(matches!(refused, Error::Tls { .. }), "{refused}");
    assert!(refused.advice().contains("tls_root_cert"), "{}", refused.advice());
    let job = job_over(&world, "localhost", TlsMode::Require, None);
    world.sync(&job).await.unwrap();
    world.assert_holds(&job, 1).await;
}

#[tokio::test]
async fn a_server_without_tls_is_refused_when_certificates_are_to_be_checked() {
    let mut world = World::new(vec![Table::people()]).await;
    world.commit(inserts("people", 0..5)).await;
    let refused = world.sync(&job_over(&world, "localhost", TlsMode::VerifyFull, None)).await.unwrap_err();
    assert!(matches!(refused, Error::Tls { .. }), "{refused}");
}
