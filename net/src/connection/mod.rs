//! The protocol as a state machine: bytes in, events out; commands in, bytes out; and the time at which it wants to be woken.
//!
//! Nothing here knows sockets, clocks or runtimes. Whoever drives a [`Connection`]
//!
//! 1. gives it what was received, through a [`Receiver`],
//! 2. takes what is to be sent: [`Connection::encode`] into a [`SendQueue`],
//! 3. calls [`Connection::tick`] at [`Connection::wake_at`],
//! 4. hands [`Connection::poll_event`]s to whoever waits for them.
//!
//! | module | job |
//! |---|---|
//! | here | commands, events, the end |
//! | `config` | what a side allows, how a call is made |
//! | `receiver` | bytes to frames |
//! | `receive` | what frames do |
//! | `alive` | deadlines, pings, frames that do not end |
//! | `allowance` | frames that carry nothing, and how many may come |
//! | `transmit` | what is due to bytes, fairly between streams |
//! | `stream` | what is known of a stream |
//! | `window` | how far ahead a sender may go |
//!
//! ```
//! use deltalite_net::connection::{CallSpec, Config, Connection, Event, Greeting, Incoming, Receiver, SendQueue};
//! use deltalite_net::Time;
//!
//! fn pass(from: &mut Connection, to: &mut Connection, now: Time) {
//!     let (mut queue, mut receiver) = (SendQueue::default(), Receiver::default());
//!     from.encode(&mut queue, now);
//!     for chunk in queue.chunks() {
//!         receiver.receive(chunk, &mut (&mut *to, now));
//!     }
//! }
//!
//! let now = Time::default();
//! let mut client = Connection::client(Config::default(), None, now);
//! let mut server = Connection::server(Config::default(), now);
//! pass(&mut client, &mut server, now);
//! assert!(matches!(server.poll_event(), Some(Event::Greeted)));
//! server.admit(Greeting { shard: 0, shards: 2 }, now);
//! pass(&mut server, &mut client, now);
//!
//! let call = client.open(7, b"what time is it".to_vec(), Vec::new(), &CallSpec::default(), now)?;
//! pass(&mut client, &mut server, now);
//! while let Some(event) = server.poll_event() {
//!     if let Event::Opened(stream) = event {
//!         server.send(stream, b"noon".to_vec(), Vec::new(), false, true);
//!     }
//! }
//! pass(&mut server, &mut client, now);
//! let Incoming::Message(answer) = client.next_message(call, now) else { panic!("no answer") };
//! assert_eq!(answer.meta(), b"noon");
//! # Ok::<(), deltalite_net::RpcError>(())
//! ```

mod alive;
mod allowance;
mod config;
mod receive;
mod receiver;
mod stream;
#[cfg(test)]
mod tests;
mod transmit;
mod window;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use deltalite_alloc::{MemoryBudget, Reservation};

pub use config::{CallSpec, Checksums, Config};
pub use receiver::{Accept, Receiver};
pub use stream::{Message, Opened};
pub use transmit::SendQueue;

use crate::error::{ErrorKind, Result, RpcError};
use crate::frame::{FLAG_LAST, FLAG_MORE, Header, Kind};
use crate::hello::{FEATURE_BARE, Hello};
use crate::limits::{self, HEADER_BYTES, STREAM_WINDOW_BYTES_MAX};
use crate::time::Time;
use allowance::Allowance;
use stream::{Outgoing, Stream};
use window::Window;

/// Faults that tests plant, to show that they are found.
#[cfg(test)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Every third grant of a stream is believed told, and is not.
    LostCredit,
    /// Each grant tells twice the window.
    DoubleGrant,
    /// A peer's reset is not passed on.
    ForgottenCancel,
    /// The bytes of discarded messages are never granted again.
    LeakedDiscard,
}

/// What a server says of itself to a client that it admits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Greeting {
    /// Which shard the client reached.
    pub shard: u32,
    /// How many there are.
    pub shards: u32,
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// Of a server: a client said hello ([`Connection::peer`]); it waits to be admitted or refused.
    Greeted,
    /// Of a client: the server admitted it.
    Ready,
    /// The peer opened this stream.
    Opened(u32),
    /// There is a message or an end to be had.
    Readable(u32),
    /// There is room again, or the stream is over.
    Writable(u32),
    /// The stream is over with an error, whatever else waits.
    Ended(u32),
    /// The connection is over; see [`Connection::error`].
    Closed,
}

