//! What a chunk covers, as it is stored in `sync_chunk`.

use serde::{Deserialize, Serialize};

use super::{BlockRange, KeyRange};
use crate::milestone::PrimaryBatch;

/// What a chunk covers. Its JSON is stored and read again by a resume, perhaps by another version of the
/// program, so its form is fixed: `{"blocks":{…}}`, `{"keys":{…}}`, `"sweep"`, `{"delta":{…}}`, with every
/// bound spelled out, open ones as null.
// The variant is the outer key and no `kind` field inside, because serde buffers internally tagged enums, and
// cannot read numbers back from that buffer once any crate of the build switches serde_json's
// `arbitrary_precision` on.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChunkBounds {
    /// Blocks of a leaf table's heap.
    Blocks(BlockRange),
    /// A range of the model's keys.
    Keys(KeyRange),
    /// What was closed while the blocks were read: one statement after all of them.
    Sweep,
    /// A piece of an increment, which is cut where it is received.
    Delta(DeltaRange),
}

/// A piece of an increment's one ordered stream: the rows after one position, up to and including another.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeltaRange {
    /// The last row of the piece before, `None` for the first piece.
    pub after: Option<DeltaPosition>,
    /// The last row of this piece, `None` as long as it is being received. A resume asks for what follows it.
    pub through: Option<DeltaPosition>,
}

/// Where a row stands in an increment's stream.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeltaPosition {
    /// The row's key as the primary gave it, cast to text under pinned settings.
    pub key: Vec<String>,
    /// Which version of the key, in a full delta; `None` in a net one, where each key comes once.
    pub batch_in: Option<PrimaryBatch>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored_as(bounds: &ChunkBounds, json: &str) {
        assert_eq!(serde_json::to_string(bounds).unwrap(), json);
        assert_eq!(&serde_json::from_str::<ChunkBounds>(json).unwrap(), bounds);
        // A jsonb column hands the document over parsed, its members in an order of its own.
        let value: serde_json::Value = serde_json::from_str(json).unwrap();
        assert_eq!(&serde_json::from_value::<ChunkBounds>(value).unwrap(), bounds);
    }

    fn texts(texts: &[&str]) -> Vec<String> {
        texts.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_range_of_blocks_names_its_leaf_and_both_ends() {
        let leaf = || r#""public"."People""#.to_owned();
        stored_as(
            &ChunkBounds::Blocks(BlockRange { leaf: leaf(), leaf_oid: 16_385, from: 0, to: Some(128) }),
            r#"{"blocks":{"leaf":"\"public\".\"People\"","leaf_oid":16385,"from":0,"to":128}}"#,
        );
        stored_as(
            &ChunkBounds::Blocks(BlockRange { leaf: leaf(), leaf_oid: u32::MAX, from: 128, to: None }),
            r#"{"blocks":{"leaf":"\"public\".\"People\"","leaf_oid":4294967295,"from":128,"to":null}}"#,
        );
    }

    #[test]
    fn a_range_of_keys_holds_texts() {
        stored_as(
            &ChunkBounds::Keys(KeyRange { after: None, through: Some(texts(&["1", "", "é\"\n"])) }),
            r#"{"keys":{"after":null,"through":["1","","é\"\n"]}}"#,
        );
    }

    #[test]
    fn a_sweep_is_a_word() {
        stored_as(&ChunkBounds::Sweep, r#""sweep""#);
    }

    #[test]
    fn a_piece_of_a_delta_holds_the_positions_around_it() {
        stored_as(
            &ChunkBounds::Delta(DeltaRange { after: None, through: None }),
            r#"{"delta":{"after":null,"through":null}}"#,
        );
        let position = |key, batch_in: Option<i32>| {
            Some(DeltaPosition { key: texts(&[key]), batch_in: batch_in.map(PrimaryBatch) })
        };
        stored_as(
            &ChunkBounds::Delta(DeltaRange { after: position("a", None), through: position("b", Some(7)) }),
            r#"{"delta":{"after":{"key":["a"],"batch_in":null},"through":{"key":["b"],"batch_in":7}}}"#,
        );
    }

    #[test]
    fn bounds_of_an_unknown_form_are_refused() {
        for json in [r#""shuffle""#, r#"{"blocks":{"leaf":"t","leaf_oid":1,"from":0,"to":1,"step":2}}"#] {
            assert!(serde_json::from_str::<ChunkBounds>(json).is_err(), "{json}");
        }
    }
}
