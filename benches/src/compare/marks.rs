//! The marks: what was measured, what is allowed, and whether it was met.

use std::fmt;

/// One line of the table of marks.
#[derive(Clone, Debug)]
pub(crate) struct Mark {
    what: String,
    figure: String,
    allowed: String,
    outcome: Outcome,
}

/// What came of a mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Met,
    Missed,
    NotMeasured,
}

impl Mark {
    /// A mark that was measured. `figure` is what is compared, `shown` how it is written.
    pub(crate) fn measured(
        what: impl Into<String>,
        figure: f64,
        shown: String,
        at_most: f64,
        unit: &str,
    ) -> Mark {
        // A figure that is none has met nothing.
        let outcome = if figure <= at_most { Outcome::Met } else { Outcome::Missed };
        Mark { what: what.into(), figure: shown, allowed: format!("{at_most}{unit}"), outcome }
    }

    /// A mark that this build or machine cannot show.
    pub(crate) fn not_measured(
        what: impl Into<String>,
        why: impl fmt::Display,
        at_most: f64,
        unit: &str,
    ) -> Mark {
        Mark {
            what: what.into(),
            figure: format!("not measured yet: {why}"),
            allowed: format!("{at_most}{unit}"),
            outcome: Outcome::NotMeasured,
        }
    }

    /// The line as cells: what, figure, allowed, outcome.
    pub(crate) fn cells(&self) -> [String; 4] {
        [self.what.clone(), self.figure.clone(), self.allowed.clone(), self.outcome.to_string()]
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Outcome::Met => "met",
            Outcome::Missed => "MISSED",
            Outcome::NotMeasured => "–",
        })
    }
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [what, figure, allowed, outcome] = self.cells();
        write!(f, "  mark: {what}: {figure}; at most {allowed}; {outcome}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_number_meets_no_mark() {
        let outcome = |figure| Mark::measured("x", figure, String::new(), 1.0, " ×").outcome;
        assert_eq!([1.0, 1.01, f64::NAN].map(outcome), [Outcome::Met, Outcome::Missed, Outcome::Missed]);
    }
}
