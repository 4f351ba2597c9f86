//! `resolve`: what each platform does for each stream, and why.

use clap::Args;
use milestream_core::resolve::Role;
use serde::Serialize;
use serde_json::Value;

use super::Surroundings;
use super::output::OutputArguments;
use super::selection::SelectionArguments;
use crate::config::{Keys, Resolved};
use crate::error::Result;

/// Arguments of `resolve`.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    selection: SelectionArguments,
    #[command(flatten)]
    output: OutputArguments,
    #[command(flatten)]
    keys: Keys,
}

/// What a platform does for a stream, or why it does nothing.
#[derive(Clone, Debug, PartialEq, Serialize)]
struct Routing {
    platform: String,
    stream: String,
    #[serde(flatten)]
    result: Routed,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "role", rename_all = "snake_case")]
enum Routed {
    Primary { why: String, command: Value },
    Secondary { why: String, candidates: Vec<String>, command: Value },
    Unresolved { why: String },
}

pub(super) fn run(arguments: &Arguments, surroundings: &Surroundings) -> Result<()> {
    let selection = arguments.selection.for_reading();
    let selected = surroundings.configuration()?.resolve(&selection, &arguments.keys)?;
    let mut routings: Vec<_> = selected.streams.iter().map(routing).collect();
    routings.extend(selected.passed_over.into_iter().map(|passed_over| Routing {
        platform: passed_over.platform,
        stream: passed_over.store,
        result: Routed::Unresolved { why: passed_over.reason },
    }));
    arguments.output.write(&routings, || text(&routings))
}

fn routing(resolved: &Resolved) -> Routing {
    let why = resolved.command.why.clone();
    let command = resolved.command.command.to_json();
    let result = match &resolved.command.role {
        Role::Primary { .. } => Routed::Primary { why, command },
        Role::Secondary { candidates, .. } => {
            let candidates = candidates.iter().map(|candidate| candidate.platform.clone()).collect();
            Routed::Secondary { why, candidates, command }
        }
    };
    Routing { platform: resolved.platform.clone(), stream: resolved.stream.key(), result }
}

fn text(routings: &[Routing]) -> String {
    routings.iter().map(paragraph).collect::<Vec<_>>().join("\n\n")
}

fn paragraph(routing: &Routing) -> String {
    let (headline, why) = match &routing.result {
        Routed::Primary { why, command } => (format!("primary, runs {}", kind(command)), why),
        Routed::Secondary { why, candidates, command } => {
            (format!("secondary, runs {} from {}", kind(command), candidates.join(", then ")), why)
        }
        Routed::Unresolved { why } => ("does not resolve".to_owned(), why),
    };
    let why: String = why.lines().map(|line| format!("\n  {line}")).collect();
    format!("{} {}: {headline}{why}", routing.platform, routing.stream)
}

fn kind(command: &Value) -> &str {
    command.get("_type").and_then(Value::as_str).unwrap_or("a command without a type")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_routing_has_its_paragraph() {
        let routing =
            |platform: &str, result| Routing { platform: platform.into(), stream: "Flights".into(), result };
        let command = |kind: &str| serde_json::json!({ "_type": kind });
        let routings = [
            routing(
                "Hub",
                Routed::Primary {
                    why: "It is in the list.".into(),
                    command: command("SQLSnapshotIngestion"),
                },
            ),
            routing(
                "Edge",
                Routed::Secondary {
                    why: "It is not in the list.".into(),
                    candidates: vec!["Hub".into(), "Hub2".into()],
                    command: command("SQLMergeIngestion"),
                },
            ),
            routing(
                "Far",
                Routed::Unresolved { why: "no primary can be read:\n  Hub: it has no store".into() },
            ),
        ];
        insta::assert_snapshot!(text(&routings), @r"
        Hub Flights: primary, runs SQLSnapshotIngestion
          It is in the list.

        Edge Flights: secondary, runs SQLMergeIngestion from Hub, then Hub2
          It is not in the list.

        Far Flights: does not resolve
          no primary can be read:
            Hub: it has no store
        ");
    }
}
