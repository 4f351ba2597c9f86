//! What the integration tests share: a world of one server with a primary and secondaries, driven by the oracle.

mod configuration;
mod observers;
mod people;
mod system;
mod world;

pub use configuration::Configuration;
pub use milestream_simulation::forensic::{Table, ident};
pub use milestream_simulation::process::{Ended, Process};
pub use observers::{At, Script, Tape};
pub use people::{Dice, deletes, inserts, person, updates};
pub use system::{DATABASES, System};
pub use world::{PRIMARY, STORE, Setting, World, control, execute, texts};
