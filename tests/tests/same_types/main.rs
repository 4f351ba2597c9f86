//! Types are the same when they are made of the same, whatever they are called and wherever they live.

#![allow(clippy::unwrap_used, reason = "a helper of a test fails as the test does")]

mod equality;
mod extensions;
mod redefined;
mod through_text;
mod walk;
