//! The run as a page that needs nothing but itself.

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::case::{self, Case};
use super::matrix::{self, Cell};
use super::{Report, pairs, story, timeline};
use crate::fault::{FaultKind, Phase};
use crate::outcome::{Outcome, Sometimes};
use crate::plan::Plan;

const STYLE: &str = include_str!("page.css");

/// The whole page.
pub(super) fn page(report: &Report<'_>) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { "Milestream simulation, seed " (report.seed) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                main {
                    (head(report))
                    (totals(report))
                    (failures(report))
                    (coverage(report))
                    (pairs::table(&report.campaign.tally))
                    (sometimes(report))
                    (example(report))
                }
            }
        }
    }
}

fn head(report: &Report<'_>) -> Markup {
    let is_good = report.campaign.tally.failures == 0 && report.is_covered();
    html! {
        header {
            h1 { "Milestream simulation" }
            p class={"verdict " (if is_good { "good" } else { "bad" })} { (report.verdict()) }
            dl class="options" {
                dt { "Command" } dd { code { (report.command) } }
                dt { "Seed" } dd { (report.seed) }
                dt { "Servers" } dd { (report.servers) }
            }
        }
    }
}

fn totals(report: &Report<'_>) -> Markup {
    html! {
        section class="totals" aria-label="Totals" {
            @for (name, value) in report.totals() {
                div { b { (value) } span { (name) } }
            }
        }
    }
}

fn failures(report: &Report<'_>) -> Markup {
    let others = report.campaign.failed.iter().skip(report.cases.len());
    html! {
        @if !report.campaign.failed.is_empty() {
            section {
                h2 { "Failures" }
                @for case in &report.cases { (failure(report, case)) }
                @if others.len() > 0 {
                    details {
                        summary { "And " (others.len()) " more" }
                        ul { @for failed in others { li { (failed.item.name) ": " (failed.violation.property) } } }
                    }
                }
            }
        }
    }
}

fn failure(report: &Report<'_>, case: &Case<'_>) -> Markup {
    let failed = case.failed;
    let property = failed.violation.property;
    html! {
        article class="failure" {
            h3 { (failed.item.name) }
            p { "Broken promise: " b { (property) } ", which is that " (property.promise()) "." }
            pre class="found" { (failed.violation.what.trim_end()) }
            p { "To see it again:" }
            pre class="command" { (report.replay) " --verbose " (case.shortest().display()) }
            @if let Some(smaller) = &case.smaller {
                h4 { "Made smaller" }
                p { (smaller.size()) }
                @if let Some(outcome) = &smaller.shrunk.outcome {
                    @if let Some(violation) = &outcome.violation {
                        pre class="found" { (violation.what.trim_end()) }
                    }
                    (history(&smaller.shrunk.plan, outcome))
                }
            }
            h4 { "As it was played" }
            p { (case::size(&failed.item.plan)) ", history " (failed.number) " of the run, plan " code { (case.plan.display()) } }
            (history(&failed.item.plan, &failed.outcome))
        }
    }
}

/// What happened in a history: the picture, the words, the plan.
fn history(plan: &Plan, outcome: &Outcome) -> Markup {
    html! {
        figure {
            (timeline::timeline(&outcome.timeline))
            (timeline::legend())
            @if outcome.violation.is_some() {
                figcaption { "The picture ends where the promise was found broken. Point at a mark to read what it is." }
            } @else {
                figcaption { "Point at a mark to read what it is." }
            }
        }
        details { summary { "In words" } pre { (story(outcome)) } }
        details { summary { "The plan" } pre { (plan.to_json()) } }
    }
}

fn coverage(report: &Report<'_>) -> Markup {
    let tally = &report.campaign.tally;
    html! {
        section {
            h2 { "Coverage" }
            p {
                "How often each fault was felt in each phase of a sync, of the times that it was injected: "
                (tally.felt()) " of " (tally.fired()) " in all. Point at a cell or a name to read what it means."
            }
            div class="wide" {
                table class="matrix" {
                    thead { tr { th { "fault" } @for phase in Phase::ALL { (column(phase)) } } }
                    tbody { @for kind in FaultKind::ALL { (row(report, kind)) } }
                }
            }
            (key())
            (cells("Missed", report.missed(), report.is_complete))
            (cells("Felt though called unreachable", report.surprising(), true))
        }
    }
}

fn column(phase: Phase) -> Markup {
    html! { th scope="col" title=(phase.meaning()) { (phase.name().replace('-', " ")) } }
}

fn row(report: &Report<'_>, kind: FaultKind) -> Markup {
    html! {
        tr {
            th scope="row" title=(kind.meaning()) { (kind) }
            @for phase in Phase::ALL {
                @let cell = report.cell(kind, phase);
                td class=(class(cell)) title={(kind) " at " (phase) ": " (cell.meaning())} { (cell.text()) }
            }
        }
    }
}

/// How a cell looks; the more often a fault was felt, the deeper its colour.
fn class(cell: Cell<'_>) -> &'static str {
    match cell {
        Cell::Impossible => "impossible",
        Cell::Unreachable(..) => "unreachable",
        Cell::Surprising(..) | Cell::Missed(_) => "wrong",
        Cell::Unvisited(_) => "unvisited",
        Cell::Felt(hits) => shade(hits.felt),
    }
}

/// How deep a colour is.
pub(super) fn shade(count: u64) -> &'static str {
    match count {
        0..=1 => "felt-1",
        2..=4 => "felt-2",
        5..=14 => "felt-3",
        15..=49 => "felt-4",
        50.. => "felt-5",
    }
}

fn key() -> Markup {
    let shades =
        [("felt-1", "once"), ("felt-2", "2"), ("felt-3", "5"), ("felt-4", "15"), ("felt-5", "50 and more")];
    html! {
        ul class="legend" {
            li { "felt" }
            @for (class, text) in shades { li { i class=(class) {} (text) } }
            li { i class="wrong" {} "missed, or felt though called unreachable" }
            li { i class="unreachable" { "·" } "called unreachable" }
            li { i class="impossible" {} "not possible on this machine" }
        }
    }
}

fn cells(title: &str, cells: Vec<(FaultKind, Phase)>, is_wrong: bool) -> Markup {
    html! {
        @if !cells.is_empty() && is_wrong {
            h3 { (title) }
            ul { @for line in matrix::by_fault(&cells) { li { (line) } } }
        } @else if !cells.is_empty() {
            p class="quiet" { "This run did not go to every cell: " (cells.len()) " were not felt." }
        }
    }
}

fn sometimes(report: &Report<'_>) -> Markup {
    let count =
        |sometimes: Sometimes| report.campaign.tally.sometimes.get(&sometimes).copied().unwrap_or_default();
    html! {
        section {
            h2 { "What must happen now and then" }
            p { "Histories in which it did. What never happens is not tested." }
            table class="sometimes" {
                @for sometimes in Sometimes::ALL {
                    tr class=[(count(sometimes) == 0).then_some("never")] {
                        th scope="row" { (sometimes.text()) }
                        td { @if count(sometimes) == 0 { "never" } @else { (count(sometimes)) } }
                    }
                }
            }
        }
    }
}

fn example(report: &Report<'_>) -> Markup {
    html! {
        @if let Some((item, outcome)) = &report.campaign.example {
            section {
                h2 { "A history that passed" }
                p { (item.name) ": " (case::size(&item.plan)) }
                (history(&item.plan, outcome))
            }
        }
    }
}
