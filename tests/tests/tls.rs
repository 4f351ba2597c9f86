//! TLS: certificates are checked, and weaker only when asked by name.

use std::sync::Arc;

use milestream_cluster::{ServerOptions, Tls};
use milestream_tests::{Setting, Table, World, inserts};
use milestream_worker::sync::Job;
use milestream_worker::{Endpoint, Error, Holding, TlsMode};

/// A world whose server has a certificate for `localhost`, and the file of that certificate.
async fn world_with_certificate() -> (World, tempfile::NamedTempFile) {
    let signed = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    world_that_shows(signed).await
}

/// A certificate as PostgreSQL's manual has it made: signed by itself, a root, and with a common name alone.
fn as_the_manual_has_it(common_name: &str) -> rcgen::CertifiedKey<rcgen::KeyPair> {
    let mut parameters = rcgen::CertificateParams::new(Vec::new()).expect("no names");
    parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    parameters.distinguished_name = rcgen::DistinguishedName::new();
    parameters.distinguished_name.push(rcgen::DnType::CommonName, common_name);
    let signing_key = rcgen::KeyPair::generate().expect("a key");
    let cert = parameters.self_signed(&signing_key).expect("a certificate");
    rcgen::CertifiedKey { cert, signing_key }
}

/// A world whose server has this certificate, and its file.
async fn world_that_shows(signed: rcgen::CertifiedKey<rcgen::KeyPair>) -> (World, tempfile::NamedTempFile) {
    let rcgen::CertifiedKey { cert, signing_key } = signed;
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

#[tokio::test]
async fn a_certificate_that_signed_itself_is_trusted_when_it_is_the_root() {
    let (world, root) = world_that_shows(as_the_manual_has_it("localhost")).await;
    for (host, mode) in [("localhost", TlsMode::VerifyFull), ("127.0.0.1", TlsMode::VerifyCa)] {
        let job = job_over(&world, host, mode, Some(root.path()));
        world.sync(&job).await.unwrap();
        world.assert_holds(&job, 1).await;
    }
    let elsewhere = job_over(&world, "127.0.0.1", TlsMode::VerifyFull, Some(root.path()));
    let refused = world.sync(&elsewhere).await.unwrap_err();
    assert!(matches!(refused, Error::Tls { .. }), "{refused}");
}

#[tokio::test]
async fn a_certificate_that_signed_itself_is_refused_when_another_is_the_root() {
    let (world, root) = world_that_shows(as_the_manual_has_it("localhost")).await;
    let other = as_the_manual_has_it("localhost").cert.pem();
    std::fs::write(root.path(), other).unwrap();
    for mode in [TlsMode::VerifyFull, TlsMode::VerifyCa] {
        let job = job_over(&world, "localhost", mode, Some(root.path()));
        let refused = world.sync(&job).await.unwrap_err();
        assert!(matches!(refused, Error::Tls { .. }), "{refused}");
    }
}

#[tokio::test]
async fn a_certificate_for_another_common_name_is_refused() {
    let (world, root) = world_that_shows(as_the_manual_has_it("db.example.org")).await;
    let job = job_over(&world, "localhost", TlsMode::VerifyFull, Some(root.path()));
    let refused = world.sync(&job).await.unwrap_err();
    assert!(matches!(refused, Error::Tls { .. }), "{refused}");
}

#[tokio::test]
async fn a_file_of_roots_that_cannot_be_used_is_a_matter_of_the_set_up_at_once() {
    let (world, root) = world_with_certificate().await;
    std::fs::write(root.path(), "no certificate").unwrap();
    let nowhere = std::path::Path::new("/nowhere/root.pem");
    for (file, why) in [(nowhere, "No such file"), (root.path(), "holds no certificate")] {
        let began = std::time::Instant::now();
        let job = job_over(&world, "localhost", TlsMode::VerifyFull, Some(file));
        let refused = world.sync(&job).await.unwrap_err();
        assert_eq!(refused.exit_code(), 2, "{refused}");
        let told = refused.to_string();
        assert!(told.contains(why) && told.contains(&file.display().to_string()), "{told}");
        assert!(began.elapsed() < std::time::Duration::from_secs(5));
    }
}
