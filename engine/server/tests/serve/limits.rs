//! What callers may read, how quickly, and in how much memory.

use std::sync::Arc;
use std::time::{Duration, Instant};

use deltalite_alloc::MemoryBudget;
use deltalite_net::auth::{Gate, Grants};
use deltalite_net::drive::tokio::ConnectOptions;
use deltalite_remote::protocol::{At, Target};
use deltalite_remote::{Client, ClientOptions, ErrorKind, RemoteTable, Result};
use deltalite_server::{Server, ServerOptions};
use deltalite_shard::executor::IoMode;
use futures::StreamExt;

use super::{block_on, collect, shards, write_file};

fn options(folder: &std::path::Path, io: IoMode) -> ServerOptions {
    ServerOptions::new(folder).listen("127.0.0.1:0".parse().unwrap()).on_shards(shards(io))
}

async fn open(server: &Server, token: &str, path: &str) -> Result<RemoteTable> {
    let connect = ConnectOptions { token: Some(token.to_owned()), ..ConnectOptions::default() };
    let client = Client::new(server.addresses()[0], ClientOptions { connect, ..ClientOptions::default() });
    RemoteTable::of(client, Target { path: path.to_owned(), at: At::Latest }).await
}

#[test]
fn callers_read_what_they_were_granted() {
    let folder = tempfile::tempdir().unwrap();
    for path in ["sales", "staff"] {
        std::fs::create_dir(folder.path().join(path)).unwrap();
        write_file(&folder.path().join(path).join("rows.dlb"), 100);
    }
    let gate = Gate::open().token("reports", "r").token("office", "o");
    let grants = Grants::default().allow("reports", "sales").allow("office", ".");
    let server =
        Server::start(options(folder.path(), IoMode::Auto).gate(gate).authorize(Arc::new(grants))).unwrap();
    block_on(async {
        let table = open(&server, "r", "sales/rows.dlb").await.unwrap();
        assert_eq!(collect(table.scan()).await.unwrap().num_rows(), 100);
        for path in ["staff/rows.dlb", "sales/../staff/rows.dlb", "rows.dlb", "sale", "./staff/rows.dlb"] {
            let error = open(&server, "r", path).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{path}: {error}");
            assert!(error.to_string().contains("reports may not read"), "{error}");
        }
        for path in ["sales/rows.dlb", "staff/rows.dlb"] {
            assert_eq!(open(&server, "o", path).await.unwrap().rows(), Some(100));
        }
    });
}

/// Bytes that a scan is sent, about.
const ROW: u64 = 40;

#[test]
fn callers_are_sent_what_their_rate_allows() {
    let folder = tempfile::tempdir().unwrap();
    write_file(&folder.path().join("rows.dlb"), 500_000);
    for io in [IoMode::Auto, IoMode::Threads] {
        let gate = Gate::open().token("a", "a").token("b", "b");
        // 500,000 rows are some 20 MB: 8 MiB at once, the rest at this rate.
        let rate = 8 << 20;
        let server = Server::start(options(folder.path(), io).gate(gate).caller_rate(rate)).unwrap();
        block_on(async {
            let table = open(&server, "a", "rows.dlb").await.unwrap();
            let began = Instant::now();
            assert_eq!(collect(table.scan()).await.unwrap().num_rows(), 500_000);
            let least = (500_000 * ROW - (9 << 20)) as f64 / rate as f64;
            let took = began.elapsed().as_secs_f64();
            assert!(took >= least, "{took} s, where the rate allows it in {least} s");
            // Who has used up its share is told when to come back, and its scan is done then; others are not held up.
            let again = open(&server, "a", "rows.dlb").await.unwrap();
            let again = tokio::spawn(async move { collect(again.scan().columns(["id"])).await });
            let other = open(&server, "b", "rows.dlb").await.unwrap();
            assert_eq!(collect(other.scan().columns(["id"])).await.unwrap().num_rows(), 500_000);
            assert_eq!(again.await.unwrap().unwrap().num_rows(), 500_000);
        });
    }
}

#[test]
fn scans_have_the_memory_of_the_budget() {
    let folder = tempfile::tempdir().unwrap();
    write_file(&folder.path().join("rows.dlb"), 500_000);
    // Room for connections, and for three scans.
    let budget = MemoryBudget::root("server", 7 << 20);
    let server = Server::start(options(folder.path(), IoMode::Auto).memory(budget.clone())).unwrap();
    block_on(async {
        let address = server.addresses()[0];
        let table = async || {
            let client = Client::new(address, ClientOptions { window: 64 << 10, ..ClientOptions::default() });
            let target = Target { path: "rows.dlb".to_owned(), at: At::Latest };
            RemoteTable::of(client, target).await
        };
        let mut held = Vec::new();
        for _ in 0..3 {
            let mut scan = table().await.unwrap().scan().limit(400_000).start().await.unwrap();
            assert!(scan.next().await.unwrap().is_ok());
            held.push(scan);
        }
        assert!(budget.usage() >= 3 * (2 << 20) && budget.usage() <= 7 << 20, "{}", budget.usage());
        // A fourth waits until there is room, as the server tells it to.
        let fourth = table().await.unwrap();
        let fourth = tokio::spawn(async move { collect(fourth.scan().columns(["id"])).await });
        tokio::time::sleep(Duration::from_millis(150)).await;
        assert!(!fourth.is_finished());
        held.clear();
        assert_eq!(fourth.await.unwrap().unwrap().num_rows(), 500_000);
    });
    server.drain(Duration::from_secs(5));
    let until = Instant::now() + Duration::from_secs(5);
    while budget.usage() > 0 && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(budget.usage(), 0, "what was reserved is given back");
}
