//! `status` as a table, and below it what does not fit one.

use crate::shapes::LACKING;

use super::standing::{InFlight, Lag, Lease, Phase, Primary, Secondary, Standing, StreamStatus};
use crate::cli::failure::Failure;
use crate::cli::figures;
use crate::cli::sheet::Sheet;

/// The streams as text.
pub(in crate::cli) fn text(streams: &[StreamStatus]) -> String {
    let mut sheet =
        Sheet::new(["platform", "stream", "role", "phase", "primary", "batch", "lag", "rows/s", "last"]);
    let mut notes = Vec::new();
    for stream in streams {
        let row = match &stream.standing {
            Standing::Secondary(secondary) => secondary_row(secondary),
            Standing::Primary(primary) => primary_row(primary),
            Standing::Unknown(failure) => ["?", unknown(failure), "-", "-", "-", "-", "-"].map(str::to_owned),
        };
        sheet.row([stream.platform.clone(), stream.stream.clone()].into_iter().chain(row));
        notes.extend(
            stream_notes(&stream.standing)
                .into_iter()
                .map(|note| format!("{} {}: {note}", stream.platform, stream.stream)),
        );
    }
    let mut text = sheet.to_string();
    for note in notes {
        text.push('\n');
        text += &note;
    }
    text
}

fn secondary_row(secondary: &Secondary) -> [String; 7] {
    let in_flight = secondary.in_flight.as_ref().and_then(|in_flight| in_flight.rows_per_second);
    let rate = in_flight.or(secondary.last_sync.as_ref().and_then(|last| last.rows_per_second));
    let lag = match &secondary.lag {
        Lag::Behind { batches: 0, .. } => "none".to_owned(),
        Lag::Behind { batches, seconds } => {
            let batches = u64::try_from(*batches).unwrap_or(u64::MAX);
            let batches =
                format!("{} batch{}", figures::count(batches), if batches == 1 { "" } else { "es" });
            format!("{batches}, {}", seconds.map_or("?".to_owned(), figures::seconds))
        }
        Lag::Below { .. } => "primary is behind".to_owned(),
        Lag::Unknown(failure) => unknown(failure).to_owned(),
    };
    [
        "secondary".to_owned(),
        phase(secondary.phase).to_owned(),
        secondary.primary.clone().unwrap_or("-".to_owned()),
        secondary.watermark.or(secondary.readers_batch).map_or("-".to_owned(), |batch| batch.to_string()),
        lag,
        rate.map_or("-".to_owned(), |rate| figures::count(figures::rounded(rate))),
        secondary.last_sync.as_ref().map_or("never".to_owned(), |last| ago(last.age_seconds)),
    ]
}

fn primary_row(primary: &Primary) -> [String; 7] {
    let last = primary.last_batch.as_ref();
    let phase = match (&primary.halted, &primary.waiting) {
        (Some(_), _) => "halted",
        (None, Some(_)) => "waiting",
        (None, None) => last.map_or("new", |last| last.status.as_str()),
    };
    [
        "primary".to_owned(),
        phase.to_owned(),
        "-".to_owned(),
        last.map_or("-".to_owned(), |last| last.batch.to_string()),
        "-".to_owned(),
        "-".to_owned(),
        last.map_or("never".to_owned(), |last| last.age_seconds.map_or("?".to_owned(), ago)),
    ]
}

/// A cell for what could not be asked; the note below says why.
fn unknown(failure: &Failure) -> &'static str {
    if failure.is_unreachable() { "unreachable" } else { "unknown" }
}

fn phase(phase: Phase) -> &'static str {
    match phase {
        Phase::New => "new",
        Phase::Seed => "seed",
        Phase::Increment => "increment",
        Phase::Idle => "idle",
        Phase::Halted => "halted",
        Phase::Waiting => "waiting",
    }
}

fn ago(seconds: f64) -> String {
    format!("{} ago", figures::seconds(seconds))
}

