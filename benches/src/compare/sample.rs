//! Figures of several rounds: a median with the least and the greatest.

use std::fmt;
use std::time::Duration;

/// One figure a round.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sample(Vec<f64>);

impl Sample {
    /// Adds a round's figure.
    pub(crate) fn push(&mut self, figure: f64) {
        self.0.push(figure);
    }

    /// Whether there was no round.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The middle figure; of an even number the greater of the two in the middle. Not a number without rounds.
    pub(crate) fn median(&self) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
    }

    /// The least figure.
    pub(crate) fn min(&self) -> f64 {
        self.0.iter().copied().fold(f64::INFINITY, f64::min)
    }

    /// The greatest figure.
    pub(crate) fn max(&self) -> f64 {
        self.0.iter().copied().fold(f64::NEG_INFINITY, f64::max)
    }

    /// Round by round, this figure divided by another's: what a pair says whatever the machine was doing meanwhile.
    #[must_use]
    pub(crate) fn per_pair(&self, other: &Sample) -> Sample {
        Sample(self.0.iter().zip(&other.0).map(|(ours, theirs)| ours / theirs).collect())
    }

    /// Every figure changed in the same way.
    #[must_use]
    pub(crate) fn map(&self, change: impl Fn(f64) -> f64) -> Sample {
        Sample(self.0.iter().copied().map(change).collect())
    }

    /// Median, least and greatest with a number of decimals, and a unit.
    pub(crate) fn text(&self, decimals: usize, unit: &str) -> String {
        let (median, min, max) = (self.median(), self.min(), self.max());
        if self.0.len() == 1 {
            return format!("{median:.decimals$}{unit}");
        }
        format!("{median:.decimals$}{unit} ({min:.decimals$}–{max:.decimals$})")
    }
}

impl FromIterator<f64> for Sample {
    fn from_iter<T: IntoIterator<Item = f64>>(figures: T) -> Sample {
        Sample(figures.into_iter().collect())
    }
}

impl Extend<Duration> for Sample {
    fn extend<T: IntoIterator<Item = Duration>>(&mut self, durations: T) {
        self.0.extend(durations.into_iter().map(|duration| duration.as_secs_f64()));
    }
}

impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text(2, ""))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_is_compared_within_its_round() {
        let ours: Sample = [1.0, 4.0, 9.0].into_iter().collect();
        let theirs: Sample = [2.0, 4.0, 6.0].into_iter().collect();
        let ratios = ours.per_pair(&theirs);
        assert_eq!((ratios.median(), ratios.min(), ratios.max()), (1.0, 0.5, 1.5));
        assert_eq!(ratios.text(2, " ×"), "1.00 × (0.50–1.50)");
    }

    #[test]
    fn one_round_has_no_range() {
        assert_eq!([1.26].into_iter().collect::<Sample>().text(1, " s"), "1.3 s");
        assert!(Sample::default().median().is_nan());
    }
}
