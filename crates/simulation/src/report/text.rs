//! The end of a run, for a terminal of 120 columns.

use std::fmt::Write as _;

use comfy_table::{Cell as TableCell, CellAlignment, ContentArrangement, Table, presets};

use super::case::{self, Case};
use super::{Report, matrix, pairs};
use crate::fault::{FaultKind, Phase};

/// Lines of a violation that are shown; the page has all.
const LINES_MAX: usize = 20;

/// The run as text: failures last, where a terminal shows them.
pub fn text(report: &Report<'_>) -> String {
    let mut parts = vec![totals(report), matrix(report), legend().to_owned(), remarks(report)];
    parts.extend(failures(report));
    parts.push(report.verdict());
    parts.retain(|part| !part.is_empty());
    format!("\n{}\n", parts.join("\n\n"))
}

fn totals(report: &Report<'_>) -> String {
    let mut table = table();
    for (name, value) in report.totals() {
        table.add_row([TableCell::new(name), TableCell::new(value).set_alignment(CellAlignment::Right)]);
    }
    table.trim_fmt()
}

/// Faults by phases.
pub(super) fn matrix(report: &Report<'_>) -> String {
    let mut table = table();
    let phases = Phase::ALL.map(|phase| right(phase.name().replace('-', "\n")));
    table.set_header([TableCell::new("felt/injected")].into_iter().chain(phases));
    for kind in FaultKind::ALL {
        let cells = Phase::ALL.map(|phase| right(report.cell(kind, phase).text()));
        table.add_row([TableCell::new(kind)].into_iter().chain(cells));
    }
    table.trim_fmt()
}

fn legend() -> &'static str {
    "! missed    ? felt though called unreachable    · called unreachable    - never injected    blank: not possible here"
}

/// What was missed, what came as a surprise, and what never happened.
fn remarks(report: &Report<'_>) -> String {
    let missed = report.missed();
    let missed = match report.is_complete {
        true => matrix::by_fault(&missed),
        false if missed.is_empty() => Vec::new(),
        false => vec![format!("cells: {}; a run without its whole tour is not judged by them", missed.len())],
    };
    let never = report.campaign.tally.never().iter().map(|sometimes| sometimes.text().to_owned()).collect();
    [
        listed("not felt", missed),
        listed("felt though called unreachable", matrix::by_fault(&report.surprising())),
        listed("never happened", never),
        listed("features that did not meet", pairs::not_met(&report.campaign.tally)),
    ]
    .into_iter()
    .flatten()
    .collect::<Vec<_>>()
    .join("\n")
}

fn listed(title: &str, lines: Vec<String>) -> Option<String> {
    if lines.is_empty() {
        return None;
    }
    Some(format!("{title}\n  {}", lines.join("\n  ")))
}

fn failures(report: &Report<'_>) -> Vec<String> {
    let mut texts: Vec<String> =
        report.cases.iter().enumerate().map(|(at, case)| failure(report, at + 1, case)).collect();
    let others: Vec<String> = report
        .campaign
        .failed
        .iter()
        .skip(report.cases.len())
        .map(|failed| format!("{}: {}", failed.item.name, failed.violation.property))
        .collect();
    texts.extend(listed("and also", others));
    texts
}

/// One failure, from the promise to the command that shows it again.
pub(super) fn failure(report: &Report<'_>, number: usize, case: &Case<'_>) -> String {
    let failed = case.failed;
    let violation = &failed.violation;
    let mut text = format!("FAILURE {number}: {}, history {} of the run\n", failed.item.name, failed.number);
    let mut line = |name: &str, what: &str| {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "  {name:<10} {what}");
    };
    line("promise", &format!("{}: {}", violation.property, violation.property.promise()));
    line("exit code", &violation.property.exit_code().to_string());
    line("found", &beginning(&violation.what).replace('\n', "\n             "));
    line("plan", &case::size(&failed.item.plan));
    if let Some(smaller) = &case.smaller {
        line("smaller", &smaller.size());
    }
    line("replay", &format!("{} --verbose {}", report.replay, case.shortest().display()));
    if case.smaller.is_some() {
        line("as it was", &format!("{} --verbose {}", report.replay, case.plan.display()));
    }
    text.trim_end().to_owned()
}

/// The first lines.
fn beginning(what: &str) -> String {
    let lines: Vec<&str> = what.trim_end().lines().collect();
    match lines.len().checked_sub(LINES_MAX) {
        None | Some(0) => lines.join("\n"),
        Some(more) => {
            format!("{}\n… and {more} lines more, which the page has", lines[..LINES_MAX].join("\n"))
        }
    }
}

fn table() -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table
}

fn right(text: String) -> TableCell {
    TableCell::new(text).set_alignment(CellAlignment::Right)
}
