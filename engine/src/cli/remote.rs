//! What a server has, for `scan`; how servers are talked to, for `query` and `shell` as well.

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use deltalite::credentials::Credentials;
use deltalite::remote::Address;
use deltalite::remote::scan::BlockingScan;
use deltalite::where_clause::parse_where;
use deltalite::{EngineError, Result};

use super::config::settings::Client;
use super::select::Selection;

impl Client {
    /// What is shown to servers, and what they have to show.
    pub(super) fn credentials(&self) -> Credentials {
        let (cert, key) = (self.tls_client_cert.clone(), self.tls_client_key.clone());
        Credentials { token: self.token.clone(), tls_ca: self.tls_ca.clone(), tls_client: cert.zip(key) }
    }

    /// That what belongs together is there.
    pub(super) fn check(self) -> Result<Self> {
        let missing = |what: &str, needs: &str| {
            Err(EngineError::usage(
                format!("client.{what}"),
                format!("it needs client.{needs} as well; set that too"),
            ))
        };
        match (&self.tls_client_cert, &self.tls_client_key) {
            (Some(_), None) => missing("tls_client_cert", "tls_client_key"),
            (None, Some(_)) => missing("tls_client_key", "tls_client_cert"),
            (Some(_), Some(_)) if self.tls_ca.is_none() => missing("tls_client_cert", "tls_ca"),
            _ => Ok(self),
        }
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
        client: &Client,
    ) -> Result<Self> {
        let address: Address = address.parse()?;
        let mut scan = BlockingScan::open(&address, client.credentials().options(&address)?)?;
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
