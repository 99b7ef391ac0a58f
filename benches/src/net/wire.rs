//! Streams, calls and connections over loopback.

use std::future::Future;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::pin::Pin;
use std::time::Instant;

use bytes::Bytes;
use deltalite_net::call::Call;
use deltalite_net::call::client::Channel;
use deltalite_net::call::server::{Peer, Service, Serving};
use deltalite_net::connection::{CallSpec, Checksums, Config, Greeting, Opened};
use deltalite_net::drive::tokio::{ConnectOptions, Tcp, TokioTimer, accept, connect};
use deltalite_net::hello::Hello;
use deltalite_net::{Clock, Result as RpcResult};
use deltalite_remote::batch;

use super::{failed, flight, row, system};
use crate::cpu::process_time;
use crate::error::Result;
use crate::measure::median;
use crate::report::Row;

/// Bytes of a page, as it lies in a buffer that is sent again and again.
const PAGE_BYTES: usize = 1 << 20;
/// Bytes of a stream.
const STREAM_BYTES: u64 = 2 << 30;
/// Calls of a round.
const CALLS: usize = 20_000;
/// Bytes of a small call, and of its answer.
const CALL_BYTES: usize = 64;

const PAGES: u16 = 1;
const ECHO: u16 = 2;
pub(super) const BATCHES: u16 = 3;

/// Sends pages, or back what it was sent.
#[derive(Clone)]
struct Bench {
    page: Bytes,
}

impl Service for Bench {
    type Caller = ();
    type Answer = Pin<Box<dyn Future<Output = ()> + Send>>;

    fn admit(&self, _: &Hello, _: &Peer) -> RpcResult<(Greeting, ())> {
        Ok((Greeting { shard: 0, shards: 1 }, ()))
    }

    fn serve(&self, mut call: Call, opened: Opened, (): &()) -> Self::Answer {
        let page = self.page.clone();
        Box::pin(async move {
            // A caller that has gone wants no answer.
            let _ = match opened.method {
                PAGES => pages(&mut call, &opened, page).await,
                BATCHES => batches(&mut call, &opened).await,
                _ => call.send_last(opened.message.meta().to_vec(), Vec::new()).await,
            };
        })
    }
}

async fn pages(call: &mut Call, opened: &Opened, page: Bytes) -> RpcResult<()> {
    let mut left = u64::from_le_bytes(opened.message.meta().try_into().unwrap_or_default());
    while left > 0 {
        let room = call.room(page.len() as u64).await?;
        let n = left.min(room).min(page.len() as u64);
        call.send(Vec::new(), vec![page.slice(..n as usize)]).await?;
        left -= n;
    }
    call.end();
    Ok(())
}

async fn batches(call: &mut Call, opened: &Opened) -> RpcResult<()> {
    let sample = flight::sample();
    for _ in 0..u64::from_le_bytes(opened.message.meta().try_into().unwrap_or_default()) {
        call.room(64 << 10).await?;
        let (meta, payload) = batch::encode(&sample, 0)?;
        call.send(meta, payload).await?;
    }
    call.end();
    Ok(())
}

/// A connection to a server of its own.
pub(super) fn channel(runtime: &tokio::runtime::Runtime, config: &Config) -> Result<Channel> {
    let address = serve(config)?;
    runtime.block_on(connect(address, &options(config))).map_err(failed("connecting"))
}

/// A server on a thread of its own.
pub(super) fn serve(config: &Config) -> Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(system("listening"))?;
    let address = listener.local_addr().map_err(system("listening"))?;
    listener.set_nonblocking(true).map_err(system("listening"))?;
    let config = config.clone();
    std::thread::spawn(move || {
        let Ok(runtime) = runtime() else { return };
        runtime.block_on(async move {
            let Ok(listener) = tokio::net::TcpListener::from_std(listener) else { return };
            let service = Bench { page: Bytes::from(vec![7; PAGE_BYTES]) };
            while let Ok((socket, _)) = accept(&listener).await {
                let (timer, clock) = (TokioTimer::default(), Clock::monotonic());
                tokio::spawn(Serving::<Tcp, _, _>::new(
                    socket,
                    timer,
                    clock,
                    config.clone(),
                    service.clone(),
                    Peer::default(),
                ));
            }
        });
    });
    Ok(address)
}

pub(super) fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

pub(super) fn options(config: &Config) -> ConnectOptions {
    ConnectOptions { config: config.clone(), ..ConnectOptions::default() }
}

/// Receives a stream of pages and touches nothing of them; its seconds and the processor's.
async fn receive(channel: &Channel, bytes: u64) -> RpcResult<(f64, f64)> {
    let spec = CallSpec { window: 4 << 20, ..CallSpec::default() };
    let (began, cpu) = (Instant::now(), process_time());
    let mut call = channel.call(PAGES, bytes.to_le_bytes().to_vec(), Vec::new(), &spec)?;
    let mut received = 0;
    while let Some(message) = call.receive().await? {
        received += message.payload_bytes() as u64;
    }
    assert_eq!(received, bytes, "a stream has lost bytes");
    Ok((began.elapsed().as_secs_f64(), process_time().saturating_sub(cpu).as_secs_f64()))
}

