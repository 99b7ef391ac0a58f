//! Making calls.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::{Call, Shared, Whole};
use crate::connection::{CallSpec, Config, Connection};
use crate::drive::{Driver, Socket, Timer};
use crate::error::{ErrorKind, Result, RpcError};
use crate::hello::Hello;
use crate::time::{Clock, Time};

/// Closes the connection, in order, when the last handle is gone.
struct Handle(Arc<Shared>);

impl Drop for Handle {
    fn drop(&mut self) {
        self.0.with(|connection, _| connection.close());
    }
}

/// A connection to call over. Clones share it; calls under way go on when the last clone is dropped.
#[derive(Clone)]
pub struct Channel {
    handle: Arc<Handle>,
}

impl Channel {
    /// A channel over a connected socket, and the driver that has to run for anything to happen.
    pub fn over<S: Socket, T: Timer>(
        socket: S,
        timer: T,
        clock: Clock,
        mut config: Config,
        token: Option<String>,
    ) -> (Self, Driver<S, T>) {
        config.safe_way |= socket.keeps_bytes();
        let shared = Shared::new(Connection::client(config, token, clock.now()), clock);
        let driver = Driver::new(Arc::clone(&shared), socket, timer);
        (Self { handle: Arc::new(Handle(shared)) }, driver)
    }

    /// Waits until the server has admitted this client, and tells what the server said of itself.
    ///
    /// # Errors
    /// Why it did not.
    pub async fn ready(&self) -> Result<Hello> {
        let shared = &self.handle.0;
        poll_fn(|cx| shared.poll_ready(cx)).await?;
        shared
            .with(|connection, _| connection.peer().cloned())
            .ok_or_else(|| RpcError::new(ErrorKind::Internal, "a connection without a peer"))
    }

    /// Begins a call.
    ///
    /// # Errors
    /// Where the connection takes no more calls, or the request is larger than 64 KiB.
    pub fn call(&self, method: u16, meta: Vec<u8>, payload: Vec<Bytes>, spec: &CallSpec) -> Result<Call> {
        let shared = &self.handle.0;
        let stream = shared.with(|connection, now| connection.open(method, meta, payload, spec, now))?;
        Ok(Call::new(Arc::clone(shared), stream))
    }

    /// One request, one answer.
    ///
    /// # Errors
    /// As [`Self::call`], what the call ended with, or that there was no answer.
    pub async fn unary(&self, method: u16, meta: Vec<u8>, spec: &CallSpec) -> Result<Whole> {
        let mut call = self.call(method, meta, Vec::new(), spec)?;
        call.receive_whole()
            .await?
            .ok_or_else(|| RpcError::new(ErrorKind::Protocol, "the call ended without an answer"))
    }

    /// Whether new calls can be made.
    pub fn takes_calls(&self) -> bool {
        self.handle.0.with(|connection, _| connection.takes_calls())
    }

    /// Calls under way.
    pub fn calls(&self) -> usize {
        self.handle.0.with(|connection, _| connection.streams())
    }

    /// Bytes received that nobody has taken yet.
    pub fn waiting_bytes(&self) -> u64 {
        self.handle.0.with(|connection, _| connection.waiting_bytes())
    }

    /// The last measured round trip.
    pub fn round_trip(&self) -> Duration {
        self.handle.0.with(|connection, _| connection.round_trip())
    }

    /// When something was last heard from the server, by this connection's clock.
    pub fn heard_at(&self) -> Time {
        self.handle.0.with(|connection, _| connection.heard_at())
    }

    /// Takes no more calls; the connection is over when those under way have ended.
    pub fn close(&self) {
        self.handle.0.with(|connection, _| connection.close());
    }

    /// Waits for the end of the connection; with its error, unless it was closed in order.
    pub async fn closed(&self) -> Option<RpcError> {
        poll_fn(|cx| self.handle.0.poll_closed(cx)).await
    }
}

impl std::fmt::Debug for Channel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Channel").field("calls", &self.calls()).finish_non_exhaustive()
    }
}
