//! What a server has, for `scan`; how servers are talked to, for `query` and `shell` as well.

use std::path::PathBuf;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use clap::Args;
use deltalite::credentials::Credentials;
use deltalite::remote::Address;
use deltalite::remote::scan::BlockingScan;
use deltalite::where_clause::parse_where;
use deltalite::{EngineError, Result};

use super::select::Selection;

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
    pub(super) fn credentials(&self) -> Credentials {
        let (cert, key) = (self.tls_client_cert.clone(), self.tls_client_key.clone());
        Credentials { token: self.token.clone(), tls_ca: self.tls_ca.clone(), tls_client: cert.zip(key) }
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
        let mut scan = BlockingScan::open(&address, connecting.credentials().options(&address)?)?;
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
