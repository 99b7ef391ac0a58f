//! What proves to servers who calls, and what servers have to prove.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use deltalite_net::drive::tls::TlsClient;
use deltalite_net::drive::tokio::ConnectOptions;
use deltalite_net::{ErrorKind, RpcError};
use deltalite_query::Connecting;
use deltalite_remote::{Address, ClientOptions};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};

use crate::error::{EngineError, Result};

/// How servers are talked to.
///
/// ```
/// use deltalite::credentials::Credentials;
///
/// let credentials = Credentials { token: Some("s3cret".to_owned()), ..Credentials::default() };
/// let options = credentials.options(&"deltalite://127.0.0.1:7433/trips".parse()?)?;
/// assert_eq!(options.connect.token.as_deref(), Some("s3cret"));
/// assert!(!format!("{credentials:?}").contains("s3cret"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Default)]
pub struct Credentials {
    /// Token to show.
    pub token: Option<String>,
    /// File of certificates (PEM) that a server's has to be signed by; connections are then TLS.
    pub tls_ca: Option<PathBuf>,
    /// File of one's own certificate (PEM) and of its private key, for servers that ask for one.
    pub tls_client: Option<(PathBuf, PathBuf)>,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials")
            .field("token", &self.token.as_ref().map(|_| "…"))
            .field("tls_ca", &self.tls_ca)
            .field("tls_client", &self.tls_client)
            .finish()
    }
}

impl Credentials {
    /// How the server of an address is talked to.
    ///
    /// # Errors
    /// Where a file can't be read, or is not what it should be.
    pub fn options(&self, address: &Address) -> Result<ClientOptions> {
        let tls = self.tls_ca.as_ref().map(|ca| self.tls(ca, address)).transpose()?;
        let connect = ConnectOptions { token: self.token.clone(), tls, ..ConnectOptions::default() };
        Ok(ClientOptions { connect, ..ClientOptions::default() })
    }

    /// The same for sessions, whatever servers their statements name.
    pub fn for_sessions(self) -> Connecting {
        Arc::new(move |address| {
            self.options(address).map_err(|error| {
                RpcError::new(ErrorKind::InvalidArgument, error.to_string()).with_code(error.code())
            })
        })
    }

    fn tls(&self, ca: &Path, address: &Address) -> Result<TlsClient> {
        let wrong = |what: &str, e: String| EngineError::usage(what, e);
        let mut roots = rustls::RootCertStore::empty();
        for certificate in certificates("client.tls_ca", ca)? {
            roots.add(certificate).map_err(|e| wrong("client.tls_ca", e.to_string()))?;
        }
        let builder = rustls::ClientConfig::builder().with_root_certificates(roots);
        let config = match &self.tls_client {
            Some((cert, key)) => {
                let chain = certificates("client.tls_client_cert", cert)?;
                let key = PrivateKeyDer::from_pem_file(key)
                    .map_err(|e| wrong("client.tls_client_key", format!("{}: {e}", key.display())))?;
                builder
                    .with_client_auth_cert(chain, key)
                    .map_err(|e| wrong("client.tls_client_cert", e.to_string()))?
            }
            None => builder.with_no_client_auth(),
        };
        let name = ServerName::try_from(address.host.clone())
            .map_err(|e| wrong("address", format!("{:?}: {e}", address.host)))?;
        Ok(TlsClient { config: Arc::new(config), name })
    }
}

/// The certificates in a PEM file; `what` says in errors what it was given for.
///
/// # Errors
/// Where it can't be read, or has none.
pub fn certificates(what: &str, path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let wrong = |detail: String| EngineError::usage(what, format!("{}: {detail}", path.display()));
    let read: Result<Vec<_>, _> =
        CertificateDer::pem_file_iter(path).map_err(|e| wrong(e.to_string()))?.collect();
    let read = read.map_err(|e| wrong(e.to_string()))?;
    if read.is_empty() { Err(wrong("there is no certificate in it".to_owned())) } else { Ok(read) }
}
