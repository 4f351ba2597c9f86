//! The page on primary ingestion platforms: its examples do what it says.

use std::fs;
use std::path::{Path, PathBuf};

use milestream_core::lint::{LintContext, lint};
use milestream_core::model::Model;
use milestream_core::resolve::{Overrides, resolve};

const PAGE: &str = include_str!("../../../../docs/PIPS.md");

/// A section of the page: its title, its JSON, and the rows of its table.
struct Section {
    title: &'static str,
    json: Vec<String>,
    /// Store, platform, role and what is read from.
    rows: Vec<[&'static str; 4]>,
}

fn sections() -> Vec<Section> {
    PAGE.split("\n## ").skip(1).map(section).collect()
}

fn section(text: &'static str) -> Section {
    let json =
        text.split("```json\n").skip(1).map(|block| block.split("```").next().unwrap().to_owned()).collect();
    let cells = |line: &'static str| {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        <[&str; 4]>::try_from(cells).unwrap()
    };
    let rows = text.lines().filter(|line| line.starts_with('|')).skip(2).map(cells).collect();
    Section { title: text.lines().next().unwrap(), json, rows }
}

fn load(documents: &[String]) -> Model {
    Model::from_documents(documents.iter().map(|text| ("page", text.as_str()))).unwrap()
}

#[test]
fn every_example_of_the_page_resolves_as_its_table_says() {
    let sections = sections();
    let shared = sections.iter().find(|section| section.title == "The model of the examples").unwrap();
    let examples: Vec<&Section> = sections.iter().filter(|section| !section.rows.is_empty()).collect();
    assert_eq!(examples.len(), 5, "the page has lost an example, or gained one that is not counted here");
    for example in examples {
        let documents: Vec<String> = shared.json.iter().chain(&example.json).cloned().collect();
        let model = load(&documents);
        for &[store, platform, role, reads_from] in &example.rows {
            let effective = resolve(&model, platform, store, &Overrides::default()).unwrap();
            let candidates = effective.candidates().join(", ");
            let found = if candidates.is_empty() { "the source" } else { &candidates };
            let place = format!("{platform} and {store} under {:?}", example.title);
            assert_eq!((effective.role.name(), found), (role, reads_from), "{place}");
        }
    }
}

#[test]
fn the_examples_of_the_page_are_without_problems() {
    let sections = sections();
    let shared = &sections.iter().find(|section| section.title == "The model of the examples").unwrap().json;
    for section in &sections {
        if section.title == "The model of the examples" {
            continue;
        }
        let model = load(&shared.iter().chain(&section.json).cloned().collect::<Vec<_>>());
        assert_eq!(lint(&model, &LintContext::default()), [], "{}", section.title);
    }
}

#[test]
fn the_fixtures_are_the_examples_of_the_page() {
    let sections = sections();
    let shared =
        &sections.iter().find(|section| section.title == "The model of the examples").unwrap().json[0];
    let fixtures = [
        ("No list", "no-pip"),
        ("One primary", "primary"),
        ("A role for each store", "secondary"),
        ("Second in the list", "second-in-the-list"),
    ];
    for (title, directory) in fixtures {
        let example = sections.iter().find(|section| section.title == title).unwrap();
        let directory = fixture(directory);
        assert_eq!(&fs::read_to_string(directory.join("model.json")).unwrap(), shared);
        let list = fs::read_to_string(directory.join("primary_ingestion_platforms.json")).ok();
        assert_eq!(list.as_ref(), example.json.first(), "{title}");
    }
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/models/pips").join(name)
}
