//! Numbers as people read them.

/// `1 234 567`.
pub(super) fn count(number: u64) -> String {
    let digits = number.to_string();
    let first = digits.len() % 3;
    let mut groups: Vec<&str> = Vec::new();
    if first > 0 {
        groups.push(&digits[..first]);
    }
    groups.extend((first..digits.len()).step_by(3).map(|at| &digits[at..at + 3]));
    groups.join(" ")
}

/// `1 row`, `2 rows`.
pub(super) fn counted(number: u64, one: &str) -> String {
    format!("{} {one}{}", count(number), if number == 1 { "" } else { "s" })
}

/// `12.3 MB`, in powers of 1000.
#[expect(clippy::cast_precision_loss, reason = "shown with one decimal")]
pub(super) fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["kB", "MB", "GB", "TB"];
    if bytes < 1000 {
        return format!("{bytes} B");
    }
    let mut size = bytes as f64 / 1000.0;
    let mut unit = 0;
    while size >= 999.95 && unit + 1 < UNITS.len() {
        size /= 1000.0;
        unit += 1;
    }
    format!("{size:.1} {}", UNITS[unit])
}

/// `45 s`, `2 m 05 s`, `3 h 07 m`, `2 d 03 h`.
pub(super) fn seconds(seconds: f64) -> String {
    let whole = rounded(seconds);
    let (days, hours, minutes) = (whole / 86_400, whole / 3600 % 24, whole / 60 % 60);
    match whole {
        0..60 => format!("{whole} s"),
        60..3600 => format!("{minutes} m {:02} s", whole % 60),
        3600..86_400 => format!("{hours} h {minutes:02} m"),
        _ => format!("{days} d {hours:02} h"),
    }
}

/// `1 234 rows/s`; nothing moved in no time is no rate.
pub(super) fn rate(rows: u64, seconds: f64) -> Option<f64> {
    #[expect(clippy::cast_precision_loss, reason = "a rate needs no precision")]
    let rows = rows as f64;
    (seconds > 0.0).then(|| rows / seconds)
}

/// A non-negative figure without its decimals.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "non-negative, and saturating")]
pub(super) fn rounded(figure: f64) -> u64 {
    figure.max(0.0).round() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_grouped_and_scaled() {
        assert_eq!([0, 12, 123, 1234, 1_234_567].map(count), ["0", "12", "123", "1 234", "1 234 567"]);
        assert_eq!([999, 1000, 12_345_678, 999_999_999].map(bytes), ["999 B", "1.0 kB", "12.3 MB", "1.0 GB"]);
        assert_eq!(
            [0.4, 59.0, 125.0, 11_220.0, 183_600.0].map(seconds),
            ["0 s", "59 s", "2 m 05 s", "3 h 07 m", "2 d 03 h"]
        );
        assert_eq!((counted(1, "row"), counted(2, "row")), ("1 row".into(), "2 rows".into()));
        assert_eq!(rate(10, 0.0), None);
    }
}
