//! `plan` as text: a paragraph for each stream.

use super::forecast::{Next, NextSync, StreamPlan};
use crate::cli::failure::Failure;
use crate::cli::figures;
use crate::cli::sheet::Sheet;
use crate::ingest;
use crate::schema::{Difference, mends_once};
use crate::shapes::LACKING;

/// The plans as text.
pub(in crate::cli) fn text(plans: &[StreamPlan]) -> String {
    plans.iter().map(paragraph).collect::<Vec<_>>().join("\n\n")
}

fn paragraph(plan: &StreamPlan) -> String {
    let (headline, facts) = match &plan.next {
        Next::Sync(sync) => (headline(sync), facts(sync)),
        Next::Nothing { primary, why, notes } => {
            (format!("nothing to do, following {primary}: {why}"), notes.clone())
        }
        Next::Ingest { source, batch, runs_again } => {
            let again = if *runs_again { ", which was begun and not committed" } else { "" };
            (format!("ingest {source} as batch {batch}{again}"), Vec::new())
        }
        Next::Differences { primary, differences } => (
            format!("would halt: the tables and those of {primary} do not go together"),
            vec![table_of(differences)],
        ),
        Next::SourceDifferences { source, differences } => (
            format!("would halt: the tables and those of {source} do not go together"),
            vec![source_table_of(differences)],
        ),
        Next::Fail(Failure { error, advice, .. }) => {
            (format!("would fail: {error}"), vec![format!("what to do: {advice}")])
        }
    };
    let mut lines = vec![format!("{} {}: {headline}", plan.platform, plan.stream)];
    lines.extend(facts.iter().flat_map(|fact| fact.lines()).map(|line| format!("  {line}")));
    lines.extend(
        plan.halted.iter().map(|reason| format!("  it is halted, and the next run tries again: {reason}")),
    );
    lines.join("\n")
}

fn headline(sync: &NextSync) -> String {
    let verb = if sync.resumes { "go on with" } else { "make" };
    match sync.from {
        None if sync.datasets.is_empty() => {
            format!("{verb} a seed from {} as of batch {}", sync.primary, sync.to)
        }
        None => format!(
            "{verb} a seed of {} from {} as of batch {}, which the others hold",
            sync.datasets.join(", "),
            sync.primary,
            sync.to
        ),
        Some(from) => format!("{verb} an increment from {}, batch {from} to {}", sync.primary, sync.to),
    }
}

fn facts(sync: &NextSync) -> Vec<String> {
    let mut facts = vec![format!("local batch   {}", sync.local_batch)];
    let done =
        |done: u64| if sync.resumes { format!(", {} done", figures::count(done)) } else { String::new() };
    let cut = if sync.from.is_some() { " and more as rows arrive" } else { "" };
    facts.push(format!("chunks        {}{}{cut}", figures::count(sync.chunks), done(sync.chunks_done)));
    facts.push(format!(
        "rows          about {}{}",
        figures::count(sync.rows_estimated),
        done(sync.rows_done)
    ));
    if let Some(bytes) = sync.bytes_estimated {
        facts.push(format!("bytes         about {}", figures::bytes(bytes)));
    }
    if sync.batches_remaining > 0 {
        facts.push(format!(
            "then          {} more, {}",
            figures::count(sync.batches_remaining)
                + if sync.batches_remaining == 1 { " batch" } else { " batches" },
            figures::counted(sync.rows_remaining, "row")
        ));
    }
    facts.extend(sync.notes.iter().cloned());
    if !sync.lacking.is_empty() {
        facts.push(format!("{LACKING}: {}", sync.lacking.join(", ")));
    }
    facts.extend(sync.missing_indexes.iter().map(|statement| format!("missing index {statement}")));
    facts.extend(
        sync.hooks.iter().map(|hook| {
            format!("beware        {hook}: a write that it keeps away or changes halts the sync")
        }),
    );
    facts
}

/// The differences, then the statements that mend them.
fn table_of(differences: &[Difference]) -> String {
    let mut sheet = Sheet::new(["dataset", "column", "model", "primary", "secondary", "problem"]);
    for difference in differences {
        let Difference { dataset, column, model, primary, secondary, problem, mends: _ } = difference.clone();
        sheet.row([dataset, column, model, primary, secondary, problem]);
    }
    let mends = mends_once(differences).into_iter().flatten();
    [sheet.to_string()].into_iter().chain(mends).collect::<Vec<_>>().join("\n")
}

