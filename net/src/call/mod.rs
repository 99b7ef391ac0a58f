//! Calls: what programs use.
//!
//! | module | job |
//! |---|---|
//! | here | [`Call`]: messages both ways, until its end |
//! | [`client`] | [`Channel`](client::Channel): making calls |
//! | [`server`] | [`Service`](server::Service): answering them |
//! | `shared` | a connection that several hold |
//!
//! A call is one stream. Unary, server-streaming, client-streaming and bidirectional calls differ only in how many messages
//! each side sends. A message is metadata (small, for the program) and a payload (in pieces of memory that are sent from where
//! they lie, and received into one that is aligned to 64 bytes).

pub mod client;
pub mod server;
mod shared;

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use deltalite_alloc::{Reservation, SharedBuffer};

pub(crate) use shared::{Shared, Wait};

use crate::connection::{Incoming, Message};
use crate::error::{ErrorKind, Result, RpcError};
use crate::frame::padded;
use crate::limits::MESSAGE_BYTES_MAX;

/// One end of a call under way. Dropping it cancels the call, at the other end too.
pub struct Call {
    shared: Arc<Shared>,
    stream: u32,
}

impl Call {
    pub(crate) fn new(shared: Arc<Shared>, stream: u32) -> Self {
        Self { shared, stream }
    }

    /// The next frame of a message; none once the other side has no more.
    ///
    /// # Errors
    /// What the other side ended the call with, the end of its time, or that of the connection.
    pub async fn receive(&mut self) -> Result<Option<Message>> {
        poll_fn(|cx| self.poll_receive(cx)).await
    }

    /// [`Self::receive`] as a poll.
    ///
    /// # Errors
    /// As [`Self::receive`].
    pub fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Message>>> {
        self.shared.poll(cx, self.stream, Wait::Message, |connection, now| {
            match connection.next_message(self.stream, now) {
                Incoming::Message(message) => Poll::Ready(Ok(Some(message))),
                Incoming::Pending => Poll::Pending,
                Incoming::End(Ok(())) => Poll::Ready(Ok(None)),
                Incoming::End(Err(error)) => Poll::Ready(Err(error)),
            }
        })
    }

    /// The next message whole: its metadata and payload. One that came in several frames is put together in a copy.
    ///
    /// # Errors
    /// As [`Self::receive`]; and where a message is larger than [`MESSAGE_BYTES_MAX`] or breaks off.
    pub async fn receive_whole(&mut self) -> Result<Option<Whole>> {
        self.receive_within(MESSAGE_BYTES_MAX).await
    }

    /// [`Self::receive_whole`], for messages of up to so many bytes with their metadata and headers.
    ///
    /// Parts of a message are taken before it is whole, so that it may be larger than its window. What they have is reserved from
    /// the budget of the connection, where it has one.
    ///
    /// # Errors
    /// As [`Self::receive`]; where a message is larger or breaks off, and where there is no memory for it.
    pub async fn receive_within(&mut self, bytes_max: usize) -> Result<Option<Whole>> {
        let Some(mut part) = self.receive().await? else { return Ok(None) };
        let (mut parts, mut kept, mut reserved) = (Vec::new(), 0, None);
        loop {
            let cost = part.cost() as usize;
            // The metadata of a part counts too: without, a peer could send parts that have no payload without end.
            kept += cost;
            if kept > bytes_max {
                return Err(RpcError::new(
                    ErrorKind::TooLarge,
                    format!("a message of more than {bytes_max} bytes"),
                ));
            }
            let more = part.more();
            if !more && parts.is_empty() {
                return Ok(Some(Whole { meta: part.meta().to_vec(), payload: part.payload() }));
            }
            self.reserve(cost, &mut reserved)?;
            parts.push(part);
            if !more {
                break;
            }
            let Some(next) = self.receive().await? else {
                return Err(RpcError::new(ErrorKind::Protocol, "a message broke off before its last part"));
            };
            part = next;
        }
        let bytes: usize = parts.iter().map(Message::payload_bytes).sum();
        let mut whole = deltalite_alloc::BufferPool::global().take(bytes.max(1)).map_err(|error| {
            RpcError::new(ErrorKind::Overloaded, format!("no memory for a message of {bytes} bytes"))
                .caused_by(error)
        })?;
        let mut at = 0;
        for payload in parts.iter().filter_map(Message::payload) {
            whole.as_mut_slice()[at..at + payload.len()].copy_from_slice(&payload);
            at += payload.len();
        }
        whole.truncate(bytes);
        Ok(Some(Whole { meta: parts[0].meta().to_vec(), payload: Some(whole.freeze()) }))
    }