/// What [`Connection::next_message`] finds.
#[derive(Debug)]
pub enum Incoming {
    /// The next message.
    Message(Message),
    /// Nothing yet.
    Pending,
    /// The peer has no more, or the stream failed. Said again and again.
    End(Result<()>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Client,
    Server,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The handshake is not done.
    Greeting,
    Open,
    /// No new streams; over when the last has ended.
    Draining,
    /// Over: what is encoded may still be sent.
    Closed,
}

/// One end of a connection.
#[derive(Debug)]
pub struct Connection {
    role: Role,
    phase: Phase,
    config: Arc<Config>,
    peer: Option<Hello>,
    streams: BTreeMap<u32, Stream>,
    /// The last stream that was opened, by whichever side opens.
    last_stream: u32,
    deadlines: BTreeSet<(Time, u32)>,
    events: VecDeque<Event>,
    error: Option<RpcError>,

    /// Bytes of bodies received, taken and granted, over all streams.
    received: u64,
    taken: u64,
    granted: u64,
    /// Sum of the streams' windows.
    windows: u64,

    /// Whether both sides agreed on bodies without checksums.
    bare: bool,
    /// Frames that need no credit.
    control: VecDeque<(Header, Vec<u8>, Vec<Bytes>)>,
    /// Resets among them, and the bytes of their errors.
    resets: usize,
    reset_bytes: usize,
    /// Whether the connection's grant is to be told.
    grant_due: bool,
    /// Streams whose grants are to be told.
    grants: VecDeque<u32>,
    /// Streams that can send, in turn.
    line: VecDeque<u32>,
    pong_due: Option<u64>,
    sent: u64,
    credit: u64,

    greeted_by: Time,
    heard_at: Time,
    /// When the frame whose body is being received has to be whole.
    whole_by: Option<Time>,
    allowance: Allowance,
    /// When the last call ended, as far as time was told since.
    used_at: Time,
    /// Whether one ended since time was told.
    used: bool,
    /// The ping that is on its way: its number and when it left.
    pinged: Option<(u64, Time)>,
    pings: u64,
    sampled_at: Time,
    round_trip: Duration,
    going_away: bool,
    /// The last stream that the peer sees through, where it takes no more.
    sees_through: u64,
}

impl Connection {
    /// The end that opens streams. It says hello at once, with a token where it has one.
    pub fn client(config: Config, token: Option<String>, now: Time) -> Self {
        let mut connection = Self::new(Role::Client, config, now);
        // Offered; the server says whether it is so.
        connection.bare = connection.offers_bare();
        connection.say_hello(limits::VERSION, Greeting { shard: 0, shards: 0 }, token);
        connection
    }

    /// The end that answers.
    pub fn server(config: Config, now: Time) -> Self {
        Self::new(Role::Server, config, now)
    }

    fn new(role: Role, mut config: Config, now: Time) -> Self {
        config.frame_bytes_max =
            config.frame_bytes_max.clamp(limits::FRAME_BYTES_MIN, limits::FRAME_BYTES_MAX);
        config.streams_max = config.streams_max.clamp(1, limits::STREAMS_MAX);
        config.connection_window =
            config.connection_window.max(u64::from(config.frame_bytes_max) + HEADER_BYTES as u64);
        if !config.credits {
            config.connection_window = u64::MAX >> 1;
        }
        Self {
            role,
            phase: Phase::Greeting,
            peer: None,
            streams: BTreeMap::new(),
            last_stream: 0,
            deadlines: BTreeSet::new(),
            events: VecDeque::new(),
            error: None,
            received: 0,
            taken: 0,
            granted: config.connection_window,
            windows: 0,
            bare: false,
            control: VecDeque::new(),
            resets: 0,
            reset_bytes: 0,
            grant_due: false,
            grants: VecDeque::new(),
            line: VecDeque::new(),
            pong_due: None,
            sent: 0,
            credit: 0,
            greeted_by: now.after(config.handshake_timeout),
            heard_at: now,
            whole_by: None,
            allowance: Allowance::new(now),
            used_at: now,
            used: false,
            pinged: None,
            pings: 0,
            sampled_at: now,
            round_trip: Duration::from_millis(1),
            going_away: false,
            sees_through: u64::MAX,
            config: Arc::new(config),
        }
    }

