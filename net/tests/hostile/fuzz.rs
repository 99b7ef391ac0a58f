//! The bodies of the fuzz targets ([`deltalite_testkit::fuzz`]), of sessions of today's code.

use std::time::Duration;

use bytes::Bytes;
use deltalite_net::connection::{
    CallSpec, Config, Connection, Event, Greeting, Incoming, Receiver, SendQueue,
};
use deltalite_net::limits::HEADER_BYTES;
use deltalite_net::{ErrorKind, RpcError, Time};
use deltalite_testkit::fuzz::Corpora;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::bodies::TARGETS;
use crate::end::Side;
use crate::script::Script;

deltalite_testkit::fuzz_tests!(frames, hello, server, client, server_script, client_script, error);

/// Random scripts that no corpus thought of.
#[test]
fn random_scripts() {
    for (name, body) in TARGETS.into_iter().filter(|(name, _)| name.ends_with("script")) {
        for seed in 0..2000 {
            let mut rng = StdRng::seed_from_u64(seed);
            let bytes: Vec<u8> = (0..rng.random_range(1..1500)).map(|_| rng.random()).collect();
            assert!(
                std::panic::catch_unwind(|| drop(body(&bytes))).is_ok(),
                "{name} panics on random script {seed}"
            );
        }
    }
}

/// A session between two ends that keep to the protocol, and all that each said.
struct Session {
    ends: [Connection; 2],
    receivers: [Receiver; 2],
    said: [Vec<u8>; 2],
    now: Time,
}

const CLIENT: usize = 0;
const SERVER: usize = 1;

impl Session {
    fn new(bare: bool) -> Self {
        let config = Config {
            frame_bytes_max: 16 << 10,
            connection_window: 50_000,
            stream_window: 16 << 10,
            streams_max: 3,
            safe_way: bare,
            ..Config::default()
        };
        let now = Time::from_micros(1);
        let ends = [
            Connection::client(config.clone(), Some("open sesame".to_owned()), now),
            Connection::server(config, now),
        ];
        let mut this = Self { ends, receivers: Default::default(), said: Default::default(), now };
        this.pass();
        this.ends[SERVER].admit(Greeting { shard: 0, shards: 2 }, now);
        this.pass();
        this
    }

    /// What is to be sent goes over, until nothing is.
    fn pass(&mut self) {
        loop {
            let mut moved = false;
            for from in [CLIENT, SERVER] {
                let mut queue = SendQueue::default();
                self.ends[from].encode(&mut queue, self.now);
                let bytes: Vec<u8> = queue.chunks().flatten().copied().collect();
                moved |= !bytes.is_empty();
                self.said[from].extend_from_slice(&bytes);
                self.receivers[1 - from].receive(&bytes, &mut (&mut self.ends[1 - from], self.now));
            }
            if !moved {
                return;
            }
        }
    }

    fn call(&mut self, streaming: bool, request: &[u8]) -> u32 {
        let spec = CallSpec {
            streaming,
            window: 16 << 10,
            timeout: Some(Duration::from_secs(9)),
            ..CallSpec::default()
        };
        let stream = self.ends[CLIENT].open(300, request.to_vec(), Vec::new(), &spec, self.now).unwrap();
        self.pass();
        stream
    }

    fn send(&mut self, end: usize, stream: u32, bytes: usize, more: bool, last: bool) {
        self.ends[end].send(stream, b"meta".to_vec(), vec![Bytes::from(vec![5; bytes])], more, last);
        self.pass();
        while let Incoming::Message(_) = self.ends[1 - end].next_message(stream, self.now) {}
        self.pass();
    }

    fn forget(&mut self, stream: u32) {
        for end in [SERVER, CLIENT] {
            self.ends[end].forget(stream);
        }
        self.pass();
    }
}

