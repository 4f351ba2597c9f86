//! Reports of made-up runs.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use super::*;
use crate::campaign::{Failed, Item};
use crate::fault::{Fault, Phase};
use crate::outcome::{Event, Hits, Moment, Outcome, Property, Sometimes, Violation};
use crate::plan::tour;
use crate::shrink::Shrunk;

fn moment(at_ms: u64, what: Event) -> Moment {
    Moment { at_ms, what }
}

/// A seed that a cut connection interrupts, then an increment that fails and is mended by hand.
fn timeline() -> Vec<Moment> {
    let [hub, edge, store] = ["Hub", "Edge", "Store1"].map(str::to_owned);
    let batch = |batch: i32| Event::Batch { primary: hub.clone(), stream: store.clone(), batch };
    let planned = |from: Option<i32>, to: i32, resumed: bool| Event::Planned {
        secondary: edge.clone(),
        stream: store.clone(),
        from,
        to,
        resumed,
    };
    let watermark = |batch: i32| Event::Watermark { secondary: edge.clone(), stream: store.clone(), batch };
    let cut = Fault { bytes: 117, ..Fault::of(FaultKind::AnswerCut) };
    vec![
        moment(3, batch(1)),
        moment(12, planned(None, 1, false)),
        moment(31, Event::Fault { secondary: edge.clone(), fault: cut.to_string(), phase: Phase::MidChunk }),
        moment(
            33,
            Event::Felt { secondary: edge.clone(), what: "the connection was lost:\n<eof>".to_owned() },
        ),
        moment(47, planned(None, 1, true)),
        moment(60, watermark(1)),
        moment(64, batch(2)),
        moment(70, planned(Some(1), 2, false)),
        moment(
            75,
            Event::Failed {
                secondary: edge.clone(),
                stream: store.clone(),
                error: "the primary was reset".to_owned(),
            },
        ),
        moment(
            76,
            Event::Operator { secondary: edge.clone(), what: "the stream's row was deleted".to_owned() },
        ),
        moment(80, planned(None, 2, false)),
        moment(95, watermark(2)),
    ]
}

fn failed(lines: usize) -> Failed {
    let rows: String = (1..=lines).map(|id| format!("\n  missing     id={id}: name='a<b'")).collect();
    let what = format!(
        "Edge of \"Store1\" as of batch 2: people:\npeople: {lines} missing, 0 unexpected, 0 different{rows}"
    );
    let violation = Violation { property: Property::Exactness, what };
    let outcome = Outcome {
        violation: Some(violation.clone()),
        timeline: timeline(),
        took_ms: 97,
        ..Outcome::default()
    };
    let plan = tour::cell(FaultKind::AnswerCut, Phase::MidChunk);
    Failed { item: Item { name: "seed 17".to_owned(), plan }, number: 212, outcome, violation }
}

fn campaign(failed: Vec<Failed>) -> Campaign {
    let mut campaign = Campaign { failed, took: Duration::from_secs(20), ..Campaign::default() };
    let tally = &mut campaign.tally;
    for (number, cell) in (0_u64..).zip(tour::cells()) {
        let fired = number % 17 + 1;
        tally.matrix.insert(cell, Hits { fired, felt: (fired * 2 / 3).max(1) });
    }
    tally.matrix.insert((FaultKind::Latency, Phase::Plan), Hits { fired: 4, felt: 0 });
    tally.matrix.insert((FaultKind::WorkerAborted, Phase::Plan), Hits { fired: 2, felt: 0 });
    tally.matrix.insert((FaultKind::HalfOpen, Phase::Sweep), Hits { fired: 12_345, felt: 999 });
    tally.matrix.remove(&(FaultKind::HalfOpen, Phase::Merge));
    tally.sometimes.insert(Sometimes::ResumedASeed, 12);
    tally.failures = campaign.failed.len() as u64;
    (tally.histories, tally.syncs, tally.comparisons, tally.samples) = (475, 2210, 4101, 9120);
    tally.plain_ms = vec![180, 210, 260];
    campaign
}

fn unreachable() -> Unreachable {
    let path = tempfile::NamedTempFile::new().unwrap();
    let cells = "[[cells]]\nfault = \"worker-aborted\"\nphases = [\"plan\"]\nreason = \"<nothing>\"\n\
                 [[cells]]\nfault = \"deadlock\"\nphases = [\"idle\"]\nreason = \"nothing is locked\"\n";
    std::fs::write(path.path(), cells).unwrap();
    Unreachable::read(path.path()).unwrap()
}

