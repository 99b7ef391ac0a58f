//! What frames mean: whether they may come now, and what they do.

use std::collections::VecDeque;

use deltalite_alloc::PoolBuffer;

#[cfg(test)]
use super::Fault;
use super::stream::{Message, Opened, Stream};
use super::window::Window;
use super::{Connection, Event, Phase, Role};
use crate::error::{ErrorKind, Result, RpcError};
use crate::frame::{FLAG_LAST, FLAG_MORE, Header, Kind};
use crate::hello::Hello;
use crate::limits::{
    FRAME_BYTES_MAX, GREETING_BYTES_MAX, HEADER_BYTES, META_BYTES_MAX, OPEN_BYTES_MAX, REFUSALS_MAX,
};
use crate::time::Time;

fn protocol(what: impl Into<String>) -> RpcError {
    RpcError::new(ErrorKind::Protocol, what)
}

impl Connection {
    /// Whether the frame may come now, and is as large as agreed.
    pub(super) fn check_header(&self, header: &Header) -> Result<()> {
        let kind = header.kind()?;
        let bytes = header.body_bytes();
        if !header.is_checked() && (kind != Kind::Data || !self.bare) {
            return Err(protocol(format!("a {kind:?} frame without a checksum, which was not agreed on")));
        }
        let limit = match kind {
            _ if self.phase == Phase::Greeting && kind != Kind::Hello && kind != Kind::Goaway => {
                return Err(protocol(format!("a {kind:?} frame before the handshake is done")));
            }
            Kind::Hello if self.phase != Phase::Greeting || self.peer.is_some() => {
                return Err(protocol("a second greeting"));
            }
            Kind::Hello => GREETING_BYTES_MAX,
            Kind::Goaway | Kind::Reset => META_BYTES_MAX,
            Kind::Open => OPEN_BYTES_MAX,
            Kind::Data => self.config.frame_bytes_max,
            Kind::End | Kind::Credit | Kind::Ping | Kind::Pong => 0,
        };
        debug_assert!(limit <= FRAME_BYTES_MAX);
        if bytes > u64::from(limit) || header.meta_bytes > META_BYTES_MAX {
            return Err(protocol(format!(
                "a {kind:?} frame of {bytes} bytes ({} of metadata), where {limit} are allowed",
                header.meta_bytes
            )));
        }
        if kind != Kind::Data {
            return Ok(());
        }
        let cost = header.cost();
        if self.received + cost > self.granted {
            return Err(protocol(format!(
                "{cost} bytes were sent where the connection has credit for {}",
                self.granted - self.received
            )));
        }
        match self.streams.get(&header.stream) {
            Some(s) if s.error.is_none() => {
                if !s.in_open {
                    return Err(protocol(format!("a message after the end of stream {}", header.stream)));
                }
                let left = s.window.granted - s.window.received;
                if cost > left {
                    return Err(protocol(format!(
                        "{cost} bytes were sent on stream {}, which has credit for {left}",
                        header.stream
                    )));
                }
                Ok(())
            }
            // A stream that was let go here, while more was on its way.
            _ if header.stream != 0 && header.stream <= self.last_stream => Ok(()),
            _ => Err(protocol(format!("a message on stream {}, which was never opened", header.stream))),
        }
    }

    pub(super) fn act(&mut self, header: Header, body: Option<PoolBuffer>, now: Time) -> Result<()> {
        if self.phase != Phase::Greeting {
            self.heard_at = now;
        }
        let meta = |body: &Option<PoolBuffer>| {
            body.as_ref().map_or(Vec::new(), |body| body.as_slice()[..header.meta_bytes as usize].to_vec())
        };
        match header.kind()? {
            Kind::Hello => self.on_hello(&header, &meta(&body), now),
            Kind::Open => self.on_open(&header, body, now),
            Kind::Data => {
                self.on_data(&header, body);
                Ok(())
            }
            Kind::End => {
                self.on_end(header.stream);
                Ok(())
            }
            Kind::Reset => {
                self.on_reset(header.stream, &meta(&body));
                Ok(())
            }
            Kind::Credit => self.on_credit(&header),
            Kind::Ping => {
                // The last one is answered; a peer that sends more than are answered learns nothing from the others.
                self.pong_due = Some(header.credit);
                Ok(())
            }
            Kind::Pong => {
                if let Some((number, at)) = self.pinged
                    && number == header.credit
                {
                    self.pinged = None;
                    self.sampled_at = now;
                    self.round_trip = now.since(at);
                }
                Ok(())
            }
            Kind::Goaway => {
                self.on_goaway(&header, &meta(&body));
                Ok(())
            }
        }
    }

