//! `lint`: every problem of the configuration directory at once.

use std::process::ExitCode;

use clap::Args;
use milestream_core::lint::{LintContext, Problem, Severity, lint};
use serde::Serialize;

use super::Surroundings;
use super::figures;
use super::output::OutputArguments;
use crate::config::{Configuration, File, Keys, Secrets, Selection, Settings, model};
use crate::error::{Error, Result};

/// Arguments of `lint`.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Check, too, that the credentials of Postgres databases can be had here.
    #[arg(long)]
    credentials: bool,
    #[command(flatten)]
    output: OutputArguments,
    #[command(flatten)]
    keys: Keys,
}

/// What lint found.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct Findings {
    problems: Vec<Problem>,
    /// What is wrong with `milestream.toml` or with a setting.
    settings: Option<SettingsProblem>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
struct SettingsProblem {
    what: String,
    remedy: String,
}

pub(super) fn run(arguments: &Arguments, surroundings: &Surroundings) -> Result<ExitCode> {
    let model = model(&surroundings.config)?;
    let variable = |name: &str| std::env::var(name).ok();
    let file = File::read(&surroundings.config);
    let defaults = file.as_ref().map(File::defaults).unwrap_or_default();
    let settings = file.and_then(|_| Settings::resolve(arguments.keys.clone().over(defaults)));
    let directory = settings.as_ref().ok().and_then(|settings| settings.connections.secrets_dir.clone());
    let secrets = Secrets { variable: &variable, directory };
    let can_be_had = |name: &str| secrets.login(name).is_ok();
    let context = LintContext { has_credential: arguments.credentials.then_some(&can_be_had as _) };
    let problems = lint(&model, &context);
    let settings = settings.and_then(|_| check_settings(arguments, surroundings));
    let findings = Findings { problems, settings: settings.err().map(SettingsProblem::of) };
    arguments.output.write(&findings, || text(&findings))?;
    Ok(if findings.has_errors() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Tables of the file that are meant for nobody, and settings that cannot be kept.
fn check_settings(arguments: &Arguments, surroundings: &Surroundings) -> Result<()> {
    let configuration = Configuration::load(&surroundings.config)?;
    configuration.resolve(&Selection::default(), &arguments.keys).map(|_| ())
}

impl SettingsProblem {
    fn of(error: Error) -> SettingsProblem {
        SettingsProblem { what: error.to_string(), remedy: error.advice() }
    }
}

impl Findings {
    fn count(&self, severity: Severity) -> u64 {
        let count = self.problems.iter().filter(|problem| problem.severity == severity).count();
        u64::try_from(count).unwrap_or(u64::MAX)
    }

    fn has_errors(&self) -> bool {
        self.settings.is_some() || self.count(Severity::Error) > 0
    }
}

fn text(findings: &Findings) -> String {
    let mut lines: Vec<String> = findings.problems.iter().map(ToString::to_string).collect();
    if let Some(SettingsProblem { what, remedy }) = &findings.settings {
        lines.push(format!("error: {what}\n  {remedy}"));
    }
    let errors = findings.count(Severity::Error) + u64::from(findings.settings.is_some());
    let warnings = findings.count(Severity::Warning);
    lines.push(match (errors, warnings) {
        (0, 0) => "no problem found".to_owned(),
        _ => format!("{}, {}", figures::counted(errors, "error"), figures::counted(warnings, "warning")),
    });
    lines.join("\n")
}
