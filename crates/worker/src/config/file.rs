//! `milestream.toml`: settings for all, for a platform, and for a stream of a platform.
//!
//! The tables are walked by hand, because serde can neither flatten a table that refuses unknown keys nor say which
//! known key is near an unknown one.

use std::collections::BTreeMap;
use std::path::Path;

use milestream_core::near::advice;
use serde::Deserialize;
use toml::Spanned;
use toml::de::{DeTable, DeValue, ValueDeserializer};

use super::keys::Keys;
use crate::error::{Error, Result};

/// The file's name in the configuration directory.
pub const FILE_NAME: &str = "milestream.toml";

/// What the file says; nothing where there is none.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct File {
    defaults: Keys,
    platforms: BTreeMap<String, PlatformKeys>,
}

#[derive(Clone, Debug, Default, PartialEq)]
struct PlatformKeys {
    keys: Keys,
    streams: BTreeMap<String, Keys>,
}

impl File {
    /// Reads the file of a directory; a missing one says nothing.
    ///
    /// # Errors
    /// `Setup` with every problem found, each with its line and column.
    pub fn read(directory: &Path) -> Result<File> {
        let path = directory.join(FILE_NAME);
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(File::default()),
            Err(error) => {
                let what = format!("{} cannot be read: {error}", path.display());
                return Err(Error::setup(what, "make it a UTF-8 text file that this user may read"));
            }
        };
        let mut file = File::parse(&path, &text)?;
        file.each_layer(|keys| keys.relative_to(directory));
        Ok(file)
    }

    /// Parses a file's text; `path` is what errors call it.
    ///
    /// # Errors
    /// As [`File::read`].
    pub fn parse(path: &Path, text: &str) -> Result<File> {
        let mut reader = Reader { path, text, problems: Vec::new() };
        let file = reader.file();
        if reader.problems.is_empty() {
            return Ok(file);
        }
        Err(Error::setup(
            reader.into_lines(),
            "docs/CONFIGURATION.md lists every key with its values and default",
        ))
    }

    /// The file's layers for a stream of a platform as one: stream over platform over defaults.
    pub fn keys(&self, platform: &str, stream: &str) -> Keys {
        let Some(layer) = self.platforms.get(platform) else { return self.defaults.clone() };
        let stream = layer.streams.get(stream).cloned().unwrap_or_default();
        stream.over(layer.keys.clone()).over(self.defaults.clone())
    }

    /// The layer for all streams of all platforms.
    pub fn defaults(&self) -> Keys {
        self.defaults.clone()
    }

    /// Platforms that have a table, each with the streams that have one.
    pub(crate) fn named(&self) -> impl Iterator<Item = (&str, impl Iterator<Item = &str>)> {
        self.platforms
            .iter()
            .map(|(name, platform)| (name.as_str(), platform.streams.keys().map(String::as_str)))
    }

    fn each_layer(&mut self, mut change: impl FnMut(&mut Keys)) {
        change(&mut self.defaults);
        for platform in self.platforms.values_mut() {
            change(&mut platform.keys);
            platform.streams.values_mut().for_each(&mut change);
        }
    }
}

/// Walks the document and collects its problems.
struct Reader<'t> {
    path: &'t Path,
    text: &'t str,
    /// What is wrong, by where it starts.
    problems: Vec<(usize, String)>,
}

impl<'t> Reader<'t> {
    fn file(&mut self) -> File {
        let mut file = File::default();
        let document = match DeTable::parse(self.text) {
            Ok(document) => document,
            Err(error) => {
                self.problem(error.span().map_or(0, |span| span.start), error.message());
                return file;
            }
        };
        for (name, value) in document.into_inner() {
            match name.get_ref().as_ref() {
                "defaults" => file.defaults = self.keys("defaults", value),
                "platform" => {
                    for (platform, value) in self.tables("platform", value) {
                        let keys = self.platform(&platform, value);
                        file.platforms.insert(platform, keys);
                    }
                }
                other => {
                    let known = ["defaults", "platform"];
                    let hint = if names().contains(&other.to_owned()) {
                        "settings for all streams go under [defaults]".into()
                    } else {
                        advice(other, known)
                    };
                    self.problem(name.span().start, &format!("unknown key {other:?} at the top; {hint}"));
                }
            }
        }
        file
    }

    fn platform(&mut self, platform: &str, value: Spanned<DeValue<'t>>) -> PlatformKeys {
        let at = format!("platform.{platform}");
        let span = value.span();
        let mut layer = PlatformKeys::default();
        let Some(mut table) = self.table(&at, value) else { return layer };
        let streams = table.keys().find(|key| key.get_ref() == "stream").cloned();
        if let Some(streams) = streams.and_then(|key| table.remove(&key)) {
            for (stream, value) in self.tables(&format!("{at}.stream"), streams) {
                let keys = self.keys(&format!("{at}.stream.{stream:?}"), value);
                layer.streams.insert(stream, keys);
            }
        }
        layer.keys = self.keys(&at, Spanned::new(span, DeValue::Table(table)));
        layer
    }

    /// A table of tables, by name.
    fn tables(&mut self, at: &str, value: Spanned<DeValue<'t>>) -> Vec<(String, Spanned<DeValue<'t>>)> {
        let table = self.table(at, value).unwrap_or_default();
        table.into_iter().map(|(name, value)| (name.into_inner().into_owned(), value)).collect()
    }

