//! Each shard's port, and the connections on it.
//!
//! A shard with a ring accepts and serves on its own thread. Where io_uring is refused, a thread beside each shard does, with
//! tokio, and gives its scans to the shards.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{FromRawFd, IntoRawFd};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use deltalite_net::call::server::{Closer, Peer, Serving};
use deltalite_net::drive::tls::Tls;
use deltalite_net::drive::{Socket, Timer, glommio, tokio as on_tokio};
use deltalite_net::{Clock, ErrorKind, Result, RpcError};
use deltalite_shard::device::DeviceKind;
use deltalite_shard::executor::{Shard, TaskHandle};
use futures::FutureExt;
use futures::channel::oneshot;
use futures::future::{LocalBoxFuture, select};
use futures::stream::{FuturesUnordered, StreamExt};
use tokio::sync::watch;

use crate::service::{CONNECTIONS, ScanService};
use crate::{Common, error};

/// How long a listener that fails waits: out of descriptors, most likely.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Connections whose clients were not admitted yet, at most; one more, and the oldest of them makes room. Who says nothing keeps nobody out.
const GREETINGS_MAX: usize = 1024;

/// Memory that a connection has whatever it does: what it receives into, and what waits to be sent.
const CONNECTION_BYTES: usize = 64 << 10;

/// A shard that accepts. Dropping it ends its connections.
pub(crate) struct Accepting {
    done: oneshot::Receiver<()>,
    on_shard: Option<TaskHandle<()>>,
    thread: Option<(oneshot::Sender<()>, JoinHandle<()>)>,
}

impl Accepting {
    /// Waits for the last connection to end.
    pub(crate) fn wait(mut self, until: Instant) -> bool {
        loop {
            match self.done.try_recv() {
                Ok(None) if Instant::now() < until => std::thread::sleep(Duration::from_millis(5)),
                Ok(None) => return false,
                Ok(Some(())) | Err(_) => return true,
            }
        }
    }
}

impl Drop for Accepting {
    fn drop(&mut self) {
        self.on_shard.take();
        if let Some((stop, thread)) = self.thread.take() {
            drop(stop);
            if thread.join().is_err() {
                tracing::error!("a thread that accepts connections panicked");
            }
        }
    }
}

/// Accepts for a shard until told to end, then waits for its connections.
pub(crate) fn start(
    common: &Arc<Common>,
    shard: usize,
    listener: TcpListener,
    draining: watch::Receiver<bool>,
) -> Result<Accepting> {
    let (finished, done) = oneshot::channel();
    let common = Arc::clone(common);
    if common.shards.device_kind() == DeviceKind::Ring {
        let shards = Arc::clone(&common.shards);
        let task = shards.spawn_on(shard, CONNECTIONS, move |shard| async move {
            accept_on_ring(shard, common, listener, draining).await;
            // Who waited may be gone.
            let _ = finished.send(());
        });
        let task = task.map_err(|e| error::of_shard(&e))?;
        return Ok(Accepting { done, on_shard: Some(task), thread: None });
    }
    let (stop, stopped) = oneshot::channel();
    let thread = std::thread::Builder::new()
        .name(format!("serve-{shard}"))
        .spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let Ok(runtime) = runtime else { return };
            let local = tokio::task::LocalSet::new();
            local.block_on(&runtime, async move {
                let accepting = accept_on_tokio(shard, common, listener, draining);
                // Told to end at once, or done.
                select(Box::pin(accepting), stopped).await;
            });
            let _ = finished.send(());
        })
        .map_err(|e| RpcError::new(ErrorKind::Internal, "no thread to accept connections").caused_by(e))?;
    Ok(Accepting { done, on_shard: None, thread: Some((stop, thread)) })
}

async fn accept_on_ring(
    shard: Rc<Shard>,
    common: Arc<Common>,
    listener: TcpListener,
    draining: watch::Receiver<bool>,
) {
    // SAFETY: the descriptor is a listening socket that nobody else owns from here on.
    let listener = unsafe { ::glommio::net::TcpListener::from_raw_fd(listener.into_raw_fd()) };
    let service =
        ScanService { common: Arc::clone(&common), index: shard.index(), shard: Some(Rc::clone(&shard)) };
    let accept = async || glommio::accept(&listener).await;
    let spawn = |connection: LocalBoxFuture<'static, ()>| -> LocalBoxFuture<'static, ()> {
        Box::pin(shard.spawn(CONNECTIONS, connection).map(|_| ()))
    };
    let pause = async || ::glommio::timer::sleep(ACCEPT_PAUSE).await;
    accept_all(&service, accept, glommio::GlommioTimer::default, spawn, pause, draining).await;
}