    /// Reserves so many bytes more for parts of a message, where the connection has a budget.
    fn reserve(&self, bytes: usize, reserved: &mut Option<Reservation>) -> Result<()> {
        let grown = match (&mut *reserved, self.shared.with(|connection, _| connection.budget().cloned())) {
            (_, None) => Ok(()),
            (Some(reserved), _) => reserved.grow(bytes),
            (None, Some(budget)) => budget.try_reserve(bytes).map(|new| *reserved = Some(new)),
        };
        grown.map_err(|error| {
            RpcError::new(ErrorKind::Overloaded, "no memory for a message of several frames").caused_by(error)
        })
    }

    /// Waits until a frame with a body of `wanted` bytes (or of the largest that the peer takes) can leave at once, and tells
    /// how large one could be. Reading or computing what is to be sent should wait for this: it is the back-pressure.
    ///
    /// # Errors
    /// As [`Self::receive`], or where the other side takes no more.
    pub async fn room(&mut self, wanted: u64) -> Result<u64> {
        poll_fn(|cx| self.poll_room(cx, wanted)).await
    }

    /// [`Self::room`] as a poll.
    ///
    /// # Errors
    /// As [`Self::room`].
    pub fn poll_room(&mut self, cx: &mut Context<'_>, wanted: u64) -> Poll<Result<u64>> {
        self.shared.poll(cx, self.stream, Wait::Room, |connection, _| {
            match connection.room(self.stream, wanted) {
                Ok(Some(room)) => Poll::Ready(Ok(room)),
                Ok(None) => Poll::Pending,
                Err(error) => Poll::Ready(Err(error)),
            }
        })
    }

    /// Sends a message, when the one before has left. One that is larger than a frame goes in several.
    ///
    /// # Errors
    /// As [`Self::room`], and for metadata that does not fit a frame.
    pub async fn send(&mut self, meta: Vec<u8>, payload: Vec<Bytes>) -> Result<()> {
        self.send_parts(meta, payload, false).await
    }

    /// Sends the last message of this side.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub async fn send_last(&mut self, meta: Vec<u8>, payload: Vec<Bytes>) -> Result<()> {
        self.send_parts(meta, payload, true).await
    }

    async fn send_parts(&mut self, meta: Vec<u8>, payload: Vec<Bytes>, last: bool) -> Result<()> {
        let payload_bytes: usize = payload.iter().map(Bytes::len).sum();
        let body = padded(meta.len()) + payload_bytes;
        // Any room means that the stream is known and its queue empty; a frame that has no credit yet waits in it.
        self.room(1).await?;
        let frame_max = self.shared.with(|connection, _| connection.frame_max(self.stream)) as usize;
        if padded(meta.len()) >= frame_max {
            return Err(RpcError::new(
                ErrorKind::TooLarge,
                format!("metadata of {} bytes, where frames have {frame_max}", meta.len()),
            ));
        }
        if body <= frame_max {
            self.shared.with(|connection, _| connection.send(self.stream, meta, payload, false, last));
            return Ok(());
        }
        let mut left = payload_bytes;
        let mut pieces = payload.into_iter();
        let mut piece = Bytes::new();
        let mut meta = meta;
        while left > 0 {
            let mut room = frame_max - padded(meta.len());
            let mut part = Vec::new();
            while room > 0 && left > 0 {
                if piece.is_empty() {
                    let Some(next) = pieces.next() else { break };
                    piece = next;
                    continue;
                }
                let n = piece.len().min(room);
                part.push(piece.split_to(n));
                (room, left) = (room - n, left - n);
            }
            self.room(1).await?;
            let meta = std::mem::take(&mut meta);
            let more = left > 0;
            self.shared.with(|connection, _| connection.send(self.stream, meta, part, more, last && !more));
        }
        Ok(())
    }

    /// Nothing more will be sent from this side.
    pub fn end(&mut self) {
        self.shared.with(|connection, _| connection.end(self.stream));
    }

    /// Ends the call with an error, which the other side is told.
    pub fn fail(&mut self, error: RpcError) {
        self.shared.with(|connection, _| connection.reset(self.stream, error));
    }

    /// Waits until the call is over with an error: cancelled by the other side, out of time, or cut off.
    pub(crate) fn poll_ended(shared: &Shared, stream: u32, cx: &Context<'_>) -> Poll<()> {
        shared.poll(cx, stream, Wait::Ended, |connection, _| {
            if connection.has_ended(stream) { Poll::Ready(()) } else { Poll::Pending }
        })
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.shared.forget(self.stream);
    }
}

impl std::fmt::Debug for Call {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Call").field("stream", &self.stream).finish_non_exhaustive()
    }
}

/// A message, whole.
#[derive(Debug, Clone)]
pub struct Whole {
    /// The metadata.
    pub meta: Vec<u8>,
    /// The payload, aligned to 64 bytes.
    pub payload: Option<SharedBuffer>,
}
