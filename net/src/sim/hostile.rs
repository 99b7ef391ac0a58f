//! Peers that do not keep to the protocol, over every driver: each is told so or cut off, what it makes a server keep is bounded, and
//! another's calls are unharmed meanwhile.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::io::{self, IoSlice, IoSliceMut};
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use deltalite_alloc::MemoryBudget;

use super::service::{COUNT, ECHO, HANG, Order, SUM, Sleep, TestService};
use super::suite::{Identities, certificates, ends};
use super::wire::{self, Weather};
use super::world::World;
use crate::call::client::Channel;
use crate::call::server::{Peer, Serving};
use crate::connection::{CallSpec, Config, Connection, SendQueue};
use crate::drive::tls::Tls;
use crate::drive::{Socket, Timer};
use crate::error::{ErrorKind, RpcError};
use crate::frame::{BodyCrc, FLAG_LAST, FLAG_MORE, Header, Kind};
use crate::limits::{FRAME_BYTES_MIN, HEADER_BYTES, IDLE_FRAMES_MAX, MESSAGE_BYTES_MAX};
use crate::time::{Clock, Time};

type Local<T> = Pin<Box<dyn Future<Output = T>>>;

/// How a server's connection ended.
type Ended = Rc<RefCell<Option<Option<RpcError>>>>;

/// A socket to a server that runs beside, spoken to byte by byte.
struct Raw {
    socket: Box<dyn Socket>,
    /// The same below TLS.
    below: Rc<RefCell<dyn Socket>>,
    unread: Vec<u8>,
    ended: Ended,
}

/// A socket that others hold too. Closing one within it leaves it open.
struct Below<S>(Rc<RefCell<S>>);

impl<S: Socket> Socket for Below<S> {
    fn poll_read(&mut self, cx: &mut Context<'_>, into: &mut [IoSliceMut<'_>]) -> Poll<io::Result<usize>> {
        self.0.borrow_mut().poll_read(cx, into)
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, from: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        self.0.borrow_mut().poll_write(cx, from)
    }

    fn close(&mut self) {}
}

impl Raw {
    async fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let n = poll_fn(|cx| self.socket.poll_write(cx, &[IoSlice::new(bytes)])).await?;
            bytes = &bytes[n..];
        }
        poll_fn(|cx| self.socket.poll_flush(cx)).await
    }

    /// The same, past TLS.
    async fn write_below(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let n = poll_fn(|cx| self.below.borrow_mut().poll_write(cx, &[IoSlice::new(bytes)])).await?;
            bytes = &bytes[n..];
        }
        Ok(())
    }

    /// No more is said.
    fn close(&mut self) {
        self.socket.close();
        self.below.borrow_mut().close();
    }

    /// The next frame; none at the end.
    async fn read(&mut self) -> Option<(Header, Vec<u8>)> {
        loop {
            if let Some(header) = self.unread.first_chunk::<HEADER_BYTES>() {
                let header = Header::parse(header).unwrap();
                let whole = HEADER_BYTES + header.body_bytes() as usize;
                if self.unread.len() >= whole {
                    let frame: Vec<u8> = self.unread.drain(..whole).collect();
                    return Some((header, frame[HEADER_BYTES..].to_vec()));
                }
            }
            let mut bytes = vec![0; 16 << 10];
            match poll_fn(|cx| self.socket.poll_read(cx, &mut [IoSliceMut::new(&mut bytes)])).await {
                Ok(n) if n > 0 => self.unread.extend_from_slice(&bytes[..n]),
                _ => return None,
            }
        }
    }

    /// Reads to the end: the error that it was told, if any.
    async fn end(&mut self) -> Option<RpcError> {
        let mut told = None;
        while let Some((header, body)) = self.read().await {
            if header.kind().unwrap() == Kind::Goaway && !body.is_empty() {
                told = Some(RpcError::decode(&body));
            }
        }
        told
    }

    /// Says hello as one should, and hears the answer.
    async fn greet(&mut self) {
        let mut client = Connection::client(Config::default(), None, Time::default());
        let mut queue = SendQueue::default();
        client.encode(&mut queue, Time::default());
        let hello: Vec<u8> = queue.chunks().flatten().copied().collect();
        self.write(&hello).await.unwrap();
        assert_eq!(self.read().await.unwrap().0.kind().unwrap(), Kind::Hello);
    }
}

