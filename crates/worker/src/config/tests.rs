//! From a directory to jobs, on the demo's model.

use std::path::Path;

use tempfile::TempDir;

use super::*;
use crate::error::Error;
use crate::ingest::Scd;
use crate::pair::Holding;

const MODEL: [(&str, &str); 5] = [
    ("datastore.json", include_str!("../../../../fixtures/models/demo/datastore.json")),
    ("hub.json", include_str!("../../../../fixtures/models/demo/platform_services_provider_hub.json")),
    ("edge.json", include_str!("../../../../fixtures/models/demo/platform_services_provider_edge.json")),
    (
        "archive.json",
        include_str!("../../../../fixtures/models/demo/platform_services_provider_archive.json"),
    ),
    ("pips.json", include_str!("../../../../fixtures/models/demo/primary_ingestion_platforms.json")),
];

/// A directory with the demo's model, these settings, and a secret for every credential.
fn directory(settings: &str) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    for (name, text) in MODEL {
        std::fs::write(directory.path().join(name), text).unwrap();
    }
    std::fs::write(directory.path().join(FILE_NAME), settings).unwrap();
    for credential in ["demo_source", "demo_hub", "demo_edge", "demo_archive"] {
        let secrets = directory.path().join("secrets").join(credential);
        std::fs::create_dir_all(&secrets).unwrap();
        std::fs::write(secrets.join("user"), format!("{credential}_role")).unwrap();
        std::fs::write(secrets.join("password"), "hunter2").unwrap();
    }
    directory
}

fn selection(platform: &str, store: &str) -> Selection {
    Selection { platforms: vec![platform.into()], store: Some(store.into()), dataset: None }
}

fn jobs(directory: &TempDir, selection: &Selection) -> Result<Selected<StreamJob>, Error> {
    Configuration::load(directory.path())?.jobs(selection, &Keys::default())
}

/// What a person reads, without the directory's name.
fn told(directory: &TempDir, error: &Error) -> String {
    assert_eq!(error.exit_code(), 2, "{error}");
    let text = format!("{error}\n{}", error.advice());
    text.replace(&directory.path().display().to_string(), "CONF")
}

fn edit(directory: &TempDir, file: &str, from: &str, to: &str) {
    let path = directory.path().join(file);
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.contains(from), "{file} has no {from}");
    std::fs::write(path, text.replace(from, to)).unwrap();
}

const SECRETS: &str = "[defaults]\nsecrets_dir = \"secrets\"\n";

#[test]
fn platforms_of_the_list_ingest_and_the_others_follow() {
    let directory = directory(SECRETS);
    let selected = jobs(&directory, &Selection::default()).unwrap();
    assert!(selected.passed_over.is_empty());
    let mut seen = Vec::new();
    for job in &selected.streams {
        seen.push(match job {
            StreamJob::Ingest(job) => {
                assert_eq!((job.strategy, job.source.user.as_str()), (Scd::Forensic, "demo_source_role"));
                format!("{} reads {}", job.platform, job.source)
            }
            StreamJob::Sync(job) => {
                let upstream = &job.upstreams[0];
                assert_eq!(
                    upstream.endpoint.user, job.secondary.user,
                    "read with the secondary's own credential"
                );
                format!("{} ({:?}) follows {}", job.platform, job.holding, upstream.endpoint)
            }
        });
    }
    seen.sort();
    insta::assert_snapshot!(seen.join("\n"));
}

#[test]
fn endpoints_and_credentials_can_be_other_than_the_models() {
    let settings = format!(
        "{SECRETS}endpoints = {{ MergeDB_Hub = \"hub.example.com:6543\" }}\n[platform.Edge]\ncredential = \"demo_hub\"\nparallelism = 7\n"
    );
    let directory = directory(&settings);
    let selected = jobs(&directory, &selection("Edge", "Flights")).unwrap();
    let StreamJob::Sync(job) = &selected.streams[0] else { panic!("Edge is a secondary") };
    let hub = &job.upstreams[0].endpoint;
    assert_eq!((hub.host.as_str(), hub.port, hub.user.as_str()), ("hub.example.com", 6543, "demo_hub_role"));
    assert_eq!((job.secondary.user.as_str(), job.tuning.parallelism), ("demo_edge_role", 7));
    assert_eq!(job.holding, Holding::LiveOnly);
}

