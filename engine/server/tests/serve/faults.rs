//! Connections that break, servers that are full, stopped or ask who is there.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use deltalite_net::auth::Gate;
use deltalite_net::drive::tokio::ConnectOptions;
use deltalite_net::pool::{PoolOptions, RetryOptions};
use deltalite_remote::protocol::{At, Target};
use deltalite_remote::{Client, ClientOptions, ErrorKind, RemoteTable};
use deltalite_server::{Server, ServerOptions};
use deltalite_shard::executor::IoMode;
use deltalite_shard::scan::{DataFile, Scan};
use futures::StreamExt;

use super::proxy::Proxy;
use super::{block_on, collect, embedded, open, same, serve, shards, write_file};

fn target(path: &str) -> Target {
    Target { path: path.to_owned(), at: At::Latest }
}

fn options(folder: &std::path::Path) -> ServerOptions {
    ServerOptions::new(folder).listen("127.0.0.1:0".parse().unwrap()).on_shards(shards(IoMode::Auto))
}

fn trying(retry: RetryOptions) -> ClientOptions {
    ClientOptions { pool: PoolOptions { retry, ..PoolOptions::default() }, ..ClientOptions::default() }
}

/// Tries once.
fn impatient() -> ClientOptions {
    trying(RetryOptions { patience: Duration::ZERO, ..RetryOptions::default() })
}

#[test]
fn a_hundred_resets_lose_and_repeat_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rows.dlb");
    write_file(&path, 600_000);
    let here = embedded(Scan::of(DataFile::open(&path).unwrap()), &shards(IoMode::Auto));
    let proxies = [Proxy::new(200), Proxy::new(200)];
    let ports = proxies.iter().map(|proxy| proxy.port).collect();
    let server = Server::start(options(folder.path()).advertise(ports)).unwrap();
    for (seed, (proxy, address)) in proxies.iter().zip(server.addresses()).enumerate() {
        proxy.forward(*address, 600_000, seed as u64);
    }
    block_on(async {
        let address = ([127, 0, 0, 1], proxies[0].port).into();
        let patient = trying(RetryOptions {
            failures_max: 100,
            pause: Duration::from_millis(1),
            ..RetryOptions::default()
        });
        let (mut resumed, mut scans) = (0, 0);
        let resets =
            || 400 - proxies.iter().map(|proxy| proxy.resets_left.load(Ordering::Relaxed)).sum::<u64>();
        while resets() < 100 {
            let table =
                RemoteTable::of(Client::new(address, patient.clone()), target("rows.dlb")).await.unwrap();
            let mut stream = table.scan().start().await.unwrap();
            let mut batches = Vec::new();
            while let Some(batch) = stream.next().await {
                batches.push(batch.unwrap());
            }
            resumed += stream.resumed();
            scans += 1;
            let there = arrow_select::concat::concat_batches(stream.schema(), &batches).unwrap();
            same(&there, &here);
            assert!(scans < 200, "only {} resets", resets());
        }
        eprintln!("{scans} scans, {} resets, parts resumed {resumed} times", resets());
        assert!(resumed >= 20, "{resumed}");
    });
}

#[test]
fn a_cut_link_is_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    write_file(&folder.path().join("rows.dlb"), 300_000);
    let proxies = [Proxy::new(0), Proxy::new(0)];
    let server =
        Server::start(options(folder.path()).advertise(proxies.iter().map(|p| p.port).collect())).unwrap();
    for (proxy, address) in proxies.iter().zip(server.addresses()) {
        proxy.forward(*address, 1, 0);
    }
    block_on(async {
        let address = ([127, 0, 0, 1], proxies[0].port).into();
        let table = RemoteTable::of(Client::new(address, ClientOptions::default()), target("rows.dlb"))
            .await
            .unwrap();
        let mut stream = table.scan().start().await.unwrap();
        let mut rows = stream.next().await.unwrap().unwrap().num_rows();
        for proxy in &proxies {
            proxy.cut.store(true, Ordering::Relaxed);
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
        for proxy in &proxies {
            proxy.cut.store(false, Ordering::Relaxed);
        }
        while let Some(batch) = stream.next().await {
            rows += batch.unwrap().num_rows();
        }
        assert_eq!(rows, 300_000);
    });
}

#[test]
fn only_who_is_known_is_served() {
    let folder = tempfile::tempdir().unwrap();
    write_file(&folder.path().join("rows.dlb"), 100);
    let server = Server::start(options(folder.path()).gate(Gate::open().token("reports", "s3cret"))).unwrap();
    block_on(async {
        let with = |token: Option<&str>| ClientOptions {
            connect: ConnectOptions { token: token.map(str::to_owned), ..ConnectOptions::default() },
            ..ClientOptions::default()
        };
        for token in [None, Some("wrong")] {
            let client = Client::new(server.addresses()[0], with(token));
            let error = RemoteTable::of(client, target("rows.dlb")).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unauthenticated, "{error}");
        }
        let client = Client::new(server.addresses()[0], with(Some("s3cret")));
        let table = RemoteTable::of(client, target("rows.dlb")).await.unwrap();
        assert_eq!(collect(table.scan()).await.unwrap().num_rows(), 100);
    });
    let far = ServerOptions::new(folder.path()).listen("0.0.0.0:0".parse().unwrap());
    let error = Server::start(far).unwrap_err();
    assert!(error.to_string().contains("reached from other machines"), "{error}");
}

