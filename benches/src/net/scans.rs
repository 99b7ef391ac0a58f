//! Scans of a server beside the same scans without one.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use deltalite::format::predicate::{Literal, col};
use deltalite::{Predicate, Scan, ShardOptions, ShardSet, WriterOptions};
use deltalite_net::auth::Gate;
use deltalite_remote::protocol::{At, Target};
use deltalite_remote::{Client, ClientOptions, RemoteTable};
use deltalite_server::{Server, ServerOptions};
use futures::StreamExt;

use super::{failed, row, system};
use crate::data::{self, Source};
use crate::error::{BenchError, Result};
use crate::measure::median;
use crate::report::Row;

const COLUMNS: [&str; 3] = ["l_orderkey", "l_extendedprice", "l_shipdate"];
/// Scans of a round.
const SCANS: usize = 10;

fn engine<E: std::fmt::Display>(doing: &'static str) -> impl Fn(E) -> BenchError {
    move |error| BenchError::Format {
        format: "deltalite".into(),
        doing: doing.into(),
        message: error.to_string(),
    }
}

/// A month of seven years: 1.3 % of the rows.
fn month() -> Result<Predicate> {
    let date = |text: &str| Literal::date(text).map_err(engine("a date"));
    Ok(col("l_shipdate").gt_eq(date("1995-03-01")?).and(col("l_shipdate").lt(date("1995-04-01")?)))
}

/// Three columns of a month of lineitem, all of it in the cache.
pub(super) fn remote(data_dir: &Path, scale: f64, rounds: usize) -> Result<Vec<Row>> {
    let source = data::prepare(&Source::Lineitem, scale, data_dir)?.remove(0);
    let folder = data_dir.join("net");
    std::fs::create_dir_all(&folder).map_err(BenchError::io("creating", &folder))?;
    let path = folder.join("lineitem.dlb");
    if !path.exists() {
        let batches = source.batches.iter().cloned().map(Ok);
        deltalite::write_file(&path, &source.schema, batches, WriterOptions::default())
            .map_err(engine("writing"))?;
    }
    let start = || {
        let options = ShardOptions::with_shards(1).map_err(engine("shards"))?;
        ShardSet::start(options).map(Arc::new).map_err(engine("shards"))
    };
    let shards = start()?;
    let options =
        ServerOptions::new(&folder).listen(([127, 0, 0, 1], 0).into()).gate(Gate::open()).on_shards(start()?);
    let server = Server::start(options).map_err(failed("serving"))?;
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(system("a runtime"))?;
    let client = Client::new(server.addresses()[0], ClientOptions::default());
    let target = Target { path: "lineitem.dlb".to_owned(), at: At::Latest };
    let table = runtime.block_on(RemoteTable::of(client, target)).map_err(failed("opening"))?;

    let file = deltalite::open(&path).map_err(engine("opening"))?;
    let here = || -> Result<(u64, u64)> {
        let scan = Scan::of(Arc::clone(&file)).columns(COLUMNS).filter(month()?);
        let (mut rows, mut bytes) = (0, 0);
        for batch in scan.start(&shards).map_err(engine("scanning"))? {
            let batch = batch.map_err(engine("scanning"))?;
            rows += batch.num_rows() as u64;
            bytes += batch.num_rows() as u64 * (8 + 16 + 4);
        }
        Ok((rows, bytes))
    };
    let there = || -> Result<u64> {
        let scan = table.scan().columns(COLUMNS).filter(month()?);
        runtime.block_on(async {
            let mut stream = scan.start().await.map_err(failed("scanning"))?;
            let mut rows = 0;
            while let Some(batch) = stream.next().await {
                rows += batch.map_err(failed("scanning"))?.num_rows() as u64;
            }
            Ok(rows)
        })
    };
    let (mut ours, mut embedded) = (Vec::new(), Vec::new());
    let (mut rows, mut bytes) = (0, 0);
    let mut wire = 0;
    for round in 0..=rounds {
        let before = loopback_bytes();
        let began = Instant::now();
        for _ in 0..SCANS {
            rows = there()?;
        }
        let one = began.elapsed().as_secs_f64() / SCANS as f64;
        wire = (loopback_bytes() - before) / SCANS as u64;
        let began = Instant::now();
        for _ in 0..SCANS {
            let (found, size) = here()?;
            bytes = size;
            if found != rows {
                return Err(BenchError::Usage(format!("{rows} rows from the server, {found} without it")));
            }
        }
        let two = began.elapsed().as_secs_f64() / SCANS as f64;
        if round > 0 {
            ours.push(one);
            embedded.push(two);
        }
    }
    let (ours, embedded) = (median(&ours) * 1e3, median(&embedded) * 1e3);
    let share = rows as f64 / source.rows as f64 * 100.0;
    let data = format!("lineitem SF{scale}, {} columns, {share:.1} % of rows, warm", COLUMNS.len());
    let (wire, result) = (wire as f64 / 1024.0, bytes as f64 / 1024.0);
    Ok(vec![
        row("remote_scan", &data, "ms", ours, "embedded", embedded, embedded / ours),
        row("remote_scan_wire", &data, "KiB", wire, "result", result, result / wire),
    ])
}

/// Bytes that went over loopback, headers of packets included.
fn loopback_bytes() -> u64 {
    let text = std::fs::read_to_string("/proc/net/dev").unwrap_or_default();
    let line = text.lines().find_map(|line| line.trim().strip_prefix("lo:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}
