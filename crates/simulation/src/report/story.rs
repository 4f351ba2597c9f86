//! A history in words, one line a moment.

use crate::outcome::{Event, Outcome};

/// What happened in a history, in order, and how it ended.
pub fn story(outcome: &Outcome) -> String {
    let mut lines: Vec<String> =
        outcome.timeline.iter().map(|moment| line(moment.at_ms, &sentence(&moment.what))).collect();
    let ending = match &outcome.violation {
        Some(violation) => format!("broken promise: {violation}"),
        None => "the end: every promise was kept".to_owned(),
    };
    lines.push(line(outcome.took_ms, &ending));
    lines.join("\n")
}

/// What a moment was, in one line.
pub(super) fn sentence(event: &Event) -> String {
    let text = match event {
        Event::Batch { primary, stream, batch } => format!("{primary} committed batch {batch} of {stream}"),
        Event::Planned { secondary, stream, from, to, resumed } => {
            let what = match from {
                None => format!("a seed of {stream} as of batch {to}"),
                Some(from) => format!("an increment of {stream} from batch {from} to {to}"),
            };
            match resumed {
                true => format!("{secondary} took up again {what}"),
                false => format!("{secondary} planned {what}"),
            }
        }
        Event::Watermark { secondary, stream, batch } => {
            format!("{secondary} committed; {stream} is now at batch {batch}")
        }
        Event::Fault { secondary, fault, phase } => format!("{secondary}: fault: {fault}, at {phase}"),
        Event::Felt { secondary, what } => format!("{secondary}: the fault was felt: {what}"),
        Event::BeganAgain { secondary, what } => format!("{secondary} began again: {what}"),
        Event::Failed { secondary, stream, error } => {
            format!("{secondary}: the sync of {stream} failed: {error}")
        }
        Event::Operator { secondary, what } => format!("{secondary}: done by hand: {what}"),
    };
    text.lines().collect::<Vec<_>>().join(" ")
}

fn line(at_ms: u64, text: &str) -> String {
    // Rows that differ stand below each other, behind the column of times.
    format!("{at_ms:>6} ms  {}", text.trim_end().replace('\n', "\n           "))
}
