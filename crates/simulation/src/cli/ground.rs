//! Where histories are played: the arguments that all commands share.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use clap::{Args, ValueEnum};
use milestream_cluster::{Backend, ContainerImage, FindOptions};

use super::{Trouble, WORKER};
use crate::campaign::Ground;
use crate::fault::FaultKind;
use crate::plan::generate::Options;
use crate::plan::habits::Habit;
use crate::run::{Hall, WorkerBinary, can_fill_disks};

/// Where servers come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum BackendChoice {
    /// Binaries of this machine.
    Local,
    /// Containers, one a server.
    Containers,
}

/// Arguments of every command.
#[derive(Clone, Debug, Args)]
pub(super) struct GroundArguments {
    /// Where servers come from; whatever is at hand unless it is named.
    #[arg(long, value_name = "WHERE")]
    backend: Option<BackendChoice>,
    /// Server versions that are mixed between platforms: major versions found on this machine, or directories with
    /// `postgres` and `initdb`.
    #[arg(long, value_name = "VERSION,…", value_delimiter = ',')]
    postgres: Vec<String>,
    /// Histories at a time.
    #[arg(long, value_name = "N", default_value_t = 3)]
    jobs: usize,
}

impl GroundArguments {
    /// The arguments that name the same servers again.
    pub(super) fn again(&self) -> Vec<String> {
        let mut again = Vec::new();
        if let Some(value) = self.backend.and_then(|backend| backend.to_possible_value()) {
            again.extend(["--backend".to_owned(), value.get_name().to_owned()]);
        }
        if !self.postgres.is_empty() {
            again.extend(["--postgres".to_owned(), self.postgres.join(",")]);
        }
        again
    }

    /// Finds the servers; what cannot be injected here is left out, and said.
    pub(super) async fn ground(&self) -> Result<(Ground, Options), Trouble> {
        let backends = self.backends().await?;
        let is_local = backends.iter().all(|backend| matches!(backend, Backend::Local(_)));
        let mut without = BTreeSet::new();
        if !(is_local && can_fill_disks()) {
            without.insert(FaultKind::DiskFull);
            eprintln!(
                "disk-full is left out: it needs servers of this machine and the right to mount a small tmpfs (root)"
            );
        }
        // A standby streams from a server of this machine.
        let without_habits = (!is_local).then_some(Habit::TwoServers).into_iter().collect();
        let hall = Arc::new(Hall::new(backends));
        eprintln!("servers: {}", hall.describe());
        let program = std::env::current_exe()?;
        let worker = WorkerBinary { program, arguments: vec![WORKER.to_owned()] };
        let ground = Ground { hall, worker, side_by_side: self.jobs };
        Ok((ground, Options { without, without_habits, ..Options::default() }))
    }

    async fn backends(&self) -> Result<Vec<Backend>, Trouble> {
        if self.backend == Some(BackendChoice::Containers) {
            if !self.postgres.is_empty() {
                return Err(
                    "--postgres mixes servers of this machine; containers have the version of their image"
                        .into(),
                );
            }
            return Ok(vec![Backend::container(&ContainerImage::name_from_env()).await?]);
        }
        if self.postgres.is_empty() {
            let found = Backend::find(&FindOptions::from_env()).await?;
            if self.backend == Some(BackendChoice::Local) && !matches!(found, Backend::Local(_)) {
                return Err("no server binaries on this machine: install package postgresql, or name them with --postgres DIR".into());
            }
            return Ok(vec![found]);
        }
        let directory = |version: &String| match version.parse::<u32>() {
            Ok(major) => PathBuf::from(format!("/usr/lib/postgresql/{major}/bin")),
            Err(_) => PathBuf::from(version),
        };
        Ok(self
            .postgres
            .iter()
            .map(|version| Backend::local(&directory(version)))
            .collect::<Result<_, _>>()?)
    }
}
