//! Arguments that DataSurface's DAG passes to its jobs: taken, so that `sync` can stand in their place.

use clap::builder::PossibleValuesParser;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};

/// The one operation that DataSurface's jobs have; it is what `sync` does.
const OPERATION: &str = "operation";
const SNAPSHOT_MERGE: &str = "snapshot-merge";
/// Where DataSurface's jobs find their model, each with a value. Milestream's is in `--config`.
const OF_THE_MODEL: [&str; 12] = [
    "git-repo-path",
    "git-repo-type",
    "git-repo-url",
    "git-repo-owner",
    "git-repo-name",
    "git-repo-branch",
    "git-platform-repo-credential-name",
    "git-release-selector-hex",
    "max-cache-age-minutes",
    "rte-name",
    "psp",
    "credential-name",
];
const USE_GIT_CACHE: &str = "use-git-cache";

/// The arguments of a DataSurface job that were given, without their values.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct JobArguments {
    ignored: Vec<&'static str>,
}

impl JobArguments {
    /// Says in the log which arguments change nothing.
    pub(super) fn log(&self) {
        if !self.ignored.is_empty() {
            let names: Vec<_> = self.ignored.iter().map(|name| format!("--{name}")).collect();
            tracing::info!("the model is read from --config; ignored: {}", names.join(", "));
        }
    }
}

impl Args for JobArguments {
    fn augment_args(command: Command) -> Command {
        let hidden = |name: &'static str| Arg::new(name).long(name).hide(true);
        let operation = hidden(OPERATION).value_parser(PossibleValuesParser::new([SNAPSHOT_MERGE]));
        let model = OF_THE_MODEL.map(|name| hidden(name).allow_hyphen_values(true));
        command.arg(operation).args(model).arg(hidden(USE_GIT_CACHE).action(ArgAction::SetTrue))
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for JobArguments {
    fn from_arg_matches(matches: &ArgMatches) -> Result<JobArguments, clap::Error> {
        let given = |name: &&str| matches.contains_id(name);
        let cache = matches.get_flag(USE_GIT_CACHE).then_some(USE_GIT_CACHE);
        Ok(JobArguments { ignored: OF_THE_MODEL.into_iter().filter(given).chain(cache).collect() })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> Result<JobArguments, clap::Error> {
        let matches = JobArguments::augment_args(Command::new("sync").no_binary_name(true))
            .try_get_matches_from(arguments)?;
        JobArguments::from_arg_matches(&matches)
    }

    #[test]
    fn what_the_dag_passes_is_taken_and_known_to_be_ignored() {
        let given = parse(&[
            "--operation",
            "snapshot-merge",
            "--git-repo-path",
            "/cache/git-cache",
            "--git-release-selector-hex",
            "7b22",
            "--use-git-cache",
        ]);
        assert_eq!(given.unwrap().ignored, ["git-repo-path", "git-release-selector-hex", "use-git-cache"]);
        assert_eq!(parse(&[]).unwrap(), JobArguments::default());
    }

    #[test]
    fn another_operation_is_refused() {
        let refused = parse(&["--operation", "reset-batch-state"]).unwrap_err().to_string();
        assert!(refused.contains("possible values: snapshot-merge"), "{refused}");
    }
}