fn header(kind: Kind, stream: u32) -> Header {
    Header::new(kind, stream)
}

fn bytes_of(header: Header) -> [u8; HEADER_BYTES] {
    bytemuck::cast(header.seal(0))
}

/// A frame with metadata alone.
fn frame(mut header: Header, meta: &[u8]) -> Vec<u8> {
    header.meta_bytes = meta.len() as u32;
    let header = header.seal(BodyCrc::of(std::iter::once(meta)));
    [bytemuck::bytes_of(&header), meta].concat()
}

fn open(stream: u32, method: u16, flags: u8, request: &[u8]) -> Vec<u8> {
    let mut header = header(Kind::Open, stream);
    (header.method, header.flags, header.credit) = (method, flags, u64::from(FRAME_BYTES_MIN));
    frame(header, request)
}

/// A runtime with servers on it.
#[derive(Clone)]
struct Ground {
    /// A connection that keeps to the protocol.
    honest: Rc<dyn Fn() -> Local<Channel>>,
    /// One that does not, to a server with these limits.
    raw: Rc<dyn Fn(Config) -> Local<Raw>>,
    sleep: Sleep,
    live: Rc<Cell<usize>>,
    tls: bool,
    simulated: bool,
}

impl Ground {
    /// Something hostile, while somebody else makes calls.
    async fn beside_calls<T>(&self, hostile: impl Future<Output = T>) -> T {
        let calls = async {
            let channel = (self.honest)().await;
            let spec = CallSpec { timeout: Some(Duration::from_mins(1)), ..CallSpec::default() };
            for n in 0..20u32 {
                let answer = channel.unary(ECHO, n.to_le_bytes().to_vec(), &spec).await.unwrap();
                assert_eq!(answer.meta, n.to_le_bytes());
            }
            let order = Order { messages: 20, bytes: 20_000, ..Order::default() };
            let mut call = channel.call(COUNT, order.encode(), Vec::new(), &spec).unwrap();
            for _ in 0..20 {
                assert!(call.receive_whole().await.unwrap().is_some());
            }
            assert!(call.receive().await.unwrap().is_none());
        };
        futures::join!(calls, hostile).1
    }

    /// What the peer of a hostile act is told, and how the server saw the end.
    async fn act(
        &self,
        config: Config,
        act: impl AsyncFnOnce(&mut Raw),
    ) -> (Option<RpcError>, Option<RpcError>) {
        let budget = config.budget.clone();
        let ended = self
            .beside_calls(async {
                let mut raw = (self.raw)(config).await;
                act(&mut raw).await;
                let told = raw.end().await;
                raw.close();
                let ended = Rc::clone(&raw.ended);
                drop(raw);
                for _ in 0..2000 {
                    if ended.borrow().is_some() {
                        break;
                    }
                    (self.sleep)(Duration::from_millis(5)).await;
                }
                let ended = ended.take().unwrap_or_else(|| panic!("the server's connection goes on"));
                (told, ended)
            })
            .await;
        if let Some(budget) = budget {
            assert_eq!(budget.usage(), 0, "memory stays reserved");
        }
        ended
    }

    /// The same, where peer and server agree on the error.
    async fn refused(&self, config: Config, act: impl AsyncFnOnce(&mut Raw)) -> RpcError {
        let (told, ended) = self.act(config, act).await;
        let told = told.unwrap_or_else(|| panic!("the peer was told nothing of {ended:?}"));
        assert_eq!(Some(told.kind()), ended.map(|e| e.kind()), "{told}");
        told
    }
}

