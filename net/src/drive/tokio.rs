//! On tokio: clients, control, and whatever is no shard.

use std::future::Future;
use std::io::{self, IoSlice, IoSliceMut};
use std::net::{Shutdown, SocketAddr};
use std::os::fd::AsRawFd;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use ::tokio::net::TcpStream;
use ::tokio::time::{Instant, Sleep, sleep_until};
use futures::future::BoxFuture;

use super::tls::{Tls, TlsClient};
use super::{Socket, Timer};
use crate::call::client::Channel;
use crate::connection::Config;
use crate::error::{ErrorKind, Result, RpcError};
use crate::pool::Connect;
use crate::time::{Clock, Time};

/// A TCP connection.
#[derive(Debug)]
pub struct Tcp(TcpStream, libc::c_int);

/// Bytes that a socket waits for while a large body is on its way: each time that it wakes up costs both sides.
const WORTH_WAKING: libc::c_int = 256 << 10;

impl Tcp {
    /// Over a stream that is connected. Small frames are not held back.
    ///
    /// # Errors
    /// The operating system's.
    pub fn new(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        Ok(Self(stream, 1))
    }
}

impl Socket for Tcp {
    fn poll_read(&mut self, cx: &mut Context<'_>, into: &mut [IoSliceMut<'_>]) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.0.poll_read_ready(cx))?;
            match self.0.try_read_vectored(into) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                done => return Poll::Ready(done),
            }
        }
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, from: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.0.poll_write_ready(cx))?;
            match self.0.try_write_vectored(from) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                done => return Poll::Ready(done),
            }
        }
    }

    fn expect(&mut self, bytes: usize) {
        let mark = if bytes >= WORTH_WAKING as usize { WORTH_WAKING } else { 1 };
        if mark == self.1 {
            return;
        }
        // SAFETY: the descriptor is this socket's, and the value is an integer that lives here.
        let set = unsafe {
            libc::setsockopt(
                self.0.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_RCVLOWAT,
                (&raw const mark).cast(),
                size_of::<libc::c_int>() as libc::socklen_t,
            )
        };
        if set == 0 {
            self.1 = mark;
        }
    }

    fn keeps_bytes(&self) -> bool {
        let (here, there) = (self.0.local_addr(), self.0.peer_addr());
        here.is_ok_and(|a| a.ip().is_loopback()) && there.is_ok_and(|a| a.ip().is_loopback())
    }

    fn close(&mut self) {
        // One that the peer has closed already is as good.
        let _ = socket2::SockRef::from(&self.0).shutdown(Shutdown::Write);
    }
}

/// tokio's timer.
#[derive(Debug, Default)]
pub struct TokioTimer {
    sleep: Option<(Time, Pin<Box<Sleep>>)>,
}

impl Timer for TokioTimer {
    fn poll_until(&mut self, cx: &mut Context<'_>, now: Time, at: Time) -> Poll<()> {
        loop {
            if now >= at {
                return Poll::Ready(());
            }
            // One that is set for an earlier time stays: most are never reached, and setting costs.
            if self.sleep.as_ref().is_none_or(|(set, _)| *set > at) {
                let wait = at.since(now).min(Duration::from_hours(24));
                self.sleep = Some((at, Box::pin(sleep_until(Instant::now() + wait))));
            }
            let Some((set, sleep)) = &mut self.sleep else { return Poll::Pending };
            let set = *set;
            ready!(sleep.as_mut().poll(cx));
            self.sleep = None;
            if set >= at {
                return Poll::Ready(());
            }
        }
    }
}

/// Where and how to connect.
#[derive(Clone, Debug, Default)]
pub struct ConnectOptions {
    /// What this side allows.
    pub config: Config,
    /// What proves who calls.
    pub token: Option<String>,
    /// TLS, where it is wanted.
    pub tls: Option<TlsClient>,
    /// Time for connecting, besides the handshake's; without, 5 s.
    pub timeout: Option<Duration>,
}

/// Connects, and runs the connection on this runtime.
///
/// # Errors
/// Where the server can't be reached or does not admit this client.
pub async fn connect(address: SocketAddr, options: &ConnectOptions) -> Result<Channel> {
    connect_by(address, options, Clock::monotonic()).await
}

async fn connect_by(address: SocketAddr, options: &ConnectOptions, clock: Clock) -> Result<Channel> {
    let timeout = options.timeout.unwrap_or(Duration::from_secs(5));
    let unreachable = |what: String| RpcError::new(ErrorKind::Unavailable, what).at_peer(address);
    let stream = ::tokio::time::timeout(timeout, TcpStream::connect(address))
        .await
        .map_err(|_| unreachable(format!("no connection within {timeout:?}")))?
        .map_err(|error| unreachable(format!("can't connect: {error}")))?;
    let socket = Tcp::new(stream).map_err(|error| unreachable(error.to_string()))?;
    let timer = TokioTimer::default();
    let config = options.config.clone();
    let token = options.token.clone();
    let channel = match &options.tls {
        None => {
            let (channel, driver) = Channel::over(socket, timer, clock, config, token);
            ::tokio::spawn(driver);
            channel
        }
        Some(tls) => {
            let socket = Tls::client(socket, tls).map_err(|error| unreachable(error.to_string()))?;
            let (channel, driver) = Channel::over(socket, timer, clock, config, token);
            ::tokio::spawn(driver);
            channel
        }
    };
    channel.ready().await.map_err(|error| error.at_peer(address))?;
    Ok(channel)
}

/// Makes a pool's connections on this runtime.
#[derive(Clone, Debug)]
pub struct TokioConnect {
    options: Arc<ConnectOptions>,
    clock: Clock,
}

impl TokioConnect {
    /// Connections as these options say.
    pub fn new(options: ConnectOptions) -> Self {
        Self { options: Arc::new(options), clock: Clock::monotonic() }
    }

    /// How it connects.
    pub fn options(&self) -> &ConnectOptions {
        &self.options
    }
}

impl Connect for TokioConnect {
    type Connecting = BoxFuture<'static, Result<Channel>>;
    type Sleeping = Sleep;

    fn connect(&self, peer: SocketAddr) -> Self::Connecting {
        let this = self.clone();
        Box::pin(async move { connect_by(peer, &this.options, this.clock.clone()).await })
    }

    fn sleep(&self, time: Duration) -> Sleep {
        ::tokio::time::sleep(time)
    }

    fn clock(&self) -> &Clock {
        &self.clock
    }
}

/// Accepts one connection: its socket and address.
///
/// # Errors
/// The operating system's.
pub async fn accept(listener: &::tokio::net::TcpListener) -> io::Result<(Tcp, SocketAddr)> {
    let (stream, address) = listener.accept().await?;
    Ok((Tcp::new(stream)?, address))
}

/// TLS of a server for sockets of this runtime.
///
/// # Errors
/// Where the session can't begin.
pub fn secure(socket: Tcp, config: &Arc<rustls::ServerConfig>) -> io::Result<Tls<Tcp>> {
    Tls::server(socket, config)
}
