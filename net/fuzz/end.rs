//! One end of a connection, with a program that uses it, and a peer that is not to be trusted. What must hold is checked after each
//! step, by what went over the wire and what the connection says that it keeps.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use deltalite_alloc::MemoryBudget;
use deltalite_net::connection::{
    CallSpec, Config, Connection, Event, Greeting, Incoming, Receiver, SendQueue,
};
use deltalite_net::frame::{BodyCrc, FLAG_LAST, Header, Kind, padded};
use deltalite_net::limits::{ENCODED_AHEAD_BYTES, FRAME_BYTES_MAX, HEADER_BYTES};
use deltalite_net::{Result, RpcError, Time};

/// Which end it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Server,
    Client,
}

/// A frame of the peer's: its header (lengths are filled in) and its body.
pub(crate) fn frame(mut header: Header, meta: &[u8], payload: &[u8]) -> Vec<u8> {
    (header.meta_bytes, header.payload_bytes) = (meta.len() as u32, payload.len() as u32);
    let head = if payload.is_empty() { meta.len() } else { padded(meta.len()) };
    let mut body = meta.to_vec();
    body.resize(head, 0);
    body.extend_from_slice(payload);
    let header = header.seal(BodyCrc::of(std::iter::once(&body[..])));
    [header.bytes(), &body[..]].concat()
}

pub(crate) struct End {
    pub(crate) connection: Connection,
    pub(crate) now: Time,
    side: Side,
    receiver: Receiver,
    queue: SendQueue,
    config: Config,
    budget: MemoryBudget,
    /// Streams that the program knows of.
    pub(crate) streams: BTreeSet<u32>,
    /// Bytes of messages that were sent, and the credit that the peer may have told, by stream; 0 is the connection.
    sent: BTreeMap<u32, u64>,
    told: BTreeMap<u32, u64>,
    ended: BTreeSet<u32>,
    /// Whether the peer said that all is over.
    goaway: bool,
    /// What the peer was told at the end.
    said: Option<RpcError>,
    unread: Vec<u8>,
}

impl End {
    /// An end whose limits depend on `how`.
    pub(crate) fn new(side: Side, how: u8) -> Self {
        let budget = MemoryBudget::root("fuzz", 1 << 20);
        let config = Config {
            frame_bytes_max: 16 << 10,
            streams_max: [3, 64][usize::from(how & 1)],
            connection_window: [50_000, 400_000][usize::from(how >> 1 & 1)],
            stream_window: 16 << 10,
            safe_way: how >> 2 & 1 == 1,
            budget: (how >> 3 & 1 == 1).then(|| budget.clone()),
            ..Config::default()
        };
        let now = Time::from_micros(1);
        let connection = match side {
            Side::Server => Connection::server(config.clone(), now),
            Side::Client => Connection::client(config.clone(), Some("token".to_owned()), now),
        };
        Self {
            connection,
            now,
            side,
            receiver: Receiver::default(),
            queue: SendQueue::default(),
            config,
            budget,
            streams: BTreeSet::new(),
            sent: BTreeMap::new(),
            told: BTreeMap::new(),
            ended: BTreeSet::new(),
            goaway: false,
            said: None,
            unread: Vec::new(),
        }
    }

    /// What the other side says first, when it is as it should be.
    pub(crate) fn greeting_of_peer(&self) -> Vec<u8> {
        let mut queue = SendQueue::default();
        let mut client = Connection::client(Config::default(), None, self.now);
        client.encode(&mut queue, self.now);
        if self.side == Side::Server {
            return queue.chunks().flatten().copied().collect();
        }
        let mut server = Connection::server(Config::default(), self.now);
        for chunk in queue.chunks() {
            Receiver::default().receive(chunk, &mut (&mut server, self.now));
        }
        server.admit(Greeting { shard: 0, shards: 1 }, self.now);
        let mut queue = SendQueue::default();
        server.encode(&mut queue, self.now);
        queue.chunks().flatten().copied().collect()
    }

    /// The peer says hello with these words.
    pub(crate) fn hear(&mut self, said: &[u8], credit: u64) {
        let mut header = Header::new(Kind::Hello, 0);
        header.credit = credit;
        let hello = frame(header, said, &[]);
        self.receive(&hello);
    }

