//! The binary `milestream`: glue around [`milestream_worker::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    milestream_worker::cli::main()
}
