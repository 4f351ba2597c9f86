//! The binary `simulate`.

use std::process::ExitCode;

fn main() -> ExitCode {
    milestream_simulation::cli::main()
}
