//! Lengths of time as people write them: `500ms`, `30s`, `5m`, `2h`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::de::{Deserializer, Visitor};
use serde::{Deserialize, Serialize};

/// Units from the largest to the smallest, each with its milliseconds.
const UNITS: [(&str, u64); 4] = [("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];

/// A length of time, longer than nothing: one whole number and one unit, so that no bare number has to be guessed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(into = "String")]
pub struct TimeSpan(Duration);

impl TimeSpan {
    /// The same length for the standard library.
    pub fn duration(self) -> Duration {
        self.0
    }
}

impl From<Duration> for TimeSpan {
    fn from(duration: Duration) -> TimeSpan {
        TimeSpan(duration)
    }
}

impl FromStr for TimeSpan {
    type Err = String;

    fn from_str(text: &str) -> Result<TimeSpan, String> {
        let refusal = || {
            format!("{text:?} is no length of time: write a whole number and ms, s, m or h, as in \"30s\"")
        };
        let digits = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        let (_, millis) = UNITS.into_iter().find(|(name, _)| *name == unit.trim()).ok_or_else(refusal)?;
        let number: u64 = number.parse().map_err(|_| refusal())?;
        match number.checked_mul(millis) {
            Some(0) => Err(format!("{text:?} is no time at all")),
            Some(millis) => Ok(TimeSpan(Duration::from_millis(millis))),
            None => Err(format!("{text:?} is longer than can be counted")),
        }
    }
}

impl fmt::Display for TimeSpan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.0.as_millis();
        let whole = UNITS.into_iter().find(|(_, unit)| millis.is_multiple_of(u128::from(*unit)));
        let (name, unit) = whole.unwrap_or(("ms", 1));
        write!(f, "{}{name}", millis / u128::from(unit))
    }
}

impl<'de> Deserialize<'de> for TimeSpan {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<TimeSpan, D::Error> {
        deserializer.deserialize_str(Text)
    }
}

/// Refuses numbers with a hint at what they lack.
struct Text;

impl Visitor<'_> for Text {
    type Value = TimeSpan;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number and its unit in quotes, as in \"30s\"")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<TimeSpan, E> {
        text.parse().map_err(E::custom)
    }
}

impl From<TimeSpan> for String {
    fn from(span: TimeSpan) -> String {
        span.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_read_and_written_in_its_largest_whole_unit() {
        for (text, written) in
            [("500ms", "500ms"), ("30 s", "30s"), ("90s", "90s"), ("300s", "5m"), ("2h", "2h")]
        {
            assert_eq!(text.parse::<TimeSpan>().unwrap().to_string(), written);
        }
        assert_eq!("5m".parse::<TimeSpan>().unwrap().duration(), Duration::from_secs(300));
    }

    #[test]
    fn numbers_without_a_unit_and_spans_of_nothing_are_refused() {
        for text in
            ["", "30", "s", "-1s", "1.5s", "5min", "0s", "99999999999999999999s", "18446744073709551615h"]
        {
            assert!(text.parse::<TimeSpan>().is_err(), "{text:?} was taken");
        }
    }
}
