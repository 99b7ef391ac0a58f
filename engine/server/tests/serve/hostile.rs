//! Callers that do not keep to the protocol, at a real server: each is told so or cut off, what they make it keep is bounded, and another's
//! scan is unharmed meanwhile. With io_uring and without.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use deltalite_alloc::MemoryBudget;
use deltalite_net::connection::{Config, Connection, SendQueue};
use deltalite_net::drive::tls::TlsClient;
use deltalite_net::drive::tokio::ConnectOptions;
use deltalite_net::frame::{BodyCrc, FLAG_LAST, FLAG_MORE, Header, Kind};
use deltalite_net::limits::HEADER_BYTES;
use deltalite_net::{RpcError, Time};
use deltalite_remote::protocol::{self, At, HEALTH, READ_SPLIT, REQUEST_BYTES_MAX, STAT, Target};
use deltalite_remote::{Client, ClientOptions, ErrorKind, RemoteTable};
use deltalite_server::{Server, ServerOptions};
use deltalite_shard::executor::IoMode;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};

use super::{block_on, collect, shards, write_file};

const MODES: [IoMode; 2] = [IoMode::Auto, IoMode::Threads];
const ROWS: usize = 100_000;

fn options(folder: &Path, io: IoMode) -> ServerOptions {
    ServerOptions::new(folder)
        .listen("127.0.0.1:0".parse().unwrap())
        .http("127.0.0.1:0".parse().unwrap(), false)
        .on_shards(shards(io))
}

fn served() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    write_file(&folder.path().join("rows.dlb"), ROWS as i64);
    folder
}

fn target() -> Target {
    Target { path: "rows.dlb".to_owned(), at: At::Latest }
}

/// Somebody else's scan, whole.
fn scan(server: &Server, tls: Option<TlsClient>) {
    block_on(async {
        let connect = ConnectOptions { tls, ..ConnectOptions::default() };
        // A server that is held up fails the test.
        let options =
            ClientOptions { connect, call_timeout: Duration::from_secs(10), ..ClientOptions::default() };
        let table = RemoteTable::of(Client::new(server.addresses()[0], options), target()).await.unwrap();
        assert_eq!(collect(table.scan()).await.unwrap().num_rows(), ROWS);
    });
}

/// Something hostile on a thread of its own, while somebody else scans.
fn beside_a_scan<T: Send>(server: &Server, hostile: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let hostile = scope.spawn(hostile);
        scan(server, None);
        hostile.join().unwrap()
    })
}

/// A caller's end, byte by byte.
struct Raw(TcpStream);

impl Raw {
    fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        // A server that does nothing fails the test instead of holding it up.
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        stream.set_write_timeout(Some(Duration::from_secs(30))).unwrap();
        Self(stream)
    }

    fn greeted(address: SocketAddr) -> Self {
        let mut this = Self::connect(address);
        let mut client = Connection::client(Config::default(), None, Time::default());
        let mut queue = SendQueue::default();
        client.encode(&mut queue, Time::default());
        this.write(&queue.chunks().flatten().copied().collect::<Vec<u8>>()).unwrap();
        assert_eq!(this.read().unwrap().0.kind().unwrap(), Kind::Hello);
        this
    }

    fn write(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.0.write_all(bytes)
    }

    /// The next frame; none at the end.
    fn read(&mut self) -> Option<(Header, Vec<u8>)> {
        let mut header = [0; HEADER_BYTES];
        self.0.read_exact(&mut header).ok()?;
        let header = Header::parse(&header).unwrap();
        let mut body = vec![0; header.body_bytes() as usize];
        self.0.read_exact(&mut body).ok()?;
        Some((header, body))
    }

    /// Reads to the end: the error that it was told, if any.
    fn end(&mut self) -> Option<RpcError> {
        let mut told = None;
        while let Some((header, body)) = self.read() {
            if header.kind().unwrap() == Kind::Goaway && !body.is_empty() {
                told = Some(RpcError::decode(&body));
            }
        }
        told
    }
}

fn frame(mut header: Header, meta: &[u8]) -> Vec<u8> {
    header.meta_bytes = meta.len() as u32;
    let header = header.seal(BodyCrc::of(std::iter::once(meta)));
    [&header.bytes()[..], meta].concat()
}

