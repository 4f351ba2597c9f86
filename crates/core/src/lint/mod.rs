//! Lint: everything that is wrong with a model, at once, each problem with its place and a remedy.
//!
//! A model that lints without errors resolves for every platform that its PIP list can serve. Warnings are of what
//! works, but perhaps not as it was meant.

mod columns;
mod names;
mod platforms;
mod primaries;
mod problem;
mod secrets;
mod shapes;
mod stores;
mod tables;

use crate::model::Model;

pub use problem::{Problem, Severity};

use problem::Report;

/// What lint knows of the world outside of the model.
#[derive(Clone, Copy, Default)]
pub struct LintContext<'a> {
    /// Whether the values of the credential of that name can be had; none leaves values unchecked.
    pub has_credential: Option<&'a dyn Fn(&str) -> bool>,
}

/// Every problem of the model, in the order of the documents and of the places in them.
pub fn lint(model: &Model, context: &LintContext<'_>) -> Vec<Problem> {
    let mut report = Report::new(model, context);
    names::check(&mut report);
    platforms::check(&mut report);
    stores::check(&mut report);
    primaries::check(&mut report);
    tables::check(&mut report);
    report.finish()
}
