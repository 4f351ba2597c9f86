//! The first message of a connection. The driver's is exchanged for one of ours: the driver would send what `PGOPTIONS` of
//! the environment says, which is meant for people.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::postgres::settings::Settings;

/// Version 3.0 of the protocol.
const PROTOCOL: u32 = 3 << 16;
/// No driver's start-up message is longer; the server's bound.
const MESSAGE_BYTES_MAX: usize = 10_000;
const LENGTH_BYTES: usize = 4;

/// What a connection asks for when it begins.
#[derive(Clone, Debug)]
pub(in crate::postgres) struct Startup {
    pub(in crate::postgres) user: String,
    pub(in crate::postgres) database: String,
    pub(in crate::postgres) application_name: String,
    /// `None` where a pooler refuses them.
    pub(in crate::postgres) settings: Option<Settings>,
}

impl Startup {
    fn message(&self) -> io::Result<Vec<u8>> {
        let options = self.settings.as_ref().map(options);
        let mut parameters = vec![
            ("user", self.user.as_str()),
            ("database", &self.database),
            ("application_name", &self.application_name),
            ("client_encoding", "UTF8"),
        ];
        parameters.extend(options.as_deref().map(|options| ("options", options)));
        let mut body = PROTOCOL.to_be_bytes().to_vec();
        for text in parameters.into_iter().flat_map(|(name, value)| [name, value]) {
            if text.contains('\0') {
                return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{text:?} holds a NUL")));
            }
            body.extend_from_slice(text.as_bytes());
            body.push(0);
        }
        body.push(0);
        let length = u32::try_from(LENGTH_BYTES + body.len()).map_err(io::Error::other)?;
        Ok([&length.to_be_bytes()[..], &body].concat())
    }

    /// Sends this in place of what the driver sends first.
    pub(super) async fn replace(
        &self,
        driver: &mut (impl AsyncRead + Unpin),
        server: &mut (impl AsyncWrite + Unpin),
    ) -> io::Result<()> {
        let length = usize::try_from(driver.read_u32().await?).map_err(io::Error::other)?;
        let body = length.checked_sub(LENGTH_BYTES).filter(|bytes| *bytes <= MESSAGE_BYTES_MAX);
        let body = body.ok_or_else(|| io::Error::other("the driver begins with no start-up message"))?;
        driver.read_exact(&mut vec![0; body]).await?;
        server.write_all(&self.message()?).await?;
        server.flush().await
    }
}

/// Settings as the server's command line takes them; blanks and backslashes within a value are escaped.
fn options(settings: &Settings) -> String {
    let escaped = |value: &str| value.replace('\\', "\\\\").replace(' ', "\\ ");
    let options = settings.iter().map(|(name, value)| format!("-c {name}={}", escaped(value)));
    options.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_the_driver_asks_for_is_not_sent() {
        let startup = Startup {
            user: "reader".into(),
            database: "hub".into(),
            application_name: "milestream plan".into(),
            settings: None,
        };
        let mut drivers: &[u8] = b"\0\0\0\x17\0\x03\0\0options\0-c a=b\0left";
        let mut sent = Vec::new();
        startup.replace(&mut drivers, &mut sent).await.unwrap();
        assert_eq!(drivers, b"left");
        let text = String::from_utf8_lossy(&sent[8..]).replace('\0', "|");
        assert_eq!(text, "user|reader|database|hub|application_name|milestream plan|client_encoding|UTF8||");
        assert_eq!(usize::from(sent[3]), sent.len());
    }

    #[test]
    fn blanks_within_a_value_are_escaped() {
        let options = options(&Settings::with([("lock_timeout", "1 s".to_owned())]));
        assert!(options.starts_with("-c datestyle=ISO,\\ MDY -c intervalstyle=postgres"), "{options}");
        assert!(options.ends_with("-c lock_timeout=1\\ s"), "{options}");
    }
}