/// Limits of a server that knows what is coming.
fn strict() -> Config {
    Config {
        frame_bytes_max: 64 << 10,
        connection_window: 256 << 10,
        streams_max: 16,
        ping_after: Duration::from_millis(100),
        ping_timeout: Duration::from_millis(100),
        budget: Some(MemoryBudget::root("hostile", 1 << 20)),
        ..Config::default()
    }
}

fn hasty() -> Config {
    Config { handshake_timeout: Duration::from_millis(150), ..strict() }
}

/// One that waits for hellos, and for frames, as long as a slow machine needs.
fn calm() -> Config {
    Config { ping_after: Duration::from_secs(10), ..strict() }
}

/// All of it, on one ground.
async fn everything(ground: Ground) {
    if ground.tls {
        around_tls(&ground).await;
    } else {
        // A handshake of TLS takes a slow machine as long as a hasty server waits.
        slow_before_the_handshake(&ground).await;
        silent_crowds(&ground).await;
    }
    slow_after_it(&ground).await;
    large_frames(&ground).await;
    many_calls(&ground).await;
    unread_errors(&ground).await;
    frames_that_carry_nothing(&ground).await;
    empty_messages(&ground).await;
    garbage_after_the_handshake(&ground).await;
    endless_metadata(&ground).await;
    large_requests(&ground).await;
}

async fn slow_before_the_handshake(ground: &Ground) {
    let told = ground.refused(hasty(), async |_| {}).await;
    assert!(told.to_string().contains("handshake within 150ms"), "{told}");
    // Byte by byte, for longer than there is time.
    let told = ground
        .refused(hasty(), async |raw| {
            for byte in bytes_of(header(Kind::Hello, 0)) {
                if raw.ended.borrow().is_some() || raw.write(&[byte]).await.is_err() {
                    break;
                }
                (ground.sleep)(Duration::from_millis(10)).await;
            }
        })
        .await;
    assert!(told.to_string().contains("handshake within 150ms"), "{told}");
}

async fn slow_after_it(ground: &Ground) {
    // Half a header, and silence: as a peer that is gone.
    let (_, ended) = ground
        .act(strict(), async |raw| {
            raw.greet().await;
            raw.write(&frame(header(Kind::Ping, 0), &[])[..20]).await.unwrap();
        })
        .await;
    let ended = ended.unwrap();
    assert!(
        ended.kind() == ErrorKind::Unavailable && ended.to_string().contains("pings included"),
        "{ended}"
    );
    // A body that goes on and on.
    let told = ground
        .refused(strict(), async |raw| {
            raw.greet().await;
            let bytes = open(1, ECHO, FLAG_LAST, &[7; 1000]);
            raw.write(&bytes[..100]).await.unwrap();
            for byte in bytes[100..].chunks(1) {
                if raw.ended.borrow().is_some() || raw.write(byte).await.is_err() {
                    break;
                }
                (ground.sleep)(Duration::from_millis(20)).await;
            }
        })
        .await;
    assert!(told.to_string().contains("did not arrive whole"), "{told}");
}

async fn large_frames(ground: &Ground) {
    for (kind, bytes) in [
        (Kind::Data, u32::MAX),
        (Kind::Data, 70_000),
        (Kind::Open, 70_000),
        (Kind::Reset, 9000),
        (Kind::Ping, 1),
    ] {
        let told = ground
            .refused(calm(), async |raw| {
                raw.greet().await;
                let mut header = header(kind, u32::from(kind != Kind::Ping));
                header.payload_bytes = bytes;
                raw.write(&bytes_of(header)).await.unwrap();
            })
            .await;
        assert_eq!((told.kind(), told.code()), (ErrorKind::Protocol, "DL-0510"));
        assert!(told.to_string().contains("are allowed"), "{told}");
    }
    let told = ground
        .refused(calm(), async |raw| {
            raw.write(&frame(header(Kind::Hello, 0), &[0; 9000])).await.unwrap();
        })
        .await;
    assert!(told.to_string().contains("8192 are allowed"), "{told}");
}