    fn on_hello(&mut self, header: &Header, meta: &[u8], now: Time) -> Result<()> {
        let hello = Hello::decode(meta)?;
        if header.epoch < self.config.epoch && self.role == Role::Server && header.epoch != 0 {
            return Err(RpcError::new(
                ErrorKind::Stale,
                format!("the caller is in epoch {}, this node in {}", header.epoch, self.config.epoch),
            ));
        }
        self.credit = header.credit;
        self.peer = Some(hello);
        match self.role {
            // Its answer waits for who admits.
            Role::Server => self.events.push_back(Event::Greeted),
            Role::Client => {
                self.bare = self.agrees_on_bare();
                self.phase = if self.going_away { Phase::Draining } else { Phase::Open };
                self.heard_at = now;
                self.ping(now);
                self.events.push_back(Event::Ready);
                self.finish_draining();
            }
        }
        Ok(())
    }

    fn on_open(&mut self, header: &Header, body: Option<PoolBuffer>, now: Time) -> Result<()> {
        if self.role == Role::Client {
            return Err(protocol("a server opened a stream"));
        }
        let id = header.stream;
        if id <= self.last_stream {
            return Err(protocol(format!("stream {id} was opened after stream {}", self.last_stream)));
        }
        self.last_stream = id;
        if self.phase == Phase::Draining {
            return self.turn_down(id, &RpcError::new(ErrorKind::Unavailable, "the server is being stopped"));
        }
        if self.streams.len() >= self.config.streams_max as usize {
            let most = self.config.streams_max;
            return self.turn_down(
                id,
                &RpcError::new(
                    ErrorKind::Overloaded,
                    format!("{most} calls are under way on this connection"),
                ),
            );
        }
        let streaming = header.flags & FLAG_LAST == 0;
        let window = if streaming {
            match self.new_window(self.config.stream_window, now) {
                Ok(window) => window,
                Err(error) => return self.turn_down(id, &error),
            }
        } else {
            Window::closed()
        };
        let deadline = (header.deadline_ms != 0)
            .then(|| now.after(std::time::Duration::from_millis(u64::from(header.deadline_ms))));
        if let Some(deadline) = deadline {
            self.deadlines.insert((deadline, id));
        }
        let message = Message::new(body.map(PoolBuffer::freeze), header.meta_bytes as usize, false);
        let opened = Opened {
            method: header.method,
            request: header.request,
            attempt: header.attempt,
            epoch: header.epoch,
            deadline,
            message,
        };
        let frame_max = u64::from(self.peer.as_ref().map_or(0, |peer| peer.frame_bytes_max));
        self.streams.insert(
            id,
            Stream {
                deadline,
                opened: Some(opened),
                queue: VecDeque::new(),
                sent: 0,
                credit: header.credit,
                frame_max: header.credit.saturating_sub(HEADER_BYTES as u64).min(frame_max),
                out_open: true,
                in_line: false,
                wants_room: false,
                inbox: VecDeque::new(),
                window,
                grant_due: streaming,
                in_open: streaming,
                error: None,
                detached: false,
            },
        );
        if streaming {
            self.grants.push_back(id);
        }
        self.events.push_back(Event::Opened(id));
        Ok(())
    }

    /// Answers an open with an error, without making a stream of it.
    fn turn_down(&mut self, stream: u32, error: &RpcError) -> Result<()> {
        if self.control.len() >= REFUSALS_MAX {
            return Err(RpcError::new(
                ErrorKind::Overloaded,
                format!("{REFUSALS_MAX} refused calls whose answers are not read"),
            ));
        }
        self.push_reset(stream, error);
        Ok(())
    }