    fn offers_bare(&self) -> bool {
        self.config.safe_way && self.config.checksums == Checksums::WhereNeeded
    }

    fn agrees_on_bare(&self) -> bool {
        self.offers_bare() && self.peer.as_ref().is_some_and(|peer| peer.features & FEATURE_BARE != 0)
    }

    #[cfg(test)]
    fn planted(&self, fault: Fault) -> bool {
        self.config.fault == Some(fault)
    }

    fn say_hello(&mut self, version: u16, greeting: Greeting, token: Option<String>) {
        let hello = Hello {
            version_min: if self.role == Role::Client { limits::VERSION_MIN } else { version },
            version,
            features: if self.bare { FEATURE_BARE } else { 0 },
            node: self.config.node,
            frame_bytes_max: self.config.frame_bytes_max,
            streams_max: self.config.streams_max,
            shard: greeting.shard,
            shards: greeting.shards,
            token,
            software: concat!("deltalite ", env!("CARGO_PKG_VERSION")).to_owned(),
        };
        let mut header = Header::new(Kind::Hello, 0);
        header.credit = self.granted;
        header.epoch = self.config.epoch;
        self.control.push_back((header, hello.encode(), Vec::new()));
    }

    /// Of a server: the peer that said hello may call.
    pub fn admit(&mut self, greeting: Greeting, now: Time) {
        if self.role != Role::Server || self.phase != Phase::Greeting || self.peer.is_none() {
            return;
        }
        let version = self.peer.as_ref().map_or(limits::VERSION, |peer| peer.version.min(limits::VERSION));
        self.phase = if self.going_away { Phase::Draining } else { Phase::Open };
        (self.heard_at, self.used_at) = (now, now);
        self.bare = self.agrees_on_bare();
        self.say_hello(version, greeting, None);
        self.finish_draining();
    }

    /// Ends the connection with an error, which the peer is told.
    pub fn refuse(&mut self, error: &RpcError) {
        self.fail(error, true);
    }

    /// What the peer said of itself.
    pub fn peer(&self) -> Option<&Hello> {
        self.peer.as_ref()
    }

    /// What happened since, once each.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Whether calls can be made, or will be once the handshake is done.
    pub fn takes_calls(&self) -> bool {
        matches!(self.phase, Phase::Greeting | Phase::Open) && !self.going_away
    }

    /// Whether the connection is over. What is due or encoded may still be sent.
    pub fn is_closed(&self) -> bool {
        self.phase == Phase::Closed
    }

    /// Why the connection is over; none for an orderly end.
    pub fn error(&self) -> Option<&RpcError> {
        self.error.as_ref()
    }

    /// Whether a stream is over with an error, or let go.
    pub fn has_ended(&self, stream: u32) -> bool {
        self.streams.get(&stream).is_none_or(|s| s.error.is_some())
    }

    /// Whether the handshake is under way.
    pub fn is_greeting(&self) -> bool {
        self.phase == Phase::Greeting
    }

    /// Number of streams.
    pub fn streams(&self) -> usize {
        self.streams.len()
    }

    /// Bytes received that no application has taken: at most what was granted.
    pub fn waiting_bytes(&self) -> u64 {
        self.received - self.taken
    }

    /// Bytes that the peer makes this side keep: messages and requests that nobody has taken, answers that wait to be sent because the
    /// peer does not read, errors. Of a server never more than [`Config::kept_bytes_max`].
    pub fn kept_bytes(&self) -> u64 {
        let requests: u64 = self.streams.values().map(|s| s.request).sum();
        let errors: usize =
            self.streams.values().filter_map(|s| s.error.as_ref()).map(RpcError::text_bytes).sum();
        let control = self.resets * HEADER_BYTES + self.reset_bytes;
        let queues = (self.grants.len() + self.line.len()) * size_of::<u32>();
        self.waiting_bytes() + requests + (errors + control + queues) as u64
    }

    /// What its windows are reserved from.
    pub fn budget(&self) -> Option<&MemoryBudget> {
        self.config.budget.as_ref()
    }

    /// The last measured time from here to the peer and back.
    pub fn round_trip(&self) -> Duration {
        self.round_trip
    }

