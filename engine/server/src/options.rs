//! Where to listen, what to serve, to whom, how much at once.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use deltalite_alloc::MemoryBudget;
use deltalite_net::auth::{Authorize, Gate};
use deltalite_net::connection::Config;
use deltalite_net::{ErrorKind, Result, RpcError};
use deltalite_remote::address::PORT;
use deltalite_shard::executor::{ShardOptions, ShardSet};

/// How a server is started.
#[derive(Clone)]
pub struct ServerOptions {
    pub(crate) data: PathBuf,
    pub(crate) listen: SocketAddr,
    pub(crate) advertised: Option<Vec<u16>>,
    pub(crate) http: Option<SocketAddr>,
    pub(crate) http_anywhere: bool,
    pub(crate) gate: Gate,
    pub(crate) tls: Option<Arc<rustls::ServerConfig>>,
    pub(crate) scans_max: u64,
    pub(crate) connections_max: usize,
    pub(crate) retry_after: Duration,
    pub(crate) caller_rate: Option<u64>,
    pub(crate) memory: Option<MemoryBudget>,
    pub(crate) authorize: Option<Arc<dyn Authorize>>,
    pub(crate) connection: Config,
    pub(crate) shard_options: Option<ShardOptions>,
    pub(crate) shards: Option<Arc<ShardSet>>,
}

impl ServerOptions {
    /// Serves what is in a folder, on loopback.
    pub fn new(data: impl AsRef<Path>) -> Self {
        Self {
            data: data.as_ref().to_owned(),
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, PORT)),
            advertised: None,
            http: None,
            http_anywhere: false,
            gate: Gate::open(),
            tls: None,
            scans_max: 256,
            connections_max: 16_384,
            retry_after: Duration::from_millis(100),
            caller_rate: None,
            memory: None,
            authorize: None,
            connection: Config::default(),
            shard_options: None,
            shards: None,
        }
    }

    /// The first shard's address; the others follow on the next ports. Port 0: any.
    #[must_use]
    pub fn listen(mut self, address: SocketAddr) -> Self {
        self.listen = address;
        self
    }

    /// The shards' ports as clients reach them, where that is through something that forwards.
    #[must_use]
    pub fn advertise(mut self, ports: Vec<u16>) -> Self {
        self.advertised = Some(ports);
        self
    }

    /// Where metrics and health are told over HTTP; `anywhere` allows addresses beyond loopback.
    #[must_use]
    pub fn http(mut self, address: SocketAddr, anywhere: bool) -> Self {
        (self.http, self.http_anywhere) = (Some(address), anywhere);
        self
    }

    /// Who may call.
    #[must_use]
    pub fn gate(mut self, gate: Gate) -> Self {
        self.gate = gate;
        self
    }

    /// Speaks TLS.
    #[must_use]
    pub fn tls(mut self, tls: Arc<rustls::ServerConfig>) -> Self {
        self.tls = Some(tls);
        self
    }

    /// Most scans at once; more are told to come back later. Default 256.
    #[must_use]
    pub fn scans_max(mut self, scans: u64) -> Self {
        self.scans_max = scans;
        self
    }

    /// Most connections at once to each shard; more are closed, and so are those whose clients have said nothing for longest. Default 16,384.
    #[must_use]
    pub fn connections_max(mut self, connections: usize) -> Self {
        self.connections_max = connections;
        self
    }

    /// Bytes a second that a caller is sent, over all its connections; default: as many as there are. Bursts may be of 8 MiB, or
    /// of a second.
    #[must_use]
    pub fn caller_rate(mut self, bytes_per_second: u64) -> Self {
        self.caller_rate = Some(bytes_per_second);
        self
    }

    /// What memory of connections and scans is reserved from; without room, they are told to come back later.
    #[must_use]
    pub fn memory(mut self, budget: MemoryBudget) -> Self {
        self.connection.budget = Some(budget.clone());
        self.memory = Some(budget);
        self
    }

    /// Asked before anybody is told of, or given, what is in a table or file.
    #[must_use]
    pub fn authorize(mut self, authorize: Arc<dyn Authorize>) -> Self {
        self.authorize = Some(authorize);
        self
    }

    /// What connections allow.
    #[must_use]
    pub fn connection(mut self, config: Config) -> Self {
        let budget = self.connection.budget.take();
        self.connection = Config { budget: config.budget.clone().or(budget), ..config };
        self
    }

    /// So many shards, with so many bytes of buffers each.
    ///
    /// # Errors
    /// Where there are not so many places.
    pub fn shards(mut self, count: u32, arena_bytes: usize) -> Result<Self> {
        let options = ShardOptions::with_shards(count)
            .map_err(|e| RpcError::new(ErrorKind::InvalidArgument, "shards").caused_by(e))?;
        self.shard_options = Some(options.arena(arena_bytes));
        Ok(self)
    }

    /// Shards as these options say.
    #[must_use]
    pub fn shard_options(mut self, options: ShardOptions) -> Self {
        self.shard_options = Some(options);
        self
    }

    /// Shards that run already.
    #[must_use]
    pub fn on_shards(mut self, shards: Arc<ShardSet>) -> Self {
        self.shards = Some(shards);
        self
    }
}

impl std::fmt::Debug for ServerOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServerOptions")
            .field("data", &self.data)
            .field("listen", &self.listen)
            .field("gate", &self.gate)
            .field("tls", &self.tls.is_some())
            .finish_non_exhaustive()
    }
}
