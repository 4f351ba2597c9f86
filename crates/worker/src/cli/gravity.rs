//! Which exit code a command ends with when its streams have several.

/// From the one that needs nobody to the one that needs a person most.
const LEAST_TO_MOST: [u8; 7] = [0, 5, 3, 4, 1, 2, 70];

/// Of several streams the one that needs a person most decides; 0 where there is none.
pub(super) fn gravest(exit_codes: impl IntoIterator<Item = u8>) -> u8 {
    exit_codes.into_iter().max_by_key(|code| gravity(*code)).unwrap_or(0)
}

fn gravity(exit_code: u8) -> usize {
    LEAST_TO_MOST.iter().position(|code| *code == exit_code).unwrap_or(LEAST_TO_MOST.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_gravest_stream_decides_about_the_exit_code() {
        assert_eq!(gravest([0, 3, 5]), 3);
        assert_eq!(gravest([4, 1, 3]), 1);
        assert_eq!(gravest([1, 70, 2]), 70);
        assert_eq!(gravest([]), 0);
    }
}
