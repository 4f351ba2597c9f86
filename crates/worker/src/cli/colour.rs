//! Colours on a terminal; none where NO_COLOR is set, or where nobody looks.

use std::io::IsTerminal;

use clap::builder::styling::{AnsiColor, Style, Styles};

const RED: Style = AnsiColor::Red.on_default().bold();
const YELLOW: Style = AnsiColor::Yellow.on_default().bold();

/// What wants a person's eye, and in which colour. Words stay what they are; tables keep their columns.
const MARKS: [(&str, Style); 8] = [
    ("error:", RED),
    ("halted", RED),
    ("unreachable", RED),
    ("would halt", RED),
    ("would fail", RED),
    ("warning:", YELLOW),
    ("missing index", YELLOW),
    ("what to do:", Style::new().bold()),
];

/// The colours of help.
pub(super) fn styles() -> Styles {
    Styles::styled()
        .header(AnsiColor::Green.on_default().bold())
        .usage(AnsiColor::Green.on_default().bold())
        .literal(AnsiColor::Cyan.on_default().bold())
        .placeholder(AnsiColor::Cyan.on_default())
}

/// Text for a stream, in colours where somebody looks at it.
pub(super) fn for_stream(stream: &impl IsTerminal, text: String) -> String {
    let variable = |name: &str| std::env::var(name).ok();
    if is_wanted(stream.is_terminal(), variable) { painted(&text) } else { text }
}

/// As <https://no-color.org> has it.
fn is_wanted(is_terminal: bool, variable: impl Fn(&str) -> Option<String>) -> bool {
    let is_refused = variable("NO_COLOR").is_some_and(|value| !value.is_empty());
    is_terminal && !is_refused && variable("TERM").as_deref() != Some("dumb")
}

fn painted(text: &str) -> String {
    MARKS
        .iter()
        .fold(text.to_owned(), |text, (mark, style)| text.replace(mark, &format!("{style}{mark}{style:#}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_for_terminals_that_do_not_refuse_them() {
        let none = |_: &str| None;
        let refused = |name: &str| (name == "NO_COLOR").then(|| "1".to_owned());
        let empty = |name: &str| (name == "NO_COLOR").then(String::new);
        let dumb = |name: &str| (name == "TERM").then(|| "dumb".to_owned());
        assert!(is_wanted(true, none) && is_wanted(true, empty));
        assert!(!is_wanted(false, none) && !is_wanted(true, refused) && !is_wanted(true, dumb));
    }

    #[test]
    fn what_wants_an_eye_is_painted_and_the_rest_is_not() {
        assert_eq!(painted("Edge  idle"), "Edge  idle");
        assert_eq!(painted("Edge  halted  -"), "Edge  \u{1b}[1m\u{1b}[31mhalted\u{1b}[0m  -");
    }
}
