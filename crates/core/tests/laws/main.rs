//! The laws of the milestone algebra over random histories, and the seed by blocks over a heap that moves.

mod deltas;
mod heap;
mod history;
mod seed;