    fn on_data(&mut self, header: &Header, body: Option<PoolBuffer>) {
        let bytes = header.cost();
        self.received += bytes;
        match self.streams.get_mut(&header.stream) {
            Some(s) if s.error.is_none() => {
                let more = header.flags & FLAG_MORE != 0;
                let message = Message::new(body.map(PoolBuffer::freeze), header.meta_bytes as usize, more);
                s.window.received += bytes;
                if s.detached {
                    // Nobody reads it any more.
                    s.window.taken += bytes;
                    self.discard(bytes);
                } else {
                    s.inbox.push_back(message);
                    self.events.push_back(Event::Readable(header.stream));
                }
                if header.flags & FLAG_LAST != 0 {
                    self.on_end(header.stream);
                }
            }
            _ => self.discard(bytes),
        }
    }

    fn on_end(&mut self, stream: u32) {
        let Some(s) = self.streams.get_mut(&stream) else { return };
        if s.error.is_some() {
            return;
        }
        s.in_open = false;
        self.events.push_back(Event::Readable(stream));
        if self.role == Role::Client {
            // A server's end is the call's.
            s.out_open = false;
            s.queue.clear();
            if let Some(deadline) = s.deadline.take() {
                self.deadlines.remove(&(deadline, stream));
            }
            self.events.push_back(Event::Writable(stream));
        }
    }

    fn on_reset(&mut self, stream: u32, meta: &[u8]) {
        #[cfg(test)]
        if self.planted(Fault::ForgottenCancel) && self.role == Role::Server {
            return;
        }
        // One that is over here already has said how it ended.
        if self
            .streams
            .get(&stream)
            .is_some_and(|s| s.error.is_none() && (s.in_open || s.out_open || !s.queue.is_empty()))
        {
            self.end_stream(stream, RpcError::decode(meta));
        }
    }

    fn on_credit(&mut self, header: &Header) -> Result<()> {
        if header.stream == 0 {
            self.credit = self.credit.max(header.credit);
            for (&id, s) in &mut self.streams {
                if s.wants_room && s.queue.is_empty() {
                    s.wants_room = false;
                    self.events.push_back(Event::Writable(id));
                }
            }
            return Ok(());
        }
        if header.stream > self.last_stream {
            return Err(protocol(format!("credit for stream {}, which was never opened", header.stream)));
        }
        let peer_max = u64::from(self.peer.as_ref().map_or(0, |peer| peer.frame_bytes_max));
        let Some(s) = self.streams.get_mut(&header.stream) else { return Ok(()) };
        s.credit = s.credit.max(header.credit);
        if s.frame_max == 0 {
            s.frame_max = s.credit.saturating_sub(HEADER_BYTES as u64).min(peer_max);
        }
        if s.wants_room && s.queue.is_empty() {
            s.wants_room = false;
            self.events.push_back(Event::Writable(header.stream));
        }
        self.join_line(header.stream);
        Ok(())
    }

    fn on_goaway(&mut self, header: &Header, meta: &[u8]) {
        if !meta.is_empty() {
            self.fail(&RpcError::decode(meta), false);
            return;
        }
        self.going_away = true;
        if self.phase == Phase::Greeting {
            self.fail(&RpcError::new(ErrorKind::Unavailable, "the server is being stopped"), false);
            return;
        }
        if self.role == Role::Client {
            // Calls that the server had not seen when it said so were not begun: they may be made again elsewhere.
            let unseen: Vec<u32> =
                self.streams.keys().copied().filter(|&id| u64::from(id) > header.credit).collect();
            for id in unseen {
                self.end_stream(
                    id,
                    RpcError::new(
                        ErrorKind::Unavailable,
                        "the server is being stopped; the call was not begun",
                    ),
                );
            }
        }
        if self.phase == Phase::Open {
            self.phase = Phase::Draining;
        }
        self.finish_draining();
    }
}
