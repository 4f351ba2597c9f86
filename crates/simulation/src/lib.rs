//! The simulation: from one seed a random history, run on real Postgres servers by the real worker under faults at exact
//! steps, and judged by a model in memory.

pub mod configuration;
pub mod fault;
pub mod forensic;
pub mod outcome;
pub mod plan;
pub mod process;
pub mod proxy;
pub mod run;
