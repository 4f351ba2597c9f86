//! Amounts of data as Postgres writes them: `512kB`, `16MB`, `2GB`, in powers of 1024.

use std::fmt;
use std::str::FromStr;

use serde::de::{Deserializer, Visitor};
use serde::{Deserialize, Serialize};

/// Units from the largest to the smallest, each with its bytes.
const UNITS: [(&str, u64); 3] = [("GB", 1 << 30), ("MB", 1 << 20), ("kB", 1 << 10)];

/// An amount of data: one whole number and one unit, so that no bare number has to be guessed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(into = "String")]
pub struct Size(u64);

impl Size {
    /// The amount in bytes.
    pub fn bytes(self) -> u64 {
        self.0
    }

    /// The amount of so many bytes.
    pub(crate) fn of(bytes: u64) -> Size {
        Size(bytes)
    }
}

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Size, String> {
        let refusal = || {
            format!("{text:?} is no amount of data: write a whole number and kB, MB or GB, as in \"64MB\"")
        };
        let digits = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        let (_, bytes) = UNITS.into_iter().find(|(name, _)| *name == unit.trim()).ok_or_else(refusal)?;
        let number: u64 = number.parse().map_err(|_| refusal())?;
        number.checked_mul(bytes).map(Size).ok_or_else(|| format!("{text:?} is more than can be counted"))
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Rounded up, so that what is just beyond a bound is not shown as the bound.
        let fitting = UNITS.into_iter().find(|(_, unit)| self.0.is_multiple_of(*unit) && self.0 > 0);
        let (name, unit) = fitting.unwrap_or(("kB", 1 << 10));
        write!(f, "{}{name}", self.0.div_ceil(unit))
    }
}

impl From<Size> for String {
    fn from(size: Size) -> String {
        size.to_string()
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Size, D::Error> {
        deserializer.deserialize_str(Text)
    }
}

/// Refuses numbers with a hint at what they lack.
struct Text;

impl Visitor<'_> for Text {
    type Value = Size;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number and its unit in quotes, as in \"64MB\"")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Size, E> {
        text.parse().map_err(E::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_read_and_written_in_its_largest_whole_unit() {
        for (text, written) in [("512kB", "512kB"), ("16 MB", "16MB"), ("2048MB", "2GB"), ("0kB", "0kB")] {
            assert_eq!(text.parse::<Size>().unwrap().to_string(), written);
        }
        assert_eq!("16MB".parse::<Size>().unwrap().bytes(), 16 * 1024 * 1024);
        assert_eq!(Size::of(1025).to_string(), "2kB");
    }

    #[test]
    fn numbers_without_a_unit_and_other_units_are_refused() {
        for text in ["", "16", "MB", "-1MB", "1.5MB", "5mb", "5TB", "18446744073709551615GB"] {
            assert!(text.parse::<Size>().is_err(), "{text:?} was taken");
        }
    }
}
