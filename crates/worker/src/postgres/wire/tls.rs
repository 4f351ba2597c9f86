//! TLS of the worker's own connections, with the server's certificate checked as `psql` checks it.
//!
//! A certificate that is signed by itself and given as the root is a root and a server's at once, as PostgreSQL's manual
//! makes it: such a one is believed when the server shows exactly it. A certificate without names of hosts is held
//! against the common name of its subject.

use std::io;
use std::path::Path;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use tokio_rustls::rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::server::ParsedCertificate;
use tokio_rustls::rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error as TlsError, RootCertStore, SignatureScheme,
};

use super::common_name;
use crate::error::{Error, Result};

/// Asks for TLS before anything else is said.
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];

/// How much of a certificate is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::postgres) enum Checks {
    Nothing,
    Chain,
    ChainAndName,
}

/// What TLS of a connection needs.
pub(in crate::postgres) struct Tls {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
}

impl Tls {
    /// Reads the root certificates, where a file of them is given.
    ///
    /// # Errors
    /// `Setup` for a file that is not there, not readable or holds no certificate, and for a host that has no name.
    pub(in crate::postgres) fn new(host: &str, checks: Checks, roots: Option<&Path>) -> Result<Tls> {
        let provider = Arc::new(ring::default_provider());
        let (given, store) = match roots {
            Some(path) => read_roots(path)?,
            None => (Vec::new(), RootCertStore::from_iter(webpki_roots::TLS_SERVER_ROOTS.iter().cloned())),
        };
        let verifier =
            Verifier { checks, given, store, host: host.to_owned(), provider: Arc::clone(&provider) };
        let name = ServerName::try_from(host.to_owned());
        let name = name.map_err(|_| {
            Error::setup(
                format!("host {host:?} is no name that a certificate could have"),
                "correct the host in the model, or in `endpoints` of milestream.toml",
            )
        })?;
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| Error::setup(format!("TLS cannot be used: {error}"), "please report this"))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_no_client_auth();
        Ok(Tls { config: Arc::new(config), name })
    }

    /// Makes a connection an encrypted one.
    ///
    /// # Errors
    /// Of kind `InvalidData` when the server has no TLS or its certificate is not trusted; those of the connection.
    pub(super) async fn wrap(&self, mut server: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        server.write_all(&SSL_REQUEST).await?;
        match server.read_u8().await? {
            b'S' => {}
            b'N' => return Err(untrusted("the server does not speak TLS")),
            _ => return Err(untrusted("what answers is no PostgreSQL server")),
        }
        TlsConnector::from(Arc::clone(&self.config)).connect(self.name.clone(), server).await
    }
}

fn untrusted(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

/// The certificates of a file, and a store of them.
fn read_roots(path: &Path) -> Result<(Vec<CertificateDer<'static>>, RootCertStore)> {
    let refused = |why: &dyn std::fmt::Display| {
        Error::setup(
            format!("the root certificates in {} cannot be used: {why}", path.display()),
            "let `tls_root_cert` name a PEM file with the certificate that signed the server's, or with the server's own",
        )
    };
    let text = std::fs::read(path).map_err(|error| refused(&error))?;
    let given = CertificateDer::pem_slice_iter(&text).collect::<std::result::Result<Vec<_>, _>>();
    let given = given.map_err(|error| refused(&error))?;
    if given.is_empty() {
        return Err(refused(&"the file holds no certificate in PEM"));
    }
    let mut store = RootCertStore::empty();
    for certificate in &given {
        store.add(certificate.clone()).map_err(|error| refused(&error))?;
    }
    Ok((given, store))
}

/// Checks the certificate of a server.
#[derive(Debug)]
struct Verifier {
    checks: Checks,
    /// The roots that were given, as they stand in their file.
    given: Vec<CertificateDer<'static>>,
    store: RootCertStore,
    host: String,
    provider: Arc<CryptoProvider>,
}

impl Verifier {
    fn check_chain(
        &self,
        shown: &CertificateDer<'_>,
        parsed: &ParsedCertificate<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> std::result::Result<(), TlsError> {
        let algorithms = self.provider.signature_verification_algorithms.all;
        let checked =
            verify_server_cert_signed_by_trust_anchor(parsed, &self.store, intermediates, now, algorithms);
        match checked {
            // Said of a certificate that is in its time, and may sign others.
            Err(TlsError::InvalidCertificate(CertificateError::Other(other)))
                if matches!(other.0.downcast_ref(), Some(webpki::Error::CaUsedAsEndEntity))
                    && self.given.iter().any(|given| given == shown) =>
            {
                Ok(())
            }
            checked => checked,
        }
    }

    fn check_name(
        &self,
        shown: &CertificateDer<'_>,
        parsed: &ParsedCertificate<'_>,
        name: &ServerName<'_>,
    ) -> std::result::Result<(), TlsError> {
        verify_server_name(parsed, name)
            .or_else(|refused| if common_name::names(shown, &self.host) { Ok(()) } else { Err(refused) })
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        shown: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> std::result::Result<ServerCertVerified, TlsError> {
        if self.checks != Checks::Nothing {
            let parsed = ParsedCertificate::try_from(shown)?;
            self.check_chain(shown, &parsed, intermediates, now)?;
            if self.checks == Checks::ChainAndName {
                self.check_name(shown, &parsed, name)?;
            }
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        shown: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, TlsError> {
        verify_tls12_signature(message, shown, signed, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        shown: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> std::result::Result<HandshakeSignatureValid, TlsError> {
        verify_tls13_signature(message, shown, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
