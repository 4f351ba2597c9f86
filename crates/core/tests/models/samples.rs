//! DataSurface's own documents.

use milestream_core::lint::{LintContext, Severity, lint};
use milestream_core::model::{CommandKind, Consistency, MilestoneStrategy, Model};
use milestream_core::resolve::{Overrides, Role, resolve};
use milestream_core::stream::streams_of;

use crate::shop::{pretty, shown};

const SAMPLES: [(&str, &str); 4] = [
    ("data_platform.json", include_str!("../../../../fixtures/models/datasurface/data_platform.json")),
    ("datastore.json", include_str!("../../../../fixtures/models/datasurface/datastore.json")),
    (
        "platform_services_provider.json",
        include_str!("../../../../fixtures/models/datasurface/platform_services_provider.json"),
    ),
    (
        "primary_ingestion_platforms.json",
        include_str!("../../../../fixtures/models/datasurface/primary_ingestion_platforms.json"),
    ),
];

fn model() -> Model {
    Model::from_documents(SAMPLES).unwrap()
}

#[test]
fn the_samples_load_with_everything_that_milestream_needs() {
    let model = model();
    let names: Vec<_> = model.platforms().map(|platform| platform.name.as_str()).collect();
    assert_eq!(names, ["YellowForensic", "YellowLive", "YellowRemoteForensic"]);
    let live = model.platform("YellowLive").unwrap();
    assert_eq!(live.milestone_strategy, MilestoneStrategy::LiveOnly);
    assert_eq!(live.staging_batches_to_keep, Some(50));
    let psp = model.psp_of("YellowLive").unwrap();
    let merge_store = psp.merge_store.as_ref().unwrap().postgres().unwrap();
    assert_eq!(merge_store.database_name, "datasurface_merge");
    assert_eq!((merge_store.host_port.host_name.as_str(), merge_store.host_port.port), ("localhost", 5432));
    assert_eq!(psp.merge_credential.as_ref().unwrap().name, "postgres");
    let command = model.datastore("Store1").unwrap().command.as_ref().unwrap();
    assert_eq!(
        (&command.kind, command.consistency),
        (&CommandKind::SqlSnapshot, Some(Consistency::MultiDataset))
    );
    assert_eq!(command.trigger.as_ref().unwrap().cron.as_deref(), Some("0,10,20,30,40,50 * * * *"));
}

#[test]
fn the_samples_come_back_as_they_were_written() {
    for (document, (name, text)) in model().documents().iter().zip(SAMPLES) {
        let as_written: serde_json::Value = serde_json::from_str(text).unwrap();
        assert_eq!(document.name, name);
        // Compared as texts, so that the order of keys and the spelling of numbers count.
        assert_eq!(document.json().to_string(), as_written.to_string());
    }
}

#[test]
fn the_samples_have_one_stream_with_one_dataset() {
    let streams = streams_of(model().datastore("Store1").unwrap()).unwrap();
    assert_eq!(streams.len(), 1);
    assert_eq!(streams[0].key(), "Store1");
    let people = &streams[0].datasets[0];
    assert_eq!((people.name.as_str(), people.key.as_slice()), ("people", ["id".to_owned()].as_slice()));
    let columns: Vec<_> = people
        .columns
        .iter()
        .map(|column| {
            format!("{} {} {}", column.name, column.column_type.postgres().unwrap(), column.nullable)
        })
        .collect();
    assert_eq!(
        columns,
        [
            "id varchar(20) false",
            "firstName varchar(100) false",
            "lastName varchar(100) false",
            "dob date false",
            "employer varchar(100) true",
            "dod date true"
        ]
    );
}

#[test]
fn lint_says_of_the_samples_only_that_platforms_and_stores_of_other_databases_are_not_there() {
    let model = model();
    let problems = lint(&model, &LintContext::default());
    assert!(problems.iter().all(|problem| problem.severity == Severity::Error));
    insta::assert_snapshot!(shown(&model));
}

#[test]
fn the_forensic_platform_reads_the_source_and_the_others_pull_from_it() {
    let model = model();
    let effective = |platform| resolve(&model, platform, "Store1", &Overrides::default()).unwrap();
    let primary = effective("YellowForensic");
    assert!(matches!(primary.role, Role::Primary { .. }));
    assert_eq!(Some(&primary.command), model.datastore("Store1").unwrap().command.as_ref());
    for platform in ["YellowLive", "YellowRemoteForensic"] {
        assert_eq!(effective(platform).candidates(), ["YellowForensic"]);
    }
    insta::assert_snapshot!(pretty(&effective("YellowLive")));
}
