//! Which streams are meant, and what the model and the settings make of them.

use std::fmt;

use milestream_core::model::Datastore;
use milestream_core::near::advice;
use milestream_core::resolve::{EffectiveCommand, Overrides, resolve};
use milestream_core::stream::{Stream, streams_of};

use super::ecosystem::Configuration;
use super::keys::Keys;
use super::settings::Settings;
use crate::error::{Error, Result};

/// Which streams are meant; what is left open means all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// Names of platforms; empty for all.
    pub platforms: Vec<String>,
    /// Name of a store; `None` for all.
    pub store: Option<String>,
    /// Name of a dataset whose stream is meant; `None` for all streams of the store.
    pub dataset: Option<String>,
}

impl Selection {
    /// Whether pairs of platform and store that do not go together are passed over, because nobody named them.
    pub(crate) fn is_open(&self) -> bool {
        self.platforms.is_empty() || self.store.is_none()
    }
}

/// A stream that is meant, and what the model makes of it.
#[derive(Clone, Debug)]
pub struct Resolved {
    /// The platform.
    pub platform: String,
    /// The stream.
    pub stream: Stream,
    /// Its settings.
    pub settings: Settings,
    /// The effective command.
    pub command: EffectiveCommand,
}

/// A platform and store of an open selection that do not go together.
#[derive(Clone, Debug)]
pub struct PassedOver {
    /// The platform.
    pub platform: String,
    /// The store.
    pub store: String,
    /// Why.
    pub reason: String,
}

impl fmt::Display for PassedOver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.platform, self.store, self.reason)
    }
}

/// What a selection came to.
#[derive(Clone, Debug)]
pub struct Selected<T> {
    /// What can be worked with.
    pub streams: Vec<T>,
    /// What an open selection passed over.
    pub passed_over: Vec<PassedOver>,
}

impl Configuration {
    /// Resolves every stream of a selection. `given` is the layer of flags and environment.
    ///
    /// # Errors
    /// `Setup` for unknown names and unusable settings, and for a stream named by platform and store that does not
    /// resolve.
    pub fn resolve(&self, selection: &Selection, given: &Keys) -> Result<Selected<Resolved>> {
        let (platforms, stores) = (self.chosen_platforms(selection)?, self.chosen_stores(selection)?);
        let mut selected = Selected { streams: Vec::new(), passed_over: Vec::new() };
        for platform in &platforms {
            for store in &stores {
                match self.resolve_pair(platform, store, selection, given)? {
                    Ok(resolved) => selected.streams.extend(resolved),
                    Err(reason) if selection.is_open() => {
                        let (platform, store) = ((*platform).to_owned(), store.name.clone());
                        selected.passed_over.push(PassedOver { platform, store, reason });
                    }
                    Err(reason) => {
                        return Err(Error::setup(reason, "correct the model, or `from` in the settings"));
                    }
                }
            }
        }
        Ok(selected)
    }

    fn chosen_platforms<'c>(&'c self, selection: &'c Selection) -> Result<Vec<&'c str>> {
        let known = self.platform_names();
        if let Some(stranger) = selection.platforms.iter().find(|name| !known.contains(&name.as_str())) {
            return Err(unknown("platform", stranger, known));
        }
        Ok(match selection.platforms.as_slice() {
            [] => known,
            names => names.iter().map(String::as_str).collect(),
        })
    }

    fn chosen_stores(&self, selection: &Selection) -> Result<Vec<&Datastore>> {
        let Some(name) = &selection.store else { return Ok(self.model.datastores().collect()) };
        let known = || self.model.datastores().map(|store| store.name.as_str());
        let store = self.model.datastore(name).ok_or_else(|| unknown("store", name, known()))?;
        if let Some(dataset) = &selection.dataset
            && store.dataset(dataset).is_none()
        {
            let known = store.datasets.iter().map(|dataset| dataset.name.as_str());
            let what = format!("dataset {dataset:?} is not in store {name:?} of the model");
            return Err(Error::setup(what, advice(dataset, known)));
        }
        Ok(vec![store])
    }

    /// The streams of a store on a platform, or why there are none.
    fn resolve_pair(
        &self,
        platform: &str,
        store: &Datastore,
        selection: &Selection,
        given: &Keys,
    ) -> Result<Result<Vec<Resolved>, String>> {
        let streams = match streams_of(store) {
            Ok(streams) => streams,
            Err(error) => return Ok(Err(error.to_string())),
        };
        let mut resolved = Vec::new();
        for stream in streams {
            if !is_meant(&stream, selection.dataset.as_deref())? {
                continue;
            }
            let keys = given.clone().over(self.file.keys(platform, &stream.key()));
            let settings = Settings::resolve(keys)?;
            let overrides =
                Overrides { from: settings.from.clone(), credential: settings.credential.clone() };
            match resolve(&self.model, platform, &store.name, &overrides) {
                Ok(command) => {
                    resolved.push(Resolved { platform: platform.to_owned(), stream, settings, command })
                }
                Err(error) => return Ok(Err(error.to_string())),
            }
        }
        Ok(Ok(resolved))
    }
}

/// Whether the stream is the one of a dataset that was named.
///
/// # Errors
/// `Setup` when the store's datasets move together, so that a dataset alone is no stream.
fn is_meant(stream: &Stream, dataset: Option<&str>) -> Result<bool> {
    match (dataset, &stream.dataset) {
        (None, _) => Ok(true),
        (Some(wanted), Some(dataset)) => Ok(wanted == dataset),
        (Some(wanted), None) => Err(Error::setup(
            format!(
                "dataset {wanted:?} is no stream of its own: the datasets of store {:?} move together",
                stream.store
            ),
            "name the store without --dataset",
        )),
    }
}

fn unknown<'a>(what: &str, name: &str, known: impl IntoIterator<Item = &'a str>) -> Error {
    Error::setup(format!("{what} {name:?} is not in the model"), advice(name, known))
}
