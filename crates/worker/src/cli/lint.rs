//! `lint`: every problem of the configuration directory at once.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::process::ExitCode;

use clap::Args;
use milestream_core::lint::{LintContext, Problem, Severity, lint};
use serde::Serialize;

use super::Surroundings;
use super::figures;
use super::output::OutputArguments;
use crate::config::{Configuration, File, Keys, Secrets, Selection, Settings, model};
use crate::error::{Error, Result};
use crate::foresight;

/// Arguments of `lint`.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Check, too, that the credentials of Postgres databases can be had here.
    #[arg(long)]
    credentials: bool,
    /// Ask the servers, too, for what would halt a run: rights, tables, columns, types and keys, stream by stream.
    #[arg(long)]
    connect: bool,
    #[command(flatten)]
    output: OutputArguments,
    #[command(flatten)]
    keys: Keys,
}

/// What follows from tables that do not go together.
const HALTS: &str = "a sync would halt before it writes; `milestream plan` says more";

/// What lint found.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct Findings {
    problems: Vec<Problem>,
    /// What is wrong with `milestream.toml` or with a setting.
    settings: Option<SettingsProblem>,
    /// What the servers were found to lack, where they were asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    streams: Option<Vec<StreamProblem>>,
    /// What is wrong with credentials that can be had here.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    credentials: Vec<SettingsProblem>,
}

impl Findings {
    fn beside_the_model(&self) -> impl Iterator<Item = &SettingsProblem> {
        self.settings.iter().chain(&self.credentials)
    }
}

#[derive(Clone, Debug, PartialEq, Serialize)]
struct SettingsProblem {
    what: String,
    remedy: String,
}

/// What would halt a stream.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct StreamProblem {
    platform: String,
    stream: String,
    what: String,
    remedy: String,
}

pub(super) async fn run(arguments: &Arguments, surroundings: &Surroundings) -> Result<ExitCode> {
    let model = model(&surroundings.config)?;
    let variable = |name: &str| std::env::var(name).ok();
    let file = File::read(&surroundings.config);
    let defaults = file.as_ref().map(File::defaults).unwrap_or_default();
    let settings = file.and_then(|_| Settings::resolve(arguments.keys.clone().over(defaults)));
    let directory = settings.as_ref().ok().and_then(|settings| settings.connections.secrets_dir.clone());
    let secrets = Secrets { variable: &variable, directory };
    let faults = RefCell::new(BTreeMap::new());
    let can_be_had = |name: &str| {
        let fault = secrets.fault(name).map(|fault| faults.borrow_mut().insert(name.to_owned(), fault));
        !arguments.credentials || fault.is_some() || secrets.login(name).is_ok()
    };
    let problems = lint(&model, &LintContext { has_credential: Some(&can_be_had) });
    let credentials = faults.take().into_values().map(SettingsProblem::of).collect();
    let settings = settings.and_then(|_| check_settings(arguments, surroundings));
    let streams = match arguments.connect && settings.is_ok() {
        true => Some(ask_servers(arguments, surroundings).await?),
        false => None,
    };
    let findings =
        Findings { problems, settings: settings.err().map(SettingsProblem::of), streams, credentials };
    arguments.output.write(&findings, || text(&findings))?;
    Ok(if findings.has_errors() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// Tables of the file that are meant for nobody, and settings that cannot be kept.
fn check_settings(arguments: &Arguments, surroundings: &Surroundings) -> Result<()> {
    let configuration = Configuration::load(&surroundings.config)?;
    configuration.resolve(&Selection::default(), &arguments.keys).map(|_| ())
}

/// What would halt the streams that can be run, one after the other: whoever asks is in no hurry, and servers have other
/// clients.
async fn ask_servers(arguments: &Arguments, surroundings: &Surroundings) -> Result<Vec<StreamProblem>> {
    let selected = surroundings.configuration()?.jobs(&Selection::default(), &arguments.keys)?;
    let mut problems = Vec::new();
    for job in &selected.streams {
        let problem = |what: String, remedy: String| StreamProblem {
            platform: job.platform().to_owned(),
            stream: job.stream_key(),
            what,
            remedy,
        };
        match foresight::examine(job).await {
            Ok(found) => problems.extend(found.into_iter().map(|what| problem(what, HALTS.to_owned()))),
            Err(error) => problems.push(problem(error.to_string(), error.advice_for(&job.name()))),
        }
    }
    Ok(problems)
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

    fn streams(&self) -> &[StreamProblem] {
        self.streams.as_deref().unwrap_or_default()
    }

    fn has_errors(&self) -> bool {
        self.beside_the_model().next().is_some()
            || !self.streams().is_empty()
            || self.count(Severity::Error) > 0
    }
}

fn text(findings: &Findings) -> String {
    let mut lines: Vec<String> = findings.problems.iter().map(ToString::to_string).collect();
    for SettingsProblem { what, remedy } in findings.beside_the_model() {
        lines.push(format!("error: {what}\n  {remedy}"));
    }
    let streams = findings.streams();
    lines.extend(streams.iter().map(|StreamProblem { platform, stream, what, remedy }| {
        format!("error: {platform} {stream}: {what}\n  {remedy}")
    }));
    let beside = findings.beside_the_model().count() + streams.len();
    let errors = findings.count(Severity::Error).saturating_add(u64::try_from(beside).unwrap_or(u64::MAX));
    let warnings = findings.count(Severity::Warning);
    lines.push(match (errors, warnings) {
        (0, 0) => "no problem found".to_owned(),
        _ => format!("{}, {}", figures::counted(errors, "error"), figures::counted(warnings, "warning")),
    });
    lines.join("\n")
}
