//! The scan server: shards that serve parts of files and tables from their own core.
//!
//! | module | job |
//! |---|---|
//! | here | [`Server`]: starting, draining, stopping |
//! | [`options`] | where to listen, what to serve, to whom, how much at once |
//! | `accept` | each shard's port, and the connections on it |
//! | `service` | what is asked: method by method |
//! | `read` | the rows of a part, to a stream with credit |
//! | `catalog` | names to tables and files, open ones kept |
//! | `admission` | how much at once: scans, memory, bytes a second |
//! | `metrics`, `http` | what is counted, and how it is told |
//! | `error` | errors of lower layers as they travel |
//!
//! ```
//! use deltalite_server::{Server, ServerOptions};
//!
//! let folder = tempfile::tempdir()?;
//! let options = ServerOptions::new(folder.path()).listen("127.0.0.1:0".parse()?).shards(1, 16 << 20)?;
//! let server = Server::start(options)?;
//! assert_eq!(server.addresses().len(), 1);
//! assert!(server.drain(std::time::Duration::from_secs(5)));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod accept;
mod admission;
mod catalog;
mod error;
mod http;
mod metrics;
pub mod options;
mod read;
mod service;

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::{Duration, Instant};

use deltalite_net::{ErrorKind, Result, RpcError};
use deltalite_shard::executor::{ShardOptions, ShardSet};
use deltalite_table::table::TableContext;
use tokio::sync::{Semaphore, watch};

pub use options::ServerOptions;

use admission::Admission;
use catalog::Catalog;
use metrics::Metrics;

/// Threads for what blocks, at most.
const BLOCKING_THREADS: usize = 8;

/// What all shards of a server share.
struct Common {
    catalog: Catalog,
    admission: Admission,
    metrics: Metrics,
    options: ServerOptions,
    shards: Arc<ShardSet>,
    ports: Vec<u16>,
    /// Threads for what blocks: logs, footers.
    blocking: tokio::runtime::Handle,
    /// How much of that may wait or run at once.
    blocking_places: Arc<Semaphore>,
}

/// A running server. Dropping it ends connections at once; [`drain`](Self::drain) lets scans finish.
pub struct Server {
    common: Arc<Common>,
    addresses: Vec<SocketAddr>,
    http: Option<SocketAddr>,
    draining: watch::Sender<bool>,
    accepting: Vec<accept::Accepting>,
    /// Ends last: tasks of shards hold on to it.
    runtime: Option<tokio::runtime::Runtime>,
}

impl Server {
    /// Starts shards and listens: shard `i` on the given port plus `i`, or on any where the port is 0.
    ///
    /// # Errors
    /// Where an address can't be listened on, or must not be without authentication; where the folder is not there or shards
    /// can't be started.
    pub fn start(options: ServerOptions) -> Result<Self> {
        options.gate.may_listen(&options.listen)?;
        if let Some(http) = &options.http
            && !http.ip().is_loopback()
            && !options.http_anywhere
        {
            return Err(RpcError::new(
                ErrorKind::InvalidArgument,
                format!(
                    "{http} can be reached from other machines, and metrics ask for no authentication; listen on 127.0.0.1, or say --http-anywhere"
                ),
            ));
        }
        let start = || {
            let shards = options.shard_options.clone().map_or_else(ShardOptions::per_core, Ok)?;
            ShardSet::start(shards).map(Arc::new)
        };
        let shards = options.shards.clone().map_or_else(start, Ok).map_err(|e| error::of_shard(&e))?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .max_blocking_threads(BLOCKING_THREADS)
            .thread_name("serve")
            .enable_all()
            .build()
            .map_err(|e| RpcError::new(ErrorKind::Internal, "no thread for control").caused_by(e))?;
        let listeners = listen(options.listen, shards.len())?;
        let addresses: Vec<SocketAddr> = listeners.iter().filter_map(|l| l.local_addr().ok()).collect();
        let context = TableContext::new(Arc::clone(&shards));
        let common = Arc::new(Common {
            catalog: Catalog::new(&options.data, context)?,
            admission: Admission::new(&options),
            metrics: Metrics::new(),
            ports: ports_told(&options, &addresses)?,
            shards,
            blocking: runtime.handle().clone(),
            blocking_places: Arc::new(Semaphore::new(BLOCKING_THREADS)),
            options,
        });
        let (draining, drained) = watch::channel(false);
        let http = match common.options.http {
            Some(address) => {
                Some(runtime.block_on(http::serve(Arc::clone(&common), address, drained.clone()))?)
            }
            None => None,
        };
        let mut accepting = Vec::new();
        for (shard, listener) in listeners.into_iter().enumerate() {
            accepting.push(accept::start(&common, shard, listener, drained.clone())?);
        }
        Ok(Self { common, addresses, http, draining, accepting, runtime: Some(runtime) })
    }

    /// Where the shards listen, by shard.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Where metrics and health are told.
    pub fn http(&self) -> Option<SocketAddr> {
        self.http
    }

    /// The shards.
    pub fn shards(&self) -> &Arc<ShardSet> {
        &self.common.shards
    }

    /// Scans under way.
    pub fn scans(&self) -> u64 {
        self.common.admission.scans()
    }

    /// Takes no more connections and calls, and waits for those under way; false where some were still when the time was over.
    pub fn drain(mut self, timeout: Duration) -> bool {
        self.common.admission.close();
        // Nobody listens where no shard accepts any more.
        let _ = self.draining.send(true);
        let until = Instant::now() + timeout;
        let mut all = true;
        for accepting in self.accepting.drain(..) {
            all &= accepting.wait(until);
        }
        all
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.accepting.clear();
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").field("addresses", &self.addresses).finish_non_exhaustive()
    }
}

/// The shards' ports, as clients are told.
fn ports_told(options: &ServerOptions, addresses: &[SocketAddr]) -> Result<Vec<u16>> {
    match &options.advertised {
        None => Ok(addresses.iter().map(SocketAddr::port).collect()),
        Some(ports) if ports.len() == addresses.len() => Ok(ports.clone()),
        Some(ports) => Err(RpcError::new(
            ErrorKind::InvalidArgument,
            format!("{} ports are advertised for {} shards", ports.len(), addresses.len()),
        )),
    }
}

/// A listener for each shard.
fn listen(address: SocketAddr, shards: usize) -> Result<Vec<TcpListener>> {
    let mut listeners = Vec::new();
    for shard in 0..shards {
        let mut address = address;
        if address.port() != 0 {
            let port = address.port().checked_add(shard as u16).ok_or_else(|| {
                RpcError::new(
                    ErrorKind::InvalidArgument,
                    format!("{shards} shards need as many ports from {address} on"),
                )
            })?;
            address.set_port(port);
        }
        let failed = |e: std::io::Error| {
            RpcError::new(
                ErrorKind::Unavailable,
                format!("can't listen on {address}; shard {shard} needs that port"),
            )
            .caused_by(e)
            .no_retry()
        };
        let domain = socket2::Domain::for_address(address);
        let socket = socket2::Socket::new(domain, socket2::Type::STREAM, None).map_err(failed)?;
        socket.set_reuse_address(true).map_err(failed)?;
        socket.bind(&address.into()).map_err(failed)?;
        socket.listen(1024).map_err(failed)?;
        listeners.push(socket.into());
    }
    Ok(listeners)
}
