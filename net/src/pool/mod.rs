//! Calls to peers that come and go: connections kept and shared, failed calls tried again within a budget, peers that are down
//! left alone, slow ones asked a second time.
//!
//! | module | job |
//! |---|---|
//! | here | [`Pool`]: connections by peer |
//! | `attempts` | one call, as many attempts as it takes |
//! | `retry` | [`RetryOptions`], [`RetryBudget`]: when to try again |
//! | `breaker` | [`Breaker`]: when to leave a peer alone |
//!
//! Nothing here knows a runtime: a [`Connect`] makes connections and waits. [`TokioConnect`](crate::drive::tokio::TokioConnect) is
//! the one for tokio; tests have a simulated one.

mod attempts;
mod breaker;
mod retry;

use std::collections::HashMap;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::lock::Mutex as AsyncMutex;
use parking_lot::Mutex;

pub use attempts::{Attempt, CallOptions};
pub use breaker::{Breaker, BreakerOptions};
pub use retry::{Failing, RetryBudget, RetryOptions};

use crate::call::client::Channel;
use crate::error::{ErrorKind, Result, RpcError};
use crate::time::{Clock, Time};

/// Makes connections, and waits, on some runtime.
pub trait Connect {
    /// A connection being made.
    type Connecting: Future<Output = Result<Channel>>;
    /// A pause.
    type Sleeping: Future<Output = ()>;

    /// Connects, and has the connection driven until it ends.
    fn connect(&self, peer: SocketAddr) -> Self::Connecting;

    /// Waits.
    fn sleep(&self, time: Duration) -> Self::Sleeping;

    /// The runtime's clock.
    fn clock(&self) -> &Clock;
}

/// How a pool behaves.
#[derive(Debug, Clone)]
pub struct PoolOptions {
    /// Connections to a peer at most. Default 2.
    pub connections_max: usize,
    /// Calls under way on each connection before another is made. Default 64.
    pub calls_per_connection: usize,
    /// How failed calls are tried again.
    pub retry: RetryOptions,
    /// When peers are left alone.
    pub breaker: BreakerOptions,
}

impl Default for PoolOptions {
    fn default() -> Self {
        Self {
            connections_max: 2,
            calls_per_connection: 64,
            retry: RetryOptions::default(),
            breaker: BreakerOptions::default(),
        }
    }
}

struct Peer {
    breaker: Mutex<Breaker>,
    /// Held while connecting: who comes meanwhile waits for the same connection.
    channels: AsyncMutex<Vec<Channel>>,
}

/// Connections to peers. Clones share them. Idle ones close themselves, as their
/// [`Config`](crate::connection::Config) says.
pub struct Pool<C> {
    inner: Arc<Inner<C>>,
}

struct Inner<C> {
    connect: C,
    options: PoolOptions,
    budget: RetryBudget,
    peers: Mutex<HashMap<SocketAddr, Arc<Peer>>>,
}

impl<C> Clone for Pool<C> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner) }
    }
}

impl<C: Connect> Pool<C> {
    /// A pool without connections.
    pub fn new(connect: C, options: PoolOptions) -> Self {
        let (budget, peers) = (RetryBudget::default(), Mutex::default());
        Self { inner: Arc::new(Inner { connect, options, budget, peers }) }
    }

    /// Its options.
    pub fn options(&self) -> &PoolOptions {
        &self.inner.options
    }

    /// What makes its connections.
    pub fn connector(&self) -> &C {
        &self.inner.connect
    }

    fn peer(&self, address: SocketAddr) -> Arc<Peer> {
        let mut peers = self.inner.peers.lock();
        Arc::clone(peers.entry(address).or_insert_with(|| {
            let breaker = Mutex::new(Breaker::new(self.inner.options.breaker.clone()));
            Arc::new(Peer { breaker, channels: AsyncMutex::default() })
        }))
    }

    /// A connection to a peer: the one with the fewest calls under way, or a new one.
    ///
    /// What becomes of calls over it should be [reported](Self::report).
    ///
    /// # Errors
    /// Where the peer can't be reached, does not admit this client, or failed so often that it is left alone for a while.
    pub async fn channel(&self, address: SocketAddr) -> Result<Channel> {
        let peer = self.peer(address);
        peer.breaker.lock().admit(self.now()).map_err(|wait| left_alone(address, wait))?;
        let mut channels = peer.channels.lock().await;
        channels.retain(Channel::takes_calls);
        if let Some(free) = channels.iter().min_by_key(|channel| channel.calls())
            && (channels.len() >= self.inner.options.connections_max
                || free.calls() < self.inner.options.calls_per_connection)
        {
            return Ok(free.clone());
        }
        match self.inner.connect.connect(address).await {
            Ok(channel) => {
                channels.push(channel.clone());
                Ok(channel)
            }
            Err(error) => {
                self.report(address, Some(&error));
                Err(error)
            }
        }
    }

    /// What became of a call: its error, or none. Of a stream, each message is an answer.
    pub fn report(&self, address: SocketAddr, error: Option<&RpcError>) {
        let peer = self.peer(address);
        let mut breaker = peer.breaker.lock();
        match error.map(RpcError::kind) {
            Some(ErrorKind::Unavailable) => breaker.failed(self.now()),
            // Says nothing of the peer, unless it was silent: then the caller says that it is not available.
            Some(ErrorKind::DeadlineExceeded | ErrorKind::Cancelled) => {}
            answered => {
                breaker.succeeded();
                if answered.is_none() {
                    self.inner.budget.earn();
                }
            }
        }
    }

    /// Waits before the next attempt of what has just failed, or says that there is to be none.
    ///
    /// # Errors
    /// The same error, where another attempt would not help or is not allowed.
    pub async fn pause(&self, failing: &mut Failing, error: RpcError, deadline: Option<Time>) -> Result<()> {
        let pause = self.pause_before_next(failing, error, deadline)?;
        self.inner.connect.sleep(pause).await;
        Ok(())
    }

    fn pause_before_next(
        &self,
        failing: &mut Failing,
        error: RpcError,
        deadline: Option<Time>,
    ) -> Result<Duration> {
        let options = &self.inner.options.retry;
        let Some(at_least) = error.retryable() else { return Err(error) };
        let now = self.now();
        if now.since(*failing.since.get_or_insert(now)) >= options.patience {
            return Err(error);
        }
        let pause = if at_least.is_zero() {
            failing.failures += 1;
            if failing.failures >= options.failures_max {
                return Err(error);
            }
            options.pause_after(failing.failures, rand::random())
        } else {
            at_least.mul_f64(1.0 + rand::random::<f64>() / 4.0)
        };
        if deadline.is_some_and(|deadline| now.after(pause) >= deadline) {
            return Err(error.caused_by("no time is left to try again"));
        }
        // Who comes back when told to is no flood.
        if at_least.is_zero() && !self.inner.budget.spend() {
            return Err(error.caused_by("too many calls failed of late to try this one again"));
        }
        Ok(pause)
    }

    fn now(&self) -> Time {
        self.inner.connect.clock().now()
    }
}

fn left_alone(address: SocketAddr, wait: Duration) -> RpcError {
    RpcError::new(
        ErrorKind::Unavailable,
        format!("calls failed again and again; the next is made in {} ms", wait.as_millis().max(1)),
    )
    .retry_after(wait)
    .at_peer(address)
}

impl<C> std::fmt::Debug for Pool<C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pool").field("peers", &self.inner.peers.lock().len()).finish_non_exhaustive()
    }
}