    /// When something was last received.
    pub fn heard_at(&self) -> Time {
        self.heard_at
    }

    // ---- commands -------------------------------------------------------------------------------------------------------

    /// Begins a call: a stream, with its request.
    ///
    /// # Errors
    /// Where the connection is over or takes no more streams, the request is too large, or no memory is left for a window.
    pub fn open(
        &mut self,
        method: u16,
        meta: Vec<u8>,
        payload: Vec<Bytes>,
        spec: &CallSpec,
        now: Time,
    ) -> Result<u32> {
        match self.phase {
            Phase::Closed => return Err(self.closing_error()),
            Phase::Draining => {
                return Err(RpcError::new(ErrorKind::Unavailable, "the connection is being closed"));
            }
            Phase::Greeting | Phase::Open if self.going_away => {
                return Err(RpcError::new(ErrorKind::Unavailable, "the connection is being closed"));
            }
            Phase::Greeting | Phase::Open => {}
        }
        let allowed = self.peer.as_ref().map_or(limits::STREAMS_MAX, |peer| peer.streams_max);
        if self.streams.len() as u64 >= u64::from(allowed) {
            return Err(RpcError::new(
                ErrorKind::Overloaded,
                format!("the peer allows {allowed} calls at once on a connection, and so many are under way"),
            ));
        }
        let Some(id) = self.last_stream.checked_add(1) else {
            return Err(RpcError::new(
                ErrorKind::Unavailable,
                "the connection has used up its stream numbers",
            ));
        };
        let payload_bytes = payload.iter().map(Bytes::len).sum::<usize>();
        let body = crate::frame::padded(meta.len()) + payload_bytes;
        if body > limits::OPEN_BYTES_MAX as usize {
            return Err(RpcError::new(
                ErrorKind::TooLarge,
                format!(
                    "a request of {body} bytes; one may have {} in its first frame, send the rest as messages",
                    limits::OPEN_BYTES_MAX
                ),
            ));
        }
        let window = self.new_window(spec.window, now)?;
        let mut header = Header::new(Kind::Open, id);
        header.flags = if spec.streaming { 0 } else { FLAG_LAST };
        header.method = method;
        header.meta_bytes = meta.len() as u32;
        header.payload_bytes = payload_bytes as u32;
        // Rounded up: a call is not to be given up there before it is here.
        header.deadline_ms = spec
            .timeout
            .map_or(0, |t| u32::try_from(t.as_micros().div_ceil(1000)).unwrap_or(u32::MAX).max(1));
        header.credit = window.granted;
        header.epoch = self.config.epoch;
        header.request = spec.request;
        header.attempt = spec.attempt;
        let deadline = spec.timeout.map(|timeout| now.after(timeout));
        if let Some(deadline) = deadline {
            self.deadlines.insert((deadline, id));
        }
        self.last_stream = id;
        self.control.push_back((header, meta, payload));
        self.allowance.explain();
        self.streams.insert(
            id,
            Stream {
                deadline,
                opened: None,
                request: 0,
                request_memory: None,
                queue: VecDeque::new(),
                sent: 0,
                credit: 0,
                frame_max: 0,
                out_open: spec.streaming,
                in_line: false,
                wants_room: None,
                inbox: VecDeque::new(),
                window,
                grant_due: false,
                in_open: true,
                error: None,
                detached: false,
            },
        );
        Ok(id)
    }

    /// Reserves a window: as large as asked for where there is room, smaller where not.
    fn new_window(&mut self, wanted: u64, now: Time) -> Result<Window> {
        if !self.config.credits {
            return Ok(Window::new(u64::MAX >> 1, 0, None, now));
        }
        let least = u64::from(limits::FRAME_BYTES_MIN);
        let room = self.config.connection_window.saturating_sub(self.windows);
        // A few wide streams leave room for many narrow ones.
        let others = (self.config.connection_window / 4).saturating_sub(self.streams.len() as u64 * least);
        let most = room.saturating_sub(others).max(least.min(room));
        let mut size = wanted.clamp(least, STREAM_WINDOW_BYTES_MAX).min(most);
        loop {
            if size < least {
                return Err(RpcError::new(
                    ErrorKind::Overloaded,
                    format!(
                        "no room for another stream: {} bytes of windows of {} are given out",
                        self.windows, self.config.connection_window
                    ),
                ));
            }
            let reserved = match &self.config.budget {
                None => None,
                Some(budget) => match budget.try_reserve(size as usize) {
                    Ok(reserved) => Some(reserved),
                    Err(_) if size > least => {
                        size = (size / 2).max(least);
                        continue;
                    }
                    Err(error) => {
                        return Err(RpcError::new(ErrorKind::Overloaded, "no memory for another stream")
                            .caused_by(error));
                    }
                },
            };
            self.windows += size;
            let floor = size.min(u64::from(self.config.frame_bytes_max) + HEADER_BYTES as u64);
            return Ok(Window::new(size, floor, reserved, now));
        }
    }

