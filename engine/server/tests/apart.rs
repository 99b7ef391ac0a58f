//! Client and server on two hosts: network namespaces with a link between them that is slow, is cut, heals, or stays cut.
//!
//! Making them takes root and `ip`; without, these tests say so and pass.
#![allow(clippy::unwrap_used, reason = "a test that cannot set up its data has failed")]

use std::fs::File;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use arrow_array::{ArrayRef, Int64Array, RecordBatch};
use deltalite_format::{FileWriter, WriterOptions};
use deltalite_net::auth::Gate;
use deltalite_net::connection::Config;
use deltalite_net::drive::tokio::ConnectOptions;
use deltalite_net::pool::{PoolOptions, RetryOptions};
use deltalite_remote::protocol::{At, Target};
use deltalite_remote::{Client, ClientOptions, ErrorKind, RemoteTable, Result, RpcError};
use deltalite_server::{Server, ServerOptions};
use deltalite_shard::executor::ShardOptions;
use futures::StreamExt;

const TOKEN: &str = "between hosts";
const ROWS: i64 = 400_000;
/// A link over which the rows take some seconds.
const RATE: &str = "16mbit";

/// Two hosts with a link between them.
struct Hosts {
    names: [String; 2],
}

fn ip(words: &str) -> bool {
    let run = Command::new("ip").args(words.split(' ')).output();
    run.is_ok_and(|out| {
        let ok = out.status.success();
        if !ok {
            eprintln!("ip {words}: {}", String::from_utf8_lossy(&out.stderr).trim());
        }
        ok
    })
}

impl Hosts {
    /// `None` where they can't be made here.
    fn new(rate: Option<&str>) -> Option<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        // SAFETY: it only tells a number.
        let root = unsafe { libc::geteuid() } == 0;
        if !root || Command::new("ip").arg("-V").output().is_err() {
            eprintln!("skipped: network namespaces take root and the command `ip`");
            return None;
        }
        let name = format!("dl{}n{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let [a, b] = ["a", "b"].map(|side| format!("{name}{side}"));
        let hosts = Self { names: [a.clone(), b.clone()] };
        assert!(ip(&format!("netns add {a}")) && ip(&format!("netns add {b}")));
        assert!(ip(&format!("link add veth0 netns {a} type veth peer name veth0 netns {b}")));
        for (host, address) in [(&a, "10.77.0.1/24"), (&b, "10.77.0.2/24")] {
            assert!(ip(&format!("-n {host} addr add {address} dev veth0")));
            assert!(ip(&format!("-n {host} link set lo up")));
            assert!(ip(&format!("-n {host} link set veth0 up")));
        }
        if let Some(rate) = rate {
            let words =
                format!("netns exec {a} tc qdisc add dev veth0 root tbf rate {rate} burst 32kb latency 50ms");
            assert!(ip(&words));
        }
        Some(hosts)
    }

    /// Takes the link away, or puts it back.
    fn link(&self, up: bool) {
        assert!(ip(&format!("-n {} link set veth0 {}", self.names[0], if up { "up" } else { "down" })));
    }

    /// Runs something on a host, with all threads that it starts.
    fn on<T: Send>(&self, host: usize, run: impl FnOnce() -> T + Send) -> T {
        let namespace = File::open(Path::new("/run/netns").join(&self.names[host])).unwrap();
        std::thread::scope(|scope| {
            let thread = scope.spawn(move || {
                // SAFETY: a descriptor of a namespace; it changes where this thread's sockets are made, nothing else.
                let moved = unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET) };
                assert_eq!(moved, 0, "{}", std::io::Error::last_os_error());
                run()
            });
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        for name in &self.names {
            ip(&format!("netns del {name}"));
        }
    }
}

fn write_file(path: &Path) {
    let options = WriterOptions { block_bytes: 1 << 20, ..WriterOptions::default() };
    let batch = |from: i64, to: i64| {
        // Values that do not compress, so that the link has something to carry.
        let noise = (from..to).map(|i| i.wrapping_mul(0x9e37_79b9_7f4a_7c15_u64 as i64));
        let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(from..to));
        let noise: ArrayRef = Arc::new(Int64Array::from_iter_values(noise));
        RecordBatch::try_from_iter([("id", ids), ("noise", noise)]).unwrap()
    };
    let schema = batch(0, 0).schema();
    let mut writer = FileWriter::new(File::create(path).unwrap(), &schema, options).unwrap();
    for from in (0..ROWS).step_by(50_000) {
        writer.write(&batch(from, from + 50_000)).unwrap();
    }
    writer.finish().unwrap();
}

/// A peer that says nothing is given up soon.
fn attentive() -> Config {
    Config {
        ping_after: Duration::from_millis(400),
        ping_timeout: Duration::from_millis(400),
        ..Config::default()
    }
}

fn serve(hosts: &Hosts, folder: &Path, config: Config) -> Server {
    hosts.on(0, || {
        let shards = ShardOptions::with_shards(1).unwrap().arena(32 << 20);
        let options = ServerOptions::new(folder)
            .listen("10.77.0.1:0".parse().unwrap())
            .gate(Gate::open().token("tests", TOKEN))
            .shard_options(shards)
            .connection(config);
        Server::start(options).unwrap()
    })
}

