//! The hashes that DataSurface keeps beside a record.

use md5::{Digest, Md5};
use milestream_oracle::Cell;

/// Md5, in lower-case hexadecimal, of the texts of cells one after the other, NULL as nothing: `ds_surf_all_hash` over the
/// key and all other columns, `ds_surf_key_hash` over the key (DataSurface's formula).
pub fn hash<'a>(cells: impl IntoIterator<Item = &'a Cell>) -> String {
    md5(&cells.into_iter().flatten().map(String::as_str).collect::<String>())
}

/// The formula without collisions: each text behind its length in characters and a colon, NULL as a hyphen.
pub fn strict_hash<'a>(cells: impl IntoIterator<Item = &'a Cell>) -> String {
    let part = |cell: &Cell| match cell {
        Some(text) => format!("{}:{text}", text.chars().count()),
        None => "-".to_owned(),
    };
    md5(&cells.into_iter().map(part).collect::<String>())
}

fn md5(text: &str) -> String {
    Md5::digest(text.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_of_unseparated_texts() {
        let cell = |text: &str| Some(text.to_owned());
        let expected = "698d51a19d8a121ce581499d7b701668";
        assert_eq!(hash(&[cell("1"), None, cell("11")]), expected, "md5 of 111");
        assert_eq!(hash(&[cell("11"), cell("1")]), expected);
        assert_ne!(strict_hash(&[cell("11"), cell("1")]), strict_hash(&[cell("1"), cell("11")]));
    }
}