    /// Makes room for the request of a stream that the peer opens: it counts as a window does, for as long as the stream is there.
    fn hold_request(&mut self, bytes: u64) -> Result<(u64, Option<Reservation>)> {
        if !self.config.credits {
            return Ok((0, None));
        }
        if self.windows + bytes > self.config.connection_window {
            return Err(RpcError::new(
                ErrorKind::Overloaded,
                format!(
                    "no room for a request of {bytes} bytes: windows and requests have {} of {}",
                    self.windows, self.config.connection_window
                ),
            ));
        }
        let budget = self.config.budget.as_ref();
        let reserved = budget.map(|budget| budget.try_reserve(bytes as usize)).transpose();
        let reserved = reserved.map_err(|error| {
            RpcError::new(ErrorKind::Overloaded, "no memory for another request").caused_by(error)
        })?;
        self.windows += bytes;
        Ok((bytes, reserved))
    }

    /// What a received open asks for; once.
    pub fn take_opened(&mut self, stream: u32) -> Option<Opened> {
        self.streams.get_mut(&stream)?.opened.take()
    }

    /// Bytes of body that the next frame of a stream may have, where it could be sent now and nothing else waits; none
    /// before `wanted` bytes (or the largest frame) have credit. [`Event::Writable`] then follows.
    ///
    /// # Errors
    /// Where the stream is over.
    pub fn room(&mut self, stream: u32, wanted: u64) -> Result<Option<u64>> {
        let left = self.credit - self.sent;
        let over = self.closing_error();
        let Some(s) = self.streams.get_mut(&stream) else { return Err(over) };
        if let Some(error) = &s.error {
            return Err(error.clone());
        }
        if !s.out_open {
            return Err(RpcError::new(ErrorKind::Cancelled, "the peer takes no more of this call"));
        }
        let room = s.room(left, wanted);
        s.wants_room = room.is_none().then_some(wanted);
        Ok(room)
    }

    /// Tells who waits for room on a stream where it has come.
    fn tell_of_room(&mut self, stream: u32) {
        let left = self.credit - self.sent;
        if let Some(s) = self.streams.get_mut(&stream)
            && let Some(wanted) = s.wants_room
            && s.room(left, wanted).is_some()
        {
            s.wants_room = None;
            self.events.push_back(Event::Writable(stream));
        }
    }

    /// Largest body of a frame on this stream; 0 before the peer's first grant.
    pub fn frame_max(&self, stream: u32) -> u64 {
        self.streams.get(&stream).map_or(0, |s| s.frame_max)
    }

    /// Queues a frame: a message, or with `more` a part of one. After `last` nothing else can be sent. A body may have up to
    /// [`Self::frame_max`] bytes; it leaves once it has credit. On a stream that is over this does nothing.
    pub fn send(&mut self, stream: u32, meta: Vec<u8>, payload: Vec<Bytes>, more: bool, last: bool) {
        let flags = if more { FLAG_MORE } else { 0 } | if last { FLAG_LAST } else { 0 };
        let payload_bytes = payload.iter().map(Bytes::len).sum();
        self.enqueue(stream, Outgoing { kind: Kind::Data, flags, meta, payload, payload_bytes }, last);
    }

    /// Nothing more will be sent on this stream.
    pub fn end(&mut self, stream: u32) {
        let end =
            Outgoing { kind: Kind::End, flags: 0, meta: Vec::new(), payload: Vec::new(), payload_bytes: 0 };
        self.enqueue(stream, end, true);
    }

