//! The simulation: from one seed a random history, run on real Postgres servers by the real worker under faults at exact
//! steps, and judged by a model in memory.

pub mod configuration;
pub mod forensic;
pub mod process;
pub mod proxy;
