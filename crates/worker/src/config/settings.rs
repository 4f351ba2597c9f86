//! The settings as they are resolved: every key has a value, and every value can be kept.

use std::path::PathBuf;
use std::time::Duration;

use super::containers::{ByContainer, HostPort};
use super::keys::Keys;
use super::policy::{self, Kind, OnLoss, OnPrimaryDown, SchemaPolicy};
use super::size::Size;
use super::time_span::TimeSpan;
use crate::error::{Error, Result};
use crate::ingest::HashFormula;
use crate::postgres::TlsMode;
use crate::sync::{PrimaryChoice, Tuning};

/// Chunks side by side beyond which a server is only kept busy switching.
const PARALLELISM_MAX: u64 = 256;
/// A lease shorter than this would be lost to a slow moment of the network.
const LEASE_MIN: Duration = Duration::from_secs(1);
/// At less, a buffer for each of many workers would take longer to pay for than a server lets its client be silent.
const RATE_MIN: f64 = 0.1;

/// The settings of one stream of one platform.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Settings {
    /// Primaries to pull from instead of the store's primary ingestion platforms.
    pub from: Option<Vec<String>>,
    /// Credential to read the primary with instead of the secondary's own.
    pub credential: Option<String>,
    /// How one of several primaries is chosen.
    pub primary_choice: PrimaryChoice,
    /// How an ingesting platform computes the hash columns.
    pub hash: HashFormula,
    /// Bounds and policies of a sync.
    pub tuning: Tuning,
    /// How databases are reached.
    pub connections: Connections,
}

/// How databases are reached.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Connections {
    /// Where containers really are.
    pub endpoints: ByContainer<HostPort>,
    tls: TlsMode,
    tls_root_cert: Option<PathBuf>,
    container_tls: ByContainer<TlsMode>,
    container_tls_root_cert: ByContainer<PathBuf>,
    /// Directory with credentials.
    pub secrets_dir: Option<PathBuf>,
}

impl Connections {
    /// How TLS is used with a container.
    pub fn tls(&self, container: &str) -> TlsMode {
        self.container_tls.get(container).copied().unwrap_or(self.tls)
    }

    /// Root certificates for a container.
    pub fn tls_root_cert(&self, container: &str) -> Option<PathBuf> {
        self.container_tls_root_cert.get(container).or(self.tls_root_cert.as_ref()).cloned()
    }
}

impl Keys {
    /// The defaults of all keys that have one; the rest are off unless given.
    pub fn defaults() -> Keys {
        let tuning = Tuning::default();
        Keys {
            kind: Some(Kind::default()),
            primary_choice: Some(PrimaryChoice::default()),
            parallelism: Some(tuning.parallelism),
            seed_chunk_rows: Some(tuning.seed_chunk_rows),
            seed_chunk_time: Some(tuning.seed_chunk_time.into()),
            seed_strategy: Some(tuning.seed_strategy),
            increment_strategy: Some(tuning.increment_strategy),
            verify_seed: Some(tuning.verify_seed),
            max_rows_per_sync: Some(tuning.max_rows_per_sync),
            max_delete_fraction: Some(tuning.max_delete_fraction),
            interchange: Some(tuning.interchange),
            maintenance_work_mem: Some(tuning.maintenance_work_mem),
            hash: Some(HashFormula::default()),
            retry_tries: Some(tuning.retry_tries),
            retry_window: Some(tuning.retry_window.into()),
            retry_pause_min: Some(tuning.retry_pause_min.into()),
            retry_pause_max: Some(tuning.retry_pause_max.into()),
            lease: Some(tuning.lease.into()),
            connect_timeout: Some(tuning.connect_timeout.into()),
            lock_timeout: Some(tuning.lock_timeout.into()),
            statement_timeout: Some(tuning.statement_timeout.into()),
            silence_timeout: Some(tuning.silence_timeout.into()),
            tls: Some(TlsMode::default()),
            on_reset: Some(OnLoss::default()),
            on_pruned: Some(OnLoss::default()),
            on_primary_down: Some(OnPrimaryDown::default()),
            schema_policy: Some(SchemaPolicy::default()),
            ..Keys::default()
        }
    }
}

impl Settings {
    /// Gives every key its value.
    ///
    /// # Errors
    /// `Setup` for a value out of its bounds, and for one whose behaviour this version does not have.
    pub fn resolve(keys: Keys) -> Result<Settings> {
        require_built(&keys)?;
        let tuning = tuning(&keys);
        require_bounds(&tuning)?;
        if keys.from.as_ref().is_some_and(Vec::is_empty) {
            return Err(Error::setup("from = [] names no primary", "name one, or leave the key out"));
        }
        Ok(Settings {
            from: keys.from,
            credential: keys.credential,
            primary_choice: keys.primary_choice.unwrap_or_default(),
            hash: keys.hash.unwrap_or_default(),
            tuning,
            connections: Connections {
                endpoints: keys.endpoints.unwrap_or_default(),
                tls: keys.tls.unwrap_or_default(),
                tls_root_cert: keys.tls_root_cert,
                container_tls: keys.container_tls.unwrap_or_default(),
                container_tls_root_cert: keys.container_tls_root_cert.unwrap_or_default(),
                secrets_dir: keys.secrets_dir,
            },
        })
    }
}