/// More calls than there may be at once: each one too many is refused, and no more than allowed run.
async fn many_calls(ground: &Ground) {
    let (_, ended) = ground
        .act(calm(), async |raw| {
            raw.greet().await;
            for stream in 1..=500 {
                raw.write(&open(stream, HANG, FLAG_LAST, &[])).await.unwrap();
            }
            for _ in 17..=500 {
                let (header, body) = raw.read().await.unwrap();
                assert_eq!(header.kind().unwrap(), Kind::Reset);
                let error = RpcError::decode(&body);
                assert_eq!((error.kind(), error.code()), (ErrorKind::Overloaded, "DL-0504"), "{error}");
            }
            // The honest caller has answers of its own.
            assert!((16..=18).contains(&ground.live.get()), "{} answers", ground.live.get());
            // Opened and cancelled, again and again: each place is free for the next.
            for stream in 1..=16 {
                raw.write(&frame(header(Kind::Reset, stream), &[])).await.unwrap();
            }
            for stream in 501..=2500 {
                let both = [open(stream, HANG, FLAG_LAST, &[]), frame(header(Kind::Reset, stream), &[])];
                raw.write(&both.concat()).await.unwrap();
            }
            // Some of those that were cancelled may not be gone yet.
            for stream in 2501.. {
                raw.write(&open(stream, ECHO, FLAG_LAST, b"still there")).await.unwrap();
                let answer = loop {
                    let (header, _) = raw.read().await.unwrap();
                    if header.stream == stream {
                        break header.kind().unwrap();
                    }
                };
                if answer == Kind::Data {
                    break;
                }
                (ground.sleep)(Duration::from_millis(5)).await;
            }
            raw.close();
        })
        .await;
    assert!(ended.is_none_or(|error| error.kind() == ErrorKind::Unavailable));
}

/// Calls that fail, whose errors are not read.
async fn unread_errors(ground: &Ground) {
    let (_, ended) = ground
        .act(calm(), async |raw| {
            raw.greet().await;
            let mut stream = 0;
            loop {
                let mut frames = Vec::new();
                for _ in 0..100 {
                    stream += 1;
                    frames.extend(open(stream, 99, FLAG_LAST, &[]));
                }
                if raw.ended.borrow().is_some() || raw.write(&frames).await.is_err() {
                    break;
                }
                assert!(stream < 2_000_000, "errors are kept without end");
                (ground.sleep)(Duration::ZERO).await;
            }
        })
        .await;
    let ended = ended.unwrap();
    assert_eq!(ended.kind(), ErrorKind::Overloaded, "{ended}");
    assert!(ended.to_string().contains("does not read them"), "{ended}");
}

async fn frames_that_carry_nothing(ground: &Ground) {
    for kind in [Kind::Ping, Kind::Pong, Kind::Credit, Kind::Reset] {
        let told = ground
            .refused(calm(), async |raw| {
                raw.greet().await;
                raw.write(&open(1, ECHO, FLAG_LAST, &[])).await.unwrap();
                let mut header = header(kind, u32::from(kind == Kind::Reset));
                for n in 0..=u64::from(IDLE_FRAMES_MAX) * 4 / 100 {
                    header.credit = n;
                    let some = frame(header, &[]).repeat(100);
                    if raw.ended.borrow().is_some() || raw.write(&some).await.is_err() {
                        break;
                    }
                }
            })
            .await;
        assert_eq!(told.kind(), ErrorKind::Protocol, "{kind:?}: {told}");
        assert!(told.to_string().contains("floods the connection"), "{kind:?}: {told}");
    }
}

