//! What must hold over every driver.

use std::cell::Cell;
use std::future::Future;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};

use super::service::{COUNT, ECHO, HANG, MIRROR, Order, SUM, Sleep, TestService, payload};
use super::wire::{self, Weather};
use super::world::World;
use crate::call::client::Channel;
use crate::call::server::{Peer, Serving};
use crate::connection::{CallSpec, Config};
use crate::drive::tls::{Tls, TlsClient};
use crate::drive::{Driver, Socket, Timer};
use crate::error::{ErrorKind, RpcError};
use crate::time::{Clock, Time};

type Local<T> = Pin<Box<dyn Future<Output = T>>>;

/// Connects with a token.
type Connect = dyn Fn(Option<&str>) -> Local<Channel>;

/// A runtime with a server on it.
#[derive(Clone)]
struct Ground {
    connect: Rc<Connect>,
    sleep: Sleep,
    live: Rc<Cell<usize>>,
}

const TOKEN: &str = "open sesame";

fn service(sleep: &Sleep, live: &Rc<Cell<usize>>) -> TestService {
    TestService { sleep: Rc::clone(sleep), live: Rc::clone(live), token: Some(TOKEN.to_owned()) }
}

/// All of it, on one ground.
async fn everything(ground: Ground) {
    let channel = (ground.connect)(Some(TOKEN)).await;
    let hello = channel.ready().await.unwrap();
    assert_eq!((hello.shard, hello.shards), (1, 2));
    unary(&channel).await;
    streams(&channel).await;
    messages_larger_than_frames(&channel).await;
    errors_keep_what_they_say(&channel).await;
    deadlines_and_cancellation(&ground, &channel).await;
    a_slow_reader_costs_only_itself(&ground, &channel).await;
    refused_and_closed(&ground, channel).await;
}

async fn unary(channel: &Channel) {
    let spec = CallSpec::default();
    for i in 0..50u32 {
        let answer = channel.unary(ECHO, i.to_le_bytes().to_vec(), &spec).await.unwrap();
        assert_eq!(answer.meta, i.to_le_bytes());
    }
    let mut call = channel.call(ECHO, b"x".to_vec(), payload(3, 40_000), &spec).unwrap();
    let whole = call.receive_whole().await.unwrap().unwrap();
    let echoed = whole.payload.unwrap();
    assert_eq!(&echoed[..], payload(3, 40_000).concat());
    assert_eq!(echoed.as_ptr() as usize % 64, 0, "payloads are aligned");
    let error = channel.call(ECHO, vec![0; 70_000], Vec::new(), &spec).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TooLarge);
}

async fn streams(channel: &Channel) {
    let order = Order { messages: 200, bytes: 30_000, ..Order::default() };
    let mut call = channel.call(COUNT, order.encode(), Vec::new(), &CallSpec::default()).unwrap();
    for n in 0..200u32 {
        let message = call.receive().await.unwrap().unwrap();
        assert_eq!(message.meta(), n.to_le_bytes());
        assert_eq!(&message.payload().unwrap()[..], payload(n, 30_000).concat());
    }
    assert!(call.receive().await.unwrap().is_none());

    let both = CallSpec { streaming: true, ..CallSpec::default() };
    let mut call = channel.call(SUM, Vec::new(), Vec::new(), &both).unwrap();
    for n in 0..100u32 {
        call.send(n.to_le_bytes().to_vec(), payload(n, 30_000)).await.unwrap();
    }
    call.end();
    let sum = Order::decode(&call.receive_whole().await.unwrap().unwrap().meta);
    assert_eq!((sum.messages, sum.bytes), (100, 3_000_000));

    let mut call = channel.call(MIRROR, Vec::new(), Vec::new(), &both).unwrap();
    for n in 0..20u32 {
        call.send(n.to_le_bytes().to_vec(), payload(n, 1000)).await.unwrap();
        assert_eq!(call.receive_whole().await.unwrap().unwrap().meta, n.to_le_bytes());
    }
    call.end();
    assert!(call.receive().await.unwrap().is_none());
}

async fn messages_larger_than_frames(channel: &Channel) {
    let order = Order { messages: 3, bytes: 5_000_000, ..Order::default() };
    let mut call = channel.call(COUNT, order.encode(), Vec::new(), &CallSpec::default()).unwrap();
    for n in 0..3 {
        let whole = call.receive_whole().await.unwrap().unwrap();
        assert!(whole.payload.unwrap()[..] == payload(n, 5_000_000).concat(), "message {n}");
    }
    assert!(call.receive().await.unwrap().is_none());
}