fn require_built(keys: &Keys) -> Result<()> {
    policy::require_built("kind", &keys.kind.unwrap_or_default(), &Kind::Mirror)?;
    policy::require_built("on_reset", &keys.on_reset.unwrap_or_default(), &OnLoss::Halt)?;
    policy::require_built("on_pruned", &keys.on_pruned.unwrap_or_default(), &OnLoss::Halt)?;
    policy::require_built(
        "on_primary_down",
        &keys.on_primary_down.unwrap_or_default(),
        &OnPrimaryDown::Wait,
    )?;
    policy::require_built("schema_policy", &keys.schema_policy.unwrap_or_default(), &SchemaPolicy::Halt)
}

fn tuning(keys: &Keys) -> Tuning {
    let default = Tuning::default();
    let time = |given: Option<TimeSpan>, default| given.map_or(default, TimeSpan::duration);
    Tuning {
        parallelism: keys.parallelism.unwrap_or(default.parallelism),
        seed_chunk_rows: keys.seed_chunk_rows.unwrap_or(default.seed_chunk_rows),
        seed_chunk_time: time(keys.seed_chunk_time, default.seed_chunk_time),
        seed_strategy: keys.seed_strategy.unwrap_or(default.seed_strategy),
        increment_strategy: keys.increment_strategy.unwrap_or(default.increment_strategy),
        verify_seed: keys.verify_seed.unwrap_or(default.verify_seed),
        max_rows_per_sync: keys.max_rows_per_sync.unwrap_or(default.max_rows_per_sync),
        max_delete_fraction: keys.max_delete_fraction.unwrap_or(default.max_delete_fraction),
        interchange: keys.interchange.unwrap_or(default.interchange),
        retry_tries: keys.retry_tries.unwrap_or(default.retry_tries),
        retry_window: time(keys.retry_window, default.retry_window),
        retry_pause_min: time(keys.retry_pause_min, default.retry_pause_min),
        retry_pause_max: time(keys.retry_pause_max, default.retry_pause_max),
        lease: time(keys.lease, default.lease),
        connect_timeout: time(keys.connect_timeout, default.connect_timeout),
        lock_timeout: time(keys.lock_timeout, default.lock_timeout),
        statement_timeout: time(keys.statement_timeout, default.statement_timeout),
        silence_timeout: time(keys.silence_timeout, default.silence_timeout),
        maintenance_work_mem: keys.maintenance_work_mem.clone().unwrap_or(default.maintenance_work_mem),
        primary_timezone: keys.primary_timezone.clone(),
        max_rate: keys.max_rate,
        pause_replication_lag: keys.pause_replication_lag.map(Size::bytes),
        pause_active_sessions: keys.pause_active_sessions,
    }
}

fn require_bounds(tuning: &Tuning) -> Result<()> {
    let parallelism = u64::try_from(tuning.parallelism).unwrap_or(u64::MAX);
    within("parallelism", parallelism, 1, PARALLELISM_MAX)?;
    within("seed_chunk_rows", tuning.seed_chunk_rows, 1, u64::MAX)?;
    within("max_rows_per_sync", tuning.max_rows_per_sync, 1, u64::MAX)?;
    within("retry_tries", u64::try_from(tuning.retry_tries).unwrap_or(u64::MAX), 1, u64::MAX)?;
    let fraction = tuning.max_delete_fraction;
    if !(0.0..=1.0).contains(&fraction) {
        let remedy = "0 lets no sync delete a row, 1 lets it delete all";
        return Err(Error::setup(
            format!("max_delete_fraction = {fraction} is no share between 0 and 1"),
            remedy,
        ));
    }
    // The heartbeat gives each renewal a third of the lease.
    if tuning.lease < LEASE_MIN {
        let what = format!(
            "lease = {:?} is too short to be renewed in time",
            TimeSpan::from(tuning.lease).to_string()
        );
        return Err(Error::setup(what, "give it one second or more"));
    }
    if let Some(rate) = tuning.max_rate
        && !(RATE_MIN..f64::INFINITY).contains(&rate)
    {
        let remedy = format!("it must be at least {RATE_MIN}, or be left out for as fast as can be");
        return Err(Error::setup(format!("max_rate = {rate} is out of bounds"), remedy));
    }
    if tuning.retry_pause_min > tuning.retry_pause_max {
        return Err(Error::setup("retry_pause_min is longer than retry_pause_max", "set it to that or less"));
    }
    require_memory(&tuning.maintenance_work_mem)
}

