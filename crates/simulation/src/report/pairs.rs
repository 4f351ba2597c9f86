//! Features that met in one history, by two and two.

use maud::{Markup, html};

use super::page::shade;
use crate::coverage::Tally;
use crate::plan::features::Feature;

/// Pairs that are named in a terminal; the page has all.
const NAMED_MAX: usize = 12;

/// How many met, of those that may.
pub(super) fn met(tally: &Tally) -> String {
    let all = Feature::pairs().count();
    format!("{} of {all}", all - tally.not_met().len())
}

/// The pairs that did not meet, one a line; of many only how many.
pub(super) fn not_met(tally: &Tally) -> Vec<String> {
    let missing = tally.not_met();
    let more = missing.len().saturating_sub(NAMED_MAX);
    let mut lines: Vec<_> =
        missing.iter().take(NAMED_MAX).map(|(one, other)| format!("{one} and {other}")).collect();
    lines.extend((more > 0).then(|| format!("and {more} pairs more")));
    lines
}

/// What was varied, and what met what.
pub(super) fn table(tally: &Tally) -> Markup {
    let histories = |feature: Feature| tally.features.get(&feature).copied().unwrap_or_default();
    html! {
        section {
            h2 { "What was varied" }
            p {
                "A history takes few of these features at a time. A cell has the histories in which both met and every promise \
                 was kept: " (met(tally)) " pairs that may meet did. Rows and columns have the same features in the same order; \
                 point at a cell or a name to read what it means."
            }
            div class="wide" {
                table class="matrix" {
                    thead {
                        tr {
                            th { "feature" } th { "histories" }
                            @for (at, feature) in Feature::ALL.into_iter().enumerate() {
                                th scope="col" title={(feature) ": " (feature.meaning())} { (at + 1) }
                            }
                        }
                    }
                    tbody {
                        @for (at, feature) in Feature::ALL.into_iter().enumerate() {
                            tr {
                                th scope="row" title=(feature.meaning()) { (at + 1) " " (feature) }
                                td { (histories(feature)) }
                                @for other in Feature::ALL { (cell(tally, feature, other)) }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn cell(tally: &Tally, one: Feature, other: Feature) -> Markup {
    let pair = if one < other { (one, other) } else { (other, one) };
    let count = tally.pairs.get(&pair).copied().unwrap_or_default();
    let title = format!("{one} and {other}: {count}");
    html! {
        @if one == other || !one.may_meet(other) {
            td class="impossible" title={(one) " and " (other) " cannot meet"} {}
        } @else if count == 0 {
            td class="unvisited" title=(title) { "-" }
        } @else {
            td class=(shade(count)) title=(title) { (count) }
        }
    }
}
