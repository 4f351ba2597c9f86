//! What can go wrong, and when: the rows and columns of the coverage matrix.

use std::fmt;

use milestream_worker::observer::Step;
use serde::{Deserialize, Serialize};

/// A span of a sync's life that begins with a step the worker reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// The lease is held; the plan is about to be made.
    Plan,
    /// A chunk's read on the primary is open, nothing is copied yet.
    ChunkOpen,
    /// Rows of a chunk are on their way.
    MidChunk,
    /// A chunk's COMMIT is about to be sent.
    ChunkCommit,
    /// A chunk is durable; the next is about to be claimed.
    BetweenChunks,
    /// Every chunk is durable; the sweep is about to begin.
    Sweep,
    /// An index of a landing table has been built; others, and the count, follow.
    IndexBuild,
    /// The merge transaction is open.
    Merge,
    /// COMMIT of data and watermark is about to be sent.
    BeforeCommit,
    /// The new watermark is durable.
    AfterCommit,
    /// There is nothing to do, or nobody at work.
    Idle,
}

impl Phase {
    /// Whether the primary's tables are not read in it: before there is a plan, and when all has been read.
    pub fn reads_nothing(self) -> bool {
        matches!(self, Phase::Plan | Phase::Merge | Phase::BeforeCommit | Phase::AfterCommit | Phase::Idle)
    }

    /// Every phase, in the order in which a seed passes them.
    pub const ALL: [Phase; 11] = [
        Phase::Plan,
        Phase::ChunkOpen,
        Phase::MidChunk,
        Phase::ChunkCommit,
        Phase::BetweenChunks,
        Phase::Sweep,
        Phase::IndexBuild,
        Phase::Merge,
        Phase::BeforeCommit,
        Phase::AfterCommit,
        Phase::Idle,
    ];

    /// The step with which the phase begins.
    pub fn step(self) -> Step {
        match self {
            Phase::Plan => Step::Leased,
            Phase::ChunkOpen => Step::ChunkOpened,
            Phase::MidChunk => Step::MidChunk,
            Phase::ChunkCommit => Step::ChunkCommitting,
            Phase::BetweenChunks => Step::ChunkCommitted,
            Phase::Sweep => Step::Sweeping,
            Phase::IndexBuild => Step::IndexBuilt,
            Phase::Merge => Step::Merging,
            Phase::BeforeCommit => Step::BeforeCommit,
            Phase::AfterCommit => Step::AfterCommit,
            Phase::Idle => Step::Idle,
        }
    }

    /// The phase that a step begins, if it begins one.
    pub fn of(step: Step) -> Option<Phase> {
        Phase::ALL.into_iter().find(|phase| phase.step() == step)
    }

    /// Whether only seeds pass it.
    pub fn is_of_seeds(self) -> bool {
        matches!(self, Phase::Sweep | Phase::IndexBuild)
    }