    fn enqueue(&mut self, stream: u32, frame: Outgoing, last: bool) {
        let Some(s) = self.streams.get_mut(&stream) else { return };
        if !s.out_open || s.error.is_some() {
            return;
        }
        debug_assert!(frame.cost() <= s.frame_max + HEADER_BYTES as u64, "a frame above the limit");
        s.queue.push_back(frame);
        s.out_open = !last;
        self.join_line(stream);
    }

    /// Puts a stream that can send into the line.
    fn join_line(&mut self, stream: u32) {
        if let Some(s) = self.streams.get_mut(&stream)
            && !s.in_line
            && s.has_credit()
        {
            s.in_line = true;
            self.line.push_back(stream);
            self.forget_gone();
        }
    }

    /// Takes streams that are gone out of the queues once they are the most of them: a peer that opens and resets streams and takes
    /// nothing itself would make them grow.
    fn forget_gone(&mut self) {
        let most = 2 * self.streams.len() + 64;
        for queue in [&mut self.line, &mut self.grants] {
            if queue.len() > most {
                queue.retain(|stream| self.streams.contains_key(stream));
            }
        }
    }

    /// Ends a stream with an error that the peer is told. The application sees the same.
    pub fn reset(&mut self, stream: u32, error: RpcError) {
        let Some(s) = self.streams.get(&stream) else { return };
        let over = s.error.is_some() || (!s.in_open && self.role == Role::Client);
        if !over {
            self.push_reset(stream, &error);
            self.end_stream(stream, error);
        }
    }

    fn push_reset(&mut self, stream: u32, error: &RpcError) {
        let error = error.encode();
        self.resets += 1;
        self.reset_bytes += error.len();
        self.control.push_back((Header::new(Kind::Reset, stream), error, Vec::new()));
    }

    fn push_grant(&mut self, stream: u32) {
        self.grants.push_back(stream);
        self.forget_gone();
    }

    fn clear_control(&mut self) {
        self.control.clear();
        (self.resets, self.reset_bytes) = (0, 0);
    }

    /// A stream is over with an error, as the application will see.
    fn end_stream(&mut self, stream: u32, error: RpcError) {
        let Some(s) = self.streams.get_mut(&stream) else { return };
        s.queue.clear();
        (s.out_open, s.in_open) = (false, false);
        s.error.get_or_insert(error);
        if let Some(deadline) = s.deadline.take() {
            self.deadlines.remove(&(deadline, stream));
        }
        let detached = s.detached;
        self.events.push_back(Event::Ended(stream));
        if detached {
            self.remove(stream);
        }
    }

    /// The next message of a stream. Taking it gives the sender new credit.
    pub fn next_message(&mut self, stream: u32, now: Time) -> Incoming {
        let over = self.closing_error();
        let Some(s) = self.streams.get_mut(&stream) else { return Incoming::End(Err(over)) };
        if let Some(message) = s.inbox.pop_front() {
            let bytes = message.cost();
            let room = self.config.connection_window.saturating_sub(self.windows);
            let before = s.window.size;
            let due = s.window.take(bytes, now, self.round_trip, room) && s.in_open;
            self.windows = (self.windows - before) + s.window.size;
            if due && !s.grant_due {
                s.grant_due = true;
                self.push_grant(stream);
            }
            self.take_bytes(bytes);
            return Incoming::Message(message);
        }
        if let Some(error) = &s.error {
            return Incoming::End(Err(error.clone()));
        }
        if s.in_open { Incoming::Pending } else { Incoming::End(Ok(())) }
    }

    /// Bytes of bodies are done with: the connection's credit moves on.
    fn take_bytes(&mut self, bytes: u64) {
        self.taken += bytes;
        let target = self.taken.saturating_add(self.config.connection_window);
        let more = target.saturating_sub(self.granted);
        // A sender may have too little left for its next frame long before a quarter is used.
        let largest = u64::from(self.config.frame_bytes_max) + HEADER_BYTES as u64;
        let short = self.granted - self.received < largest;
        if more >= self.config.connection_window / 4 || (short && more > 0) {
            self.granted = target;
            self.grant_due = true;
        }
    }

