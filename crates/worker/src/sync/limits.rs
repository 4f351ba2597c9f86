//! `max_delete_fraction`: a primary emptied by mistake must not empty its secondaries.

use milestream_core::milestone::PrimaryBatch;

use super::ground::{Charge, Ground};
use crate::error::{Error, Result};
use crate::postgres::sql::ident;

/// Rows of a table up to which `deletes` would be too many: no more than these have to be counted.
#[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, reason = "a bound, rounded up")]
pub(crate) fn rows_that_matter(deletes: i64, fraction: f64) -> i64 {
    if fraction <= 0.0 {
        return i64::MAX;
    }
    (deletes as f64 / fraction).ceil() as i64
}

/// # Errors
/// `TooManyDeletes` when `deletes` is more than the allowed share of `rows`.
#[expect(clippy::cast_precision_loss, reason = "a share needs no precision")]
pub(crate) fn check_deletes<J: Charge>(
    ground: &Ground<J>,
    table: &str,
    to: PrimaryBatch,
    deletes: i64,
    rows: i64,
) -> Result<()> {
    let fraction = ground.job.tuning().max_delete_fraction;
    if deletes as f64 <= fraction * rows as f64 {
        return Ok(());
    }
    Err(Error::TooManyDeletes { table: ident(table), to, deletes, rows, fraction })
}

#[cfg(test)]
mod tests {
    use super::rows_that_matter;

    #[test]
    fn only_as_many_rows_are_counted_as_matter() {
        assert_eq!(rows_that_matter(10, 0.5), 20);
        assert_eq!(rows_that_matter(1, 0.3), 4);
        assert_eq!(rows_that_matter(7, 1.0), 7);
        assert_eq!(rows_that_matter(7, 0.0), i64::MAX);
    }
}
