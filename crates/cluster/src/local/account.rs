//! Whom servers run as: Postgres refuses to run as root.

use std::fs::Metadata;
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

use crate::Error;

/// An unprivileged user that root lends its servers to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Account {
    pub(crate) name: String,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

impl Account {
    /// `postgres` if there is such a user, else `nobody`; none when this process is not root, since then servers
    /// run as whoever runs this process.
    pub(crate) fn for_servers() -> Option<&'static Account> {
        static ACCOUNT: OnceLock<Option<Account>> = OnceLock::new();
        let chosen = ACCOUNT.get_or_init(|| {
            if !rustix::process::geteuid().is_root() {
                return None;
            }
            let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
            Some(Account::among(&users))
        });
        chosen.as_ref()
    }

    fn among(users: &str) -> Account {
        let named = |name: &str| users.lines().find_map(|line| Account::parse(line, name));
        let nobody = || Account { name: "nobody".to_owned(), uid: 65534, gid: 65534 };
        named("postgres").or_else(|| named("nobody")).unwrap_or_else(nobody)
    }

    /// A line of `/etc/passwd` about that user. Uid 0 under another name would be refused like root.
    fn parse(line: &str, name: &str) -> Option<Account> {
        let mut fields = line.split(':');
        if fields.next() != Some(name) {
            return None;
        }
        let uid = fields.nth(1)?.parse().ok().filter(|&uid| uid != 0)?;
        let gid = fields.next()?.parse().ok()?;
        Some(Account { name: name.to_owned(), uid, gid })
    }

    fn may_enter(&self, directory: &Metadata) -> bool {
        let shift = if directory.uid() == self.uid {
            6
        } else if directory.gid() == self.gid {
            3
        } else {
            0
        };
        (directory.mode() >> shift) & 0o1 != 0
    }
}

/// The first directory on the way to `path`, itself included, that the user servers run as may not enter.
pub(crate) fn barrier_on_the_way_to(path: &Path) -> Option<&Path> {
    let account = Account::for_servers()?;
    path.ancestors().find(|directory| match directory.metadata() {
        Ok(metadata) => metadata.is_dir() && !account.may_enter(&metadata),
        Err(_) => !directory.as_os_str().is_empty(),
    })
}

/// Gives a file or directory to the user that servers run as.
pub(crate) fn hand_over(path: &Path) -> Result<(), Error> {
    match Account::for_servers() {
        Some(account) => {
            chown(path, Some(account.uid), Some(account.gid)).map_err(Error::io("change the owner of", path))
        }
        None => Ok(()),
    }
}

/// A command that runs as that user, away from directories it may not enter, and deaf to `PG*` variables.
pub(crate) fn command(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.current_dir("/").env("LC_ALL", "C").env("TZ", "UTC");
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("PG") {
            command.env_remove(name);
        }
    }
    if let Some(account) = Account::for_servers() {
        command.uid(account.uid).gid(account.gid);
    }
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    const USERS: &str = "root:x:0:0:root:/root:/bin/bash\nnobody:x:65534:65533::/:/bin/false\n";

    #[test]
    fn postgres_is_preferred_to_nobody() {
        let users = format!("{USERS}postgres:x:101:104:,,,:/var/lib/postgresql:/bin/bash\n");
        assert_eq!(Account::among(&users), Account { name: "postgres".to_owned(), uid: 101, gid: 104 });
    }

    #[test]
    fn nobody_serves_where_there_is_no_postgres_or_postgres_is_root() {
        let nobody = Account { name: "nobody".to_owned(), uid: 65534, gid: 65533 };
        assert_eq!(Account::among(USERS), nobody);
        assert_eq!(Account::among(&format!("{USERS}postgres:x:0:0::/:/bin/sh\n")), nobody);
        assert_eq!(Account::among("").uid, 65534);
    }
}