/// Sessions that do what connections can do.
fn sessions() -> Vec<(&'static str, [Vec<u8>; 2])> {
    let mut all = Vec::new();
    for (name, bare) in [("checked", false), ("bare", true)] {
        let mut session = Session::new(bare);
        let unary = session.call(false, b"what time is it");
        session.send(SERVER, unary, 300, false, true);
        session.forget(unary);
        let up = session.call(true, b"");
        for n in 0..4 {
            session.send(CLIENT, up, 7000, n == 1, n == 3);
        }
        session.send(SERVER, up, 0, false, true);
        session.forget(up);
        all.push((name, session.said));
    }
    let mut session = Session::new(false);
    let failing = session.call(false, b"?");
    session.ends[SERVER]
        .reset(failing, RpcError::new(ErrorKind::NotFound, "no such table").caused_by("no folder"));
    session.pass();
    session.forget(failing);
    let down = session.call(false, b"all of it");
    for _ in 0..6 {
        session.send(SERVER, down, 6000, false, false);
    }
    // Given up in the midst.
    session.ends[CLIENT].forget(down);
    session.pass();
    session.now = session.now.after(Duration::from_secs(11));
    for end in &mut session.ends {
        end.tick(session.now);
    }
    session.pass();
    let last = session.call(true, b"");
    session.ends[CLIENT].end(last);
    session.ends[SERVER].end(last);
    session.pass();
    session.forget(last);
    session.ends[CLIENT].close();
    session.pass();
    all.push(("failing", session.said));
    all
}

/// Writes the corpus anew. Only on request: a corpus that follows the code tests nothing of what was said before.
#[test]
fn regenerate() {
    let corpora = Corpora::of_crate(env!("CARGO_MANIFEST_DIR"));
    if !corpora.begin_anew(TARGETS.map(|(target, _)| target)) {
        return;
    }
    let put = |target: &str, name: &str, head: &[u8], bytes: &[u8]| corpora.put(target, name, &[head, bytes]);
    for (name, [client, server]) in sessions() {
        // How: limits of the end, bare where the session is.
        let how = if name == "bare" { 4 } else { 0 };
        put("server", name, &[how], &client);
        put("client", name, &[how], &server);
        for (side, bytes) in [("client", &client), ("server", &server)] {
            put("frames", &format!("{name}-{side}"), &[how], bytes);
            let meta = u32::from_le_bytes(bytes[12..16].try_into().unwrap()) as usize;
            let head = [&[u8::from(side == "server")][..], &50_000u64.to_le_bytes()].concat();
            put("hello", &format!("{name}-{side}"), &head, &bytes[HEADER_BYTES..HEADER_BYTES + meta]);
        }
    }
    for (name, error) in [
        ("plain", RpcError::new(ErrorKind::NotFound, "no such table")),
        ("causes", RpcError::new(ErrorKind::Internal, "it broke").caused_by("a wheel").caused_by("a stone")),
        ("again", RpcError::new(ErrorKind::Overloaded, "later").retry_after(Duration::from_millis(100))),
    ] {
        put("error", name, &[], &error.encode());
    }
    // Scripts are any bytes: long ones, of which no step ends the connection.
    for (target, side) in [("server_script", Side::Server), ("client_script", Side::Client)] {
        for seed in 0..12 {
            let mut rng = StdRng::seed_from_u64(seed);
            let mut bytes = vec![seed as u8];
            for _ in 0..3000 {
                let mut longer = bytes.clone();
                longer.extend((0..rng.random_range(4..12)).map(|_| rng.random::<u8>()));
                if longer.len() < 800 && Script::new(&longer).run(side).is_ok_and(|alive| alive) {
                    bytes = longer;
                }
            }
            put(target, &seed.to_string(), &[], &bytes);
        }
    }
}

/// The events that a corpus has to bring about, for mutations to begin at them.
#[test]
fn sessions_reach_both_programs() {
    for (name, said) in sessions() {
        let mut server = Connection::server(Config::default(), Time::from_micros(1));
        let mut receiver = Receiver::default();
        let mut opened = 0;
        for byte in said[CLIENT].chunks(1) {
            receiver.receive(byte, &mut (&mut server, Time::from_micros(1)));
            while let Some(event) = server.poll_event() {
                match event {
                    Event::Greeted => server.admit(Greeting { shard: 0, shards: 1 }, Time::from_micros(1)),
                    Event::Opened(_) => opened += 1,
                    _ => {}
                }
            }
        }
        assert!(opened >= 2, "{name} opens {opened} streams");
    }
}