fn stream_notes(standing: &Standing) -> Vec<String> {
    match standing {
        Standing::Secondary(secondary) => {
            let primary = match &secondary.lag {
                Lag::Unknown(failure) => failure_notes(failure),
                Lag::Below { standby_before } => {
                    vec![format!("the primary is a standby that has not replayed batch {standby_before} yet")]
                }
                Lag::Behind { .. } => Vec::new(),
            };
            let in_flight = secondary.in_flight.as_ref().map(in_flight_note);
            let lease = match (&secondary.lease, &in_flight) {
                (Some(lease), _) => Some(lease_note(lease)),
                (None, Some(_)) => Some("nobody is at work; the next sync goes on with it".to_owned()),
                (None, None) => None,
            };
            let reseeding = secondary.readers_batch.map(|batch| {
                format!("is seeded again: readers still see batch {batch}, until the seed is committed")
            });
            let stands = standstill(secondary.halted.as_ref(), secondary.waiting.as_ref());
            let lacking = (!secondary.lacking.is_empty())
                .then(|| format!("{LACKING}: {}", secondary.lacking.join(", ")));
            let notes = [reseeding, in_flight, lease, stands, lacking].into_iter().flatten();
            notes.chain(dataset_notes(secondary)).chain(primary).collect()
        }
        Standing::Primary(primary) => {
            let stands = standstill(primary.halted.as_ref(), primary.waiting.as_ref());
            [primary.lease.as_ref().map(lease_note), stands].into_iter().flatten().collect()
        }
        Standing::Unknown(failure) => failure_notes(failure),
    }
}

fn failure_notes(failure: &Failure) -> Vec<String> {
    vec![failure.error.clone(), format!("what to do: {}", failure.advice)]
}

/// Why a stream stands: until a person acts, or until the next sync.
fn standstill(halted: Option<&String>, waiting: Option<&String>) -> Option<String> {
    match (halted, waiting) {
        (Some(reason), _) => Some(format!("halted: {reason}")),
        (None, Some(reason)) => Some(format!("the next sync goes on by itself; the last one {reason}")),
        (None, None) => None,
    }
}

fn dataset_notes(secondary: &Secondary) -> Vec<String> {
    let left = secondary.datasets_left.iter().map(|(dataset, batch)| {
        format!("dataset {dataset} is not in the model any more: its table stays as of batch {batch}")
    });
    let new = secondary.datasets_new.iter();
    let new = new.map(|dataset| format!("dataset {dataset} is new in the model: the next sync seeds it"));
    left.chain(new).collect()
}

fn in_flight_note(in_flight: &InFlight) -> String {
    let what = match in_flight.from {
        None => format!("seed as of batch {}", in_flight.to),
        Some(from) => format!("increment from batch {from} to {}", in_flight.to),
    };
    let mut note = format!(
        "{what}: {} of {} chunks, {} of about {} rows, {}",
        figures::count(in_flight.chunks_done),
        figures::count(in_flight.chunks),
        figures::count(in_flight.rows_done),
        figures::count(in_flight.rows_estimated),
        figures::bytes(in_flight.bytes_done),
    );
    if let Some(eta) = in_flight.eta_seconds {
        note += &format!(", {} left", figures::seconds(eta));
    }
    if in_flight.retries > 0 {
        note += &match in_flight.retries {
            1 => ", resumed once".to_owned(),
            times => format!(", resumed {times} times"),
        };
    }
    note
}

