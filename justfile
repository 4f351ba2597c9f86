# List the recipes.
default:
    @just --list

# Start the demo: a source, a primary and two secondaries on throwaway servers.
demo *ARGS:
    cargo run --release -- demo {{ARGS}}

# Run all tests.
test:
    cargo test --workspace

# Run all tests with nextest, each in a process of its own.
nextest *ARGS:
    cargo nextest run --workspace {{ARGS}}

# Random histories on real servers under faults; the report is target/simulation/report.html.
simulate *ARGS:
    cargo run --release -p milestream-simulation -- run {{ARGS}}

# Apply each planted bug to a copy of the tree and see the simulation catch it.
planted *ARGS:
    cargo run --release -p milestream-simulation -- planted {{ARGS}}

# Criterion's baselines: planning and the copy path, a seed against a hand-written COPY pipe, the worker's memory.
bench *ARGS:
    cargo bench -p milestream-benches {{ARGS}}

# Milestream against other ways to copy a table, and against its marks: 1 M rows; `--full` has 5 M and 10 M.
bench-compare *ARGS:
    cargo build --release -p milestream-worker -p milestream-benches --bin milestream --bin compare
    "${CARGO_TARGET_DIR:-target}/release/compare" {{ARGS}}

# Formatting, clippy, docs and, where it is installed, cargo-deny.
lint:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets -- -D warnings
    cargo clippy -p milestream-worker --no-default-features -- -D warnings
    cargo check -p milestream-worker --features download
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --document-private-items
    command -v cargo-deny >/dev/null && cargo deny check bans licenses sources || echo "cargo-deny is not installed: licences and bans were not checked"

# Format the code.
fmt:
    cargo fmt --all

# Build a Postgres image for the container backend from this machine's own server, without any registry.
image:
    .ci/image

# What CI runs, from a clean checkout.
ci:
    .ci/run
