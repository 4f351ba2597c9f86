//! Models as people write them: read, kept, linted and resolved.

#![expect(clippy::unwrap_used, reason = "a helper that cannot set a test up has failed it")]

mod demo;
mod generated;
mod linting;
mod page;
mod reading;
mod routing;
mod samples;
mod shop;
mod streams;