    /// Bytes of the peer arrive.
    pub(crate) fn receive(&mut self, bytes: &[u8]) {
        self.listen(bytes);
        let open = !self.connection.is_closed();
        self.receiver.receive(bytes, &mut (&mut self.connection, self.now));
        if open && self.connection.is_closed() && !self.goaway {
            // What the peer did was against the protocol, and it hears so.
            self.read();
            let told = self.said.as_ref().map(|error| (error.kind(), error.message().to_owned()));
            let ended = self.connection.error().map(|error| (error.kind(), error.message().to_owned()));
            assert!(told.is_some() && told == ended, "the end was {ended:?}, the peer heard {told:?}");
        }
        self.check();
    }

    /// Notes what the peer may have granted: an upper bound, for not each of its frames is accepted.
    fn listen(&mut self, bytes: &[u8]) {
        self.unread.extend_from_slice(bytes);
        let mut at = 0;
        while let Some(header) = self.unread.get(at..).and_then(|rest| rest.first_chunk::<HEADER_BYTES>()) {
            let Ok(header) = Header::parse(header) else {
                at = self.unread.len();
                break;
            };
            let Some(to) = (at + HEADER_BYTES).checked_add(header.body_bytes() as usize) else { break };
            if to > self.unread.len() {
                break;
            }
            let of = match header.kind() {
                Ok(Kind::Hello) => Some(0),
                Ok(Kind::Open | Kind::Credit) => Some(header.stream),
                Ok(Kind::Goaway) => {
                    self.goaway = true;
                    None
                }
                _ => None,
            };
            if let Some(stream) = of {
                let told = self.told.entry(stream).or_default();
                *told = header.credit.max(*told);
            }
            at = to;
        }
        self.unread.drain(..at);
    }

    /// Time passes.
    pub(crate) fn pass(&mut self, time: Duration) {
        self.now = self.now.after(time);
        let wake = self.connection.wake_at();
        self.connection.tick(self.now);
        let next = self.connection.wake_at();
        assert!(
            wake.is_none() || next.is_none_or(|next| next > self.now || Some(next) > wake),
            "a tick at {:?} that asks for one at {next:?}",
            self.now
        );
        self.check();
    }

    /// The peer reads all that is to be sent.
    pub(crate) fn read(&mut self) {
        loop {
            self.connection.encode(&mut self.queue, self.now);
            let bytes: Vec<u8> = self.queue.chunks().flatten().copied().collect();
            if bytes.is_empty() {
                return;
            }
            self.queue.sent(bytes.len());
            self.hear_own(&bytes);
        }
    }

    /// What this side sends are whole frames, within its credit.
    fn hear_own(&mut self, mut bytes: &[u8]) {
        while let Some((header, rest)) = bytes.split_first_chunk::<HEADER_BYTES>() {
            let header =
                Header::parse(header).unwrap_or_else(|e| panic!("a frame that is none was sent: {e}"));
            let (body, rest) = rest.split_at(header.body_bytes() as usize);
            assert!(header.check_body(BodyCrc::of(std::iter::once(body))).is_ok());
            bytes = rest;
            let stream = header.stream;
            match header.kind() {
                Ok(Kind::Data) => {
                    assert!(!self.ended.contains(&stream), "a message after the end of stream {stream}");
                    for of in [0, stream] {
                        let sent = self.sent.entry(of).or_default();
                        *sent += header.cost();
                        let told = self.told.get(&of).copied().unwrap_or(0);
                        assert!(*sent <= told, "{sent} bytes of stream {of} with credit for {told}");
                    }
                    if header.flags & FLAG_LAST != 0 {
                        self.ended.insert(stream);
                    }
                }
                Ok(Kind::End | Kind::Reset) => {
                    self.ended.insert(stream);
                }
                Ok(Kind::Goaway) if header.meta_bytes > 0 => {
                    self.said = Some(RpcError::decode(&body[..header.meta_bytes as usize]));
                }
                Ok(_) => {}
                Err(error) => panic!("{error}"),
            }
        }
    }

