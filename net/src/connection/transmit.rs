//! What is due, as bytes: control frames first, then grants, then one frame of each stream that has credit in turn.

use std::collections::VecDeque;

use bytes::{BufMut, Bytes, BytesMut};

#[cfg(test)]
use super::Fault;
use super::{Connection, Phase};
use crate::frame::{BodyCrc, FLAG_BARE, Header, Kind, padded};
use crate::limits::{ENCODED_AHEAD_BYTES, HEADER_BYTES};
use crate::time::Time;

/// Encoded frames on their way to the transport, which may take them piece by piece. Belongs to whoever writes.
#[derive(Debug, Default)]
pub struct SendQueue {
    chunks: VecDeque<Bytes>,
    first_sent: usize,
    bytes: usize,
}

impl SendQueue {
    /// Whether all was sent.
    pub fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    /// Bytes to be sent.
    pub fn len(&self) -> usize {
        self.bytes
    }

    /// What is to be sent now, in order, as pieces of memory.
    pub fn chunks(&self) -> impl Iterator<Item = &[u8]> {
        self.chunks
            .iter()
            .enumerate()
            .map(|(i, chunk)| if i == 0 { &chunk[self.first_sent..] } else { &chunk[..] })
    }

    /// The transport took `bytes` of [`Self::chunks`].
    pub fn sent(&mut self, mut bytes: usize) {
        self.bytes -= bytes;
        while bytes > 0 {
            let left = self.chunks[0].len() - self.first_sent;
            if bytes < left {
                self.first_sent += bytes;
                return;
            }
            bytes -= left;
            self.first_sent = 0;
            self.chunks.pop_front();
        }
        if self.chunks.is_empty() {
            // An idle connection keeps no memory.
            self.chunks = VecDeque::new();
        }
    }

    fn push(&mut self, chunk: Bytes) {
        if !chunk.is_empty() {
            self.bytes += chunk.len();
            self.chunks.push_back(chunk);
        }
    }
}

impl Connection {
    /// Encodes what is due, a bounded number of bytes ahead of what the transport has taken.
    pub fn encode(&mut self, out: &mut SendQueue, now: Time) {
        while out.bytes < ENCODED_AHEAD_BYTES && self.encode_next(out, now) {}
    }

    /// Whether anything waits to be encoded.
    pub fn has_output(&self) -> bool {
        match self.phase {
            Phase::Greeting => return self.greeting_due(),
            Phase::Closed => return !self.control.is_empty(),
            Phase::Open | Phase::Draining => {}
        }
        !self.control.is_empty()
            || self.grant_due
            || !self.grants.is_empty()
            || self.pong_due.is_some()
            || self.next_in_line()
    }

    fn next_in_line(&self) -> bool {
        self.line.front().is_some_and(|id| {
            self.streams
                .get(id)
                .and_then(|s| s.queue.front())
                .is_none_or(|next| self.sent + next.cost() <= self.credit)
        })
    }

    /// Before the handshake is done nothing else may be sent; calls that were begun wait.
    fn greeting_due(&self) -> bool {
        self.control.front().is_some_and(|(header, ..)| matches!(header.kind(), Ok(Kind::Hello)))
    }

    fn encode_next(&mut self, out: &mut SendQueue, now: Time) -> bool {
        if self.phase == Phase::Greeting && !self.greeting_due() {
            return false;
        }
        if let Some((header, meta, payload)) = self.control.pop_front() {
            if matches!(header.kind(), Ok(Kind::Reset)) {
                self.resets -= 1;
                self.reset_bytes -= meta.len();
            }
            push_frame(out, header, &meta, payload);
            return true;
        }
        if self.phase == Phase::Closed {
            // After the last word the transport may be closed for writing: a grant would fail, and the peer not hear the word.
            return false;
        }
        if let Some(number) = self.pong_due.take() {
            let mut header = Header::new(Kind::Pong, 0);
            header.credit = number;
            push_frame(out, header, &[], Vec::new());
            return true;
        }
        if std::mem::take(&mut self.grant_due) {
            self.encode_grant(out, 0, now);
            return true;
        }
        if let Some(stream) = self.grants.pop_front() {
            self.encode_grant(out, stream, now);
            return true;
        }
        self.encode_data(out)
    }

    fn encode_grant(&mut self, out: &mut SendQueue, stream: u32, now: Time) {
        let total = if stream == 0 {
            self.granted
        } else {
            let Some(s) = self.streams.get_mut(&stream) else { return };
            s.grant_due = false;
            if !s.in_open {
                return;
            }
            s.window.granted
        };
        #[cfg(test)]
        let total = match self.config.fault {
            Some(Fault::LostCredit) if stream != 0 && total % 3 == 0 => return,
            Some(Fault::DoubleGrant) => total + self.config.stream_window,
            _ => total,
        };
        let mut header = Header::new(Kind::Credit, stream);
        header.credit = total;
        push_frame(out, header, &[], Vec::new());
        // Windows follow the round trip, which is measured while grants flow.
        if self.pinged.is_none() && now.since(self.sampled_at) >= crate::limits::ROUND_TRIP_EVERY {
            self.ping(now);
        }
    }

    fn encode_data(&mut self, out: &mut SendQueue) -> bool {
        while let Some(&id) = self.line.front() {
            let left = self.credit - self.sent;
            let Some(s) = self.streams.get_mut(&id) else {
                self.line.pop_front();
                continue;
            };
            if !s.has_credit() {
                s.in_line = false;
                self.line.pop_front();
                continue;
            }
            // `has_credit` says that there is one.
            let Some(next) = s.queue.front() else { continue };
            let bytes = next.cost();
            if bytes > left {
                return false;
            }
            self.line.pop_front();
            let Some(frame) = s.queue.pop_front() else { continue };
            s.sent += bytes;
            self.sent += bytes;
            s.in_line = s.has_credit();
            if s.in_line {
                self.line.push_back(id);
            }
            let gone = s.detached && s.queue.is_empty() && !s.out_open;
            self.tell_of_room(id);
            self.allowance.explain();
            let mut header = Header::new(frame.kind, id);
            let bare = self.bare && frame.kind == Kind::Data;
            header.flags = frame.flags | if bare { FLAG_BARE } else { 0 };
            push_frame(out, header, &frame.meta, frame.payload);
            if gone {
                self.remove(id);
            }
            return true;
        }
        false
    }
}

fn push_frame(out: &mut SendQueue, mut header: Header, meta: &[u8], payload: Vec<Bytes>) {
    header.meta_bytes = meta.len() as u32;
    header.payload_bytes = payload.iter().map(Bytes::len).sum::<usize>() as u32;
    let head = if header.payload_bytes == 0 { meta.len() } else { padded(meta.len()) };
    let mut first = BytesMut::with_capacity(HEADER_BYTES + head);
    first.put_bytes(0, HEADER_BYTES);
    first.put_slice(meta);
    first.resize(HEADER_BYTES + head, 0);
    let crc = if header.is_checked() {
        BodyCrc::of(std::iter::once(&first[HEADER_BYTES..]).chain(payload.iter().map(|p| &p[..])))
    } else {
        0
    };
    first[..HEADER_BYTES].copy_from_slice(bytemuck::bytes_of(&header.seal(crc)));
    out.push(first.freeze());
    for piece in payload {
        out.push(piece);
    }
}
