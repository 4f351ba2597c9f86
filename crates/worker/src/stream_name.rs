//! A stream as a person names it to `milestream`.

use std::fmt;

use milestream_core::names::stream_key;
use milestream_core::stream::Stream;

/// A platform's stream, by the names that the model has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamName {
    platform: String,
    store: String,
    /// Where each dataset of the store has batches of its own.
    dataset: Option<String>,
}

impl StreamName {
    /// The name of a platform's stream.
    pub fn of(platform: &str, stream: &Stream) -> StreamName {
        StreamName {
            platform: platform.to_owned(),
            store: stream.store.clone(),
            dataset: stream.dataset.clone(),
        }
    }

    /// The platform, as in the model.
    pub(crate) fn platform(&self) -> &str {
        &self.platform
    }

    /// The stream's key.
    pub(crate) fn key(&self) -> String {
        stream_key(&self.store, self.dataset.as_deref())
    }

    /// The command line that does `what` to the stream, as a shell reads it: `milestream sync --platform Edge --store
    /// Flights`.
    pub fn command(&self, what: &str) -> String {
        let mut command =
            format!("milestream {what} --platform {} --store {}", word(&self.platform), word(&self.store));
        if let Some(dataset) = &self.dataset {
            command += &format!(" --dataset {}", word(dataset));
        }
        command
    }
}

impl fmt::Display for StreamName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.platform, self.key())
    }
}

/// One word of a POSIX shell.
fn word(name: &str) -> String {
    let is_plain = |letter: char| letter.is_alphanumeric() || "_-.,/:@%+".contains(letter);
    if !name.is_empty() && !name.starts_with('-') && name.chars().all(is_plain) {
        return name.to_owned();
    }
    format!("'{}'", name.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(platform: &str, store: &str, dataset: Option<&str>) -> StreamName {
        StreamName { platform: platform.into(), store: store.into(), dataset: dataset.map(str::to_owned) }
    }

    #[test]
    fn a_command_names_the_stream_in_full() {
        let edge = name("Edge", "Store1", None);
        assert_eq!(edge.command("sync"), "milestream sync --platform Edge --store Store1");
        let single = name("Edge", "Store1", Some("people"));
        assert_eq!(
            single.command("reset --reseed"),
            "milestream reset --reseed --platform Edge --store Store1 --dataset people"
        );
        assert_eq!(single.to_string(), "Edge Store1#people");
    }

    #[test]
    fn a_shell_reads_each_name_as_one_word() {
        let odd = name("Edge \"South\" O'Neill", "$Store;", Some("-x"));
        assert_eq!(
            odd.command("reset"),
            r#"milestream reset --platform 'Edge "South" O'\''Neill' --store '$Store;' --dataset '-x'"#
        );
    }
}
