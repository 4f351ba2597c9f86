//! The primary's forensic tables, written by SQL as DataSurface writes them: shared by the simulation and the
//! integration tests.

mod batches;
mod hashes;
mod table;

pub use batches::{Changes, Control, Live, carry_out, table_sql};
pub use hashes::{hash, strict_hash};
pub use table::{Partitions, Table, ident};