fn source_table_of(differences: &[ingest::Difference]) -> String {
    let mut sheet = Sheet::new(["dataset", "column", "model", "source", "merge table", "problem"]);
    for difference in differences {
        let ingest::Difference { dataset, column, model, source, merge, problem } = difference.clone();
        sheet.row([dataset, column, model, source, merge, problem]);
    }
    sheet.to_string()
}

#[cfg(test)]
mod tests {
    use milestream_core::milestone::{LocalBatch, PrimaryBatch};

    use super::*;
    use crate::schema::{Mend, Server};

    fn seed() -> NextSync {
        NextSync {
            primary: "Hub".into(),
            phase: "seed",
            from: None,
            to: PrimaryBatch(7),
            local_batch: LocalBatch(7),
            resumes: false,
            chunks: 42,
            chunks_done: 0,
            rows_estimated: 4_100_000,
            rows_done: 0,
            bytes_estimated: Some(684_000_000),
            batches_remaining: 0,
            rows_remaining: 0,
            missing_indexes: vec![
                "create index on \"public\".\"hub_flights_flights_merge\" (ds_surf_batch_out);".into(),
            ],
            hooks: Vec::new(),
            datasets: Vec::new(),
            notes: Vec::new(),
            lacking: Vec::new(),
        }
    }

    fn all_kinds() -> Vec<StreamPlan> {
        let plan = |platform: &str, next| StreamPlan {
            platform: platform.into(),
            stream: "Flights".into(),
            halted: None,
            next,
        };
        let increment = NextSync {
            phase: "increment",
            from: Some(PrimaryBatch(4)),
            chunks: 4,
            rows_estimated: 28_000,
            bytes_estimated: Some(4_700_000),
            batches_remaining: 1,
            rows_remaining: 27_500,
            missing_indexes: Vec::new(),
            hooks: vec!["trigger audit (after update, note()) on \"edge_flights_flights_merge\"".into()],
            lacking: Vec::new(),
            ..seed()
        };
        let resumed = NextSync {
            resumes: true,
            chunks_done: 12,
            rows_done: 1_200_000,
            bytes_estimated: None,
            ..seed()
        };
        let came = NextSync { datasets: vec!["airlines".into()], missing_indexes: Vec::new(), ..seed() };
        let difference = Difference {
            dataset: "flights".into(),
            column: "dep_delay".into(),
            model: "SmallInt".into(),
            primary: "integer".into(),
            secondary: "smallint".into(),
            problem: "the secondary's type does not take every value of the primary's".into(),
            mends: vec![Mend {
                server: Server::Secondary,
                statement:
                    "ALTER TABLE public.edge_flights_flights_merge ALTER COLUMN dep_delay TYPE integer;"
                        .into(),
            }],
        };
        let unreachable =
            Failure { error: "cannot reach it".into(), advice: "start it".into(), exit_code: 4 };
        vec![
            plan(
                "Hub",
                Next::Ingest { source: "source of Flights".into(), batch: LocalBatch(3), runs_again: true },
            ),
            plan("Archive", Next::Sync(Box::new(seed()))),
            plan("Archive", Next::Sync(Box::new(resumed))),
            plan("Edge", Next::Sync(Box::new(increment))),
            plan("Edge", Next::Sync(Box::new(came))),
            plan(
                "Edge",
                Next::Nothing {
                    primary: "Hub".into(),
                    why: "batch 7 is the newest".into(),
                    notes: vec!["dataset \"staff\" is new in the model".into()],
                },
            ),
            plan("Edge", Next::Differences { primary: "Hub".into(), differences: vec![difference] }),
            plan("Far", Next::Fail(unreachable)),
        ]
    }

    #[test]
    fn every_kind_of_plan_has_its_paragraph() {
        insta::assert_snapshot!(text(&all_kinds()));
    }

    #[test]
    fn what_would_halt_or_fail_shows_in_the_exit_code() {
        let codes: Vec<_> = all_kinds().iter().map(StreamPlan::exit_code).collect();
        assert_eq!(codes, [0, 0, 0, 0, 0, 0, 1, 4]);
    }

    #[test]
    fn json_holds_what_the_text_holds() {
        insta::assert_json_snapshot!(all_kinds());
    }
}
