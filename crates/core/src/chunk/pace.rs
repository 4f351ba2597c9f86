//! Chunks sized by time: how many of a plan's chunks are copied together, from how long the last ones took.

use std::time::Duration;

/// The most chunks that are copied together: what a worker loses when it is killed stays a small part of a plan.
const TOGETHER_MAX: u32 = 1_000;
/// One fast moment must not make a chunk of minutes.
const GROWTH_MAX: u32 = 4;

/// How fast a worker has copied chunks lately, and how many it should take next.
#[derive(Clone, Debug, PartialEq)]
pub struct Pace {
    target: Duration,
    /// Seconds that one chunk took, the newest counting half.
    seconds_per_chunk: Option<f64>,
    /// Chunks to be taken next.
    wanted: u32,
}

impl Pace {
    /// A pace that begins with one chunk and goes for as many as take `target`.
    pub fn aiming_at(target: Duration) -> Pace {
        Pace { target, seconds_per_chunk: None, wanted: 1 }
    }

    /// How many chunks to copy together next; at least one.
    pub fn wanted(&self) -> u32 {
        self.wanted
    }

    /// Notes how long it took to copy `chunks` together.
    pub fn saw(&mut self, chunks: u32, took: Duration) {
        let chunks = chunks.max(1);
        let newest = took.as_secs_f64() / f64::from(chunks);
        let seconds = self.seconds_per_chunk.map_or(newest, |before| f64::midpoint(before, newest));
        self.seconds_per_chunk = Some(seconds);
        let fitting = whole(self.target.as_secs_f64() / seconds.max(f64::MIN_POSITIVE));
        self.wanted = fitting.clamp(1, chunks.saturating_mul(GROWTH_MAX).min(TOGETHER_MAX));
    }
}

/// The whole part of a positive number; the largest there is for what is beyond it.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the cast saturates")]
fn whole(number: f64) -> u32 {
    number as u32
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn milliseconds(milliseconds: u64) -> Duration {
        Duration::from_millis(milliseconds)
    }

    #[test]
    fn fast_chunks_are_taken_together_until_they_take_the_time() {
        let mut pace = Pace::aiming_at(milliseconds(2000));
        let mut taken = Vec::new();
        for _ in 0..5 {
            let chunks = pace.wanted();
            taken.push(chunks);
            pace.saw(chunks, milliseconds(200) * chunks);
        }
        assert_eq!(taken, [1, 4, 10, 10, 10], "growing by four times at most");
    }

    #[test]
    fn slow_chunks_are_taken_one_by_one() {
        let mut pace = Pace::aiming_at(milliseconds(2000));
        pace.saw(1, milliseconds(100));
        assert_eq!(pace.wanted(), 4);
        pace.saw(4, Duration::from_secs(40));
        assert_eq!(pace.wanted(), 1);
    }

    #[test]
    fn a_clock_that_stands_still_does_no_harm() {
        let mut pace = Pace::aiming_at(milliseconds(2000));
        pace.saw(1, Duration::ZERO);
        assert_eq!(pace.wanted(), 4);
        pace.saw(0, Duration::MAX);
        assert_eq!(pace.wanted(), 1);
    }

    proptest! {
        #[test]
        fn at_a_steady_speed_chunks_take_no_longer_than_meant_to(
            each in 1..5_000_u64, target in 1..10_000_u64, times in 1..20_usize,
        ) {
            let mut pace = Pace::aiming_at(milliseconds(target));
            for _ in 0..times {
                let chunks = pace.wanted();
                prop_assert!((1..=TOGETHER_MAX).contains(&chunks));
                prop_assert!(chunks == 1 || u64::from(chunks) * each <= target + each / 100 + 1);
                pace.saw(chunks, milliseconds(each) * chunks);
            }
        }
    }
}