    /// The application lets go of a stream. A client's call that is not over is cancelled; what a server queued is still sent,
    /// and a server that did not end its answers ends them with an error.
    pub fn forget(&mut self, stream: u32) {
        let Some(s) = self.streams.get_mut(&stream) else { return };
        if s.error.is_some() || self.phase == Phase::Closed {
            self.remove(stream);
            return;
        }
        match self.role {
            Role::Client => {
                if s.in_open {
                    self.reset(stream, RpcError::new(ErrorKind::Cancelled, "the caller gave up"));
                }
                self.remove(stream);
            }
            Role::Server if s.out_open => {
                let error = RpcError::new(ErrorKind::Internal, "the call ended without an answer");
                self.reset(stream, error);
                self.remove(stream);
            }
            Role::Server if s.queue.is_empty() => self.remove(stream),
            Role::Server => s.detached = true,
        }
    }

    fn remove(&mut self, stream: u32) {
        let Some(s) = self.streams.remove(&stream) else { return };
        self.used = true;
        if let Some(deadline) = s.deadline {
            self.deadlines.remove(&(deadline, stream));
        }
        if self.config.credits {
            self.windows -= s.window.size + s.request;
        }
        let discarded = s.window.waiting();
        // What was reserved for it is free before its sender hears of new credit.
        drop((s.window, s.request_memory));
        self.discard(discarded);
        self.finish_draining();
    }

    fn discard(&mut self, bytes: u64) {
        #[cfg(test)]
        if self.planted(Fault::LeakedDiscard) {
            return;
        }
        self.take_bytes(bytes);
    }

    /// No new calls; the connection is over when those under way have ended.
    pub fn close(&mut self) {
        if self.going_away || self.phase == Phase::Closed {
            return;
        }
        self.going_away = true;
        let mut header = Header::new(Kind::Goaway, 0);
        header.credit = u64::from(self.last_stream);
        self.control.push_back((header, Vec::new(), Vec::new()));
        if self.phase == Phase::Open {
            self.phase = Phase::Draining;
        }
        self.finish_draining();
    }

    fn finish_draining(&mut self) {
        if self.phase == Phase::Draining && self.streams.is_empty() {
            self.phase = Phase::Closed;
            self.events.push_back(Event::Closed);
        }
    }

    /// The transport is gone: all streams end with `error`. Where the end was agreed on and every call is over, it is none.
    pub fn disconnect(&mut self, error: &RpcError) {
        let over = |s: &Stream| !s.in_open && !s.out_open && s.queue.is_empty();
        if self.phase == Phase::Draining && self.streams.values().all(over) {
            self.phase = Phase::Closed;
            self.events.push_back(Event::Closed);
        }
        self.fail(error, false);
        self.clear_control();
    }

    /// The end, with an error; the peer is told where it can be.
    fn fail(&mut self, error: &RpcError, tell: bool) {
        if self.phase == Phase::Closed {
            return;
        }
        let never_sent = self.phase == Phase::Greeting;
        self.phase = Phase::Closed;
        self.clear_control();
        self.grant_due = false;
        self.grants.clear();
        self.line.clear();
        if tell {
            let mut header = Header::new(Kind::Goaway, 0);
            header.credit = u64::from(self.last_stream);
            self.control.push_back((header, error.encode(), Vec::new()));
        }
        self.error = Some(error.clone());
        let ids: Vec<u32> = self.streams.keys().copied().collect();
        for id in ids {
            // An error of the connection says nothing of the call, which may have run or not.
            let mut of_call = error.clone();
            if error.retryable().is_none() || (error.kind() != ErrorKind::Unavailable && !never_sent) {
                let what = "the connection failed during the call";
                of_call = RpcError::new(ErrorKind::Unavailable, what).caused_by(error);
                if let Some(wait) = error.retryable() {
                    of_call = of_call.retry_after(wait);
                }
            }
            if self.streams.get(&id).is_some_and(|s| s.in_open || s.out_open || !s.queue.is_empty()) {
                self.end_stream(id, of_call);
            }
        }
        self.deadlines.clear();
        self.events.push_back(Event::Closed);
    }

    fn closing_error(&self) -> RpcError {
        match &self.error {
            Some(error) if error.retryable().is_some() => error.clone(),
            Some(error) => RpcError::new(ErrorKind::Unavailable, "the connection failed").caused_by(error),
            None => RpcError::new(ErrorKind::Unavailable, "the connection is closed"),
        }
    }
}
