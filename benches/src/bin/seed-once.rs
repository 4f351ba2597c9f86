//! Seeds once in a process of its own, and prints the process's peak memory in KiB.

use std::process::ExitCode;
use std::sync::Arc;

use milestream_benches::job_of_ports;
use milestream_worker::observer::Unobserved;
use milestream_worker::sync::{self, Tuning, Until};

#[tokio::main]
async fn main() -> ExitCode {
    let ports: Vec<u16> = std::env::args().skip(1).filter_map(|port| port.parse().ok()).collect();
    let [primary, secondary] = ports[..] else {
        eprintln!("usage: seed-once PRIMARY_PORT SECONDARY_PORT");
        return ExitCode::from(2);
    };
    let job = Arc::new(job_of_ports(primary, secondary, Tuning::default()));
    let seeded =
        sync::run(job, Until::OneSync, Arc::new(Unobserved), tokio_util::sync::CancellationToken::new());
    if let Err(error) = seeded.await {
        eprintln!("{error}");
        return ExitCode::FAILURE;
    }
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    println!("{}", peak.unwrap_or("0").trim().trim_end_matches(" kB"));
    ExitCode::SUCCESS
}
