//! A pool whose peers refuse, break off, hang and come back.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::time::Duration;

use super::wire::{self, Weather};
use super::world::World;
use crate::call::Call;
use crate::call::client::Channel;
use crate::call::server::{Peer, Service, Serving};
use crate::connection::{Config, Greeting, Opened};
use crate::error::{ErrorKind, Result, RpcError};
use crate::hello::Hello;
use crate::pool::{CallOptions, Connect, Pool, PoolOptions};
use crate::time::{Clock, Time};

type Local<T> = Pin<Box<dyn Future<Output = T>>>;

/// What servers did, and what clients tried.
#[derive(Default)]
struct Record {
    /// How often each request was answered.
    answered: RefCell<BTreeMap<u64, u32>>,
    connects: Cell<u32>,
    connections: Cell<u32>,
    retries: Cell<u32>,
    ended: Cell<u32>,
    right: Cell<u32>,
}

/// Answers with what it was sent, after a while.
#[derive(Clone)]
struct Slow {
    world: World,
    record: Rc<Record>,
    /// Longest time to an answer, in microseconds.
    most: u64,
}

impl Service for Slow {
    type Caller = ();
    type Answer = Local<()>;

    fn admit(&self, _: &Hello, _: &Peer) -> Result<(Greeting, ())> {
        Ok((Greeting { shard: 0, shards: 1 }, ()))
    }

    fn serve(&self, mut call: Call, opened: Opened, (): &()) -> Local<()> {
        let this = self.clone();
        Box::pin(async move {
            *this.record.answered.borrow_mut().entry(opened.request).or_default() += 1;
            this.world.sleep(Duration::from_micros(this.world.below(this.most))).await;
            // A caller that has gone wants no answer.
            let _ = call.send_last(opened.message.meta().to_vec(), Vec::new()).await;
        })
    }
}

/// How a peer is.
#[derive(Debug, Clone)]
struct Nature {
    /// Refuses connections within these times.
    down: Option<(Time, Time)>,
    /// Most bytes of a connection before it is reset.
    reset_after: Option<u64>,
    /// Connections take no bytes that matter: nothing is ever answered.
    deaf: bool,
    /// Longest time to an answer, in microseconds.
    slow: u64,
}

#[derive(Clone)]
struct SimConnect {
    world: World,
    clock: Clock,
    record: Rc<Record>,
    natures: Rc<Vec<Nature>>,
}

impl Connect for SimConnect {
    type Connecting = Local<Result<Channel>>;
    type Sleeping = Local<()>;

    fn connect(&self, peer: SocketAddr) -> Self::Connecting {
        let this = self.clone();
        Box::pin(async move {
            let (world, record) = (this.world, this.record);
            record.connects.set(record.connects.get() + 1);
            world.sleep(Duration::from_micros(500)).await;
            let nature = &this.natures[usize::from(peer.port())];
            if nature.down.is_some_and(|(from, to)| (from..to).contains(&world.now())) {
                return Err(RpcError::new(ErrorKind::Unavailable, "refused").at_peer(peer));
            }
            let weather = Weather {
                delay: Duration::from_micros(200),
                room: 1 << 16,
                bite: 1 << 16,
                // Not within the handshake, which is another test's.
                reset_after: nature.reset_after.map(|most| 1_000 + world.below(most)),
                half_open_from: nature.deaf.then(|| world.now().after(Duration::from_millis(5))),
                ..Weather::default()
            };
            let (near, far) = wire::connect(&world, weather);
            let config = Config {
                idle_timeout: Some(Duration::from_secs(5)),
                ping_after: Duration::from_secs(1),
                ping_timeout: Duration::from_secs(1),
                ..Config::default()
            };
            let service = Slow { world: world.clone(), record: Rc::clone(&record), most: nature.slow };
            let serving =
                Serving::new(far, world.timer(), world.clock(), config.clone(), service, Peer::default());
            world.spawn(async move {
                serving.await;
            });
            let (channel, driver) = Channel::over(near, world.timer(), world.clock(), config, None);
            record.connections.set(record.connections.get() + 1);
            world.spawn(async move {
                driver.await;
                record.connections.set(record.connections.get() - 1);
            });
            channel.ready().await?;
            Ok(channel)
        })
    }

    fn sleep(&self, time: Duration) -> Local<()> {
        let world = self.world.clone();
        Box::pin(async move { world.sleep(time).await })
    }

    fn clock(&self) -> &Clock {
        &self.clock
    }
}

