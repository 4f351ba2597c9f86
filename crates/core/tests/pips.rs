//! The page on primary ingestion platforms means what it says.
use milestream_core::model::Model;
use milestream_core::resolve::{Overrides, resolve};

const PAGE: &str = include_str!("../../../docs/PIPS.md");

struct Example<'p> {
    title: &'p str,
    blocks: Vec<String>,
    rows: Vec<[&'p str; 4]>,
}

fn examples() -> Vec<Example<'static>> {
    PAGE.split("\n## ")
        .skip(1)
        .map(|section| {
            let (title, body) = section.split_once('\n').unwrap();
            let blocks = body
                .split("```json\n")
                .skip(1)
                .map(|rest| rest.split_once("```").unwrap().0.to_owned())
                .collect();
            let rows = body
                .lines()
                .filter(|l| l.starts_with('|'))
                .skip(2)
                .map(|l| {
                    let cells: Vec<&str> = l.trim_matches('|').split('|').map(str::trim).collect();
                    cells.try_into().unwrap()
                })
                .collect();
            Example { title, blocks, rows }
        })
        .collect()
}

#[test]
fn every_example_loads_and_resolves_as_its_table_says() {
    let all = examples();
    let model = all.iter().find(|e| e.title == "The model of the examples").unwrap().blocks[0].clone();
    let mut rows = 0;
    for example in all.iter().filter(|e| !e.rows.is_empty()) {
        let mut documents = vec![("model.json".to_owned(), model.clone())];
        documents.extend(
            example.blocks.iter().map(|b| ("primary_ingestion_platforms.json".to_owned(), b.clone())),
        );
        let loaded = Model::from_documents(documents.iter().map(|(n, t)| (n.as_str(), t.as_str()))).unwrap();
        for [store, platform, role, reads] in &example.rows {
            rows += 1;
            assert!(loaded.platform(platform).is_some() && loaded.datastore(store).is_some());
            let command = resolve(&loaded, platform, store, &Overrides::default()).unwrap();
            let expected = (
                command.role.name(),
                if command.candidates().is_empty() {
                    "the source".to_owned()
                } else {
                    command.candidates().join(", ")
                },
            );
            assert_eq!((*role, reads.to_string()), expected, "{}: {store} {platform}", example.title);
        }
    }
    assert_eq!(rows, 6 * 4 + 3);
}

#[test]
fn fixtures_load_and_are_the_page_s() {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fixtures/models");
    for dir in
        ["pips/no-pip", "pips/primary", "pips/secondary", "pips/second-in-the-list", "datasurface", "demo"]
    {
        let docs: Vec<(String, String)> = std::fs::read_dir(format!("{root}/{dir}"))
            .unwrap()
            .map(|e| e.unwrap().path())
            .map(|p| {
                (p.file_name().unwrap().to_string_lossy().into_owned(), std::fs::read_to_string(&p).unwrap())
            })
            .collect();
        for (_, text) in docs.iter().filter(|_| dir.starts_with("pips")) {
            assert!(PAGE.contains(text.trim_end()), "{dir}");
        }
        Model::from_documents(docs.iter().map(|(n, t)| (n.as_str(), t.as_str())))
            .unwrap_or_else(|e| panic!("{dir}: {e}"));
    }
}