    /// The name used in plans and reports.
    pub fn name(self) -> &'static str {
        match self {
            Phase::Plan => "plan",
            Phase::ChunkOpen => "chunk-open",
            Phase::MidChunk => "mid-chunk",
            Phase::ChunkCommit => "chunk-commit",
            Phase::BetweenChunks => "between-chunks",
            Phase::Sweep => "sweep",
            Phase::IndexBuild => "index-build",
            Phase::Merge => "merge",
            Phase::BeforeCommit => "before-commit",
            Phase::AfterCommit => "after-commit",
            Phase::Idle => "idle",
        }
    }

    /// What goes on in it, as a person reads it.
    pub fn meaning(self) -> &'static str {
        match self {
            Phase::Plan => "the lease is held; the plan is about to be made",
            Phase::ChunkOpen => "a chunk's read on the primary is open, nothing is copied yet",
            Phase::MidChunk => "rows of a chunk are on their way",
            Phase::ChunkCommit => "a chunk's COMMIT is about to be sent",
            Phase::BetweenChunks => "a chunk is durable; the next is about to be claimed",
            Phase::Sweep => "every chunk is durable; the sweep is about to begin",
            Phase::IndexBuild => "an index of a landing table has been built; others, and the count, follow",
            Phase::Merge => "the merge transaction is open",
            Phase::BeforeCommit => "COMMIT of data and watermark is about to be sent",
            Phase::AfterCommit => "the new watermark is durable",
            Phase::Idle => "there is nothing to do, or nobody at work",
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FaultKind {
    /// The worker ends without tidying up, in this process.
    WorkerAborted,
    /// The worker, a process of its own, is killed with SIGKILL.
    WorkerKilled,
    /// A connection is cut after so many bytes of what the worker sends.
    RequestCut,
    /// A connection is cut after so many bytes of what the server answers.
    AnswerCut,
    /// A COMMIT is carried out, and its answer is lost with the connection.
    CommitAnswerLost,
    /// Connections stay open and pass nothing any more.
    HalfOpen,
    /// Every read from a link is held back for a while.
    Latency,
    /// The server's backends of the worker are terminated.
    BackendTerminated,
    /// A statement takes longer than `statement_timeout`.
    StatementTimeout,
    /// Another session holds a table for longer than `lock_timeout`.
    LockTimeout,
    /// The server is stopped without a checkpoint, and started again.
    ServerStopped,
    /// Every process of the server is killed with SIGKILL, and it is started again.
    ServerKilled,
    /// Every process of the server is halted with SIGSTOP, and continued.
    ServerPaused,
    /// The disk under the secondary's tables is full, and freed again.
    DiskFull,
    /// The database takes no more connections.
    TooManyConnections,
    /// Another session and the worker wait for each other.
    Deadlock,
    /// The right to read the primary's tables is revoked, and granted again.
    PermissionRevoked,
    /// A second worker begins on the same stream.
    SecondWorker,
    /// The worker is paused past its lease, overtaken, and goes on.
    Takeover,
    /// VACUUM FULL and ANALYZE of the primary's tables.
    VacuumFull,
    /// An ALTER that rewrites the primary's tables while the worker waits for the lock.
    RewritingAlter,
    /// An UPDATE that moves open versions and changes nothing.
    UpdateInPlace,
    /// The primary goes back to an earlier batch, and gives its ids again.
    PrimaryRestored,
    /// Closed versions are removed from the primary.
    HistoryPruned,
    /// The model and the primary's table get one more column.
    ColumnAdded,
}

impl FaultKind {
    /// Every kind, in the order of the matrix.
    pub const ALL: [FaultKind; 25] = [
        FaultKind::WorkerAborted,
        FaultKind::WorkerKilled,
        FaultKind::RequestCut,
        FaultKind::AnswerCut,
        FaultKind::CommitAnswerLost,
        FaultKind::HalfOpen,
        FaultKind::Latency,
        FaultKind::BackendTerminated,
        FaultKind::StatementTimeout,
        FaultKind::LockTimeout,
        FaultKind::ServerStopped,
        FaultKind::ServerKilled,
        FaultKind::ServerPaused,
        FaultKind::DiskFull,
        FaultKind::TooManyConnections,
        FaultKind::Deadlock,
        FaultKind::PermissionRevoked,
        FaultKind::SecondWorker,
        FaultKind::Takeover,
        FaultKind::VacuumFull,
        FaultKind::RewritingAlter,
        FaultKind::UpdateInPlace,
        FaultKind::PrimaryRestored,
        FaultKind::HistoryPruned,
        FaultKind::ColumnAdded,
    ];

    /// The name used in plans and reports.
    pub fn name(self) -> &'static str {
        match self {
            FaultKind::WorkerAborted => "worker-aborted",
            FaultKind::WorkerKilled => "worker-killed",
            FaultKind::RequestCut => "request-cut",
            FaultKind::AnswerCut => "answer-cut",
            FaultKind::CommitAnswerLost => "commit-answer-lost",
            FaultKind::HalfOpen => "half-open",
            FaultKind::Latency => "latency",
            FaultKind::BackendTerminated => "backend-terminated",
            FaultKind::StatementTimeout => "statement-timeout",
            FaultKind::LockTimeout => "lock-timeout",
            FaultKind::ServerStopped => "server-stopped",
            FaultKind::ServerKilled => "server-killed",
            FaultKind::ServerPaused => "server-paused",
            FaultKind::DiskFull => "disk-full",
            FaultKind::TooManyConnections => "too-many-connections",
            FaultKind::Deadlock => "deadlock",
            FaultKind::PermissionRevoked => "permission-revoked",
            FaultKind::SecondWorker => "second-worker",
            FaultKind::Takeover => "takeover",
            FaultKind::VacuumFull => "vacuum-full",
            FaultKind::RewritingAlter => "rewriting-alter",
            FaultKind::UpdateInPlace => "update-in-place",
            FaultKind::PrimaryRestored => "primary-restored",
            FaultKind::HistoryPruned => "history-pruned",
            FaultKind::ColumnAdded => "column-added",
        }
    }

    /// What happens, as a person reads it.
    pub fn meaning(self) -> &'static str {
        match self {
            FaultKind::WorkerAborted => "the worker ends without tidying up, in this process",
            FaultKind::WorkerKilled => "the worker, a process of its own, is killed with SIGKILL",
            FaultKind::RequestCut => "a connection is cut after so many bytes of what the worker sends",
            FaultKind::AnswerCut => "a connection is cut after so many bytes of what the server answers",
            FaultKind::CommitAnswerLost => {
                "a COMMIT is carried out, and its answer is lost with the connection"
            }
            FaultKind::HalfOpen => "connections stay open and pass nothing any more",
            FaultKind::Latency => "every read from a link is held back for a while",
            FaultKind::BackendTerminated => "the server's backends of the worker are terminated",
            FaultKind::StatementTimeout => "a statement takes longer than `statement_timeout`",
            FaultKind::LockTimeout => "another session holds a table for longer than `lock_timeout`",
            FaultKind::ServerStopped => "the server is stopped without a checkpoint, and started again",
            FaultKind::ServerKilled => {
                "every process of the server is killed with SIGKILL, and it is started again"
            }
            FaultKind::ServerPaused => "every process of the server is halted with SIGSTOP, and continued",
            FaultKind::DiskFull => "the disk under the secondary's tables is full, and freed again",
            FaultKind::TooManyConnections => "the database takes no more connections",
            FaultKind::Deadlock => "another session and the worker wait for each other",
            FaultKind::PermissionRevoked => {
                "the right to read the primary's tables is revoked, and granted again"
            }
            FaultKind::SecondWorker => "a second worker begins on the same stream",
            FaultKind::Takeover => "the worker is paused past its lease, overtaken, and goes on",
            FaultKind::VacuumFull => "VACUUM FULL and ANALYZE of the primary's tables",
            FaultKind::RewritingAlter => {
                "an ALTER that rewrites the primary's tables while the worker waits for the lock"
            }
            FaultKind::UpdateInPlace => "an UPDATE that moves open versions and changes nothing",
            FaultKind::PrimaryRestored => {
                "the primary goes back to an earlier batch, and gives its ids again"
            }
            FaultKind::HistoryPruned => "closed versions are removed from the primary",
            FaultKind::ColumnAdded => "the model and the primary's table get one more column",
        }
    }

    /// Whether it takes a server down, so that the history needs servers of its own.
    pub fn is_of_servers(self) -> bool {
        matches!(
            self,
            FaultKind::ServerStopped
                | FaultKind::ServerKilled
                | FaultKind::ServerPaused
                | FaultKind::DiskFull
        )
    }

    /// Whether it is done to the primary's tables, so that it needs a primary that is written directly.
    pub fn is_of_primary_tables(self) -> bool {
        matches!(
            self,
            FaultKind::VacuumFull
                | FaultKind::RewritingAlter
                | FaultKind::UpdateInPlace
                | FaultKind::PrimaryRestored
                | FaultKind::HistoryPruned
                | FaultKind::ColumnAdded
        )
    }

    /// Whether it moves rows of the primary's tables, and changes none.
    pub fn rewrites(self) -> bool {
        matches!(self, FaultKind::VacuumFull | FaultKind::RewritingAlter | FaultKind::UpdateInPlace)
    }

    /// Whether a seed may have to be planned anew because of it.
    pub fn excuses_a_new_plan(self) -> bool {
        self.is_of_primary_tables()
    }
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// On which of the two platforms of a sync a fault falls, where it could be either.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Side {
    /// The platform that is read.
    Primary,
    /// The platform that is written.
    Secondary,
}

