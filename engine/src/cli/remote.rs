//! What a server has, for `scan`.

use std::path::PathBuf;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use clap::Args;
use deltalite::net::drive::tls::TlsClient;
use deltalite::net::drive::tokio::ConnectOptions;
use deltalite::remote::scan::BlockingScan;
use deltalite::remote::{Address, ClientOptions};
use deltalite::where_clause::parse_where;
use deltalite::{EngineError, Result};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{PrivateKeyDer, ServerName};

use super::select::Selection;
use super::serve::certificates;

/// How a server is talked to.
#[derive(Debug, Args)]
#[command(next_help_heading = "Servers")]
pub(super) struct Connecting {
    /// Token to show to the server.
    #[arg(long, value_name = "TOKEN", env = "DELTALITE_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// Certificates (PEM) that the server's has to be signed by; the connection is then TLS.
    #[arg(long, value_name = "FILE", env = "DELTALITE_TLS_CA")]
    tls_ca: Option<PathBuf>,
    /// Own certificate (PEM), for servers that ask for one.
    #[arg(long, value_name = "FILE", requires = "tls_ca", requires = "tls_client_key")]
    tls_client_cert: Option<PathBuf>,
    /// Its private key (PEM).
    #[arg(long, value_name = "FILE", requires = "tls_client_cert")]
    tls_client_key: Option<PathBuf>,
}

impl Connecting {
    fn options(&self, address: &Address) -> Result<ClientOptions> {
        let tls = self.tls_ca.as_ref().map(|ca| self.tls(ca, address)).transpose()?;
        let connect = ConnectOptions { token: self.token.clone(), tls, ..ConnectOptions::default() };
        Ok(ClientOptions { connect, ..ClientOptions::default() })
    }

    fn tls(&self, ca: &PathBuf, address: &Address) -> Result<TlsClient> {
        let wrong = |what: &str, e: String| EngineError::usage(what, e);
        let mut roots = rustls::RootCertStore::empty();
        for certificate in certificates("--tls-ca", ca)? {
            roots.add(certificate).map_err(|e| wrong("--tls-ca", e.to_string()))?;
        }
        let builder = rustls::ClientConfig::builder().with_root_certificates(roots);
        let config = match (&self.tls_client_cert, &self.tls_client_key) {
            (Some(cert), Some(key)) => {
                let chain = certificates("--tls-client-cert", cert)?;
                let key = PrivateKeyDer::from_pem_file(key)
                    .map_err(|e| wrong("--tls-client-key", format!("{}: {e}", key.display())))?;
                builder
                    .with_client_auth_cert(chain, key)
                    .map_err(|e| wrong("--tls-client-cert", e.to_string()))?
            }
            _ => builder.with_no_client_auth(),
        };
        let name = ServerName::try_from(address.host.clone())
            .map_err(|e| wrong("address", format!("{:?}: {e}", address.host)))?;
        Ok(TlsClient { config: Arc::new(config), name })
    }
}

/// A scan under way, of a server.
pub(super) struct RemoteRows {
    schema: SchemaRef,
    scan: BlockingScan,
}

impl RemoteRows {
    /// Starts the scan of what is selected, of at most `limit` rows.
    pub(super) fn start(
        address: &str,
        selection: &Selection,
        limit: Option<u64>,
        connecting: &Connecting,
    ) -> Result<Self> {
        let address: Address = address.parse()?;
        let mut scan = BlockingScan::open(&address, connecting.options(&address)?)?;
        let table = scan.table();
        let mut wanted = table.scan().ordered(!selection.unordered());
        if let Some(columns) = selection.columns() {
            wanted = wanted.columns(columns);
        }
        if let Some(text) = selection.condition_text()? {
            wanted = wanted.filter(parse_where(&text, table.schema())?);
        }
        if let Some(limit) = limit {
            wanted = wanted.limit(limit);
        }
        let schema = scan.start(wanted)?;
        Ok(Self { schema, scan })
    }

    pub(super) fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    pub(super) fn resumed(&self) -> u64 {
        self.scan.resumed()
    }
}

impl Iterator for RemoteRows {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        Some(self.scan.next()?.map_err(EngineError::from))
    }
}
