//! The comparison: Milestream against other ways to copy a table, in pairs within one run, and against its marks.
//!
//! Absolute times mean nothing on a shared machine; what counts are ratios of what was done next to each other. Each
//! part is an *act* that can be run alone; `docs/PERFORMANCE.md` says how to read what they print.

mod acts;
mod arguments;
mod children;
mod copy;
mod ground;
mod history;
mod link;
mod marks;
mod picture;
mod report;
mod rivals;
mod sample;
mod stage;
mod worker;

pub use arguments::{Act, Arguments, Storage};

use report::Report;
use stage::Stage;

/// Runs every act that is asked for, prints as it goes, and writes tables and pictures.
///
/// # Panics
/// When there is no Postgres or no worker to compare, when an act failed, or when the files cannot be written.
pub async fn run(arguments: Arguments) {
    let mut report = Report::default();
    let stage = Stage::set(arguments, &mut report).await;
    let failed = acts::play(&stage, &mut report).await;
    report.finish();
    let file = &stage.arguments.markdown;
    if let Some(directory) = file.parent() {
        std::fs::create_dir_all(directory).expect("a directory for the tables");
    }
    std::fs::write(file, report.markdown()).expect("the file of the tables");
    println!("written: {}", file.display());
    assert!(failed.is_empty(), "these acts failed: {}", failed.join(", "));
}