fn open(stream: u32, method: u16, flags: u8, request: &[u8]) -> Vec<u8> {
    let mut header = Header::new(Kind::Open, stream);
    (header.method, header.flags, header.credit) = (method, flags, 1 << 20);
    frame(header, request)
}

/// Waits until the server has no connections and nothing reserved.
fn settles(server: &Server, budget: Option<&MemoryBudget>) {
    let connections = || {
        let mut stream = TcpStream::connect(server.http().unwrap()).unwrap();
        write!(stream, "GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text.lines().find_map(|line| line.strip_prefix("deltalite_connections ")).unwrap().to_owned()
    };
    let until = Instant::now() + Duration::from_secs(20);
    while connections() != "0" || budget.is_some_and(|budget| budget.usage() > 0) {
        assert!(
            Instant::now() < until,
            "{} connections, {:?}",
            connections(),
            budget.map(MemoryBudget::usage)
        );
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn slow_and_silent_callers_are_let_go() {
    let folder = served();
    for io in MODES {
        let config = Config {
            handshake_timeout: Duration::from_secs(1),
            ping_after: Duration::from_secs(1),
            ping_timeout: Duration::from_secs(1),
            ..Config::default()
        };
        let server = Server::start(options(folder.path(), io).connection(config)).unwrap();
        let address = server.addresses()[0];
        beside_a_scan(&server, || {
            let mut silent: Vec<Raw> = (0..20).map(|_| Raw::connect(address)).collect();
            let mut dripping = Raw::connect(address);
            let mut half = Raw::greeted(address);
            half.write(&open(1, STAT, FLAG_LAST, b"half")[..HEADER_BYTES / 2]).unwrap();
            let mut body = Raw::greeted(address);
            let request = open(1, STAT, FLAG_LAST, &[7; 2000]);
            body.write(&request[..100]).unwrap();
            for at in 0.. {
                let hello = Header::new(Kind::Hello, 0).seal(0);
                let going = [
                    hello.bytes().get(at).is_some_and(|byte| dripping.write(&[*byte]).is_ok()),
                    request.get(100 + at).is_some_and(|byte| body.write(&[*byte]).is_ok()),
                ];
                if going == [false; 2] {
                    break;
                }
                std::thread::sleep(Duration::from_millis(50));
            }
            for raw in silent.iter_mut().chain([&mut dripping]) {
                let told = raw.end().map(|told| told.to_string());
                // One that still writes when it is let go may not hear why.
                assert!(told.is_none_or(|told| told.contains("handshake within 1s")));
            }
            assert!(half.end().is_none(), "as one that is gone");
            assert!(body.end().is_none_or(|told| told.to_string().contains("did not arrive whole")));
        });
        settles(&server, None);
    }
}

/// As many as there may be that say nothing, and for a long time: others get in all the same.
#[test]
fn silent_callers_keep_nobody_out() {
    let folder = served();
    for io in MODES {
        let config = Config { handshake_timeout: Duration::from_mins(2), ..Config::default() };
        let options = options(folder.path(), io).connection(config).connections_max(8);
        let server = Server::start(options).unwrap();
        let crowd: Vec<Raw> = (0..60).map(|i| Raw::connect(server.addresses()[i % 2])).collect();
        scan(&server, None);
        let mut told = 0;
        for mut raw in crowd {
            raw.0.set_read_timeout(Some(Duration::from_millis(10))).unwrap();
            told += u32::from(raw.end().is_some_and(|error| {
                assert_eq!((error.kind(), error.code()), (ErrorKind::Overloaded, "DL-0504"), "{error}");
                true
            }));
        }
        assert!(told > 0, "nobody made room");
        settles(&server, None);
    }
}

/// Connections that are over before they are accepted do not hold up the others.
#[test]
fn callers_that_are_gone_hold_up_nobody() {
    let folder = served();
    for io in MODES {
        let server = Server::start(options(folder.path(), io)).unwrap();
        for i in 0..1000 {
            let raw = Raw::connect(server.addresses()[i % 2]);
            socket2::SockRef::from(&raw.0).set_linger(Some(Duration::ZERO)).unwrap();
        }
        scan(&server, None);
        settles(&server, None);
    }
}

#[test]
fn what_is_no_call_is_told_so() {
    let folder = served();
    for io in MODES {
        let server = Server::start(options(folder.path(), io)).unwrap();
        let address = server.addresses()[1];
        let large = |kind, stream, bytes| {
            let mut header = Header::new(kind, stream);
            (header.payload_bytes, header.credit) = (bytes, 1 << 20);
            header.seal(0).bytes().to_vec()
        };
        // A TLS client's first record, a browser, zeros.
        let strange = [
            [&[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3][..], &[7; 200]].concat(),
            b"GET / HTTP/1.1\r\nHost: example\r\nUser-Agent: a-browser-with-a-long-name/1.0\r\n\r\n".to_vec(),
            vec![0; 64],
        ];
        beside_a_scan(&server, || {
            for (greeted, bytes, told) in strange
                .iter()
                .flat_map(|bytes| {
                    [(false, bytes.clone(), "is no frame"), (true, bytes.clone(), "is no frame")]
                })
                .chain([
                    (false, large(Kind::Hello, 0, 9000), "are allowed"),
                    (false, open(1, STAT, FLAG_LAST, b"early"), "before the handshake is done"),
                    (true, large(Kind::Data, 1, 5 << 20), "are allowed"),
                    (true, large(Kind::Open, 1, 65_537), "are allowed"),
                    (true, large(Kind::Data, 1, 100), "which was never opened"),
                ])
            {
                let mut raw = if greeted { Raw::greeted(address) } else { Raw::connect(address) };
                raw.write(&bytes).unwrap();
                let error = raw.end().unwrap_or_else(|| panic!("told nothing of {told}"));
                assert_eq!((error.kind(), error.code()), (ErrorKind::Protocol, "DL-0510"), "{error}");
                assert!(error.to_string().contains(told), "{error}");
            }
        });
        settles(&server, None);
    }
}

/// Calls in masses whose answers are not read: the memory is that of the budget, and there is an end.
#[test]
fn floods_of_calls_are_bounded() {
    let folder = served();
    for io in MODES {
        let budget = MemoryBudget::root("server", 64 << 20);
        let server = Server::start(options(folder.path(), io).memory(budget.clone())).unwrap();
        let address = server.addresses()[0];
        let path = protocol::encode(&target()).unwrap();
        beside_a_scan(&server, || {
            for (method, request) in [(HEALTH, &[0; 4][..]), (STAT, &path), (99, &vec![1; 30_000])] {
                let mut raw = Raw::greeted(address);
                let mut sent = 0u32;
                loop {
                    sent += 1;
                    assert!(sent < 1_000_000, "method {method} goes on");
                    if raw.write(&open(sent, method, FLAG_LAST, request)).is_err() {
                        break;
                    }
                    assert!(budget.usage() <= 64 << 20);
                }
            }
        });
        settles(&server, Some(&budget));
    }
}

/// Calls that are cancelled as soon as they are made.
#[test]
fn calls_that_are_cancelled_at_once_leave_nothing() {
    let folder = served();
    for io in MODES {
        let budget = MemoryBudget::root("server", 64 << 20);
        let server = Server::start(options(folder.path(), io).memory(budget.clone())).unwrap();
        let address = server.addresses()[0];
        let path = protocol::encode(&target()).unwrap();
        beside_a_scan(&server, || {
            let mut raw = Raw::greeted(address);
            for stream in 1..=5000 {
                let mut frames = open(stream, STAT, FLAG_LAST, &path);
                frames.extend(frame(Header::new(Kind::Reset, stream), &[]));
                raw.write(&frames).unwrap();
            }
            // It still serves who did that.
            raw.write(&open(6000, HEALTH, FLAG_LAST, &[0])).unwrap();
            while raw.read().unwrap().0.stream != 6000 {}
        });
        settles(&server, Some(&budget));
    }
}

/// Frames that carry nothing, without end.
#[test]
fn floods_of_empty_frames_end() {
    let folder = served();
    for io in MODES {
        let server = Server::start(options(folder.path(), io)).unwrap();
        let address = server.addresses()[0];
        beside_a_scan(&server, || {
            for kind in [Kind::Ping, Kind::Credit, Kind::Pong] {
                let mut raw = Raw::greeted(address);
                let some = frame(Header::new(kind, 0), &[]).repeat(100);
                // More than are explained, and no more than are thrown away at the end.
                for _ in 0..500 {
                    raw.write(&some).unwrap();
                }
                let error = raw.end().unwrap();
                assert!(error.to_string().contains("floods the connection"), "{kind:?}: {error}");
            }
        });
        settles(&server, None);
    }
}

/// A request of parts that have metadata alone, and never a last one.
#[test]
fn endless_requests_end() {
    let folder = served();
    for limit in [8 << 20, 256 << 20] {
        for io in MODES {
            let budget = MemoryBudget::root("server", limit);
            let server = Server::start(options(folder.path(), io).memory(budget.clone())).unwrap();
            let mut raw = Raw::greeted(server.addresses()[0]);
            raw.write(&open(1, READ_SPLIT, 0, &[])).unwrap();
            let mut part = Header::new(Kind::Data, 1);
            part.flags = FLAG_MORE;
            let part = frame(part, &vec![0; 60_000]);
            // What the handshake granted.
            let (mut sent, mut credit) = (0, [0, 32 << 20]);
            let error = loop {
                while credit.iter().all(|&credit| sent + part.len() as u64 <= credit) {
                    raw.write(&part).unwrap();
                    sent += part.len() as u64;
                }
                assert!(sent < 3 * REQUEST_BYTES_MAX as u64, "a request without end is kept");
                assert!(budget.usage() <= limit);
                let (header, body) = raw.read().unwrap();
                match header.kind().unwrap() {
                    Kind::Credit => credit[usize::from(header.stream == 0)] = header.credit,
                    Kind::Reset => break RpcError::decode(&body),
                    _ => {}
                }
            };
            let expected =
                if limit > REQUEST_BYTES_MAX { ErrorKind::TooLarge } else { ErrorKind::Overloaded };
            assert_eq!(error.kind(), expected, "{error}");
            drop(raw);
            scan(&server, None);
            settles(&server, Some(&budget));
        }
    }
}

#[test]
fn bytes_around_tls_harm_nobody() {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let certificate = CertificateDer::from(made.cert.der().to_vec());
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let identity = rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.clone()], key)
        .unwrap();
    let identity = Arc::new(identity);
    let mut roots = rustls::RootCertStore::empty();
    roots.add(certificate).unwrap();
    let trust = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let name = ServerName::try_from("localhost").unwrap();
    let tls = TlsClient { config: Arc::new(trust), name };
    let folder = served();
    for io in MODES {
        let server = Server::start(options(folder.path(), io).tls(Arc::clone(&identity))).unwrap();
        let address = server.addresses()[0];
        std::thread::scope(|scope| {
            let hostile = scope.spawn(|| {
                // Plain words to a TLS port.
                for bytes in [open(1, STAT, FLAG_LAST, b"plain"), vec![0x16; 500], vec![0; 500]] {
                    let mut raw = Raw::connect(address);
                    raw.write(&bytes).unwrap();
                    drop(raw.0.read_to_end(&mut Vec::new()));
                }
                // Within TLS, then past it: after the handshake, and after its end.
                for ends in [false, true] {
                    let mut raw = Raw::connect(address);
                    let mut session =
                        rustls::ClientConnection::new(Arc::clone(&tls.config), tls.name.clone()).unwrap();
                    while session.is_handshaking() {
                        session.complete_io(&mut raw.0).unwrap();
                    }
                    if ends {
                        session.send_close_notify();
                        session.write_tls(&mut raw.0).unwrap();
                        std::thread::sleep(Duration::from_millis(50));
                    }
                    drop(raw.write(&[0x17; 3000]));
                    drop(raw.0.read_to_end(&mut Vec::new()));
                }
            });
            scan(&server, Some(tls.clone()));
            hostile.join().unwrap();
        });
        scan(&server, Some(tls.clone()));
        settles(&server, None);
    }
}