async fn errors_keep_what_they_say(channel: &Channel) {
    let order = Order { messages: 9, bytes: 10, fail_after: 2, ..Order::default() };
    let mut call = channel.call(COUNT, order.encode(), Vec::new(), &CallSpec::default()).unwrap();
    let mut received = 0;
    let error = loop {
        match call.receive().await {
            Ok(Some(_)) => received += 1,
            Ok(None) => panic!("ended well"),
            Err(error) => break error,
        }
    };
    // What was sent before the error is not held back by it, unless the error overtook it.
    assert!(received <= 2);
    assert_eq!((error.kind(), error.code()), (ErrorKind::DataLoss, "DL-0202"));
    assert_eq!(error.to_string(), "row group 7 is damaged: checksum");
    assert_eq!(error.retryable(), None);
    let error = channel.unary(99, Vec::new(), &CallSpec::default()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unimplemented);
}

async fn settle(ground: &Ground) {
    for _ in 0..500 {
        if ground.live.get() == 0 {
            return;
        }
        (ground.sleep)(Duration::from_millis(10)).await;
    }
    panic!("{} answers go on", ground.live.get());
}

async fn deadlines_and_cancellation(ground: &Ground, channel: &Channel) {
    let spec = CallSpec { timeout: Some(Duration::from_millis(50)), ..CallSpec::default() };
    let error = channel.unary(HANG, Vec::new(), &spec).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::DeadlineExceeded);
    settle(ground).await;

    let call = channel.call(HANG, Vec::new(), Vec::new(), &CallSpec::default()).unwrap();
    while ground.live.get() == 0 {
        (ground.sleep)(Duration::from_millis(1)).await;
    }
    drop(call);
    settle(ground).await;

    // In the midst of a stream that is out of credit.
    let order = Order { messages: 1000, bytes: 100_000, ..Order::default() };
    let mut call = channel.call(COUNT, order.encode(), Vec::new(), &CallSpec::default()).unwrap();
    assert!(call.receive().await.unwrap().is_some());
    drop(call);
    settle(ground).await;
}

async fn a_slow_reader_costs_only_itself(ground: &Ground, channel: &Channel) {
    let order = Order { messages: 400, bytes: 100_000, ..Order::default() };
    let spec = CallSpec { window: 1 << 20, ..CallSpec::default() };
    let mut slow = channel.call(COUNT, order.encode(), Vec::new(), &spec).unwrap();
    assert!(slow.receive().await.unwrap().is_some());
    let mut quick = channel.call(COUNT, order.encode(), Vec::new(), &spec).unwrap();
    let mut n = 0;
    while quick.receive().await.unwrap().is_some() {
        n += 1;
    }
    assert_eq!(n, 400);
    // All that waits is the slow one's window.
    (ground.sleep)(Duration::from_millis(50)).await;
    let waiting = channel.waiting_bytes();
    assert!((500_000..=1 << 20).contains(&waiting), "{waiting} bytes wait");
    let mut n = 1;
    while slow.receive().await.unwrap().is_some() {
        n += 1;
    }
    assert_eq!(n, 400);
}

async fn refused_and_closed(ground: &Ground, channel: Channel) {
    for token in [None, Some("guess")] {
        let refused = (ground.connect)(token).await;
        let error = refused.ready().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unauthenticated, "{error}");
        let error = refused.unary(ECHO, Vec::new(), &CallSpec::default()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    }
    // A call that is under way when the connection is closed ends well.
    let order = Order { messages: 50, bytes: 1000, ..Order::default() };
    let mut call = channel.call(COUNT, order.encode(), Vec::new(), &CallSpec::default()).unwrap();
    channel.close();
    assert!(channel.call(ECHO, Vec::new(), Vec::new(), &CallSpec::default()).is_err());
    let mut n = 0;
    while call.receive().await.unwrap().is_some() {
        n += 1;
    }
    assert_eq!(n, 50);
    drop(call);
    assert_eq!(channel.closed().await, None);
}

// ---- grounds -----------------------------------------------------------------------------------------------------------------

/// What a server proves itself with, and a client that trusts it.
pub(super) type Identities = (Arc<rustls::ServerConfig>, TlsClient);