#[test]
fn names_that_are_not_in_the_model_are_told_with_near_ones() {
    let directory = directory(SECRETS);
    let mut told_all = Vec::new();
    let dataset = Selection { dataset: Some("flihgts".into()), ..selection("Edge", "Flights") };
    for selection in [selection("Egde", "Flights"), selection("Edge", "Flihgts"), dataset] {
        told_all.push(told(&directory, &jobs(&directory, &selection).unwrap_err()));
    }
    insta::assert_snapshot!(told_all.join("\n\n"));
}

#[test]
fn a_dataset_that_moves_with_others_is_no_stream() {
    let directory = directory(SECRETS);
    let selection = Selection { dataset: Some("flights".into()), ..selection("Edge", "Flights") };
    insta::assert_snapshot!(told(&directory, &jobs(&directory, &selection).unwrap_err()));
}

#[test]
fn a_missing_credential_is_named() {
    let directory = directory(SECRETS);
    std::fs::remove_file(directory.path().join("secrets/demo_edge/password")).unwrap();
    let text = told(&directory, &jobs(&directory, &selection("Edge", "Flights")).unwrap_err());
    assert!(!text.contains("hunter2"));
    insta::assert_snapshot!(text);
}

#[test]
fn containers_of_other_databases_are_refused_by_name_and_passed_over_by_all() {
    let directory = directory(SECRETS);
    edit(&directory, "edge.json", "\"PostgresDatabase\"", "\"SnowFlakeDatabase\"");
    insta::assert_snapshot!(told(&directory, &jobs(&directory, &selection("Edge", "Flights")).unwrap_err()));
    let selected = jobs(&directory, &Selection::default()).unwrap();
    let passed_over: Vec<_> = selected.passed_over.iter().map(|pair| pair.platform.as_str()).collect();
    assert_eq!((selected.streams.len(), passed_over), (2, vec!["Edge"]));
}

#[test]
fn a_live_only_primary_cannot_be_followed() {
    let directory = directory(SECRETS);
    edit(&directory, "hub.json", "batch_milestoned", "live_only");
    insta::assert_snapshot!(told(&directory, &jobs(&directory, &selection("Edge", "Flights")).unwrap_err()));
}

#[test]
fn what_is_no_json_is_told_with_file_and_line() {
    let directory = directory(SECRETS);
    std::fs::write(directory.path().join("broken.json"), "{\n  \"_type\": \"Datastore\",\n  name: 1\n}")
        .unwrap();
    insta::assert_snapshot!(told(&directory, &Configuration::load(directory.path()).unwrap_err()));
}

#[test]
fn settings_for_platforms_and_streams_that_are_not_in_the_model_are_refused() {
    let mut told_all = Vec::new();
    for settings in
        ["[platform.Egde]\nlease = \"20s\"\n", "[platform.Edge.stream.Fligths]\nlease = \"20s\"\n"]
    {
        let directory = directory(settings);
        told_all.push(told(&directory, &Configuration::load(directory.path()).unwrap_err()));
    }
    insta::assert_snapshot!(told_all.join("\n\n"));
}

#[test]
fn a_directory_without_a_model_is_told_apart_from_one_that_is_not_there() {
    let empty = tempfile::tempdir().unwrap();
    assert!(
        told(&empty, &Configuration::load(empty.path()).unwrap_err()).contains("there is no model in CONF")
    );
    let absent = Configuration::load(Path::new("/nonexistent/conf")).unwrap_err();
    assert!(absent.to_string().contains("/nonexistent/conf cannot be read"));
}

#[test]
fn debug_output_of_a_job_hides_passwords() {
    let directory = directory(SECRETS);
    let selected = jobs(&directory, &Selection::default()).unwrap();
    let shown = format!("{:?}", selected.streams);
    assert!(shown.contains("demo_edge_role") && !shown.contains("hunter2"));
}
