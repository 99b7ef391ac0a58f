//! What a connection knows of a stream.

use std::collections::VecDeque;

use bytes::Bytes;
use deltalite_alloc::{Reservation, SharedBuffer};

use super::CallSpec;
use super::window::Window;
use crate::error::{ErrorKind, Result, RpcError};
use crate::frame::{Kind, padded};
use crate::limits::HEADER_BYTES;
use crate::time::Time;

/// A frame's content as it was received: its metadata and its payload, both in one buffer.
#[derive(Debug, Clone, Default)]
pub struct Message {
    body: Option<SharedBuffer>,
    meta_bytes: usize,
    more: bool,
}

impl Message {
    pub(super) fn new(body: Option<SharedBuffer>, meta_bytes: usize, more: bool) -> Self {
        Self { body, meta_bytes, more }
    }

    /// The metadata.
    pub fn meta(&self) -> &[u8] {
        self.body.as_ref().map_or(&[], |body| &body.as_slice()[..self.meta_bytes])
    }

    /// The payload, aligned to 64 bytes; nothing is copied.
    pub fn payload(&self) -> Option<SharedBuffer> {
        let body = self.body.as_ref()?;
        let start = padded(self.meta_bytes);
        (start < body.len()).then(|| body.slice(start..body.len()))
    }

    /// Bytes of the payload.
    pub fn payload_bytes(&self) -> usize {
        self.body.as_ref().map_or(0, |body| body.len().saturating_sub(padded(self.meta_bytes)))
    }

    /// Whether the next one of the stream goes on with it.
    pub fn more(&self) -> bool {
        self.more
    }

    /// What it took of the credit, in bytes.
    pub(crate) fn cost(&self) -> u64 {
        HEADER_BYTES as u64 + self.body.as_ref().map_or(0, |body| body.len() as u64)
    }
}

/// A frame of a stream that waits to be sent.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub kind: Kind,
    pub flags: u8,
    pub meta: Vec<u8>,
    pub payload: Vec<Bytes>,
    pub payload_bytes: usize,
}

impl Outgoing {
    /// What it takes of the credit, in bytes; an end takes nothing.
    pub(super) fn cost(&self) -> u64 {
        if self.kind == Kind::End {
            return 0;
        }
        let head = if self.payload_bytes == 0 { self.meta.len() } else { padded(self.meta.len()) };
        (HEADER_BYTES + head + self.payload_bytes) as u64
    }
}

/// What a received open asks for.
#[derive(Debug, Clone)]
pub struct Opened {
    /// The method called.
    pub method: u16,
    /// The request it is for, the same over attempts and nested calls.
    pub request: u64,
    /// Which attempt, counted from 0.
    pub attempt: u16,
    /// The caller's epoch.
    pub epoch: u64,
    /// When the caller stops waiting.
    pub deadline: Option<Time>,
    /// The request.
    pub message: Message,
}

impl Opened {
    /// How a call made to answer this one is to be made: for the same request, within what is left of its time.
    ///
    /// # Errors
    /// Where nothing is left: the work is not worth beginning.
    pub fn nested(&self, now: Time) -> Result<CallSpec> {
        let timeout = self.deadline.map(|deadline| deadline.since(now));
        if timeout.is_some_and(|left| left.is_zero()) {
            return Err(RpcError::new(ErrorKind::DeadlineExceeded, "the time allowed for the call is over"));
        }
        Ok(CallSpec { timeout, request: self.request, ..CallSpec::default() })
    }
}

#[derive(Debug)]
pub(super) struct Stream {
    pub deadline: Option<Time>,
    pub opened: Option<Opened>,
    /// Bytes of the request that the peer opened it with, of the connection's window.
    pub request: u64,
    pub request_memory: Option<Reservation>,
    /// Frames to be sent, in order.
    pub queue: VecDeque<Outgoing>,
    /// Bytes of bodies sent so far.
    pub sent: u64,
    /// The total that the peer takes.
    pub credit: u64,
    /// Largest body of a frame to be sent: what the peer's first grant has room for.
    pub frame_max: u64,
    /// Whether this side may still send.
    pub out_open: bool,
    /// Whether it is in the line of streams that can send.
    pub in_line: bool,
    /// How much room the application waits for.
    pub wants_room: Option<u64>,
    pub inbox: VecDeque<Message>,
    pub window: Window,
    /// Whether a grant is to be told.
    pub grant_due: bool,
    /// Whether the peer may still send.
    pub in_open: bool,
    pub error: Option<RpcError>,
    /// The application has let go; the stream goes when its queue is sent.
    pub detached: bool,
}

impl Stream {
    /// Bytes of body that the next frame may have where it could be sent now, with `left` of the connection's credit; none where they are
    /// fewer than wanted and than the largest frame's.
    pub(super) fn room(&self, left: u64, wanted: u64) -> Option<u64> {
        let credit = (self.credit - self.sent).min(left);
        let room = credit.saturating_sub(HEADER_BYTES as u64).min(self.frame_max);
        (self.frame_max > 0 && self.queue.is_empty() && room >= wanted.min(self.frame_max)).then_some(room)
    }

    /// Whether the next frame to be sent has credit.
    pub(super) fn has_credit(&self) -> bool {
        self.queue.front().is_some_and(|next| self.sent + next.cost() <= self.credit)
    }
}