/// The same bytes over a bare socket: pages written and read whole, by two threads.
fn raw(bytes: u64) -> Result<(f64, f64)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(system("listening"))?;
    let address = listener.local_addr().map_err(system("listening"))?;
    let sender = std::thread::spawn(move || -> std::io::Result<()> {
        let (mut socket, _) = listener.accept()?;
        socket.set_nodelay(true)?;
        let page = vec![7u8; PAGE_BYTES];
        // The one byte says that the clock runs.
        socket.read_exact(&mut [0])?;
        for _ in 0..bytes / PAGE_BYTES as u64 {
            socket.write_all(&page)?;
        }
        Ok(())
    });
    let mut socket = TcpStream::connect(address).map_err(system("connecting"))?;
    socket.set_nodelay(true).map_err(system("connecting"))?;
    // Pages land in one of several buffers, as they would where somebody uses them.
    let mut buffers = vec![vec![0u8; PAGE_BYTES]; 4];
    let (began, cpu) = (Instant::now(), process_time());
    socket.write_all(&[1]).map_err(system("sending"))?;
    for i in 0..(bytes / PAGE_BYTES as u64) as usize {
        socket.read_exact(&mut buffers[i % 4]).map_err(system("receiving"))?;
    }
    let took = (began.elapsed().as_secs_f64(), process_time().saturating_sub(cpu).as_secs_f64());
    sender.join().unwrap_or(Ok(())).map_err(system("sending"))?;
    Ok(took)
}

/// Seconds, and the processor's, of two things in turn, each the first in every other round; the first round warms up.
pub(super) fn beside(
    rounds: usize,
    mut one: impl FnMut() -> Result<(f64, f64)>,
    mut two: impl FnMut() -> Result<(f64, f64)>,
) -> Result<[(f64, f64); 2]> {
    let mut samples = [Vec::new(), Vec::new()];
    for round in 0..=rounds {
        let pair = if round % 2 == 0 {
            [one()?, two()?]
        } else {
            let second = two()?;
            [one()?, second]
        };
        if round > 0 {
            samples[0].push(pair[0]);
            samples[1].push(pair[1]);
        }
    }
    Ok(samples.map(|of| {
        let (seconds, cpu): (Vec<f64>, Vec<f64>) = of.into_iter().unzip();
        (median(&seconds), median(&cpu))
    }))
}

/// Rounds of what is compared to the percent, for each of another case's.
const CREDIT_ROUNDS: usize = 5;
const GIGABYTES: f64 = STREAM_BYTES as f64 / 1e9;

fn pages_told() -> String {
    format!("{} MiB in pages of {} KiB", STREAM_BYTES >> 20, PAGE_BYTES >> 10)
}

/// One stream of pages, and over a bare socket.
pub(super) fn streams(rounds: usize) -> Result<Vec<Row>> {
    let runtime = runtime().map_err(system("starting a runtime"))?;
    // As on one machine, and as between two: with a checksum of each page.
    let near = channel(&runtime, &Config::default())?;
    let far = channel(&runtime, &Config { checksums: Checksums::Always, ..Config::default() })?;
    let over =
        |channel: &Channel| runtime.block_on(receive(channel, STREAM_BYTES)).map_err(failed("a stream"));
    let [ours, bare] = beside(rounds, || over(&near), || raw(STREAM_BYTES))?;
    let [checked, beside_it] = beside(rounds, || over(&far), || raw(STREAM_BYTES))?;
    let (checked, beside_it) = (GIGABYTES / checked.0, GIGABYTES / beside_it.0);
    let (rate, bare_rate) = (GIGABYTES / ours.0, GIGABYTES / bare.0);
    let (cpu, bare_cpu) = (ours.1 / GIGABYTES, bare.1 / GIGABYTES);
    let data = pages_told();
    Ok(vec![
        row("stream", &data, "GB/s", rate, "raw_tcp", bare_rate, rate / bare_rate),
        row("stream_checked", &data, "GB/s", checked, "raw_tcp", beside_it, checked / beside_it),
        row("stream_cpu", &data, "s/GB", cpu, "raw_tcp", bare_cpu, bare_cpu / cpu),
    ])
}

/// One stream of pages, with credits and without.
pub(super) fn credits(rounds: usize) -> Result<Vec<Row>> {
    let runtime = runtime().map_err(system("starting a runtime"))?;
    let with = channel(&runtime, &Config::default())?;
    let without = channel(&runtime, &Config { credits: false, ..Config::default() })?;
    let over =
        |channel: &Channel| runtime.block_on(receive(channel, STREAM_BYTES)).map_err(failed("a stream"));
    // They differ by less than rounds do.
    let [with, without] = beside(CREDIT_ROUNDS * rounds, || over(&with), || over(&without))?;
    let (with, without) = (GIGABYTES / with.0, GIGABYTES / without.0);
    Ok(vec![row("credits", &pages_told(), "GB/s", with, "without", without, with / without)])
}

fn percentile(sorted: &[f64], part: f64) -> f64 {
    sorted[((sorted.len() - 1) as f64 * part) as usize]
}

