//! What the integration tests share: a world of one server with a primary and secondaries, driven by the oracle.

mod batches;
mod configuration;
mod observers;
mod people;
mod process;
mod table;
mod world;

pub use configuration::Configuration;
pub use observers::{At, Script, Tape};
pub use people::{Dice, deletes, inserts, person, updates};
pub use process::{Ended, Process};
pub use table::{Table, ident};
pub use world::{PRIMARY, STORE, Setting, World, control, texts};
