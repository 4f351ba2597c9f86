//! Lines and columns of places in a JSON text.

use std::collections::{HashMap, HashSet};
use std::fmt;

use serde::Serialize;

use super::path::{JsonPath, Step};

/// A place in a text; both counts begin with 1, and columns count characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct Position {
    /// The line.
    pub line: usize,
    /// The column.
    pub column: usize,
}

impl Position {
    fn of_offset(text: &str, offset: usize) -> Position {
        let before = &text[..offset];
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Position { line: before.matches('\n').count() + 1, column: before[line_start..].chars().count() + 1 }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// Where the wanted places begin; a place that the text does not have is left out.
///
/// `text` is valid JSON: serde_json has read it.
pub(crate) fn positions(text: &str, wanted: &HashSet<JsonPath>) -> HashMap<JsonPath, Position> {
    let mut found = HashMap::new();
    if wanted.is_empty() {
        return found;
    }
    Scan::over(text, &mut |seen, path, offset| {
        if seen == Seen::Value && wanted.contains(path) {
            found.insert(path.clone(), Position::of_offset(text, offset));
        }
    });
    found
}

/// Keys that an object of the text has twice. A parser keeps one of the two and drops the other unseen.
///
/// `text` is valid JSON: serde_json has read it.
pub(crate) fn repeated_keys(text: &str) -> Vec<(JsonPath, Position)> {
    let mut found = Vec::new();
    Scan::over(text, &mut |seen, path, offset| {
        if seen == Seen::RepeatedKey {
            found.push((path.clone(), Position::of_offset(text, offset)));
        }
    });
    found
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Seen {
    Value,
    RepeatedKey,
}

type Visit<'v> = dyn FnMut(Seen, &JsonPath, usize) + 'v;

/// One pass over a valid JSON text. What is not valid ends the pass early, it does no harm.
struct Scan<'t, 'v> {
    text: &'t str,
    offset: usize,
    path: JsonPath,
    visit: &'v mut Visit<'v>,
}

impl<'t, 'v> Scan<'t, 'v> {
    fn over(text: &'t str, visit: &'v mut Visit<'v>) {
        Scan { text, offset: 0, path: JsonPath::default(), visit }.value();
    }

    /// Depth is bounded: serde_json refuses what is nested more than 128 deep.
    fn value(&mut self) -> Option<()> {
        self.skip_while(|byte| byte.is_ascii_whitespace());
        (self.visit)(Seen::Value, &self.path, self.offset);
        match self.peek()? {
            b'{' => self.object(),
            b'[' => self.array(),
            b'"' => self.string().map(drop),
            _ => {
                self.skip_while(|byte| !matches!(byte, b',' | b']' | b'}') && !byte.is_ascii_whitespace());
                Some(())
            }
        }
    }

    fn object(&mut self) -> Option<()> {
        let mut keys = HashSet::new();
        while self.goes_on(b'}')? {
            let start = self.offset;
            let key: String = serde_json::from_str(self.string()?).ok()?;
            self.path.push(Step::Key(key.clone()));
            if !keys.insert(key) {
                (self.visit)(Seen::RepeatedKey, &self.path, start);
            }
            self.skip_while(|byte| byte != b':');
            self.offset += 1;
            self.value()?;
            self.path.pop();
        }
        Some(())
    }

    fn array(&mut self) -> Option<()> {
        let mut index = 0;
        while self.goes_on(b']')? {
            self.path.push(Step::Index(index));
            self.value()?;
            self.path.pop();
            index += 1;
        }
        Some(())
    }

    /// Moves past an opening bracket or a comma to what follows, or past the closing bracket.
    fn goes_on(&mut self, closing: u8) -> Option<bool> {
        self.skip_while(|byte| byte.is_ascii_whitespace());
        let ends = self.peek()? == closing;
        self.offset += 1;
        if ends {
            return Some(false);
        }
        self.skip_while(|byte| byte.is_ascii_whitespace());
        // An empty object or array closes right after it was opened.
        let empty = self.peek()? == closing;
        self.offset += usize::from(empty);
        Some(!empty)
    }

    /// The string that begins here, with its quotes.
    fn string(&mut self) -> Option<&'t str> {
        let start = self.offset;
        self.offset += 1;
        loop {
            match self.peek()? {
                b'"' => break,
                b'\\' => self.offset += 2,
                _ => self.offset += 1,
            }
        }
        self.offset += 1;
        self.text.get(start..self.offset)
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.offset).copied()
    }

    fn skip_while(&mut self, skipped: impl Fn(u8) -> bool) {
        while self.peek().is_some_and(&skipped) {
            self.offset += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    fn position(text: &str, path: &JsonPath) -> Option<(usize, usize)> {
        let found = positions(text, &HashSet::from([path.clone()]));
        found.get(path).map(|position| (position.line, position.column))
    }

    #[test]
    fn a_place_is_found_by_its_path() {
        let text = "{\n \"a\": {},\n \"ü\\\"\": [ 1, [],\n  {\"b\" : -1.5e3}]\n}";
        let root = JsonPath::default();
        assert_eq!(position(text, &root), Some((1, 1)));
        assert_eq!(position(text, &root.key("a")), Some((2, 7)));
        assert_eq!(position(text, &root.key("ü\"").index(0)), Some((3, 11)));
        assert_eq!(position(text, &root.key("ü\"").index(2).key("b")), Some((4, 10)));
        assert_eq!(position(text, &root.key("c")), None);
    }

    #[test]
    fn a_repeated_key_is_seen_however_it_is_spelled() {
        let found = repeated_keys("{\"a\": {\"k\": 1, \"j\": {\"k\": 1},\n \"\\u006b\": 2}, \"k\": 3}");
        let shown: Vec<_> = found.iter().map(|(path, at)| format!("{path} {at}")).collect();
        assert_eq!(shown, ["$.a.k 2:2"]);
    }

    fn json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            ".{0,8}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 40, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                prop::collection::hash_map(".{0,5}", inner, 0..5)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    fn places(value: &Value, path: JsonPath, found: &mut HashSet<JsonPath>) {
        match value {
            Value::Object(members) => {
                members.iter().for_each(|(key, member)| places(member, path.key(key), found));
            }
            Value::Array(elements) => {
                elements.iter().enumerate().for_each(|(i, element)| places(element, path.index(i), found));
            }
            _ => {}
        }
        found.insert(path);
    }

    proptest! {
        #[test]
        fn every_place_of_every_text_is_found(value in json(), pretty in any::<bool>()) {
            let text = if pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) };
            let text = text.unwrap();
            let mut wanted = HashSet::new();
            places(&value, JsonPath::default(), &mut wanted);
            prop_assert_eq!(positions(&text, &wanted).len(), wanted.len());
            prop_assert!(repeated_keys(&text).is_empty());
        }

        #[test]
        fn no_text_makes_the_scan_panic(text in "[\\[\\]{}\",:\\\\ a1ü]{0,40}") {
            let wanted = HashSet::from([JsonPath::default().key("a")]);
            prop_assert!(positions(&text, &wanted).len() <= 1);
        }
    }
}
