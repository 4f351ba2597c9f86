//! What the benchmarks share: DataSurface's people table as a forensic merge table, and the ways to copy it.

pub mod compare;
mod hand;
mod people;

pub use hand::hand_pipe;
pub use people::{Bench, PRIMARY, SECONDARY, execute, job_of_ports};
