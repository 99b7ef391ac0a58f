//! Connections to a server: one for each of its shards, made when first needed and made anew when broken.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use deltalite_net::call::client::Channel;
use deltalite_net::call::{Call, Whole};
use deltalite_net::connection::CallSpec;
use deltalite_net::drive::tokio::{ConnectOptions, connect};
use deltalite_net::{ErrorKind, Result, RpcError};
use tokio::sync::Mutex;

use crate::protocol::{self, HEALTH, Health, REQUEST_BYTES_INLINE};

/// How a client behaves.
#[derive(Debug, Clone)]
pub struct ClientOptions {
    /// How it connects, and what its windows are.
    pub connect: ConnectOptions,
    /// Time for a call that has one answer. Default 30 s.
    pub call_timeout: Duration,
    /// Attempts in a row that may fail without a row received before a scan gives up. Default 8.
    pub attempts_max: u32,
    /// First pause between attempts; it doubles, up to a second, and varies. Default 10 ms.
    pub backoff: Duration,
    /// First window of a stream, in bytes. Default 1 MiB.
    pub window: u64,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self {
            connect: ConnectOptions::default(),
            call_timeout: Duration::from_secs(30),
            attempts_max: 8,
            backoff: Duration::from_millis(10),
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
    channels: Mutex<HashMap<u16, Channel>>,
    requests: AtomicU64,
}

impl Client {
    /// A server at this address. Connections are made when they are needed.
    pub fn new(address: SocketAddr, options: ClientOptions) -> Self {
        let channels = Mutex::default();
        // Request ids of different processes should differ; nothing depends on it but what people read in logs.
        let requests = AtomicU64::new(rand::random::<u64>() & !0xffff_ffff);
        Self { inner: Arc::new(Inner { address, options, channels, requests }) }
    }

    /// Its options.
    pub fn options(&self) -> &ClientOptions {
        &self.inner.options
    }

    /// A number for a request, as it appears in logs here and there.
    pub(crate) fn new_request(&self) -> u64 {
        self.inner.requests.fetch_add(1, Ordering::Relaxed)
    }

    /// The connection to a shard's port; the server's own without.
    pub(crate) async fn channel(&self, port: Option<u16>) -> Result<Channel> {
        let port = port.unwrap_or(self.inner.address.port());
        let mut channels = self.inner.channels.lock().await;
        if let Some(channel) = channels.get(&port)
            && channel.takes_calls()
        {
            return Ok(channel.clone());
        }
        let mut address = self.inner.address;
        address.set_port(port);
        let channel = connect(address, &self.inner.options.connect).await?;
        channels.insert(port, channel.clone());
        Ok(channel)
    }

    /// How a call is made.
    pub(crate) fn spec(&self, timeout: Option<Duration>, request: u64, attempt: u32) -> CallSpec {
        CallSpec {
            timeout,
            request,
            attempt: u16::try_from(attempt).unwrap_or(u16::MAX),
            window: self.inner.options.window,
            streaming: false,
        }
    }

    /// Begins a call, whatever the size of its request.
    pub(crate) async fn call(
        &self,
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

    /// One request, one answer; tried again where that can help.
    pub(crate) async fn ask(&self, method: u16, request: Vec<u8>) -> Result<Vec<u8>> {
        let id = self.new_request();
        let mut attempt = 0;
        loop {
            let asked = async {
                let channel = self.channel(None).await?;
                let spec = self.spec(Some(self.inner.options.call_timeout), id, attempt);
                let mut call = self.call(&channel, method, request.clone(), spec).await?;
                match call.receive_whole().await? {
                    Some(Whole { payload: Some(payload), .. }) => Ok(payload.to_vec()),
                    Some(Whole { meta, .. }) => Ok(meta),
                    None => {
                        Err(RpcError::new(ErrorKind::Protocol, "the server ended the call without an answer"))
                    }
                }
            };
            match asked.await {
                Ok(answer) => return Ok(answer),
                Err(error) => {
                    attempt += 1;
                    self.pause(&error, attempt).await.map_err(|error| error.at_peer(self.inner.address))?;
                }
            }
        }
    }

    /// Waits before attempt number `attempt`, or says that there is to be none.
    pub(crate) async fn pause(&self, error: &RpcError, attempt: u32) -> Result<()> {
        let options = &self.inner.options;
        let Some(at_least) = error.retryable().filter(|_| attempt < options.attempts_max) else {
            return Err(error.clone());
        };
        let doubled = options.backoff.saturating_mul(1 << attempt.min(10)).min(Duration::from_secs(1));
        // Clients that failed together should not come back together.
        let jittered = doubled.mul_f64(rand::random_range(0.5..1.0));
        tokio::time::sleep(jittered.max(at_least)).await;
        Ok(())
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