/// A fault as a plan asks for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// What happens.
    pub kind: FaultKind,
    /// To which platform, where it could be either.
    #[serde(default = "Fault::secondary", skip_serializing_if = "Fault::is_secondary")]
    pub side: Side,
    /// After how many more bytes a connection is cut.
    #[serde(default, skip_serializing_if = "Fault::is_zero")]
    pub bytes: u64,
    /// Whether a worker that was overtaken goes on while the other is at work, and not only when it is done.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub halfway: bool,
    /// Whether a worker that takes over cannot end the sessions of the one it overtakes, so that the fence alone keeps
    /// that one from writing.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unended: bool,
}

impl Fault {
    /// A fault of the secondary.
    pub fn of(kind: FaultKind) -> Fault {
        Fault { kind, side: Side::Secondary, bytes: 0, halfway: false, unended: false }
    }

    fn secondary() -> Side {
        Side::Secondary
    }

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
    fn is_secondary(side: &Side) -> bool {
        *side == Side::Secondary
    }

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
    fn is_zero(bytes: &u64) -> bool {
        *bytes == 0
    }
}

impl Fault {
    /// Whether it stands at the primary, where it would be in the way of others than the worker it is meant for.
    pub fn stands_at_the_primary(&self) -> bool {
        self.side == Side::Primary && !self.kind.is_of_primary_tables()
    }

    /// Whether the primary itself can commit no batch while it goes on.
    pub fn keeps_primary_from_committing(&self) -> bool {
        let is_in_the_way = matches!(
            self.kind,
            FaultKind::StatementTimeout
                | FaultKind::LockTimeout
                | FaultKind::ServerStopped
                | FaultKind::ServerKilled
                | FaultKind::ServerPaused
        );
        self.side == Side::Primary && is_in_the_way
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.kind)?;
        if self.side == Side::Primary {
            write!(f, " of the primary")?;
        }
        if self.bytes > 0 {
            write!(f, " after {} bytes", self.bytes)?;
        }
        if self.halfway {
            write!(f, " halfway")?;
        }
        if self.unended {
            write!(f, " without end of its sessions")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_that_plans_are_written_with() {
        for kind in FaultKind::ALL {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.name());
        }
        for phase in Phase::ALL {
            assert_eq!(serde_json::to_value(phase).unwrap(), phase.name());
            assert_eq!(Phase::of(phase.step()), Some(phase));
        }
    }
}
