//! The keys as documentation shows them, made from the one struct that declares them.

use std::collections::BTreeMap;

use serde_json::Value;

use super::keys::Keys;

/// The default of every key, as `milestream.toml` would write it; `none` for a key that is off unless given.
pub(crate) fn defaults() -> BTreeMap<String, String> {
    let defaults = serde_json::to_value(Keys::defaults()).unwrap_or_default();
    let Value::Object(defaults) = defaults else { return BTreeMap::new() };
    defaults.into_iter().map(|(key, default)| (key, written(&default))).collect()
}

fn written(default: &Value) -> String {
    match default {
        Value::Null => "none".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// Values of a key that this version has; the others are understood and refused by name.
#[cfg(test)]
fn offered(argument: &clap::Arg) -> impl Iterator<Item = clap::builder::PossibleValue> {
    argument.get_possible_values().into_iter().filter(|value| !value.is_hide_set())
}

/// The table of all keys in `docs/CONFIGURATION.md`.
#[cfg(test)]
fn table() -> String {
    let defaults = defaults();
    let command = <Keys as clap::Args>::augment_args(clap::Command::new("keys"));
    let mut table = String::from("| key | default | values | meaning |\n|---|---|---|---|\n");
    for argument in command.get_arguments() {
        let key = argument.get_id().as_str();
        let values: Vec<_> = offered(argument).map(|value| format!("`{}`", value.get_name())).collect();
        let values = if values.is_empty() {
            let names = argument.get_value_names().unwrap_or_default();
            names.iter().map(|name| name.to_string()).collect::<Vec<_>>().join(" ")
        } else {
            values.join(", ")
        };
        let meaning = argument.get_help().map(ToString::to_string).unwrap_or_default();
        let default = defaults.get(key).map_or("none", String::as_str);
        table += &format!("| `{key}` | {default} | {values} | {meaning} |\n");
    }
    table
}

#[cfg(test)]
mod tests {
    use clap::Args;

    use super::*;
    use crate::config::file;

    /// `MILESTREAM_WRITE_DOCS=1` brings the page up to date.
    #[test]
    fn the_page_on_configuration_lists_every_key() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/CONFIGURATION.md");
        let page = std::fs::read_to_string(path).unwrap();
        let (begin, end) = ("<!-- keys: made from the code -->\n", "<!-- end of keys -->\n");
        let (before, rest) = page.split_once(begin).unwrap();
        let (listed, after) = rest.split_once(end).unwrap();
        if listed != table() && std::env::var_os("MILESTREAM_WRITE_DOCS").is_some() {
            std::fs::write(path, format!("{before}{begin}{}{end}{after}", table())).unwrap();
            return;
        }
        assert_eq!(listed, table(), "run this test once with MILESTREAM_WRITE_DOCS=1");
    }

    #[test]
    fn every_key_is_a_flag_and_a_variable_of_its_name_and_documented() {
        let command = Keys::augment_args(clap::Command::new("keys"));
        let flags: Vec<_> = command.get_arguments().map(|argument| argument.get_id().to_string()).collect();
        let mut keys = file::names();
        keys.sort();
        let mut sorted = flags.clone();
        sorted.sort();
        assert_eq!(sorted, keys, "flags and keys of the file");
        for argument in command.get_arguments() {
            let key = argument.get_id().as_str();
            assert_eq!(argument.get_long(), Some(key.replace('_', "-").as_str()));
            let variable = argument.get_env().and_then(|variable| variable.to_str());
            assert_eq!(variable, Some(format!("MILESTREAM_{}", key.to_uppercase()).as_str()));
            assert!(argument.get_help().is_some_and(|help| help.to_string().len() > 10), "{key} has no help");
        }
    }
}
