//! A history as a picture: time runs to the right, each primary and each stream of a secondary has a lane.

use maud::{Markup, html};

use super::lanes::{Lane, Lanes};
use super::story::sentence;
use crate::outcome::{Event, Moment};

const WIDTH: f64 = 1080.0;
/// Where lanes begin; names stand before it.
const LEFT: f64 = 200.0;
const RIGHT: f64 = WIDTH - 24.0;
/// Room for the numbers of the axis.
const AXIS: f64 = 24.0;
const PRIMARY: f64 = 34.0;
/// One row of marks for what went wrong, one for what came of it.
const MARKS: f64 = 40.0;
const STREAM: f64 = 62.0;
const GAP: f64 = 10.0;
/// Labels nearer than this would lie on each other.
const LABEL: f64 = 18.0;
/// Characters of a name that have room before a lane.
const NAME_CHARS: usize = 24;

/// The picture of a history.
pub(super) fn timeline(moments: &[Moment]) -> Markup {
    let lanes = Lanes::of(moments);
    let scale = Scale::until(moments.iter().map(|moment| moment.at_ms).max().unwrap_or_default());
    let mut top = AXIS;
    let mut drawn = Vec::new();
    for lane in &lanes.primaries {
        drawn.push(primary(lane, top, scale));
        top += PRIMARY + GAP;
    }
    for lane in &lanes.secondaries {
        let streams = lane.streams();
        let height = MARKS + STREAM * streams.len() as f64;
        drawn.push(secondary(lane, &streams, top, height, scale));
        top += height + GAP;
    }
    html! {
        svg class="timeline" viewBox={"0 0 " (WIDTH) " " (top)} role="img" aria-label="What happened, by time"
            xmlns="http://www.w3.org/2000/svg" {
            (axis(scale, top - GAP))
            @for lane in &drawn { (lane) }
        }
    }
}

/// What each mark means.
pub(super) fn legend() -> Markup {
    let mark = |draw: fn(f64, f64) -> Markup, text: &str| {
        html! { li { svg class="timeline mark" viewBox="0 0 16 16" aria-hidden="true" { (draw(8.0, 8.0)) } (text) } }
    };
    html! {
        ul class="legend" {
            (mark(tick, "a primary committed a batch"))
            (mark(planned, "a sync was planned, or taken up, up to this batch"))
            (mark(watermark, "a secondary committed: its watermark"))
            (mark(fault, "a fault"))
            (mark(felt, "it was felt"))
            (mark(failed, "a sync failed"))
            (mark(operator, "done by hand, as the error advised"))
        }
    }
}

/// Milliseconds to the right.
#[derive(Clone, Copy, Debug)]
struct Scale {
    last_ms: u64,
}

impl Scale {
    fn until(last_ms: u64) -> Scale {
        Scale { last_ms: last_ms.max(1) }
    }

    fn x(self, at_ms: u64) -> f64 {
        LEFT + (RIGHT - LEFT) * at_ms as f64 / self.last_ms as f64
    }

    /// Round numbers of milliseconds, at most a dozen.
    fn ticks(self) -> impl Iterator<Item = u64> {
        let rounds = (0..).flat_map(|power: u32| {
            [1, 2, 5].map(|digit: u64| digit.saturating_mul(10_u64.saturating_pow(power)))
        });
        let step = rounds.into_iter().find(|step| self.last_ms / step <= 12).unwrap_or(self.last_ms);
        (0..=self.last_ms / step).map(move |number| number * step)
    }
}

fn axis(scale: Scale, bottom: f64) -> Markup {
    html! {
        g class="axis" {
            @for at_ms in scale.ticks() {
                line x1=(at(scale.x(at_ms))) y1=(AXIS - 4.0) x2=(at(scale.x(at_ms))) y2=(bottom) {}
                text x=(at(scale.x(at_ms))) y="12" text-anchor="middle" { (at_ms) @if at_ms == 0 { " ms" } }
            }
        }
    }
}

fn primary(lane: &Lane<'_>, top: f64, scale: Scale) -> Markup {
    let middle = top + PRIMARY * 0.62;
    html! {
        g class="lane" {
            text class="name" x="0" y=(at(middle + 4.0)) { (name(lane.name)) }
            line class="ground" x1=(LEFT) y1=(at(middle)) x2=(RIGHT) y2=(at(middle)) {}
            @for moment in &lane.moments {
                (titled(moment, &tick(scale.x(moment.at_ms), middle)))
            }
            @for (x, batch) in labels(lane, scale) {
                text x=(at(x)) y=(at(middle - 11.0)) text-anchor="middle" { (batch) }
            }
        }
    }
}

/// Numbers of batches, but for those that would lie on the one before.
fn labels(lane: &Lane<'_>, scale: Scale) -> Vec<(f64, i32)> {
    let mut labels: Vec<(f64, i32)> = Vec::new();
    for moment in &lane.moments {
        let x = scale.x(moment.at_ms);
        let has_room = labels.last().is_none_or(|(last, _)| x - last >= LABEL);
        if let Event::Batch { batch, .. } = &moment.what
            && has_room
        {
            labels.push((x, *batch));
        }
    }
    labels
}

