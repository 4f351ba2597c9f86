//! Tables of text: a header, rows, and two spaces between columns, so that they can be cut and searched.

use std::fmt;

use comfy_table::{ContentArrangement, Table, presets};

/// A table that is being filled.
pub(super) struct Sheet(Table);

impl Sheet {
    /// An empty table with its header.
    pub(super) fn new<const N: usize>(header: [&str; N]) -> Sheet {
        let mut table = Table::new();
        table
            .load_style(presets::NOTHING)
            .set_content_arrangement(ContentArrangement::Disabled)
            .set_header(header);
        Sheet(table)
    }

    /// Adds a row.
    pub(super) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.0.add_row(cells.into_iter());
    }
}

impl fmt::Display for Sheet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<_> = self.0.lines().map(|line| line.trim().to_owned()).collect();
        f.write_str(&lines.join("\n"))
    }
}