/// Small calls, one after the other.
pub(super) fn calls(rounds: usize) -> Result<Vec<Row>> {
    let runtime = runtime().map_err(system("starting a runtime"))?;
    let channel = channel(&runtime, &Config::default())?;
    let (mut ours, mut bare) = ((Vec::new(), Vec::new()), (Vec::new(), Vec::new()));
    for round in 0..=rounds {
        let mut times = runtime
            .block_on(async {
                let mut times = Vec::with_capacity(CALLS);
                let spec = CallSpec { window: 64 << 10, ..CallSpec::default() };
                for _ in 0..CALLS {
                    let began = Instant::now();
                    channel.unary(ECHO, vec![1; CALL_BYTES], &spec).await?;
                    times.push(began.elapsed().as_secs_f64());
                }
                Ok(times)
            })
            .map_err(failed("calling"))?;
        let mut others = pingpong()?;
        if round > 0 {
            times.sort_by(f64::total_cmp);
            others.sort_by(f64::total_cmp);
            ours.0.push(percentile(&times, 0.5));
            ours.1.push(percentile(&times, 0.99));
            bare.0.push(percentile(&others, 0.5));
            bare.1.push(percentile(&others, 0.99));
        }
    }
    let data = format!("{CALL_BYTES} bytes there and back, {CALLS} times");
    let line = |case: &str, ours: &[f64], bare: &[f64]| {
        let (ours, bare) = (median(ours) * 1e6, median(bare) * 1e6);
        row(case, &data, "µs", ours, "tcp_pingpong", bare, bare / ours)
    };
    Ok(vec![line("call_p50", &ours.0, &bare.0), line("call_p99", &ours.1, &bare.1)])
}

/// The same bytes back and forth over a bare socket, by two threads that wait in the kernel.
fn pingpong() -> Result<Vec<f64>> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(system("listening"))?;
    let address = listener.local_addr().map_err(system("listening"))?;
    let other = std::thread::spawn(move || -> std::io::Result<()> {
        let (mut socket, _) = listener.accept()?;
        socket.set_nodelay(true)?;
        let mut bytes = [0; CALL_BYTES];
        for _ in 0..CALLS {
            socket.read_exact(&mut bytes)?;
            socket.write_all(&bytes)?;
        }
        Ok(())
    });
    let mut socket = TcpStream::connect(address).map_err(system("connecting"))?;
    socket.set_nodelay(true).map_err(system("connecting"))?;
    let mut times = Vec::with_capacity(CALLS);
    let mut bytes = [1; CALL_BYTES];
    for _ in 0..CALLS {
        let began = Instant::now();
        socket.write_all(&bytes).map_err(system("sending"))?;
        socket.read_exact(&mut bytes).map_err(system("receiving"))?;
        times.push(began.elapsed().as_secs_f64());
    }
    other.join().unwrap_or(Ok(())).map_err(system("sending"))?;
    Ok(times)
}

/// 32 streams of one connection, one of which nobody reads.
pub(super) fn slow_reader(rounds: usize) -> Result<Vec<Row>> {
    const STREAMS: usize = 32;
    const EACH: u64 = 64 << 20;
    let window = 1 << 20;
    let config = Config { connection_window: 64 << 20, ..Config::default() };
    let runtime = runtime().map_err(system("starting a runtime"))?;
    let channel = channel(&runtime, &config)?;
    let spec = CallSpec { window, ..CallSpec::default() };
    let mut waiting = 0;
    let mut others = |stalled: bool| -> RpcResult<f64> {
        runtime.block_on(async {
            let held = stalled
                .then(|| channel.call(PAGES, EACH.to_le_bytes().to_vec(), Vec::new(), &spec))
                .transpose()?;
            let began = Instant::now();
            let mut tasks = Vec::new();
            for _ in 1..STREAMS {
                let mut call = channel.call(PAGES, EACH.to_le_bytes().to_vec(), Vec::new(), &spec)?;
                tasks.push(async move {
                    while call.receive().await?.is_some() {}
                    Ok(())
                });
            }
            futures::future::try_join_all(tasks).await?;
            let seconds = began.elapsed().as_secs_f64();
            if stalled {
                waiting = waiting.max(channel.waiting_bytes());
            }
            drop(held);
            Ok(seconds)
        })
    };
    let (mut with, mut without) = (Vec::new(), Vec::new());
    for round in 0..=rounds {
        let (one, two) =
            (others(true).map_err(failed("a stream"))?, others(false).map_err(failed("a stream"))?);
        if round > 0 {
            with.push(one);
            without.push(two);
        }
    }
    let gigabytes = (STREAMS - 1) as f64 * EACH as f64 / 1e9;
    let (with, without) = (gigabytes / median(&with), gigabytes / median(&without));
    let memory = waiting as f64 / window as f64;
    Ok(vec![
        row(
            "slow_reader",
            "31 streams beside one that stalls",
            "GB/s",
            with,
            "without",
            without,
            with / without,
        ),
        row("slow_reader_memory", "bytes that wait", "windows", memory, "aim", 1.0, 1.0 / memory.max(1e-9)),
    ])
}