    fn check(&mut self) {
        let kept = self.connection.kept_bytes();
        let window = self.config.connection_window;
        assert!(self.connection.waiting_bytes() <= window, "{} bytes wait", self.connection.waiting_bytes());
        if self.side == Side::Server {
            assert!(kept <= self.config.kept_bytes_max(), "{kept} bytes are kept");
            assert!(self.connection.streams() <= self.config.streams_max as usize);
            assert!(self.budget.usage() as u64 <= window, "{} bytes are reserved", self.budget.usage());
        }
        self.connection.encode(&mut self.queue, self.now);
        let ahead = ENCODED_AHEAD_BYTES + FRAME_BYTES_MAX as usize + HEADER_BYTES;
        assert!(self.queue.len() <= ahead, "{} bytes are encoded ahead", self.queue.len());
        if !self.connection.is_closed() {
            assert!(self.connection.error().is_none());
            assert!(self.connection.wake_at().is_some(), "a connection that nothing would end");
        }
    }

    /// A client begins calls of all kinds.
    pub(crate) fn call_all(&mut self) {
        if self.side == Side::Server {
            return;
        }
        for n in 0..6 {
            let spec = CallSpec {
                timeout: (n == 3).then_some(Duration::from_secs(3)),
                window: 16 << 10,
                streaming: n % 2 == 1,
                ..CallSpec::default()
            };
            self.call(&spec);
        }
    }

    pub(crate) fn call(&mut self, spec: &CallSpec) {
        if let Ok(stream) = self.connection.open(1, vec![7; 30], Vec::new(), spec, self.now) {
            self.streams.insert(stream);
        }
    }

    /// Sends a message of up to so many bytes where there is room for one.
    pub(crate) fn send(&mut self, stream: u32, bytes: u64, last: bool) {
        if let Ok(Some(room)) = self.connection.room(stream, bytes) {
            let payload = vec![Bytes::from(vec![3; bytes.min(room) as usize])];
            self.connection.send(stream, Vec::new(), payload, false, last);
        }
    }

    /// Takes messages until there is none, and lets go of the stream at its end.
    pub(crate) fn take(&mut self, stream: u32) {
        loop {
            match self.connection.next_message(stream, self.now) {
                // What a message says that it has is there.
                Incoming::Message(message) => {
                    drop((message.meta().to_vec(), message.payload().map(|p| p.to_vec())));
                }
                Incoming::Pending => return,
                Incoming::End(_) => {
                    self.connection.forget(stream);
                    self.streams.remove(&stream);
                    return;
                }
            }
        }
    }

    /// What a program does that answers whatever comes.
    pub(crate) fn serve(&mut self) {
        while let Some(event) = self.connection.poll_event() {
            match event {
                Event::Greeted => self.connection.admit(Greeting { shard: 0, shards: 1 }, self.now),
                Event::Opened(stream) => {
                    self.streams.insert(stream);
                    if let Some(opened) = self.connection.take_opened(stream) {
                        drop(opened.nested(self.now));
                        match opened.method {
                            0 => self.connection.reset(stream, RpcError::decode(&[])),
                            1 => self.connection.end(stream),
                            bytes => self.send(stream, u64::from(bytes), bytes % 2 == 1),
                        }
                    }
                }
                Event::Readable(stream) => self.take(stream),
                Event::Writable(stream) => self.send(stream, 500, true),
                Event::Ended(stream) => {
                    self.connection.forget(stream);
                    self.streams.remove(&stream);
                }
                Event::Ready | Event::Closed => {}
            }
        }
        self.check();
    }

    /// The transport is gone: every stream ends, and nothing stays reserved.
    pub(crate) fn finish(mut self) -> Result<()> {
        self.serve();
        let ended = self.connection.error().cloned();
        self.connection.disconnect(&RpcError::decode(&[]));
        assert!(self.connection.is_closed() && self.connection.wake_at().is_none());
        for stream in self.streams.clone() {
            self.take(stream);
            assert!(!self.streams.contains(&stream), "stream {stream} goes on after the end");
        }
        self.serve();
        drop(self.connection);
        assert_eq!(self.budget.usage(), 0, "memory stays reserved");
        ended.map_or(Ok(()), Err)
    }
}
