//! The model that `milestream demo` runs.

use std::fs;
use std::path::Path;

use milestream_core::model::Model;
use milestream_core::resolve::{Overrides, resolve};
use milestream_core::stream::streams_of;

use crate::shop::shown;

fn model() -> Model {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/models/demo");
    let mut texts = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        texts.push((path.display().to_string(), fs::read_to_string(&path).unwrap()));
    }
    Model::from_documents(texts.iter().map(|(name, text)| (name.as_str(), text.as_str()))).unwrap()
}

#[test]
fn the_demos_model_is_sound_and_has_one_primary() {
    let model = model();
    assert_eq!(shown(&model), "");
    let route = |platform| resolve(&model, platform, "Flights", &Overrides::default()).unwrap();
    assert_eq!(route("Hub").role.name(), "primary");
    assert_eq!(route("Edge").candidates(), ["Hub"]);
    assert_eq!(route("Archive").candidates(), ["Hub"]);
    let streams = streams_of(model.datastore("Flights").unwrap()).unwrap();
    assert_eq!((streams.len(), streams[0].datasets.len()), (1, 4));
}