/// A look at the report of a run in which disks could not be filled; of its failures the first is shown.
fn with_report<T>(mut campaign: Campaign, is_complete: bool, look: impl FnOnce(&Report<'_>) -> T) -> T {
    let unreachable = unreachable();
    let without = BTreeSet::from([FaultKind::DiskFull]);
    campaign.tally.matrix.retain(|(kind, _), _| !without.contains(kind));
    let report = Report {
        command: "simulate run --seed 17".to_owned(),
        replay: "simulate replay".to_owned(),
        seed: 17,
        servers: "PostgreSQL 17, local".to_owned(),
        campaign: &campaign,
        cases: campaign.failed.first().map(case).into_iter().collect(),
        unreachable: &unreachable,
        without: &without,
        is_complete,
    };
    look(&report)
}

fn case(failed: &Failed) -> Case<'_> {
    let plan = tour::cell(FaultKind::Latency, Phase::Plan);
    let smaller = Smaller {
        shrunk: Shrunk { plan, outcome: Some(failed.outcome.clone()), tried: 41 },
        path: PathBuf::from("fixtures/regressions/exactness-seed-17.json"),
    };
    Case {
        failed,
        plan: PathBuf::from("target/simulation/plans/exactness-seed-17.json"),
        smaller: Some(smaller),
    }
}

#[test]
fn the_matrix_fits_a_terminal_and_marks_what_is_wrong() {
    let matrix = with_report(campaign(vec![]), true, text::matrix);
    assert!(matrix.lines().all(|line| line.chars().count() <= 120));
    insta::assert_snapshot!("matrix", matrix);
}

#[test]
fn a_failure_says_what_was_found_and_how_to_see_it_again() {
    let text =
        with_report(campaign(vec![failed(25)]), true, |report| text::failure(report, 1, &report.cases[0]));
    insta::assert_snapshot!("failure", text);
}

#[test]
fn a_whole_run_as_text() {
    let text = with_report(campaign(vec![failed(1), failed(1)]), false, text);
    insta::assert_snapshot!("run", text);
}

#[test]
fn a_story_has_one_line_a_moment_and_an_end() {
    let outcome = failed(1).outcome;
    let story = story(&outcome);
    insta::assert_snapshot!("story", story);
    let passed = Outcome { violation: None, ..outcome };
    assert_eq!(super::story(&passed).lines().count(), passed.timeline.len() + 1);
}

#[test]
fn the_page_escapes_what_it_shows_and_needs_nothing_but_itself() {
    let page = with_report(campaign(vec![failed(3)]), true, |report| page::page(report).into_string());
    assert!(page.contains("a&lt;b") && !page.contains("a<b"));
    assert!(page.contains("called unreachable: &lt;nothing&gt;"));
    assert!(page.contains("fixtures/regressions/exactness-seed-17.json"));
    for foreign in ["<script", "<link", "src=", "url("] {
        assert!(!page.contains(foreign), "{foreign}");
    }
}

#[test]
fn a_run_that_passed_has_no_failures_on_its_page() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("simulation/report.html");
    with_report(campaign(vec![]), false, |report| write(report, &path)).unwrap();
    let page = std::fs::read_to_string(&path).unwrap();
    assert!(!page.contains("<h2>Failures</h2>") && page.contains("<h2>Coverage</h2>"));
}

mod of_timelines {
    use super::super::timeline::timeline as draw;
    use super::*;

    fn count(svg: &str, class: &str) -> usize {
        svg.matches(&format!("class=\"{class}\"")).count()
    }

    #[test]
    fn every_moment_has_its_mark_and_its_words() {
        let moments = timeline();
        let svg = draw(&moments).into_string();
        let marks = ["batch", "planned", "watermark", "fault", "felt", "failed", "operator"];
        assert_eq!(marks.map(|class| count(&svg, class)), [2, 4, 2, 1, 1, 1, 1]);
        assert_eq!(svg.matches("<title>").count(), moments.len());
        assert!(svg.contains("31 ms: Edge: fault: answer-cut after 117 bytes, at mid-chunk"));
        assert!(svg.contains("&lt;eof&gt;"));
    }

    #[test]
    fn a_history_in_which_nothing_happened_is_still_a_picture() {
        let svg = draw(&[]).into_string();
        assert!(svg.starts_with("<svg") && svg.ends_with("</svg>"));
        assert!(!svg.contains("NaN") && !svg.contains("inf"));
    }

    #[test]
    fn every_element_is_closed() {
        let svg = draw(&timeline()).into_string();
        let opened = svg.matches('<').count() - svg.matches("</").count();
        assert_eq!(opened, svg.matches("</").count());
    }

    #[test]
    fn a_long_name_keeps_its_ends_and_is_there_as_a_whole() {
        let long = "a_store_with_a_name_of_quite_some_length#people";
        let what = Event::Batch { primary: long.to_owned(), stream: "s".to_owned(), batch: 1 };
        let svg = draw(&[moment(1, what)]).into_string();
        assert!(svg.contains("a_store_wit…ngth#people") && svg.contains(&format!("<title>{long}</title>")));
    }

    #[test]
    fn streams_and_platforms_have_lanes_of_their_own() {
        let mark = |secondary: &str, stream: &str| {
            let (secondary, stream) = (secondary.to_owned(), stream.to_owned());
            moment(5, Event::Watermark { secondary, stream, batch: 1 })
        };
        let svg =
            draw(&[mark("Edge", "a"), mark("Edge", "b"), mark("Far", "a"), mark("Edge", "a")]).into_string();
        assert_eq!((count(&svg, "step"), count(&svg, "back")), (3, 2));
    }
}