pub(super) fn certificates() -> Identities {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let certificate = CertificateDer::from(made.cert.der().to_vec());
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let server = rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], key)
        .unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate).unwrap();
    let client = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let name = ServerName::try_from("localhost").unwrap();
    (Arc::new(server), TlsClient { config: Arc::new(client), name })
}

/// Both ends of a connection as a channel and two tasks, with TLS or without.
pub(super) fn ends<S: Socket + 'static, T: Timer + 'static>(
    (near, far): (S, S),
    timers: (T, T),
    clock: &Clock,
    tls: Option<&Identities>,
    service: TestService,
    token: Option<&str>,
) -> (Channel, Local<()>, Local<()>) {
    fn pair<S: Socket + 'static, T: Timer + 'static>(
        (channel, driver): (Channel, Driver<S, T>),
        serving: Serving<S, T, TestService>,
    ) -> (Channel, Local<()>, Local<()>) {
        let server = async move {
            serving.await;
        };
        (channel, Box::pin(driver), Box::pin(server))
    }
    let token = token.map(str::to_owned);
    let (config, clock) = (Config::default(), clock.clone());
    match tls {
        None => pair(
            Channel::over(near, timers.0, clock.clone(), config.clone(), token),
            Serving::new(far, timers.1, clock, config, service, Peer::default()),
        ),
        Some((server, client)) => pair(
            Channel::over(Tls::client(near, client).unwrap(), timers.0, clock.clone(), config.clone(), token),
            Serving::new(
                Tls::server(far, server).unwrap(),
                timers.1,
                clock,
                config,
                service,
                Peer::default(),
            ),
        ),
    }
}

fn on_simulated(weather: Weather, tls: bool) {
    let world = World::new(1);
    let live = Rc::new(Cell::new(0));
    let sleeper = world.clone();
    let sleep: Sleep = Rc::new(move |duration| {
        let world = sleeper.clone();
        Box::pin(async move { world.sleep(duration).await })
    });
    let tls = tls.then(certificates);
    let (serve, at) = (service(&sleep, &live), world.clone());
    let connect = move |token: Option<&str>| -> Local<Channel> {
        let timers = (at.timer(), at.timer());
        let sockets = wire::connect(&at, weather.clone());
        let (channel, client, server) =
            ends(sockets, timers, &at.clock(), tls.as_ref(), serve.clone(), token);
        at.spawn(client);
        at.spawn(server);
        Box::pin(async move { channel })
    };
    let done = Rc::new(Cell::new(false));
    let ground = Ground { connect: Rc::new(connect), sleep, live };
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
    on_simulated(Weather { room: 1 << 20, bite: 1 << 20, ..Weather::default() }, false);
}

#[test]
fn simulated_with_tls_far_away() {
    let delay = Duration::from_millis(5);
    on_simulated(Weather { delay, room: 100_000, bite: 9_000, ..Weather::default() }, true);
}

