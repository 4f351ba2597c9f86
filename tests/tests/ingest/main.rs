//! Ingestion as a primary, against real servers and judged by the oracle.

mod following;
mod hashes;
mod mill;
mod recovering;
mod refusing;
mod tables;