/// Messages without anything in them are not free.
async fn empty_messages(ground: &Ground) {
    let told = ground
        .refused(calm(), async |raw| {
            raw.greet().await;
            // A stream whose messages nobody takes.
            raw.write(&open(1, HANG, 0, &[])).await.unwrap();
            while raw.read().await.unwrap().0.kind().unwrap() != Kind::Credit {}
            let some = frame(header(Kind::Data, 1), &[]).repeat(100);
            for _ in 0..400 {
                if raw.ended.borrow().is_some() || raw.write(&some).await.is_err() {
                    break;
                }
            }
        })
        .await;
    assert_eq!(told.kind(), ErrorKind::Protocol, "{told}");
    assert!(told.to_string().contains("has credit for"), "{told}");
}

async fn garbage_after_the_handshake(ground: &Ground) {
    for garbage in [
        &[0u8; 64][..],
        &[0xff; 5000],
        b"GET / HTTP/1.1\r\nHost: example\r\n\r\nand so on, for sixty-four bytes",
    ] {
        let told = ground
            .refused(calm(), async |raw| {
                raw.greet().await;
                raw.write(garbage).await.unwrap();
            })
            .await;
        assert!(told.kind() == ErrorKind::Protocol && told.to_string().contains("is no frame"), "{told}");
    }
}

/// A message of parts that have metadata alone, and never a last one.
async fn endless_metadata(ground: &Ground) {
    let limits = if ground.simulated {
        // The limit of any message.
        vec![(Config { budget: None, ..calm() }, ErrorKind::TooLarge)]
    } else {
        vec![(calm(), ErrorKind::Overloaded)]
    };
    for (config, expected) in limits {
        ground
            .act(config, async |raw| {
                raw.greet().await;
                raw.write(&open(1, SUM, 0, &[])).await.unwrap();
                let mut part = header(Kind::Data, 1);
                part.flags = FLAG_MORE;
                let part = frame(part, &vec![0; 15 << 10]);
                let (mut sent, mut credit) = (0, [0; 2]);
                let error = loop {
                    while credit.iter().all(|&credit| sent + part.len() as u64 <= credit) {
                        raw.write(&part).await.unwrap();
                        sent += part.len() as u64;
                    }
                    assert!(sent < 2 * MESSAGE_BYTES_MAX as u64, "a message without end is kept");
                    let (header, body) = raw.read().await.unwrap();
                    match header.kind().unwrap() {
                        Kind::Credit => credit[usize::from(header.stream == 0)] = header.credit,
                        Kind::Reset => break RpcError::decode(&body),
                        _ => {}
                    }
                    // What the handshake granted.
                    credit[1] = credit[1].max(256 << 10);
                };
                assert_eq!(error.kind(), expected, "{error}");
                raw.close();
            })
            .await;
    }
}

/// Requests have no credit; they count all the same.
async fn large_requests(ground: &Ground) {
    let (_, _) = ground
        .act(calm(), async |raw| {
            raw.greet().await;
            for stream in 1..=10 {
                raw.write(&open(stream, HANG, FLAG_LAST, &vec![1; 60_000])).await.unwrap();
            }
            // Four fit the connection's window.
            for _ in 5..=10 {
                let (header, body) = raw.read().await.unwrap();
                assert!(header.kind().unwrap() == Kind::Reset && header.stream > 4);
                let error = RpcError::decode(&body);
                assert!(
                    error.kind() == ErrorKind::Overloaded && error.to_string().contains("room"),
                    "{error}"
                );
            }
            raw.close();
        })
        .await;
}