#[test]
fn a_full_server_says_when_to_come_back() {
    let folder = tempfile::tempdir().unwrap();
    write_file(&folder.path().join("rows.dlb"), 500_000);
    let server = Server::start(options(folder.path()).scans_max(1)).unwrap();
    block_on(async {
        let impatient = impatient();
        let holder = RemoteTable::of(
            Client::new(
                server.addresses()[0],
                ClientOptions { window: 64 << 10, ..ClientOptions::default() },
            ),
            target("rows.dlb"),
        )
        .await
        .unwrap();
        let mut held = holder.scan().start().await.unwrap();
        assert!(held.next().await.unwrap().is_ok());
        let other =
            RemoteTable::of(Client::new(server.addresses()[0], impatient), target("rows.dlb")).await.unwrap();
        let error = collect(other.scan().columns(["id"])).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Overloaded, "{error}");
        assert_eq!(error.retryable(), Some(Duration::from_millis(100)));
        // Who is patient gets its turn when the first has gone.
        let patient =
            RemoteTable::of(Client::new(server.addresses()[0], ClientOptions::default()), target("rows.dlb"))
                .await
                .unwrap();
        let waiting = tokio::spawn(async move { collect(patient.scan().columns(["id"])).await });
        tokio::time::sleep(Duration::from_millis(50)).await;
        drop(held);
        assert_eq!(waiting.await.unwrap().unwrap().num_rows(), 500_000);
    });
}

#[test]
fn draining_lets_scans_finish() {
    let folder = tempfile::tempdir().unwrap();
    write_file(&folder.path().join("rows.dlb"), 500_000);
    for io in [IoMode::Auto, IoMode::Threads] {
        let server = serve(folder.path(), io);
        let address = server.addresses()[0];
        block_on(async {
            let table = open(&server, "rows.dlb").await.unwrap();
            let mut stream = table.scan().columns(["id", "name"]).start().await.unwrap();
            let mut rows = stream.next().await.unwrap().unwrap().num_rows();
            // Every part that is asked for is being read.
            let draining = std::thread::spawn(move || server.drain(Duration::from_secs(20)));
            tokio::time::sleep(Duration::from_millis(100)).await;
            while let Some(batch) = stream.next().await {
                rows += batch.unwrap().num_rows();
            }
            assert_eq!(rows, 500_000);
            drop((stream, table));
            assert!(draining.join().unwrap());
            let gone =
                RemoteTable::of(Client::new(address, impatient()), target("rows.dlb")).await.unwrap_err();
            assert_eq!(gone.kind(), ErrorKind::Unavailable, "{gone}");
        });
    }
}

#[test]
fn a_dropped_scan_ends_at_the_server() {
    let folder = tempfile::tempdir().unwrap();
    write_file(&folder.path().join("rows.dlb"), 500_000);
    let server = serve(folder.path(), IoMode::Auto);
    block_on(async {
        let table = open(&server, "rows.dlb").await.unwrap();
        let mut stream = table.scan().start().await.unwrap();
        assert!(stream.next().await.unwrap().is_ok());
        assert!(server.scans() > 0);
        drop(stream);
        let began = Instant::now();
        while server.scans() > 0 {
            assert!(began.elapsed() < Duration::from_secs(20), "{} scans go on", server.scans());
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    });
}

#[test]
fn metrics_and_health_are_told() {
    use std::io::{Read, Write};
    let folder = tempfile::tempdir().unwrap();
    write_file(&folder.path().join("rows.dlb"), 1000);
    let server = Server::start(options(folder.path()).http("127.0.0.1:0".parse().unwrap(), false)).unwrap();
    block_on(async {
        let table = open(&server, "rows.dlb").await.unwrap();
        assert_eq!(collect(table.scan()).await.unwrap().num_rows(), 1000);
        let health = super::client(&server).health().await.unwrap();
        assert!(health.ready);
        assert_eq!(health.shards, 2);
    });
    let get = |path: &str| {
        let mut stream = std::net::TcpStream::connect(server.http().unwrap()).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text
    };
    let metrics = get("/metrics");
    assert!(metrics.contains("deltalite_rows_sent_total 1000\n"), "{metrics}");
    assert!(metrics.contains("# TYPE deltalite_sent_bytes counter"), "{metrics}");
    assert!(get("/health").contains("ready"));
    assert!(get("/nothing").starts_with("HTTP/1.1 404"));
}