fn on_tokio(tls: bool) {
    let runtime = ::tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let local = ::tokio::task::LocalSet::new();
    let tls = tls.then(certificates).map(Rc::new);
    local.block_on(&runtime, async {
        let sleep: Sleep = Rc::new(|duration| Box::pin(::tokio::time::sleep(duration)));
        let live = Rc::new(Cell::new(0));
        let serve = service(&sleep, &live);
        let connect = move |token: Option<&str>| -> Local<Channel> {
            let (serve, tls, token) = (serve.clone(), tls.clone(), token.map(str::to_owned));
            Box::pin(async move {
                use crate::drive::tokio::{Tcp, TokioTimer, accept};
                let listener = ::tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
                let near = ::tokio::net::TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
                let (far, _) = accept(&listener).await.unwrap();
                let (channel, client, server) = ends(
                    (Tcp::new(near).unwrap(), far),
                    (TokioTimer::default(), TokioTimer::default()),
                    &Clock::monotonic(),
                    tls.as_deref(),
                    serve,
                    token.as_deref(),
                );
                ::tokio::task::spawn_local(client);
                ::tokio::task::spawn_local(server);
                channel
            })
        };
        everything(Ground { connect: Rc::new(connect), sleep, live }).await;
    });
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
    let tls = tls.then(certificates);
    let executor = ::glommio::LocalExecutorBuilder::default().io_memory(64 << 10).make();
    // A machine may refuse io_uring; shards run without it there, and so do these tests.
    let Ok(executor) = executor else {
        eprintln!("skipped: io_uring is not available");
        return;
    };
    executor.run(async move {
        let tls = tls.map(Rc::new);
        let sleep: Sleep = Rc::new(|duration| Box::pin(::glommio::timer::sleep(duration)));
        let live = Rc::new(Cell::new(0));
        let serve = service(&sleep, &live);
        let connect = move |token: Option<&str>| -> Local<Channel> {
            let (serve, tls, token) = (serve.clone(), tls.clone(), token.map(str::to_owned));
            Box::pin(async move {
                use crate::drive::glommio::{GlommioTimer, Tcp, accept};
                let listener =
                    ::glommio::net::TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
                let near = ::glommio::net::TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
                let (far, _) = accept(&listener).await.unwrap();
                let (channel, client, server) = ends(
                    (Tcp::new(near).unwrap(), far),
                    (GlommioTimer::default(), GlommioTimer::default()),
                    &Clock::monotonic(),
                    tls.as_deref(),
                    serve,
                    token.as_deref(),
                );
                ::glommio::spawn_local(client).detach();
                ::glommio::spawn_local(server).detach();
                channel
            })
        };
        everything(Ground { connect: Rc::new(connect), sleep, live }).await;
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

/// Bytes that are no DeltaLite, TLS to a server without it, and silence: a clear end, and others unharmed.
#[test]
fn garbage_is_told_what_it_is() {
    let runtime = ::tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let local = ::tokio::task::LocalSet::new();
    local.block_on(&runtime, async {
        use ::tokio::io::{AsyncReadExt, AsyncWriteExt};

        use crate::drive::tokio::{TokioTimer, accept};
        for garbage in [
            &b"GET / HTTP/1.1\r\nHost: example\r\nUser-Agent: a-browser-with-a-long-name/1.0\r\n\r\n"[..],
            &[0x16; 200],
            &[0; 64],
        ] {
            let sleep: Sleep = Rc::new(|duration| Box::pin(::tokio::time::sleep(duration)));
            let serve = service(&sleep, &Rc::new(Cell::new(0)));
            let listener = ::tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
            let mut near = ::tokio::net::TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
            let (far, _) = accept(&listener).await.unwrap();
            let config = Config { handshake_timeout: Duration::from_millis(200), ..Config::default() };
            let serving =
                Serving::new(far, TokioTimer::default(), Clock::monotonic(), config, serve, Peer::default());
            let served = ::tokio::task::spawn_local(serving);
            near.write_all(garbage).await.unwrap();
            let mut told = Vec::new();
            near.read_to_end(&mut told).await.unwrap();
            // A goaway frame with an error.
            let header = crate::frame::Header::parse(told[..64].try_into().unwrap()).unwrap();
            assert_eq!(header.kind().unwrap(), crate::frame::Kind::Goaway);
            let error = RpcError::decode(&told[64..64 + header.meta_bytes as usize]);
            assert_eq!(error.kind(), ErrorKind::Protocol, "{error}");
            assert!(error.to_string().contains("is this a DeltaLite port"), "{error}");
            drop(near);
            assert_eq!(served.await.unwrap().unwrap().kind(), ErrorKind::Protocol);
        }
    });
}

/// A client that says nothing is let go after the time of the handshake.
#[test]
fn silence_ends() {
    let world = World::new(3);
    let sleep: Sleep = Rc::new(|_| Box::pin(std::future::pending()));
    let serve = service(&sleep, &Rc::new(Cell::new(0)));
    let weather = Weather { room: 1000, bite: 1000, ..Weather::default() };
    let (near, far) = wire::connect(&world, weather);
    let ended = Rc::new(Cell::new(None));
    let serving = Serving::new(far, world.timer(), world.clock(), Config::default(), serve, Peer::default());
    let end = Rc::clone(&ended);
    world.spawn(async move { end.set(serving.await) });
    assert!(!world.run(Time::from_micros(4_900_000), || near_is(&ended)));
    world.run(Time::from_micros(20_000_000), || near_is(&ended));
    let error = ended.take().unwrap();
    assert!(error.to_string().contains("handshake within 5s"), "{error}");
    drop(near);
}

fn near_is(ended: &Rc<Cell<Option<RpcError>>>) -> bool {
    let error = ended.take();
    let is = error.is_some();
    ended.set(error);
    is
}
