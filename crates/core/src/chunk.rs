//! Chunks: the pieces in which a sync is copied, each of them a row of `sync_chunk` and all or nothing. Fast ones are copied
//! several in one transaction.
//!
//! The ranges of a plan partition what they divide: every block of a leaf, and every key that could ever
//! exist, lies in exactly one range, however much the table has grown since the sample was taken or its size
//! was read.

mod blocks;
mod bounds;
mod keys;
mod pace;

pub use blocks::{BlockRange, Leaf, plan_blocks};
pub use bounds::{ChunkBounds, DeltaPosition, DeltaRange};
pub use keys::{KeyRange, plan_keys};
pub use pace::Pace;

/// How large chunks are meant to be.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct ChunkSize {
    /// Rows that a chunk should hold; a target, since plans rest on estimates. 0 is taken as 1.
    pub rows_target: u64,
    /// The most chunks of one plan: beyond it chunks grow. Bounds the rows of `sync_chunk` and the leader's
    /// count of them.
    pub chunks_max: u32,
}

impl Default for ChunkSize {
    fn default() -> ChunkSize {
        ChunkSize { rows_target: 100_000, chunks_max: 100_000 }
    }
}
