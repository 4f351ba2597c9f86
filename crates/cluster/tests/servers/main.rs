//! Tests of disposable servers, against real ones.

#![allow(clippy::unwrap_used, reason = "helpers of tests may panic as tests may")]

mod containers;
mod databases;
mod life;
mod processes;
mod standby;
mod support;