fn within(key: &str, value: u64, min: u64, max: u64) -> Result<()> {
    if (min..=max).contains(&value) {
        return Ok(());
    }
    let bound = if value < min { format!("at least {min}") } else { format!("at most {max}") };
    Err(Error::setup(format!("{key} = {value} is out of bounds"), format!("it must be {bound}")))
}

fn require_memory(size: &str) -> Result<()> {
    let number = ["kB", "MB", "GB"].iter().find_map(|unit| size.strip_suffix(unit));
    if number.is_some_and(|number| number.trim().parse::<u32>().is_ok_and(|number| number > 0)) {
        return Ok(());
    }
    let what = format!("maintenance_work_mem = {size:?} is no size of memory");
    Err(Error::setup(what, "write a whole number and kB, MB or GB, as in \"256MB\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(keys: Keys) -> String {
        let error = Settings::resolve(keys).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        format!("{error}; {}", error.advice())
    }

    #[test]
    fn the_documented_defaults_are_the_ones_in_force() {
        let nothing = Settings::resolve(Keys::default()).unwrap();
        assert_eq!(Settings::resolve(Keys::defaults()).unwrap(), nothing);
        assert_eq!(nothing, Settings::default());
    }

    #[test]
    fn a_behaviour_that_is_not_built_is_refused_by_name() {
        let keys = Keys { kind: Some(Kind::Conflate), ..Keys::default() };
        assert_eq!(
            refusal(keys),
            "kind = \"conflate\" is not available in this version of Milestream; set kind = \"mirror\", or leave it out"
        );
        for keys in [
            Keys { on_reset: Some(OnLoss::Reconcile), ..Keys::default() },
            Keys { on_pruned: Some(OnLoss::Reseed), ..Keys::default() },
            Keys { on_primary_down: Some(OnPrimaryDown::Failover), ..Keys::default() },
            Keys { schema_policy: Some(SchemaPolicy::Additive), ..Keys::default() },
        ] {
            assert!(refusal(keys).contains("not available"));
        }
    }

    #[test]
    fn values_out_of_bounds_are_refused() {
        let span = |text: &str| Some(text.parse().unwrap());
        for keys in [
            Keys { parallelism: Some(0), ..Keys::default() },
            Keys { parallelism: Some(1000), ..Keys::default() },
            Keys { max_delete_fraction: Some(1.5), ..Keys::default() },
            Keys { max_delete_fraction: Some(f64::NAN), ..Keys::default() },
            Keys { maintenance_work_mem: Some("lots".into()), ..Keys::default() },
            Keys { max_rate: Some(0.0), ..Keys::default() },
            Keys { max_rate: Some(-5.0), ..Keys::default() },
            Keys { max_rate: Some(f64::NAN), ..Keys::default() },
            Keys { max_rate: Some(f64::INFINITY), ..Keys::default() },
            Keys { lease: span("10ms"), ..Keys::default() },
            Keys { retry_pause_min: span("1m"), ..Keys::default() },
            Keys { from: Some(Vec::new()), ..Keys::default() },
        ] {
            let seen = refusal(keys.clone());
            assert!(!seen.is_empty(), "{keys:?}");
        }
    }

    #[test]
    fn what_is_set_for_the_primarys_sake_is_off_unless_given() {
        let of = |keys| {
            let tuning = Settings::resolve(keys).unwrap().tuning;
            (tuning.max_rate, tuning.pause_replication_lag, tuning.pause_active_sessions)
        };
        assert_eq!(of(Keys::default()), (None, None, None));
        let given = Keys {
            max_rate: Some(12.5),
            pause_replication_lag: Some("64MB".parse().unwrap()),
            pause_active_sessions: Some(0),
            ..Keys::default()
        };
        assert_eq!(of(given), (Some(12.5), Some(64 << 20), Some(0)));
    }

    #[test]
    fn what_is_said_of_a_container_comes_before_what_is_said_of_all() {
        let keys = Keys {
            tls: Some(TlsMode::Require),
            container_tls: Some("Hub=verify-full".parse().unwrap()),
            container_tls_root_cert: Some("Hub=/etc/hub.pem".parse().unwrap()),
            ..Keys::default()
        };
        let connections = Settings::resolve(keys).unwrap().connections;
        assert_eq!(
            (connections.tls("Hub"), connections.tls("Edge")),
            (TlsMode::VerifyFull, TlsMode::Require)
        );
        assert_eq!(connections.tls_root_cert("Hub"), Some("/etc/hub.pem".into()));
        assert_eq!(connections.tls_root_cert("Edge"), None);
    }
}
