//! The settings of every session, whatever the server, the database or the role say: both servers must read and write
//! values alike, and no session may be ended by a bound that was meant for people.
//!
//! Not among them: `search_path`, by which tables are found; `session_replication_role`, which only a superuser has set on
//! purpose; where things are stored and how they are planned, which changes no value.

use super::sql::literal;

/// A setting, what it is set to, and what would happen elsewhere.
#[derive(Clone, Copy, Debug)]
pub struct PinnedSetting {
    /// As in `pg_settings`.
    pub name: &'static str,
    /// What it is set to.
    pub value: &'static str,
    /// What another value would do.
    pub why: &'static str,
}

const fn pinned(name: &'static str, value: &'static str, why: &'static str) -> PinnedSetting {
    PinnedSetting { name, value, why }
}

/// Settings that every version has.
pub(super) const PINNED: [PinnedSetting; 30] = [
    pinned(
        "datestyle",
        "ISO, MDY",
        "01/02/03 would be another day, and 2003-02-01 would be written otherwise",
    ),
    pinned("intervalstyle", "postgres", "'-1 2:03' would have another sign for its hours"),
    pinned("timezone", "UTC", "a timestamp would be written in another zone, and read in it"),
    pinned("timezone_abbreviations", "Default", "'10:00 IST' would be another time"),
    pinned("extra_float_digits", "3", "a float would lose its last digits"),
    pinned("bytea_output", "hex", "bytes would be written as escapes"),
    pinned("xmloption", "content", "xml that is no whole document would be refused"),
    pinned("xmlbinary", "base64", "bytes within xml would be written as hex"),
    pinned("array_nulls", "on", "a NULL element would be read as the text NULL"),
    pinned("lc_monetary", "C", "money would be written and read with another currency and point"),
    pinned("lc_numeric", "C", "to_char in a generated column would write another point"),
    pinned("lc_time", "C", "to_char in a generated column would write other names of days"),
    pinned("backslash_quote", "safe_encoding", "a quote behind a backslash would end a literal"),
    pinned("standard_conforming_strings", "on", "backslashes in literals would be escapes"),
    pinned("transform_null_equals", "off", "a comparison with NULL would be true"),
    pinned("quote_all_identifiers", "off", "types and indexes would be written otherwise, and differ"),
    pinned("gin_fuzzy_search_limit", "0", "an index scan could leave rows out"),
    pinned("row_security", "off", "a policy would hide rows without a word; now it is an error"),
    pinned("default_transaction_isolation", "read committed", "statements would wait or fail otherwise"),
    pinned("default_transaction_deferrable", "off", "a serializable read could wait for a safe snapshot"),
    pinned("idle_session_timeout", "0", "a session that waits for others would be ended"),
    pinned(
        "idle_in_transaction_session_timeout",
        "600s",
        "a stalled worker would hold its snapshot for ever",
    ),
    pinned("jit", "off", "short statements would be compiled first"),
    pinned("client_min_messages", "warning", "each `if exists` would send a notice"),
    pinned("escape_string_warning", "off", "literals with escapes would be warned of"),
    pinned("tcp_keepalives_idle", "15", "the server would keep a session whose worker is gone for hours"),
    pinned("tcp_keepalives_interval", "5", "see tcp_keepalives_idle"),
    pinned("tcp_keepalives_count", "3", "see tcp_keepalives_idle"),
    // Also counts the time in which the other side does not read, so it is longer than any wait of a healthy sync.
    pinned(
        "tcp_user_timeout",
        "600s",
        "what nobody acknowledges would be waited for until the system gives up",
    ),
    pinned(MARKER, KEPT, "a pooler that swallows start-up options swallows this one too: it is read back"),
];

/// Settings that some versions do not know: set once the connection stands, where they are known.
const WHERE_KNOWN: [PinnedSetting; 2] = [
    pinned("transaction_timeout", "0", "a merge would be ended in the middle"),
    pinned("restrict_nonsystem_relation_kind", "", "views and foreign tables would be refused"),
];

/// Set only where it is `off`, since whoever chose another value has a reason: how many servers a commit waits for.
const UNLESS_KEPT: PinnedSetting =
    pinned("synchronous_commit", "on", "a crash of the server would take commits back that were reported");

pub(super) const MARKER: &str = "milestream.session";
pub(super) const KEPT: &str = "kept";

/// All settings that no server, database or role can change for a session of the worker.
pub fn pinned_settings() -> impl Iterator<Item = PinnedSetting> {
    PINNED.into_iter().chain(WHERE_KNOWN).chain([UNLESS_KEPT])
}

/// What a session asks for when it begins.
#[derive(Clone, Debug)]
pub(super) struct Settings(Vec<(&'static str, String)>);

impl Settings {
    /// The pinned ones, and those of one session beside them.
    pub(super) fn with(own: impl IntoIterator<Item = (&'static str, String)>) -> Settings {
        let pinned = PINNED.iter().map(|setting| (setting.name, setting.value.to_owned()));
        Settings(pinned.chain(own).collect())
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &(&'static str, String)> {
        self.0.iter()
    }

    /// SQL that sets all of them, for a pooler that takes none at start-up.
    pub(super) fn set(&self) -> String {
        let values = self.0.iter().map(|(name, value)| format!("({}, {})", literal(name), literal(value)));
        let values = values.collect::<Vec<_>>().join(", ");
        format!("select set_config(name, value, false) from (values {values}) pinned(name, value)")
    }
}

/// SQL for what depends on the server.
pub(super) fn set_where_known() -> String {
    let values =
        WHERE_KNOWN.map(|setting| format!("({}, {})", literal(setting.name), literal(setting.value)));
    let PinnedSetting { name, value, .. } = UNLESS_KEPT;
    format!(
        "select set_config(name, value, false) from (values {}) pinned(name, value) \
         where current_setting(name, true) is not null \
         union all select set_config({name}, {value}, false) where current_setting({name}) = 'off'",
        values.join(", "),
        name = literal(name),
        value = literal(value)
    )
}