fn lease_note(lease: &Lease) -> String {
    format!("held by {} until {}", lease.owner, lease.until)
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use milestream_core::milestone::{LocalBatch, PrimaryBatch};

    use super::super::standing::{LastBatch, LastSync};
    use super::*;

    fn secondary() -> Secondary {
        Secondary {
            phase: Phase::Idle,
            primary: Some("Hub".into()),
            watermark: Some(PrimaryBatch(12)),
            readers_batch: None,
            datasets_left: BTreeMap::new(),
            datasets_new: BTreeSet::new(),
            lag: Lag::Behind { batches: 0, seconds: Some(0.0) },
            in_flight: None,
            last_sync: Some(LastSync {
                kind: "increment".into(),
                committed_at: "2026-11-23 20:15:00+00".into(),
                age_seconds: 75.0,
                rows_staged: 28_000,
                rows_inserted: 27_000,
                rows_updated: 900,
                rows_deleted: 100,
                milliseconds: 350,
                rows_per_second: Some(80_000.0),
            }),
            lease: None,
            halted: None,
            waiting: None,
            lacking: Vec::new(),
        }
    }

    fn unreachable(endpoint: &str) -> Failure {
        Failure {
            error: format!("cannot reach {endpoint}, tried for 10000 ms"),
            advice: "check that the server runs".into(),
            exit_code: 4,
        }
    }

    fn all_kinds() -> Vec<StreamStatus> {
        let status = |platform: &str, stream: &str, standing| StreamStatus {
            platform: platform.into(),
            stream: stream.into(),
            standing,
        };
        let seeding = Secondary {
            phase: Phase::Seed,
            watermark: None,
            lag: Lag::Behind { batches: 7, seconds: Some(4000.0) },
            in_flight: Some(InFlight {
                from: None,
                to: PrimaryBatch(7),
                chunks: 40,
                chunks_done: 12,
                rows_done: 1_200_000,
                rows_estimated: 4_100_000,
                bytes_done: 171_000_000,
                rows_per_second: Some(412_345.6),
                eta_seconds: Some(8.2),
                retries: 2,
            }),
            last_sync: None,
            lease: Some(Lease {
                owner: "worker-1:411:0a1b2c3d".into(),
                until: "2026-11-23 20:16:30+00".into(),
            }),
            ..secondary()
        };
        let halted = Secondary {
            phase: Phase::Halted,
            lag: Lag::Unknown(unreachable("primary Hub (hub:5432/hub_merge)")),
            halted: Some("hub was reset or restored since batch 12. What to do: find out why".into()),
            ..secondary()
        };
        let reseeding = Secondary {
            phase: Phase::New,
            watermark: None,
            readers_batch: Some(PrimaryBatch(9)),
            datasets_left: BTreeMap::from([("airlines".into(), PrimaryBatch(4))]),
            datasets_new: BTreeSet::from(["planes".into()]),
            lag: Lag::Behind { batches: 12, seconds: Some(40.0) },
            ..secondary()
        };
        let primary = Primary {
            last_batch: Some(LastBatch {
                batch: LocalBatch(12),
                status: "committed".into(),
                age_seconds: Some(30.0),
                rows_inserted: Some(27_000),
                rows_updated: Some(900),
                rows_deleted: Some(100),
            }),
            lease: None,
            halted: None,
            waiting: None,
        };
        let unaged = Secondary {
            phase: Phase::Waiting,
            lag: Lag::Behind { batches: 1, seconds: None },
            waiting: Some("gave up after 10 tries in 300 s".into()),
            ..secondary()
        };
        let below = Secondary { lag: Lag::Below { standby_before: PrimaryBatch(12) }, ..secondary() };
        let unknown = Standing::Unknown(unreachable("secondary Far (far:5432/far_merge)"));
        vec![
            status("Hub", "Flights", Standing::Primary(Box::new(primary))),
            status("Edge", "Flights", Standing::Secondary(Box::new(secondary()))),
            status("Archive", "Flights", Standing::Secondary(Box::new(seeding))),
            status("Archive", "Trains#stations", Standing::Secondary(Box::new(halted))),
            status("Again", "Flights", Standing::Secondary(Box::new(reseeding))),
            status("Edge", "Trains#trains", Standing::Secondary(Box::new(unaged))),
            status("Edge", "Trains#stations", Standing::Secondary(Box::new(below))),
            status("Far", "Flights", unknown),
        ]
    }

    #[test]
    fn every_kind_of_standing_has_a_row_and_its_notes() {
        insta::assert_snapshot!(text(&all_kinds()));
    }

    #[test]
    fn json_holds_what_the_text_holds() {
        insta::assert_json_snapshot!(all_kinds());
    }

    #[test]
    fn a_person_or_a_server_that_is_away_shows_in_the_exit_code() {
        let codes: Vec<_> = all_kinds().iter().map(StreamStatus::exit_code).collect();
        assert_eq!(codes, [0, 0, 0, 1, 0, 0, 0, 4]);
    }
}
