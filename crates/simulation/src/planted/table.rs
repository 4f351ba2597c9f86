//! The result as a table, for a terminal and for the docs.

use std::fmt::Write;

use comfy_table::{ContentArrangement, Table, presets};

use super::{Outcome, Trial, Verdict, Verdicts};

const HEADER: [&str; 7] = ["planted bug", "needs fault", "caught", "by", "histories", "seconds", "verdict"];

impl Verdicts {
    /// The table for a terminal.
    pub fn text(&self) -> String {
        let mut table = Table::new();
        table
            .load_style(presets::NOTHING)
            .set_content_arrangement(ContentArrangement::Disabled)
            .set_header(HEADER);
        for verdict in &self.rows {
            table.add_row(verdict.cells());
        }
        table.to_string()
    }

    /// The table in Markdown.
    pub fn markdown(&self) -> String {
        let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
        let mut text = line(&HEADER.map(String::from));
        text.push_str(&line(&HEADER.map(|_| "---".to_owned())));
        for verdict in &self.rows {
            let cells = verdict.cells().map(|cell| cell.replace('|', "\\|").replace('\n', " "));
            text.push_str(&line(&cells));
        }
        text
    }

    /// What went wrong, patch by patch; empty when all is as it must be.
    pub fn complaints(&self) -> String {
        let mut text = String::new();
        for verdict in self.rows.iter().filter(|verdict| !verdict.holds()) {
            let (name, what) = (&verdict.patch.name, verdict.word());
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{name}: {what}");
            if let Some(error) = &verdict.error {
                let _ = writeln!(text, "{error}");
            }
            for trial in &verdict.trials {
                if let Outcome::Failed { how } = &trial.outcome {
                    let _ = writeln!(text, "  seed {}: {how}", trial.seed);
                }
            }
        }
        text
    }
}

impl Verdict {
    fn cells(&self) -> [String; 7] {
        let violation = |trial: &Trial| match &trial.outcome {
            Outcome::Noticed { violation, code } => Some((*code, violation.clone().unwrap_or_default())),
            Outcome::Unnoticed | Outcome::Failed { .. } => None,
        };
        let seen: Vec<_> = self.trials.iter().filter_map(violation).collect();
        let mut properties: Vec<_> = seen
            .iter()
            .map(|(code, seen)| match seen.property.is_empty() {
                true => format!("exit {code}"),
                false => seen.property.clone(),
            })
            .collect();
        properties.sort_unstable();
        properties.dedup();
        let histories: Vec<_> =
            seen.iter().map(|(_, seen)| seen.history.clone()).filter(|history| !history.is_empty()).collect();
        let seconds: f64 = self.trials.iter().map(|trial| trial.took.as_secs_f64()).sum();
        [
            self.patch.name.clone(),
            if self.patch.needs_fault { "yes" } else { "no" }.to_owned(),
            format!("{} of {}", self.noticed(), self.trials.len()),
            properties.join(", "),
            histories.join(", "),
            format!("{:.0}", seconds + self.building.as_secs_f64()),
            self.word().to_owned(),
        ]
    }

    /// What came of it, in a word or few.
    pub fn word(&self) -> &'static str {
        match (self.is_sound(), self.holds(), self.patch.control) {
            (false, _, _) => "could not be tried",
            (true, true, true) => "silent, as it must be",
            (true, false, true) => "FALSE ALARM",
            (true, true, false) => "caught",
            (true, false, false) => "MISSED",
        }
    }
}
