//! Paths into a JSON document.

use std::fmt;

/// A place in a JSON document, shown as `$.datasets.people.columns["first name"].type` or `$[2].storeName`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct JsonPath(Vec<Step>);

/// One step from a value to one inside of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Step {
    /// To the value of an object's key.
    Key(String),
    /// To an element of an array, counted from 0.
    Index(usize),
}

impl JsonPath {
    /// The steps from the whole document to this place.
    pub fn steps(&self) -> &[Step] {
        &self.0
    }

    pub(crate) fn key(&self, key: &str) -> JsonPath {
        self.step(Step::Key(key.to_owned()))
    }

    /// The place below several keys.
    pub(crate) fn keys<const N: usize>(&self, keys: [&str; N]) -> JsonPath {
        keys.iter().fold(self.clone(), |path, key| path.key(key))
    }

    pub(crate) fn index(&self, index: usize) -> JsonPath {
        self.step(Step::Index(index))
    }

    fn step(&self, step: Step) -> JsonPath {
        let mut steps = self.0.clone();
        steps.push(step);
        JsonPath(steps)
    }

    pub(crate) fn push(&mut self, step: Step) {
        self.0.push(step);
    }

    pub(crate) fn pop(&mut self) {
        self.0.pop();
    }
}

impl fmt::Display for JsonPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("$")?;
        self.0.iter().try_for_each(|step| match step {
            Step::Key(key) if is_plain(key) => write!(f, ".{key}"),
            Step::Key(key) => write!(f, "[{}]", serde_json::Value::from(key.as_str())),
            Step::Index(index) => write!(f, "[{index}]"),
        })
    }
}

fn is_plain(key: &str) -> bool {
    let mut characters = key.chars();
    characters.next().is_some_and(|first| first.is_ascii_alphabetic() || first == '_')
        && characters.all(|next| next.is_ascii_alphanumeric() || next == '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_are_no_plain_words_are_quoted() {
        let path = JsonPath::default().keys(["datasets", "a \"b\""]).index(3).key("_type");
        assert_eq!(path.to_string(), r#"$.datasets["a \"b\""][3]._type"#);
    }
}