fn secondary(lane: &Lane<'_>, streams: &[Lane<'_>], top: f64, height: f64, scale: Scale) -> Markup {
    html! {
        g class="lane" {
            rect class="back" x=(LEFT - 6.0) y=(at(top)) width=(RIGHT - LEFT + 12.0) height=(at(height)) rx="4" {}
            text class="name" x="0" y=(at(top + MARKS / 2.0 + 4.0)) { (name(lane.name)) }
            @for moment in &lane.moments { (mark(moment, top, height, scale)) }
            @for (number, lane) in streams.iter().enumerate() {
                (stream(lane, top + MARKS + STREAM * number as f64, scale))
            }
        }
    }
}

/// What went wrong at a secondary, and what came of it; nothing for what its streams show.
fn mark(moment: &Moment, top: f64, height: f64, scale: Scale) -> Markup {
    let x = scale.x(moment.at_ms);
    let (above, below) = (top + MARKS * 0.3, top + MARKS * 0.72);
    match &moment.what {
        Event::Fault { .. } => {
            let line =
                html! { line class="fall" x1=(at(x)) y1=(at(above)) x2=(at(x)) y2=(at(top + height)) {} };
            titled(moment, &html! { (line) (fault(x, above)) })
        }
        Event::Felt { .. } | Event::BeganAgain { .. } => titled(moment, &felt(x, below)),
        Event::Failed { .. } => titled(moment, &failed(x, below)),
        Event::Operator { .. } => titled(moment, &operator(x, below)),
        Event::Batch { .. } | Event::Planned { .. } | Event::Watermark { .. } => html! {},
    }
}

/// The watermark as a step line, from nothing at the bottom to the highest batch at the top.
fn stream(lane: &Lane<'_>, top: f64, scale: Scale) -> Markup {
    let highest = lane.highest();
    let (ceiling, ground) = (top + 12.0, top + STREAM - 10.0);
    let y = |batch: i32| ground - (ground - ceiling) * f64::from(batch) / f64::from(highest);
    let mut path = format!("M {LEFT} {ground}");
    for moment in &lane.moments {
        if let Event::Watermark { batch, .. } = &moment.what {
            path.push_str(&format!(" H {} V {}", at(scale.x(moment.at_ms)), at(y(*batch))));
        }
    }
    path.push_str(&format!(" H {RIGHT}"));
    html! {
        text x="0" y=(at((ceiling + ground) / 2.0 + 4.0)) { (name(lane.name)) }
        text x=(LEFT - 12.0) y=(at(ceiling + 4.0)) text-anchor="end" { (highest) }
        text x=(LEFT - 12.0) y=(at(ground + 4.0)) text-anchor="end" { "0" }
        line class="ground" x1=(LEFT) y1=(at(ground)) x2=(RIGHT) y2=(at(ground)) {}
        path class="step" d=(path) {}
        @for moment in &lane.moments {
            @let x = scale.x(moment.at_ms);
            @match &moment.what {
                Event::Planned { to, .. } => (titled(moment, &planned(x, y(*to)))),
                Event::Watermark { batch, .. } => (titled(moment, &watermark(x, y(*batch)))),
                _ => {}
            }
        }
    }
}

/// A name that fits; of a longer one the beginning and the end, and all of it for whoever points at it.
fn name(name: &str) -> Markup {
    let letters: Vec<char> = name.chars().collect();
    let Some(half) = (letters.len() > NAME_CHARS).then_some(NAME_CHARS / 2 - 1) else {
        return html! { (name) };
    };
    let part = |letters: &[char]| letters.iter().collect::<String>();
    html! { title { (name) } (part(&letters[..half])) "…" (part(&letters[letters.len() - half..])) }
}

/// A mark with the moment in words, for whoever points at it.
fn titled(moment: &Moment, mark: &Markup) -> Markup {
    html! { g { title { (moment.at_ms) " ms: " (sentence(&moment.what)) } (mark) } }
}

fn tick(x: f64, y: f64) -> Markup {
    html! { line class="batch" x1=(at(x)) y1=(at(y - 7.0)) x2=(at(x)) y2=(at(y + 7.0)) {} }
}

fn planned(x: f64, y: f64) -> Markup {
    html! { circle class="planned" cx=(at(x)) cy=(at(y)) r="3.5" {} }
}

fn watermark(x: f64, y: f64) -> Markup {
    html! { circle class="watermark" cx=(at(x)) cy=(at(y)) r="4" {} }
}

fn fault(x: f64, y: f64) -> Markup {
    html! { path class="fault" d={"M " (at(x - 6.0)) " " (at(y - 5.0)) " h 12 l -6 10 z"} {} }
}

fn felt(x: f64, y: f64) -> Markup {
    html! { circle class="felt" cx=(at(x)) cy=(at(y)) r="4" {} }
}

fn failed(x: f64, y: f64) -> Markup {
    html! { path class="failed" d={"M " (at(x - 4.5)) " " (at(y - 4.5)) " l 9 9 m 0 -9 l -9 9"} {} }
}

fn operator(x: f64, y: f64) -> Markup {
    html! { path class="operator" d={"M " (at(x)) " " (at(y - 6.0)) " l 6 6 l -6 6 l -6 -6 z"} {} }
}

/// A coordinate, to a tenth.
fn at(coordinate: f64) -> String {
    format!("{coordinate:.1}")
}
