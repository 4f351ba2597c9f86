//! Reading the fields of a JSON object, noting every mistake on the way instead of stopping at the first.
//!
//! A field that is missing or of the wrong kind is noted and read as an empty value. No such value is ever seen by
//! anyone: a model with a mistake is not handed out.

use std::cell::RefCell;

use serde_json::{Map, Value};

use super::path::JsonPath;

/// A place of a document that cannot be read as part of a model.
#[derive(Debug)]
pub(crate) struct Mistake {
    pub(crate) path: JsonPath,
    pub(crate) what: String,
}

/// The mistakes noted so far.
pub(crate) type Mistakes = RefCell<Vec<Mistake>>;

/// A JSON object that is being read.
pub(crate) struct Fields<'a> {
    json: &'a Map<String, Value>,
    path: JsonPath,
    mistakes: &'a Mistakes,
}

impl<'a> Fields<'a> {
    /// The fields of `value`, which is expected to be an object.
    pub(crate) fn of(value: &'a Value, path: JsonPath, mistakes: &'a Mistakes) -> Option<Fields<'a>> {
        let Value::Object(json) = value else {
            mistakes
                .borrow_mut()
                .push(Mistake { path, what: format!("expected an object, found {}", kind(value)) });
            return None;
        };
        Some(Fields { json, path, mistakes })
    }

    /// The object as it is written.
    pub(crate) fn json(&self) -> &'a Map<String, Value> {
        self.json
    }

    /// What DataSurface calls the object's class.
    pub(crate) fn type_name(&self) -> Option<&'a str> {
        self.json.get("_type").and_then(Value::as_str)
    }

    /// Text that must be there.
    pub(crate) fn text(&self, key: &str) -> String {
        match self.get(key) {
            Some(Value::String(text)) => text.clone(),
            Some(other) => self.unexpected(key, "text", other),
            None => self.missing(key, "text"),
        }
    }

    /// A truth, written as 0, 1, true or false; absent and null are false.
    pub(crate) fn flag(&self, key: &str) -> bool {
        match self.get(key) {
            None => false,
            Some(Value::Bool(flag)) => *flag,
            Some(Value::Number(number)) if number.as_u64() == Some(0) => false,
            Some(Value::Number(number)) if number.as_u64() == Some(1) => true,
            Some(other) => self.unexpected(key, "0, 1, true or false", other),
        }
    }

    /// A whole number within `T`, which may be absent or null.
    pub(crate) fn whole<T: TryFrom<i64> + Default>(&self, key: &str) -> Option<T> {
        let value = self.get(key)?;
        let number = value.as_i64().and_then(|number| T::try_from(number).ok());
        Some(number.unwrap_or_else(|| self.unexpected(key, "a whole number in range", value)))
    }

    /// An object that must be there.
    pub(crate) fn object(&self, key: &str) -> Option<Fields<'a>> {
        if self.get(key).is_none() {
            return self.missing(key, "an object");
        }
        self.optional_object(key)
    }

    /// An object that may be absent or null.
    pub(crate) fn optional_object(&self, key: &str) -> Option<Fields<'a>> {
        self.get(key).and_then(|value| Fields::of(value, self.path.key(key), self.mistakes))
    }

    /// The objects that an object, which may be absent or null, has under its keys.
    pub(crate) fn objects(&self, key: &str) -> Vec<(&'a str, Fields<'a>)> {
        let Some(fields) = self.optional_object(key) else { return Vec::new() };
        let read = |(key, value)| Some((key, Fields::of(value, fields.path.key(key), self.mistakes)?));
        fields.json.iter().map(|(key, value)| (key.as_str(), value)).filter_map(read).collect()
    }

    /// The texts that an object, which may be absent or null, has under its keys.
    pub(crate) fn texts_by_key(&self, key: &str) -> Vec<(String, String)> {
        let Some(fields) = self.optional_object(key) else { return Vec::new() };
        fields.json.keys().map(|key| (key.clone(), fields.text(key))).collect()
    }

    /// A list of texts, which must be there.
    pub(crate) fn texts(&self, key: &str) -> Vec<String> {
        match self.get(key) {
            None => self.missing(key, "a list of texts"),
            Some(Value::Array(list)) => {
                list.iter().enumerate().map(|(index, text)| self.element(key, index, text)).collect()
            }
            Some(other) => self.unexpected(key, "a list of texts", other),
        }
    }

    fn element(&self, key: &str, index: usize, value: &Value) -> String {
        match value.as_str() {
            Some(text) => text.to_owned(),
            None => {
                let what = format!("expected text, found {}", kind(value));
                self.note(self.path.key(key).index(index), what)
            }
        }
    }

    /// A field's value; null is as good as absent.
    pub(crate) fn get(&self, key: &str) -> Option<&'a Value> {
        self.json.get(key).filter(|value| !value.is_null())
    }

    /// Notes that a field is not what it should be, and reads it as empty.
    pub(crate) fn unexpected<T: Default>(&self, key: &str, expected: &str, found: &Value) -> T {
        self.wrong(key, format!("expected {expected}, found {}", kind(found)))
    }

    /// Notes what is wrong with a field, and reads it as empty.
    pub(crate) fn wrong<T: Default>(&self, key: &str, what: String) -> T {
        self.note(self.path.key(key), what)
    }

    /// Notes that a field is not there, and reads it as empty.
    pub(crate) fn missing<T: Default>(&self, key: &str, expected: &str) -> T {
        let what = if self.json.contains_key(key) { "is null" } else { "is missing" };
        self.note(self.path.clone(), format!("the field {key:?} {what}: expected {expected}"))
    }

    fn note<T: Default>(&self, path: JsonPath, what: String) -> T {
        self.mistakes.borrow_mut().push(Mistake { path, what });
        T::default()
    }
}

/// What a value is, without quoting it: it may be long, and it may be a secret in the wrong place.
fn kind(value: &Value) -> String {
    match value {
        Value::Null => "null".into(),
        Value::Bool(flag) => flag.to_string(),
        Value::Number(number) => format!("the number {number}"),
        Value::String(_) => "text".into(),
        Value::Array(_) => "a list".into(),
        Value::Object(_) => "an object".into(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn mistakes_are_noted_one_by_one_and_reading_goes_on() {
        let value = json!({"name": 5, "flag": 2, "size": "9", "list": ["a", 1], "object": [], "fine": "yes"});
        let mistakes = Mistakes::default();
        let fields = Fields::of(&value, JsonPath::default().key("x"), &mistakes).unwrap();
        fields.text("name");
        fields.flag("flag");
        fields.whole::<u32>("size");
        fields.texts("list");
        fields.optional_object("object");
        fields.text("gone");
        assert_eq!(fields.text("fine"), "yes");
        let shown: Vec<_> =
            mistakes.take().iter().map(|found| format!("{}: {}", found.path, found.what)).collect();
        insta::assert_snapshot!(shown.join("\n"));
    }

    #[test]
    fn truths_are_read_in_either_notation() {
        let value = json!({"one": 1, "zero": 0, "yes": true, "no": false, "null": null});
        let mistakes = Mistakes::default();
        let fields = Fields::of(&value, JsonPath::default(), &mistakes).unwrap();
        let read = ["one", "zero", "yes", "no", "null", "absent"].map(|key| fields.flag(key));
        assert_eq!(read, [true, false, true, false, false, false]);
        assert!(mistakes.take().is_empty());
    }
}
