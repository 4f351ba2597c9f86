//! Panics as errors: a defect ends what it was in, not what others wait for.

use std::any::Any;
use std::panic::AssertUnwindSafe;

use futures_util::FutureExt;

use crate::error::{Error, Result};

/// Does the work. Whatever it borrowed must not be gone on with after a panic, but may be given back.
///
/// # Errors
/// Those of the work; `Panicked` when it panics.
pub(crate) async fn caught<T>(part: &str, work: impl Future<Output = Result<T>>) -> Result<T> {
    match AssertUnwindSafe(work).catch_unwind().await {
        Ok(done) => done,
        Err(panic) => {
            Err(Error::Panicked { part: part.to_owned(), message: message(panic.as_ref()).to_owned() })
        }
    }
}

/// What was given to `panic!`: a text, unless somebody went out of his way.
fn message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("it says nothing")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_an_error_with_its_text() {
        let number = "nothing".len();
        let error = caught::<()>("a test", async { panic!("{number} letters") }).await.unwrap_err();
        assert_eq!(error.to_string(), "a defect of Milestream ended a test: 7 letters");
        assert_eq!(error.exit_code(), 70);
    }
}
