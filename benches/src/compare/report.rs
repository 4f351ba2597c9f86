//! What a run says: on the terminal as it goes, and in Markdown at its end.

use std::fmt::Write;

use super::marks::Mark;

/// Everything that was found.
#[derive(Default)]
pub(crate) struct Report {
    facts: Vec<String>,
    marks: Vec<Mark>,
    tables: Vec<Table>,
    remarks: Vec<String>,
}

/// Figures side by side.
pub(crate) struct Table {
    title: String,
    head: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new(title: impl Into<String>, head: &[&str]) -> Table {
        let head = head.iter().map(|&cell| cell.to_owned()).collect();
        Table { title: title.into(), head, rows: Vec::new() }
    }

    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }

    fn markdown(&self) -> String {
        let line = |cells: &[String]| format!("| {} |\n", cells.join(" | ").replace('\n', " "));
        let rule = format!("|{}\n", "---|".repeat(self.head.len()));
        let rows: String = self.rows.iter().map(|row| line(&escaped(row))).collect();
        format!("{}{rule}{rows}", line(&self.head))
    }
}

/// `pg_dump | psql` is one cell.
fn escaped(cells: &[String]) -> Vec<String> {
    cells.iter().map(|cell| cell.replace('|', "\\|")).collect()
}

impl Report {
    /// On what the run takes place.
    pub(crate) fn fact(&mut self, fact: String) {
        println!("{fact}");
        self.facts.push(fact);
    }

    /// Something that a reader of the figures must know.
    pub(crate) fn remark(&mut self, remark: String) {
        println!("  NOTE: {remark}");
        self.remarks.push(remark);
    }

    pub(crate) fn mark(&mut self, mark: Mark) {
        println!("{mark}");
        self.marks.push(mark);
    }

    pub(crate) fn table(&mut self, table: Table) {
        println!("  {}", table.title);
        for row in std::iter::once(&table.head).chain(&table.rows) {
            println!("    {}", row.join("  ·  "));
        }
        self.tables.push(table);
    }

    /// Prints all marks together, if there are any.
    pub(crate) fn finish(&self) {
        if self.marks.is_empty() {
            return;
        }
        println!("\nMarks");
        for mark in &self.marks {
            let [what, figure, allowed, outcome] = mark.cells();
            println!("  {outcome:6}  {what}: {figure}  [at most {allowed}]");
        }
    }

    pub(crate) fn markdown(&self) -> String {
        let mut text = String::from("<!-- made by `just bench-compare`; not to be edited -->\n\n");
        for fact in &self.facts {
            let _ = writeln!(text, "- {fact}");
        }
        let mut marks = Table::new("Marks", &["mark", "measured", "at most", ""]);
        for mark in &self.marks {
            marks.row(mark.cells());
        }
        let marks = Some(&marks).filter(|marks| !marks.rows.is_empty());
        for table in marks.into_iter().chain(&self.tables) {
            let _ = write!(text, "\n## {}\n\n{}", table.title, table.markdown());
        }
        if !self.remarks.is_empty() {
            text.push_str("\n## Notes\n\n");
        }
        for remark in &self.remarks {
            let _ = writeln!(text, "- {remark}");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pipe_in_a_cell_does_not_end_it() {
        let mut table = Table::new("Seed", &["who", "time"]);
        table.row(["pg_dump | psql".to_owned(), "1 s".to_owned()]);
        assert_eq!(table.markdown(), "| who | time |\n|---|---|\n| pg_dump \\| psql | 1 s |\n");
    }
}
