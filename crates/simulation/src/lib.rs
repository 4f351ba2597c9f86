//! The simulation: from one seed a random history, run on real Postgres servers by the real worker under faults at exact
//! steps, and judged by a model in memory.
//!
//! A [`plan::Plan`] says everything that will happen; [`run::play`] plays it on the servers of a [`run::Hall`]; what
//! came of it is an [`outcome::Outcome`]. `docs/SIMULATION.md` says what is promised and how to read a failure.

pub mod campaign;
pub mod cli;
pub mod configuration;
pub mod coverage;
pub mod fault;
pub mod forensic;
pub mod outcome;
pub mod plan;
pub mod planted;
pub mod process;
pub mod proxy;
pub mod report;
pub mod run;
mod scenes;
pub mod shrink;
