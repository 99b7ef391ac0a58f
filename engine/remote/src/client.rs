//! A server, as a client knows it: its shards' connections, and calls with one answer.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use deltalite_net::call::client::Channel;
use deltalite_net::call::{Call, Whole};
use deltalite_net::connection::CallSpec;
use deltalite_net::drive::tokio::{ConnectOptions, TokioConnect};
use deltalite_net::pool::{CallOptions, Failing, Pool, PoolOptions};
use deltalite_net::{ErrorKind, Result, RpcError, trace};
use tracing::Instrument;

use crate::protocol::{self, HEALTH, Health, REQUEST_BYTES_INLINE};

/// A connection that nothing is asked over for so long is closed, unless options say otherwise.
const IDLE_TIMEOUT: Duration = Duration::from_mins(1);

/// How a client behaves.
#[derive(Debug, Clone)]
pub struct ClientOptions {
    /// How it connects, and what its windows are.
    pub connect: ConnectOptions,
    /// How many connections it keeps, and how what fails is tried again.
    pub pool: PoolOptions,
    /// Time for a call that has one answer. Default 30 s.
    pub call_timeout: Duration,
    /// Such a call is made a second time where there is no answer after so long. Default: never.
    pub hedge_after: Option<Duration>,
    /// First window of a stream, in bytes. Default 1 MiB.
    pub window: u64,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self {
            connect: ConnectOptions::default(),
            pool: PoolOptions::default(),
            call_timeout: Duration::from_secs(30),
            hedge_after: None,
            window: 1 << 20,
        }
    }
}

/// A server, as a client knows it. Clones share its connections.
///
/// To be used on a tokio runtime.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

struct Inner {
    address: SocketAddr,
    options: ClientOptions,
    pool: Pool<TokioConnect>,
    requests: AtomicU64,
}

impl Client {
    /// A server at this address. Connections are made when they are needed.
    pub fn new(address: SocketAddr, mut options: ClientOptions) -> Self {
        options.connect.config.idle_timeout.get_or_insert(IDLE_TIMEOUT);
        let pool = Pool::new(TokioConnect::new(options.connect.clone()), options.pool.clone());
        // Request ids of different processes should differ; nothing depends on it but what people read in logs.
        let requests = AtomicU64::new(rand::random::<u64>() & !0xffff_ffff);
        Self { inner: Arc::new(Inner { address, options, pool, requests }) }
    }

    /// Its options.
    pub fn options(&self) -> &ClientOptions {
        &self.inner.options
    }

    /// A number for a request, as it appears in logs here and there.
    pub(crate) fn new_request(&self) -> u64 {
        self.inner.requests.fetch_add(1, Ordering::Relaxed)
    }

    /// The address of a shard's port; the server's own without.
    pub(crate) fn address(&self, port: Option<u16>) -> SocketAddr {
        let mut address = self.inner.address;
        address.set_port(port.unwrap_or(address.port()));
        address
    }

    /// A connection to a shard.
    pub(crate) async fn channel(&self, shard: SocketAddr) -> Result<Channel> {
        self.inner.pool.channel(shard).await
    }

    /// What became of something asked of a shard.
    pub(crate) fn report(&self, shard: SocketAddr, error: Option<&RpcError>) {
        self.inner.pool.report(shard, error);
    }

    /// How a stream of answers is asked for.
    pub(crate) fn spec(&self, request: u64, attempt: u32) -> CallSpec {
        CallSpec {
            timeout: None,
            request,
            attempt: u16::try_from(attempt).unwrap_or(u16::MAX),
            window: self.inner.options.window,
            streaming: false,
        }
    }

    /// One request, one answer; tried again where that can help.
    pub(crate) async fn ask(&self, method: u16, request: Vec<u8>) -> Result<Vec<u8>> {
        let options = CallOptions {
            timeout: Some(self.inner.options.call_timeout),
            idempotent: true,
            hedge_after: self.inner.options.hedge_after,
            request: self.new_request(),
        };
        let peers = [self.inner.address];
        let span = trace::client(protocol::method_name(method), options.request);
        let answer = self.inner.pool.call(&peers, &options, |channel, attempt| {
            let request = request.clone();
            async move {
                let mut call = begin(&channel, method, request, attempt.spec).await?;
                match call.receive_whole().await? {
                    Some(Whole { payload: Some(payload), .. }) => Ok(payload.to_vec()),
                    Some(Whole { meta, .. }) => Ok(meta),
                    None => {
                        Err(RpcError::new(ErrorKind::Protocol, "the server ended the call without an answer"))
                    }
                }
            }
        });
        answer.instrument(span).await.map_err(|error| error.at_peer(self.inner.address))
    }

    /// Waits before the next attempt of what has just failed, or says that there is to be none.
    pub(crate) async fn pause(&self, failing: &mut Failing, error: RpcError) -> Result<()> {
        self.inner.pool.pause(failing, error, None).await
    }

    /// How the server is.
    ///
    /// # Errors
    /// Where it can't be asked.
    pub async fn health(&self) -> Result<Health> {
        protocol::decode(&self.ask(HEALTH, vec![0]).await?)
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("address", &self.inner.address).finish_non_exhaustive()
    }
}

/// Begins a call, whatever the size of its request.
pub(crate) async fn begin(
    channel: &Channel,
    method: u16,
    request: Vec<u8>,
    mut spec: CallSpec,
) -> Result<Call> {
    if request.len() <= REQUEST_BYTES_INLINE {
        return channel.call(method, request, Vec::new(), &spec);
    }
    spec.streaming = true;
    let mut call = channel.call(method, Vec::new(), Vec::new(), &spec)?;
    call.send_last(Vec::new(), vec![request.into()]).await?;
    Ok(call)
}