/// Bytes that are no TLS, before and after its handshake, and more after its end.
async fn around_tls(ground: &Ground) {
    let (_, ended) = ground
        .act(calm(), async |raw| {
            raw.write_below(&bytes_of(header(Kind::Hello, 0))).await.unwrap();
        })
        .await;
    let ended = ended.unwrap();
    assert!(ended.kind() == ErrorKind::Protocol && ended.to_string().contains("TLS"), "{ended}");
    let (_, ended) = ground
        .act(calm(), async |raw| {
            raw.greet().await;
            raw.write_below(&[0x55; 3000]).await.unwrap();
        })
        .await;
    let ended = ended.unwrap();
    assert!(ended.kind() == ErrorKind::Protocol && ended.to_string().contains("TLS"), "{ended}");
    // At once with the end, and when the end has been heard.
    for pause in [Duration::from_millis(50), Duration::ZERO] {
        let (_, ended) = ground
            .act(calm(), async |raw| {
                raw.greet().await;
                raw.socket.close();
                if !pause.is_zero() {
                    (ground.sleep)(pause).await;
                }
                // The server may have gone already.
                let _ = raw.write_below(&[0x17; 3000]).await;
            })
            .await;
        let ended = ended.unwrap();
        assert!(ended.kind() == ErrorKind::Unavailable && ended.to_string().contains("closed"), "{ended}");
    }
}

/// Many that say nothing at all.
async fn silent_crowds(ground: &Ground) {
    ground
        .beside_calls(async {
            let mut crowd = Vec::new();
            for _ in 0..100 {
                crowd.push((ground.raw)(hasty()).await);
            }
            for mut one in crowd {
                let told = one.end().await.unwrap();
                assert!(told.to_string().contains("handshake within"), "{told}");
            }
        })
        .await;
}

// ---- grounds -----------------------------------------------------------------------------------------------------------------

/// Serves one end, and gives the other away: plain or within TLS.
fn attack<S: Socket + 'static, T: Timer + 'static>(
    (near, far): (S, S),
    timer: T,
    clock: Clock,
    config: Config,
    tls: Option<&Identities>,
    service: TestService,
) -> (Raw, Local<()>) {
    let ended = Ended::default();
    let note = Rc::clone(&ended);
    let peer = Peer::default();
    let near = Rc::new(RefCell::new(near));
    let below: Rc<RefCell<dyn Socket>> = Rc::<RefCell<S>>::clone(&near);
    let (socket, served): (Box<dyn Socket>, Local<Option<RpcError>>) = match tls {
        None => (Box::new(Below(near)), Box::pin(Serving::new(far, timer, clock, config, service, peer))),
        Some((server, client)) => {
            let far = Tls::server(far, server).unwrap();
            (
                Box::new(Tls::client(Below(near), client).unwrap()),
                Box::pin(Serving::new(far, timer, clock, config, service, peer)),
            )
        }
    };
    let served = async move {
        let end = served.await;
        note.replace(Some(end));
    };
    (Raw { socket, below, unread: Vec::new(), ended }, Box::pin(served))
}

/// What connects two sockets of a runtime, and runs a task on it.
type Pair<S> = Rc<dyn Fn() -> Local<(S, S)>>;

fn ground<S: Socket + 'static, T: Timer + 'static>(
    pair: Pair<S>,
    timer: impl Fn() -> T + Clone + 'static,
    clock: Clock,
    spawn: impl Fn(Local<()>) + Clone + 'static,
    sleep: Sleep,
    tls: bool,
    simulated: bool,
) -> Ground {
    let live = Rc::new(Cell::new(0));
    let service = TestService { sleep: Rc::clone(&sleep), live: Rc::clone(&live), token: None };
    let identities = tls.then(certificates).map(Rc::new);
    let honest = {
        let (pair, timer, clock, spawn) = (Rc::clone(&pair), timer.clone(), clock.clone(), spawn.clone());
        let (service, identities) = (service.clone(), identities.clone());
        move || -> Local<Channel> {
            let (pair, timers, clock, spawn) = (pair(), (timer(), timer()), clock.clone(), spawn.clone());
            let (service, identities) = (service.clone(), identities.clone());
            Box::pin(async move {
                let (channel, client, server) =
                    ends(pair.await, timers, &clock, identities.as_deref(), service, None);
                spawn(client);
                spawn(server);
                channel
            })
        }
    };
    let raw = move |config: Config| -> Local<Raw> {
        let (pair, timer, clock, spawn) = (pair(), timer(), clock.clone(), spawn.clone());
        let (service, identities) = (service.clone(), identities.clone());
        Box::pin(async move {
            let (raw, served) = attack(pair.await, timer, clock, config, identities.as_deref(), service);
            spawn(served);
            raw
        })
    };
    Ground { honest: Rc::new(honest), raw: Rc::new(raw), sleep, live, tls, simulated }
}