fn ground(seed: u64, natures: Vec<Nature>) -> (World, Rc<Record>, Pool<SimConnect>) {
    let world = World::new(seed);
    let record = Rc::new(Record::default());
    let connect = SimConnect {
        world: world.clone(),
        clock: world.clock(),
        record: Rc::clone(&record),
        natures: Rc::new(natures),
    };
    (world, record, Pool::new(connect, PoolOptions::default()))
}

fn peers(n: usize) -> Vec<SocketAddr> {
    (0..n).map(|i| SocketAddr::from(([10, 0, 0, 1], i as u16))).collect()
}

/// Makes a call and records what became of it.
async fn call(
    world: World,
    pool: Pool<SimConnect>,
    peers: Vec<SocketAddr>,
    options: CallOptions,
    record: Rc<Record>,
) {
    let began = world.now();
    // One that a peer was spared from is no attempt.
    let sent = Rc::new(Cell::new(false));
    let meta = options.request.to_le_bytes().to_vec();
    let answer = pool.call(&peers, &options, |channel, attempt| {
        let (meta, sent, record) = (meta.clone(), Rc::clone(&sent), Rc::clone(&record));
        async move {
            if sent.replace(true) {
                record.retries.set(record.retries.get() + 1);
            }
            channel.unary(1, meta, &attempt.spec).await
        }
    });
    match answer.await {
        Ok(answer) if answer.meta == meta => record.right.set(record.right.get() + 1),
        Ok(answer) => world.violated(format!("{meta:?} was answered with {:?}", answer.meta)),
        Err(error) => {
            let known = matches!(error.kind(), ErrorKind::Unavailable | ErrorKind::DeadlineExceeded);
            if !known || error.peer().is_none() {
                world.violated(format!("a strange error: {error:?}"));
            }
        }
    }
    let took = world.now().since(began);
    if options.timeout.is_some_and(|timeout| took > timeout + Duration::from_millis(50)) {
        world.violated(format!("{took:?} for a call of {:?}", options.timeout));
    }
    record.ended.set(record.ended.get() + 1);
}

fn nature(world: &World) -> Nature {
    let down = world.once_in(3).then(|| {
        let from = Time::from_micros(world.below(3_000_000));
        (from, from.after(Duration::from_micros(world.below(4_000_000))))
    });
    Nature {
        down,
        reset_after: world.once_in(3).then_some(20_000),
        deaf: world.once_in(8),
        slow: if world.once_in(4) { 400_000 } else { 2_000 },
    }
}

/// Peers at random: every call ends in time, with its own answer or a clear error; what is not to be repeated is not; retries stay a
/// small part; and afterwards no connection is left.
fn schedule(seed: u64) {
    let dice = World::new(seed ^ 0x9e37);
    let natures: Vec<Nature> = (0..=dice.below(3)).map(|_| nature(&dice)).collect();
    let (world, record, pool) = ground(seed, natures.clone());
    let calls = 20 + dice.below(200) as u32;
    let mut once = Vec::new();
    for request in 1..=u64::from(calls) {
        let idempotent = !dice.once_in(3);
        if !idempotent {
            once.push(request);
        }
        let options = CallOptions {
            timeout: Some(Duration::from_millis(5 + dice.below(3_000))),
            idempotent,
            hedge_after: dice.once_in(3).then(|| Duration::from_millis(3)),
            request,
        };
        let wait = Duration::from_micros(dice.below(5_000_000));
        let (world, pool, record) = (world.clone(), pool.clone(), Rc::clone(&record));
        let all = peers(natures.len());
        world.clone().spawn(async move {
            world.sleep(wait).await;
            call(world, pool, all, options, record).await;
        });
    }
    let done = world.run(Time::from_micros(60_000_000), || record.ended.get() == calls);
    assert_eq!(world.violations(), Vec::<String>::new(), "seed {seed}: {natures:?}");
    assert!(done, "seed {seed}: {} of {calls} calls ended; {natures:?}", record.ended.get());
    assert!(
        record.retries.get() <= 10 + calls / 10,
        "seed {seed}: {} retries of {calls}; {natures:?}",
        record.retries.get()
    );
    for request in once {
        let answered = record.answered.borrow().get(&request).copied().unwrap_or(0);
        assert!(answered <= 1, "seed {seed}: request {request} was answered {answered} times");
    }
    let well = |n: &Nature| n.down.is_none() && n.reset_after.is_none() && !n.deaf && n.slow < 5_000;
    if natures.iter().all(well) {
        assert!(record.right.get() >= calls * 9 / 10, "seed {seed}: {} of {calls}", record.right.get());
    }
    // Nobody calls any more, and clones of channels are the pool's alone.
    world.run(Time::from_micros(90_000_000), || record.connections.get() == 0);
    assert_eq!(record.connections.get(), 0, "seed {seed}: connections are left; {natures:?}");
    world.end();
}