fn client(config: Config, patience: Duration) -> ClientOptions {
    let retry = RetryOptions { failures_max: 1000, patience, ..RetryOptions::default() };
    ClientOptions {
        connect: ConnectOptions {
            config,
            token: Some(TOKEN.to_owned()),
            timeout: Some(Duration::from_millis(500)),
            ..ConnectOptions::default()
        },
        pool: PoolOptions { retry, ..PoolOptions::default() },
        ..ClientOptions::default()
    }
}

/// What a scan came to.
struct Scanned {
    rows: i64,
    resumed: u64,
    error: Option<RpcError>,
}

/// Scans the file from the other host, and calls `at` with what came so far after each batch. Every row has to be the one that follows.
fn scan(
    hosts: &Hosts,
    server: SocketAddr,
    options: ClientOptions,
    mut at: impl FnMut(i64) + Send,
) -> Result<Scanned> {
    hosts.on(1, || {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        runtime.block_on(async {
            let target = Target { path: "rows.dlb".to_owned(), at: At::Latest };
            let table = RemoteTable::of(Client::new(server, options), target).await?;
            let mut stream = table.scan().start().await?;
            let mut scanned = Scanned { rows: 0, resumed: 0, error: None };
            while let Some(batch) = stream.next().await {
                let batch = match batch {
                    Ok(batch) => batch,
                    Err(error) => {
                        scanned.error = Some(error);
                        break;
                    }
                };
                let ids = batch.column(0).as_any().downcast_ref::<Int64Array>().unwrap();
                let noise = batch.column(1).as_any().downcast_ref::<Int64Array>().unwrap();
                for (id, noise) in ids.values().iter().zip(noise.values()) {
                    assert_eq!(*id, scanned.rows, "a row was lost or came twice");
                    assert_eq!(*noise, id.wrapping_mul(0x9e37_79b9_7f4a_7c15_u64 as i64));
                    scanned.rows += 1;
                }
                at(scanned.rows);
            }
            scanned.resumed = stream.resumed();
            Ok(scanned)
        })
    })
}

#[test]
fn a_slow_link_carries_every_row() {
    let Some(hosts) = Hosts::new(Some(RATE)) else { return };
    let folder = tempfile::tempdir().unwrap();
    write_file(&folder.path().join("rows.dlb"));
    // The peer's words are late behind the rows on such a link, but it is there.
    let server = serve(&hosts, folder.path(), Config::default());
    let start = Instant::now();
    let mut batches = 0;
    let options = client(Config::default(), Duration::from_secs(30));
    let scanned = scan(&hosts, server.addresses()[0], options, |_| batches += 1).unwrap();
    eprintln!("{} rows in {batches} batches over {RATE} in {:?}", scanned.rows, start.elapsed());
    assert_eq!((scanned.rows, scanned.resumed, scanned.error.map(|e| e.to_string())), (ROWS, 0, None));
    assert!(batches > 3, "{batches}");
}

#[test]
fn a_link_that_is_cut_and_heals_loses_nothing() {
    let Some(hosts) = Hosts::new(Some(RATE)) else { return };
    let folder = tempfile::tempdir().unwrap();
    write_file(&folder.path().join("rows.dlb"));
    let server = serve(&hosts, folder.path(), attentive());
    let options = client(attentive(), Duration::from_secs(30));
    let mut cuts = 0;
    let scanned = scan(&hosts, server.addresses()[0], options, |rows| {
        // Longer than a silent peer is waited for.
        if rows > cuts * ROWS / 3 && cuts < 2 {
            cuts += 1;
            hosts.link(false);
            std::thread::sleep(Duration::from_millis(1500));
            hosts.link(true);
        }
    })
    .unwrap();
    eprintln!("{} rows, resumed {} times", scanned.rows, scanned.resumed);
    assert_eq!((scanned.rows, scanned.error.map(|e| e.to_string()), cuts), (ROWS, None, 2));
    assert!(scanned.resumed > 0, "the link was not cut while rows were on their way");
}

#[test]
fn a_link_that_stays_cut_ends_the_scan_in_time() {
    let Some(hosts) = Hosts::new(Some(RATE)) else { return };
    let folder = tempfile::tempdir().unwrap();
    write_file(&folder.path().join("rows.dlb"));
    let server = serve(&hosts, folder.path(), attentive());
    let address = server.addresses()[0];
    let options = client(attentive(), Duration::from_secs(2));
    let mut cut = false;
    let scanned = scan(&hosts, address, options.clone(), |_| {
        if !std::mem::replace(&mut cut, true) {
            hosts.link(false);
        }
    })
    .unwrap();
    let error = scanned.error.unwrap();
    assert!(scanned.rows < ROWS, "{}", scanned.rows);
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    assert!(error.to_string().contains("10.77.0.1"), "{error}");
    // The server lets go of what nobody reads any more.
    let until = Instant::now() + Duration::from_secs(20);
    while server.scans() > 0 {
        assert!(Instant::now() < until, "{} scans are still under way", server.scans());
        std::thread::sleep(Duration::from_millis(20));
    }
    let error = scan(&hosts, address, options.clone(), |_| {}).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
    hosts.link(true);
    let scanned = scan(&hosts, address, options, |_| {}).unwrap();
    assert_eq!((scanned.rows, scanned.error.map(|e| e.to_string())), (ROWS, None));
}
