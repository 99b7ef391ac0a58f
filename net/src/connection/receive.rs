//! What frames mean: whether they may come now, and what they do.

use std::collections::VecDeque;

use deltalite_alloc::{PoolBuffer, Reservation};

#[cfg(test)]
use super::Fault;
use super::stream::{Message, Opened, Stream};
use super::window::Window;
use super::{Connection, Event, Phase, Role};
use crate::error::{ErrorKind, Result, RpcError};
use crate::frame::{FLAG_LAST, FLAG_MORE, Header, Kind};
use crate::hello::Hello;
use crate::limits::{
    ERROR_BYTES_MAX, FRAME_BYTES_MAX, FRAME_BYTES_MIN, GREETING_BYTES_MAX, HEADER_BYTES, META_BYTES_MAX,
    OPEN_BYTES_MAX, REFUSALS_BYTES_MAX,
};
use crate::time::Time;

fn protocol(what: impl Into<String>) -> RpcError {
    RpcError::new(ErrorKind::Protocol, what)
}

/// A stream's first grant bounds its frames: a small one would make a sender of many bytes one of many frames.
fn check_first_grant(stream: u32, credit: u64) -> Result<()> {
    if credit >= u64::from(FRAME_BYTES_MIN) {
        return Ok(());
    }
    Err(protocol(format!(
        "stream {stream} begins with credit for {credit} bytes, {FRAME_BYTES_MIN} are the least"
    )))
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
            Kind::Goaway | Kind::Reset => ERROR_BYTES_MAX,
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
        match kind {
            Kind::Hello | Kind::Goaway | Kind::Ping | Kind::Pong if header.stream != 0 => Err(protocol(
                format!("a {kind:?} frame on stream {}, which is the connection's", header.stream),
            )),
            Kind::Open => self.check_open(header),
            Kind::Data | Kind::End | Kind::Reset
                if header.stream == 0 || header.stream > self.last_stream =>
            {
                Err(protocol(format!("a {kind:?} frame on stream {}, which was never opened", header.stream)))
            }
            Kind::Credit if header.stream > self.last_stream => {
                Err(protocol(format!("credit for stream {}, which was never opened", header.stream)))
            }
            Kind::Data | Kind::End => self.check_message(kind, header),
            _ => Ok(()),
        }
    }

    fn check_open(&self, header: &Header) -> Result<()> {
        if self.role == Role::Client {
            return Err(protocol("a server opened a stream"));
        }
        if header.stream <= self.last_stream {
            return Err(protocol(format!(
                "stream {} was opened after stream {}",
                header.stream, self.last_stream
            )));
        }
        check_first_grant(header.stream, header.credit)
    }

    /// A message, or the end of them.
    fn check_message(&self, kind: Kind, header: &Header) -> Result<()> {
        // A stream that was let go here may have more on its way.
        let known = self.streams.get(&header.stream).filter(|s| s.error.is_none());
        if known.is_some_and(|s| !s.in_open) {
            return Err(protocol(format!("a {kind:?} frame after the end of stream {}", header.stream)));
        }
        if kind == Kind::End {
            return Ok(());
        }
        let cost = header.cost();
        if self.received + cost > self.granted {
            return Err(protocol(format!(
                "{cost} bytes were sent where the connection has credit for {}",
                self.granted - self.received
            )));
        }
        let left = known.map_or(u64::MAX, |s| s.window.granted - s.window.received);
        if cost > left {
            return Err(protocol(format!(
                "{cost} bytes were sent on stream {}, which has credit for {left}",
                header.stream
            )));
        }
        Ok(())
    }

    pub(super) fn act(&mut self, header: Header, body: Option<PoolBuffer>, now: Time) -> Result<()> {
        if self.phase != Phase::Greeting {
            self.heard_at = now;
        }
        self.whole_by = None;
        let meta = |body: &Option<PoolBuffer>| {
            body.as_ref().map_or(Vec::new(), |body| body.as_slice()[..header.meta_bytes as usize].to_vec())
        };
        let kind = header.kind()?;
        match kind {
            Kind::Hello | Kind::Data => {}
            Kind::Open => self.allowance.explain(),
            Kind::End | Kind::Reset | Kind::Credit | Kind::Ping | Kind::Pong | Kind::Goaway => {
                self.allowance.take(now)?;
            }
        }
        match kind {
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
        let largest = u64::from(hello.frame_bytes_max) + HEADER_BYTES as u64;
        if header.credit < largest {
            return Err(protocol(format!(
                "the peer greets with credit for {} bytes, where its largest frame has {largest}",
                header.credit
            )));
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
        let id = header.stream;
        self.last_stream = id;
        // Those that are under way may end in resets too.
        if self.resets >= self.config.refusals_max() || self.reset_bytes >= REFUSALS_BYTES_MAX {
            return Err(RpcError::new(
                ErrorKind::Overloaded,
                format!("the errors of {} calls wait, and the peer does not read them", self.resets),
            ));
        }
        if self.phase == Phase::Draining {
            self.push_reset(id, &RpcError::new(ErrorKind::Unavailable, "the server is being stopped"));
            return Ok(());
        }
        if self.streams.len() >= self.config.streams_max as usize {
            let most = self.config.streams_max;
            let what = format!("{most} calls are under way on this connection");
            self.push_reset(id, &RpcError::new(ErrorKind::Overloaded, what));
            return Ok(());
        }
        let streaming = header.flags & FLAG_LAST == 0;
        let (window, (request, request_memory)) = match self.room_for(header, streaming, now) {
            Ok(room) => room,
            Err(error) => {
                self.push_reset(id, &error);
                return Ok(());
            }
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
                request,
                request_memory,
                queue: VecDeque::new(),
                sent: 0,
                credit: header.credit,
                frame_max: header.credit.saturating_sub(HEADER_BYTES as u64).min(frame_max),
                out_open: true,
                in_line: false,
                wants_room: None,
                inbox: VecDeque::new(),
                window,
                grant_due: streaming,
                in_open: streaming,
                error: None,
                detached: false,
            },
        );
        if streaming {
            self.push_grant(id);
        }
        self.events.push_back(Event::Opened(id));
        Ok(())
    }

    /// The window of a stream that the peer opens, and room for its request.
    fn room_for(
        &mut self,
        header: &Header,
        streaming: bool,
        now: Time,
    ) -> Result<(Window, (u64, Option<Reservation>))> {
        let request = self.hold_request(header.cost())?;
        if !streaming {
            return Ok((Window::closed(), request));
        }
        match self.new_window(self.config.stream_window, now) {
            Ok(window) => Ok((window, request)),
            Err(error) => {
                self.windows -= request.0;
                Err(error)
            }
        }
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
            if header.credit > self.credit {
                self.credit = header.credit;
                let waiting: Vec<u32> =
                    self.streams.iter().filter(|(_, s)| s.wants_room.is_some()).map(|(&id, _)| id).collect();
                for id in waiting {
                    self.tell_of_room(id);
                }
            }
            return Ok(());
        }
        let peer_max = u64::from(self.peer.as_ref().map_or(0, |peer| peer.frame_bytes_max));
        let Some(s) = self.streams.get_mut(&header.stream) else { return Ok(()) };
        if s.frame_max == 0 && s.error.is_none() {
            check_first_grant(header.stream, header.credit)?;
            s.frame_max = header.credit.saturating_sub(HEADER_BYTES as u64).min(peer_max);
        }
        s.credit = s.credit.max(header.credit);
        self.tell_of_room(header.stream);
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
        if self.role == Role::Client && header.credit < self.sees_through {
            self.sees_through = header.credit;
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
