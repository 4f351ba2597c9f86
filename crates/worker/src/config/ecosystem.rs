//! The configuration directory: the model's documents and `milestream.toml`, read together.

use std::path::{Path, PathBuf};

use milestream_core::model::Model;
use milestream_core::near::advice;
use milestream_core::stream::streams_of;

use super::file::{FILE_NAME, File};
use crate::error::{Error, Result};

/// A document longer than this is no model.
const DOCUMENT_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// What a configuration directory says.
#[derive(Clone, Debug)]
pub struct Configuration {
    /// The model.
    pub model: Model,
    /// `milestream.toml`.
    pub file: File,
}

impl Configuration {
    /// Reads every `*.json` of the directory as the model's documents, and `milestream.toml`.
    ///
    /// # Errors
    /// `Setup` with every problem of what cannot be read or parsed, and for tables of `milestream.toml` whose
    /// platform or stream is not in the model.
    pub fn load(directory: &Path) -> Result<Configuration> {
        let configuration = Configuration { model: model(directory)?, file: File::read(directory)? };
        configuration.require_known_tables(directory)?;
        Ok(configuration)
    }

    /// The names of all platforms, each once.
    pub(crate) fn platform_names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = Vec::new();
        for platform in self.model.platforms() {
            if !names.contains(&platform.name.as_str()) {
                names.push(&platform.name);
            }
        }
        names
    }

    /// Settings that are meant for nobody would be ignored without a word.
    fn require_known_tables(&self, directory: &Path) -> Result<()> {
        let path = directory.join(FILE_NAME);
        let platforms = self.platform_names();
        let streams: Vec<_> =
            self.model.datastores().flat_map(|store| streams_of(store).unwrap_or_default()).collect();
        let streams: Vec<_> = streams.iter().map(|stream| stream.key()).collect();
        for (platform, tables) in self.file.named() {
            if !platforms.contains(&platform) {
                let what =
                    format!("{}: [platform.{platform}] names no platform of the model", path.display());
                return Err(Error::setup(what, advice(platform, platforms)));
            }
            for stream in tables {
                if !streams.iter().any(|known| known == stream) {
                    let what = format!(
                        "{}: [platform.{platform}.stream.{stream:?}] names no stream of the model",
                        path.display()
                    );
                    return Err(Error::setup(what, advice(stream, streams.iter().map(String::as_str))));
                }
            }
        }
        Ok(())
    }
}

/// Reads the model's documents of a directory.
///
/// # Errors
/// `Setup` with every problem: file, line, column, JSON path, what is wrong.
pub fn model(directory: &Path) -> Result<Model> {
    let mut documents = Vec::new();
    for path in documents_of(directory)? {
        let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
        documents.push((name, text(&path)?));
    }
    let documents = documents.iter().map(|(name, text)| (name.as_str(), text.as_str()));
    Model::from_documents(documents).map_err(|errors| {
        Error::setup(errors.to_string(), format!("correct these files in {}", directory.display()))
    })
}

/// The `*.json` of a directory, by name.
fn documents_of(directory: &Path) -> Result<Vec<PathBuf>> {
    let remedy = "name the directory of the model with --config or MILESTREAM_CONFIG";
    let unreadable = |error: std::io::Error| {
        Error::setup(format!("the directory {} cannot be read: {error}", directory.display()), remedy)
    };
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if path.extension().is_some_and(|extension| extension == "json") {
            paths.push(path);
        }
    }
    if paths.is_empty() {
        return Err(Error::setup(
            format!("there is no model in {}: it has no *.json", directory.display()),
            remedy,
        ));
    }
    paths.sort();
    Ok(paths)
}

fn text(path: &Path) -> Result<String> {
    let unreadable = |error: &dyn std::fmt::Display| {
        let what = format!("{} cannot be read: {error}", path.display());
        Error::setup(what, "make it a UTF-8 text file that this user may read")
    };
    let size = std::fs::metadata(path).map_err(|error| unreadable(&error))?.len();
    if size > DOCUMENT_BYTES_MAX {
        return Err(unreadable(&format!("it has {size} bytes, and no model is that long")));
    }
    std::fs::read_to_string(path).map_err(|error| unreadable(&error))
}