fn on_simulated(tls: bool) {
    let world = World::new(5);
    let sleeper = world.clone();
    let sleep: Sleep = Rc::new(move |duration| {
        let world = sleeper.clone();
        Box::pin(async move { world.sleep(duration).await })
    });
    let weather = Weather { room: 1 << 20, bite: 1 << 18, unheard: true, ..Weather::default() };
    let (at, timers, tasks) = (world.clone(), world.clone(), world.clone());
    let pair: Pair<wire::SimSocket> = Rc::new(move || {
        let pair = wire::connect(&at, weather.clone());
        Box::pin(async move { pair })
    });
    let ground =
        ground(pair, move || timers.timer(), world.clock(), move |task| tasks.spawn(task), sleep, tls, true);
    let done = Rc::new(Cell::new(false));
    let finished = Rc::clone(&done);
    world.spawn(async move {
        everything(ground).await;
        finished.set(true);
    });
    assert!(world.run(Time::from_micros(3_600_000_000), || done.get()), "{:?}", world.violations());
    world.end();
}

#[test]
fn simulated() {
    on_simulated(false);
}

#[test]
fn simulated_with_tls() {
    on_simulated(true);
}

fn on_tokio(tls: bool) {
    use crate::drive::tokio::{Tcp, TokioTimer, accept};
    let runtime = ::tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let local = ::tokio::task::LocalSet::new();
    let sleep: Sleep = Rc::new(|duration| Box::pin(::tokio::time::sleep(duration)));
    let pair: Pair<Tcp> = Rc::new(|| {
        Box::pin(async {
            let listener = ::tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
            let near = ::tokio::net::TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
            let (far, _) = accept(&listener).await.unwrap();
            (Tcp::new(near).unwrap(), far)
        })
    });
    let spawn = |task: Local<()>| drop(::tokio::task::spawn_local(task));
    let ground = ground(pair, TokioTimer::default, Clock::monotonic(), spawn, sleep, tls, false);
    local.block_on(&runtime, everything(ground));
}

#[test]
fn tokio() {
    on_tokio(false);
}

#[test]
fn tokio_with_tls() {
    on_tokio(true);
}

fn on_glommio(tls: bool) {
    use crate::drive::glommio::{GlommioTimer, Tcp, accept};
    let executor = ::glommio::LocalExecutorBuilder::default().io_memory(64 << 10).make();
    // A machine may refuse io_uring; shards run without it there, and so do these tests.
    let Ok(executor) = executor else {
        eprintln!("skipped: io_uring is not available");
        return;
    };
    executor.run(async move {
        let sleep: Sleep = Rc::new(|duration| Box::pin(::glommio::timer::sleep(duration)));
        let pair: Pair<Tcp> = Rc::new(|| {
            Box::pin(async {
                let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
                let listener = ::glommio::net::TcpListener::bind(address).unwrap();
                let near = ::glommio::net::TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
                let (far, _) = accept(&listener).await.unwrap();
                (Tcp::new(near).unwrap(), far)
            })
        });
        let spawn = |task: Local<()>| drop(::glommio::spawn_local(task).detach());
        let ground = ground(pair, GlommioTimer::default, Clock::monotonic(), spawn, sleep, tls, false);
        everything(ground).await;
    });
}

#[test]
fn glommio() {
    on_glommio(false);
}

#[test]
fn glommio_with_tls() {
    on_glommio(true);
}
