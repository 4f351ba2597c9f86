//! Who has a lane on a timeline: primaries, and secondaries with their streams.

use crate::outcome::{Event, Moment};

/// A platform, or one of its streams, with what happened there.
#[derive(Clone, Debug)]
pub(super) struct Lane<'a> {
    pub(super) name: &'a str,
    pub(super) moments: Vec<&'a Moment>,
}

/// All lanes of a history, in the order in which something happened on them.
#[derive(Clone, Debug, Default)]
pub(super) struct Lanes<'a> {
    pub(super) primaries: Vec<Lane<'a>>,
    pub(super) secondaries: Vec<Lane<'a>>,
}

impl<'a> Lanes<'a> {
    pub(super) fn of(moments: &'a [Moment]) -> Lanes<'a> {
        let mut lanes = Lanes::default();
        for moment in moments {
            match &moment.what {
                Event::Batch { primary, .. } => put(&mut lanes.primaries, primary, moment),
                Event::Planned { secondary, .. }
                | Event::Watermark { secondary, .. }
                | Event::Fault { secondary, .. }
                | Event::Felt { secondary, .. }
                | Event::BeganAgain { secondary, .. }
                | Event::Failed { secondary, .. }
                | Event::Operator { secondary, .. } => put(&mut lanes.secondaries, secondary, moment),
            }
        }
        lanes
    }
}

impl<'a> Lane<'a> {
    /// A secondary's streams, each with its plans and commits.
    pub(super) fn streams(&self) -> Vec<Lane<'a>> {
        let mut streams = Vec::new();
        for moment in &self.moments {
            if let Event::Planned { stream, .. } | Event::Watermark { stream, .. } = &moment.what {
                put(&mut streams, stream, moment);
            }
        }
        streams
    }

    /// The highest batch that a stream was at, or was to go to.
    pub(super) fn highest(&self) -> i32 {
        let batch = |moment: &&Moment| match &moment.what {
            Event::Planned { to: batch, .. }
            | Event::Watermark { batch, .. }
            | Event::Batch { batch, .. } => *batch,
            Event::Fault { .. }
            | Event::Felt { .. }
            | Event::BeganAgain { .. }
            | Event::Failed { .. }
            | Event::Operator { .. } => 0,
        };
        self.moments.iter().map(batch).max().unwrap_or_default().max(1)
    }
}

fn put<'a>(lanes: &mut Vec<Lane<'a>>, name: &'a str, moment: &'a Moment) {
    match lanes.iter_mut().find(|lane| lane.name == name) {
        Some(lane) => lane.moments.push(moment),
        None => lanes.push(Lane { name, moments: vec![moment] }),
    }
}
