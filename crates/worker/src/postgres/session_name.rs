//! The names under which sessions show themselves in `pg_stat_activity`.

/// What every name begins with; so Milestream knows its own sessions too.
pub(crate) const PREFIX: &str = "milestream ";

/// Postgres cuts `application_name` here, and would cut off the chunk first.
const BYTES_MAX: usize = 63;
/// Stands for what had no room.
const GAP: &str = "..";

/// The `application_name` of a session that is called so.
pub(crate) fn shown(name: &str) -> String {
    format!("{PREFIX}{name}")
}

/// `{platform} {stream} {what}`; where that is too long to be shown, the middle of platform and stream gives way.
pub(crate) fn of_stream(platform: &str, stream: &str, what: &str) -> String {
    let whose = plain(&format!("{platform} {stream}"));
    let room = BYTES_MAX.saturating_sub(PREFIX.len() + 1 + what.len());
    format!("{} {what}", fitted(&whose, room))
}

/// What is not ASCII as `?`: some versions write each of its bytes as four, some as one.
fn plain(text: &str) -> String {
    text.chars().map(|letter| if letter.is_ascii_graphic() || letter == ' ' { letter } else { '?' }).collect()
}

fn fitted(plain: &str, bytes_max: usize) -> String {
    if plain.len() <= bytes_max {
        return plain.to_owned();
    }
    let kept = bytes_max.saturating_sub(GAP.len());
    let (head, tail) = (kept.div_ceil(2), kept / 2);
    format!("{}{GAP}{}", &plain[..head], &plain[plain.len() - tail..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_fit_are_whole() {
        assert_eq!(shown(&of_stream("Edge", "Flights", "chunk 12")), "milestream Edge Flights chunk 12");
    }

    #[test]
    fn long_names_lose_their_middle_and_never_the_chunk() {
        let stream = "Reservations_of_all_the_airlines_of_the_world#departures";
        let name = shown(&of_stream("Edge", stream, "chunk 2147483647"));
        assert_eq!(name, "milestream Edge Reservations..world#departures chunk 2147483647");
        assert_eq!(name.len(), 63);
    }

    #[test]
    fn letters_that_servers_write_in_several_ways_are_not_cut_in_two() {
        let name = shown(&of_stream("Østersøen", &"fly".repeat(30), "chunk 1"));
        assert!(name.starts_with("milestream ?sters?en fly") && name.len() == 63, "{name}");
    }
}
