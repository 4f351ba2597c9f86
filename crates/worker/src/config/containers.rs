//! What is said of data containers by name: where they really are, and how TLS is used with them.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::de::value::StrDeserializer;
use serde::de::{DeserializeOwned, IntoDeserializer};
use serde::{Deserialize, Serialize};

/// One value for each of some containers: a table in TOML, `NAME=VALUE,NAME=VALUE` in a flag or variable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ByContainer<T>(BTreeMap<String, T>);

impl<T> ByContainer<T> {
    /// What is said of the container, if anything is.
    pub fn get(&self, container: &str) -> Option<&T> {
        self.0.get(container)
    }

    pub(crate) fn values_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.0.values_mut()
    }

    /// These values, and for other containers those of `below`.
    pub(crate) fn over(mut self, below: ByContainer<T>) -> ByContainer<T> {
        for (container, value) in below.0 {
            self.0.entry(container).or_insert(value);
        }
        self
    }
}

impl<T> Default for ByContainer<T> {
    fn default() -> ByContainer<T> {
        ByContainer(BTreeMap::new())
    }
}

// A value is read as TOML would read the string, so that flag, variable and file cannot differ.
impl<T: DeserializeOwned> FromStr for ByContainer<T> {
    type Err = String;

    fn from_str(text: &str) -> Result<ByContainer<T>, String> {
        let pair = |pair: &str| {
            let (container, value) =
                pair.split_once('=').ok_or_else(|| format!("{pair:?} is not CONTAINER=VALUE"))?;
            let value: StrDeserializer<'_, serde::de::value::Error> = value.trim().into_deserializer();
            let value = T::deserialize(value).map_err(|error| error.to_string())?;
            Ok::<_, String>((container.trim().to_owned(), value))
        };
        text.split(',').map(pair).collect::<Result<_, _>>().map(ByContainer)
    }
}

/// `host:port`; the host is a name, an address, or the directory of a Unix socket.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HostPort {
    /// Name, address or directory, without the brackets around an IPv6 address.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

impl FromStr for HostPort {
    type Err = String;

    fn from_str(text: &str) -> Result<HostPort, String> {
        let refusal = || format!("{text:?} is not HOST:PORT, as in \"db.example.com:5432\"");
        let (host, port) = text.rsplit_once(':').ok_or_else(refusal)?;
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let port = port.parse().ok().filter(|port| *port > 0).ok_or_else(refusal)?;
        match bare.unwrap_or(host) {
            "" => Err(refusal()),
            host => Ok(HostPort { host: host.to_owned(), port }),
        }
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl TryFrom<String> for HostPort {
    type Error = String;

    fn try_from(text: String) -> Result<HostPort, String> {
        text.parse()
    }
}

impl From<HostPort> for String {
    fn from(place: HostPort) -> String {
        place.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_may_be_names_addresses_and_socket_directories() {
        for (text, host, port) in [
            ("db.example.com:5432", "db.example.com", 5432),
            ("[::1]:6432", "::1", 6432),
            ("/run/postgresql:5433", "/run/postgresql", 5433),
        ] {
            let place: HostPort = text.parse().unwrap();
            assert_eq!((place.host.as_str(), place.port), (host, port));
            assert_eq!(place.to_string(), text);
        }
        for text in ["", "db", ":5432", "db:", "db:0", "db:65536", "db:x"] {
            assert!(text.parse::<HostPort>().is_err(), "{text:?} was taken");
        }
    }

    #[test]
    fn a_container_named_above_hides_only_itself_below() {
        let above: ByContainer<HostPort> = "A=a:1".parse().unwrap();
        let below = "A=b:2, B=b:3".parse().unwrap();
        let both = above.over(below);
        assert_eq!(both.get("A").unwrap().to_string(), "a:1");
        assert_eq!(both.get("B").unwrap().to_string(), "b:3");
    }
}
