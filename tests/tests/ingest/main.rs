//! Ingestion as a primary, against real servers and judged by the oracle.

mod books;
mod following;
mod hashes;
mod leaving_in_peace;
mod mill;
mod recovering;
mod refusing;
mod tables;