    fn table(&mut self, at: &str, value: Spanned<DeValue<'t>>) -> Option<DeTable<'t>> {
        let start = value.span().start;
        match value.into_inner() {
            DeValue::Table(table) => Some(table),
            other => {
                self.problem(start, &format!("{at} is a {}, not a table", other.type_str()));
                None
            }
        }
    }

    /// One layer; each key on its own, so that every problem is found.
    fn keys(&mut self, at: &str, value: Spanned<DeValue<'t>>) -> Keys {
        let known = names();
        let mut layer = Keys::default();
        for (key, value) in self.table(at, value).unwrap_or_default() {
            let (start, name) = (key.span().start, key.get_ref().clone().into_owned());
            if !known.contains(&name) {
                let hint = advice(&name, known.iter().map(String::as_str));
                self.problem(start, &format!("unknown key {name:?} in [{at}]; {hint}"));
                continue;
            }
            let span = value.span();
            let alone = DeTable::from_iter([(key, value)]);
            let alone = ValueDeserializer::from(Spanned::new(span, DeValue::Table(alone)));
            match Keys::deserialize(alone) {
                Ok(keys) => layer = keys.over(layer),
                Err(error) => {
                    let start = error.span().map_or(start, |span| span.start);
                    self.problem(start, &format!("{name} in [{at}]: {}", plain(error.message())));
                }
            }
        }
        layer
    }

    fn problem(&mut self, start: usize, what: &str) {
        self.problems.push((start, what.to_owned()));
    }

    /// The problems in the order of the text, one a line.
    fn into_lines(mut self) -> String {
        self.problems.sort();
        let line = |(start, what): (usize, String)| {
            let before = self.text.get(..start).unwrap_or(self.text);
            let line = before.matches('\n').count() + 1;
            let column = before.chars().rev().take_while(|letter| *letter != '\n').count() + 1;
            format!("{}:{line}:{column}: {what}", self.path.display())
        };
        std::mem::take(&mut self.problems).into_iter().map(line).collect::<Vec<_>>().join("\n")
    }
}

/// What serde says of numbers, in words of people who write no Rust.
fn plain(message: &str) -> String {
    let words = [
        ("expected usize", "expected a whole number"),
        ("expected u64", "expected a whole number"),
        ("expected f64", "expected a number"),
    ];
    words.into_iter().fold(message.to_owned(), |message, (rust, plain)| message.replace(rust, plain))
}

/// The names of all keys, as the one struct declares them.
pub(crate) fn names() -> Vec<String> {
    let all = serde_json::to_value(Keys::default()).ok();
    all.and_then(|all| all.as_object().map(|all| all.keys().cloned().collect())).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<File> {
        File::parse(Path::new("milestream.toml"), text)
    }

    #[test]
    fn a_stream_hides_its_platform_and_a_platform_hides_the_defaults() {
        let file = parse(
            r#"
            [defaults]
            parallelism = 3
            seed_chunk_rows = 50_000
            endpoints = { Hub_DB = "hub:5432", Edge_DB = "old:1" }

            [platform.Edge]
            parallelism = 4
            endpoints = { Edge_DB = "edge:5433" }

            [platform.Edge.stream."Flights#airlines"]
            parallelism = 1
            lease = "30s"
            "#,
        )
        .unwrap();
        let parallelism = |platform, stream| file.keys(platform, stream).parallelism;
        assert_eq!(parallelism("Archive", "Flights"), Some(3));
        assert_eq!(parallelism("Edge", "Flights"), Some(4));
        assert_eq!(parallelism("Edge", "Flights#airlines"), Some(1));
        let keys = file.keys("Edge", "Flights#airlines");
        assert_eq!(keys.seed_chunk_rows, Some(50_000));
        let endpoints = keys.endpoints.unwrap();
        assert_eq!(endpoints.get("Edge_DB").unwrap().to_string(), "edge:5433");
        assert_eq!(endpoints.get("Hub_DB").unwrap().to_string(), "hub:5432");
    }

    #[test]
    fn every_problem_is_reported_with_its_line_and_near_names() {
        let error = parse(
            r#"
paralelism = 3
[default]
[defaults]
paralelism = 3
lease = 30
seed_strategy = "bloks"
max_delete_fraction = "half"
[platform.Edge]
tls_root_certs = "/etc/ssl/root.pem"
stream = "Flights"
[platform.Archive.stream.Flights]
on_rest = "halt"
parallelism = -1
"#,
        )
        .unwrap_err();
        insta::assert_snapshot!(error);
        assert_eq!(error.exit_code(), 2);
    }

    #[test]
    fn what_is_no_toml_is_refused_with_its_place() {
        let error = parse("[defaults]\nparallelism = \n").unwrap_err();
        insta::assert_snapshot!(error);
    }

    #[test]
    fn paths_in_the_file_are_relative_to_its_directory() {
        let directory = tempfile::tempdir().unwrap();
        let text = "[defaults]\nsecrets_dir = \"secrets\"\ntls_root_cert = \"/etc/root.pem\"\n";
        std::fs::write(directory.path().join(FILE_NAME), text).unwrap();
        let keys = File::read(directory.path()).unwrap().keys("Edge", "Flights");
        assert_eq!(keys.secrets_dir, Some(directory.path().join("secrets")));
        assert_eq!(keys.tls_root_cert, Some("/etc/root.pem".into()));
    }

    #[test]
    fn a_directory_without_the_file_has_the_defaults() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(File::read(directory.path()).unwrap(), File::default());
    }
}