async fn accept_on_tokio(
    shard: usize,
    common: Arc<Common>,
    listener: TcpListener,
    draining: watch::Receiver<bool>,
) {
    let listener = listener.set_nonblocking(true).and_then(|()| tokio::net::TcpListener::from_std(listener));
    let listener = match listener {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(%error, shard, "can't accept connections");
            return;
        }
    };
    let service = ScanService { common, index: shard as u32, shard: None };
    let accept = async || on_tokio::accept(&listener).await;
    let spawn = |connection: LocalBoxFuture<'static, ()>| -> LocalBoxFuture<'static, ()> {
        Box::pin(tokio::task::spawn_local(connection).map(|_| ()))
    };
    let pause = async || tokio::time::sleep(ACCEPT_PAUSE).await;
    accept_all(&service, accept, on_tokio::TokioTimer::default, spawn, pause, draining).await;
}

async fn accept_all<S: Socket + 'static, T: Timer + 'static>(
    service: &ScanService,
    accept: impl AsyncFn() -> std::io::Result<(S, SocketAddr)>,
    timer: impl Fn() -> T,
    spawn: impl Fn(LocalBoxFuture<'static, ()>) -> LocalBoxFuture<'static, ()>,
    pause: impl AsyncFn(),
    mut draining: watch::Receiver<bool>,
) {
    let common = &service.common;
    let clock = Clock::monotonic();
    let mut connections = FuturesUnordered::new();
    let mut closers: Vec<Closer> = Vec::new();
    // In the order of their coming. Those that were admitted since are passed over when it is their turn.
    let mut greeting: VecDeque<Closer> = VecDeque::new();
    let greetings_max = GREETINGS_MAX.min(common.options.connections_max.div_ceil(2));
    {
        let mut end = std::pin::pin!(draining.wait_for(|draining| *draining));
        // One at a time, and never given up: a connection that is being accepted would be lost with it.
        let mut accepting = Box::pin(accept());
        loop {
            let next = poll_fn(|cx| {
                if end.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(None);
                }
                while let Poll::Ready(Some(())) = connections.poll_next_unpin(cx) {}
                accepting.as_mut().poll(cx).map(Some)
            });
            let Some(accepted) = next.await else { break };
            accepting = Box::pin(accept());
            let (socket, address) = match accepted {
                Ok(accepted) => accepted,
                Err(error) if was_gone(&error) => continue,
                Err(error) => {
                    tracing::warn!(%error, shard = service.index, "a connection could not be accepted");
                    pause().await;
                    continue;
                }
            };
            let full = connections.len() >= common.options.connections_max;
            if full || greeting.len() >= greetings_max {
                end_oldest(&mut greeting);
            }
            if full {
                common.metrics.connections_refused.inc();
                continue;
            }
            let memory = common.options.memory.as_ref().map(|budget| budget.try_reserve(CONNECTION_BYTES));
            let Ok(memory) = memory.transpose() else {
                common.metrics.connections_refused.inc();
                continue;
            };
            let peer = Peer { address: address.to_string(), certificate: None };
            let config = common.options.connection.clone();
            let (served, closer): (LocalBoxFuture<'static, _>, Closer) = match &common.options.tls {
                None => {
                    let serving = Serving::new(socket, timer(), clock.clone(), config, service.clone(), peer);
                    let closer = serving.closer();
                    (Box::pin(serving), closer)
                }
                Some(tls) => match Tls::server(socket, tls) {
                    Ok(socket) => {
                        let serving =
                            Serving::new(socket, timer(), clock.clone(), config, service.clone(), peer);
                        let closer = serving.closer();
                        (Box::pin(serving), closer)
                    }
                    Err(error) => {
                        tracing::warn!(%error, "TLS can't begin");
                        continue;
                    }
                },
            };
            let counted = Arc::clone(common);
            common.metrics.connections.inc();
            connections.push(spawn(Box::pin(async move {
                if let Some(error) = served.await {
                    tracing::debug!(peer = address.to_string(), %error, "a connection ended");
                }
                counted.metrics.connections.dec();
                drop(memory);
            })));
            greeting.push_back(closer.clone());
            if closers.len() > 2 * connections.len() {
                closers.retain(Closer::is_alive);
            }
            closers.push(closer);
        }
    }
    closers.iter().for_each(Closer::close);
    while connections.next().await.is_some() {}
}

/// Whether a connection was over before it could be accepted, which says nothing of the listener.
fn was_gone(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{ConnectionAborted, ConnectionReset, NotConnected};
    matches!(error.kind(), ConnectionAborted | ConnectionReset | NotConnected)
}

/// Ends the connection that has waited longest for its client to be admitted.
fn end_oldest(greeting: &mut VecDeque<Closer>) {
    while let Some(oldest) = greeting.pop_front() {
        if oldest.is_greeting() {
            let what = "too many connections wait for their clients to say who they are";
            oldest.refuse(&RpcError::new(ErrorKind::Overloaded, what));
            return;
        }
    }
}
