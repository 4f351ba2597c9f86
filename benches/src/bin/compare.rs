//! Compares Milestream with other ways to copy a table; see `docs/PERFORMANCE.md`.

use clap::Parser;
use milestream_benches::compare::{self, Arguments};

#[tokio::main]
async fn main() {
    compare::run(Arguments::parse()).await;
}