#[test]
fn calls_to_peers_that_come_and_go() {
    let first = std::env::var("DELTALITE_SEED").ok().and_then(|seed| seed.parse().ok());
    let seeds = first.map_or(0..400, |seed| seed..seed + 1);
    seeds.for_each(schedule);
}

fn well() -> Nature {
    Nature { down: None, reset_after: None, deaf: false, slow: 1_000 }
}

/// Runs calls one after the other.
fn in_turn(natures: Vec<Nature>, calls: u64, options: &CallOptions) -> (Rc<Record>, Duration) {
    let all = peers(natures.len());
    let (world, record, pool) = ground(7, natures);
    let (at, options, tally) = (world.clone(), options.clone(), Rc::clone(&record));
    world.spawn(async move {
        for request in 1..=calls {
            let options = CallOptions { request, ..options.clone() };
            call(at.clone(), pool.clone(), all.clone(), options, Rc::clone(&tally)).await;
        }
    });
    let done = world.run(Time::from_micros(900_000_000), || u64::from(record.ended.get()) == calls);
    assert!(done, "{:?}", world.violations());
    let took = world.now().since(Time::default());
    world.end();
    (record, took)
}

/// One that is down is tried a few times, and left alone for the rest.
#[test]
fn a_peer_that_is_down_is_left_alone() {
    let down = Nature { down: Some((Time::default(), Time::from_micros(u64::MAX))), ..well() };
    let options =
        CallOptions { idempotent: true, timeout: Some(Duration::from_millis(100)), ..CallOptions::default() };
    let (record, took) = in_turn(vec![down], 1000, &options);
    assert_eq!(record.right.get(), 0);
    assert!(
        record.connects.get() <= 10 + took.as_millis() as u32 / 500,
        "{} connects",
        record.connects.get()
    );
    // It is asked again when it may be back.
    let back = Nature { down: Some((Time::default(), Time::from_micros(2_000_000))), ..well() };
    let (record, _) = in_turn(vec![back], 1, &CallOptions { timeout: None, ..options });
    assert_eq!(record.right.get(), 1);
}

/// Half of the peers are slow: asking a second one makes the tail short.
#[test]
fn hedged_calls_have_a_short_tail() {
    let slow = Nature { slow: 1_000_000, ..well() };
    let plain = CallOptions { idempotent: true, ..CallOptions::default() };
    let hedged = CallOptions { hedge_after: Some(Duration::from_millis(5)), ..plain.clone() };
    // The first peer answers; budget is there for ten seconds of it.
    let (without, long) = in_turn(vec![slow.clone(), well()], 10, &plain);
    let (with, short) = in_turn(vec![slow, well()], 10, &hedged);
    assert_eq!((without.right.get(), with.right.get()), (10, 10));
    assert!(short * 10 < long, "{short:?} with, {long:?} without");
}

/// A connection is shared while there are few calls, and closed when there are none.
#[test]
fn connections_are_shared() {
    let (world, record, pool) = ground(3, vec![well()]);
    for request in 1..=60 {
        let (at, pool, tally) = (world.clone(), pool.clone(), Rc::clone(&record));
        let options = CallOptions { request, ..CallOptions::default() };
        world.spawn(async move { call(at, pool, peers(1), options, tally).await });
    }
    assert!(world.run(Time::from_micros(1_000_000), || record.ended.get() == 60));
    assert_eq!((record.connects.get(), record.right.get()), (1, 60));
    // 60 more at once with 64 others: a second one.
    for request in 100..=300 {
        let (at, pool, tally) = (world.clone(), pool.clone(), Rc::clone(&record));
        let options = CallOptions { request, ..CallOptions::default() };
        world.spawn(async move { call(at, pool, peers(1), options, tally).await });
    }
    assert!(world.run(Time::from_micros(2_000_000), || record.ended.get() == 261));
    assert_eq!((record.connects.get(), record.connections.get()), (2, 2));
    world.run(Time::from_micros(20_000_000), || record.connections.get() == 0);
    assert_eq!(record.connections.get(), 0, "idle connections close themselves");
    world.end();
}
