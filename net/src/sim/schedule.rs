//! Random worlds, and what must hold in each.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use super::service::{COUNT, ECHO, HANG, MIRROR, Order, SUM, Sleep, TestService, payload};
use super::wire::{self, Weather};
use super::world::World;
use crate::call::client::Channel;
use crate::call::server::{Peer, Serving};
use crate::connection::{CallSpec, Config, Fault};
use crate::error::{ErrorKind, Result, RpcError};
use crate::time::Time;

/// Schedules that `make test` runs; `DELTALITE_SCHEDULES` for more.
const SCHEDULES: u64 = 2_500;
/// Simulated time in which everything has to have ended.
const END: Time = Time::from_micros(600_000_000);

/// What a call was to do, for the record of a failure.
#[derive(Debug, Clone, Copy)]
struct Plan {
    method: u16,
    order: Order,
    window: u64,
    timeout: Option<Duration>,
    give_up_after: Option<u32>,
    reader_pause: u64,
}

/// Ends of calls, by how they ended.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Outcome {
    pub right: u32,
    pub failed: u32,
    pub cancelled: u32,
    pub bytes: u64,
}

struct Book {
    plans: RefCell<Vec<String>>,
    open: Cell<usize>,
    /// Calls under way.
    calls: RefCell<BTreeMap<usize, Plan>>,
    outcome: Cell<Outcome>,
}

/// Runs the schedule of a seed.
///
/// # Errors
/// With what did not hold.
pub(crate) fn run(seed: u64, fault: Option<Fault>) -> Result<Outcome, String> {
    let world = World::new(seed);
    let book = Rc::new(Book {
        plans: RefCell::default(),
        open: Cell::new(0),
        calls: RefCell::default(),
        outcome: Cell::default(),
    });
    let live = Rc::new(Cell::new(0));
    let sleep: Sleep = {
        let world = world.clone();
        Rc::new(move |duration| {
            let world = world.clone();
            Box::pin(async move { world.sleep(duration).await })
        })
    };
    let mut channels = Vec::new();
    let mut calm = true;
    let leaping = world.once_in(20);
    for _ in 0..=world.below(3) {
        let weather = weather(&world);
        let quiet =
            weather.reset_after.is_none() && weather.half_open_from.is_none() && weather.partition.is_none();
        calm &= quiet;
        // A byte at a time takes a simulated machine long.
        let narrow = weather.room.min(weather.bite) < 50;
        book.plans.borrow_mut().push(format!("{weather:?}"));
        let (near, far) = wire::connect(&world, weather);
        let service = TestService { sleep: Rc::clone(&sleep), live: Rc::clone(&live), token: None };
        let peer = Peer::default();
        let serving = Serving::new(far, world.timer(), world.clock(), config(&world, fault), service, peer);
        let ender = world.clone();
        world.spawn(async move {
            let end = serving.await;
            check_end(&ender, "server", end.as_ref());
        });
        let (channel, driver) =
            Channel::over(near, world.timer(), world.clock(), config(&world, fault), None);
        world.spawn(driver);
        let watched = channel.clone();
        let ender = world.clone();
        world.spawn(async move {
            // Not to be kept by its own watcher.
            let end = watched.closed().await;
            check_end(&ender, "client", end.as_ref());
        });
        for _ in 0..=world.below(6) {
            let plan = plan(&world, narrow);
            book.plans.borrow_mut().push(format!("{plan:?}"));
            book.open.set(book.open.get() + 1);
            let (world, channel, book) = (world.clone(), channel.clone(), Rc::clone(&book));
            world.clone().spawn(async move {
                world.sleep(Duration::from_micros(world.below(200_000))).await;
                let id = book.calls.borrow().last_key_value().map_or(0, |(id, _)| id + 1);
                book.calls.borrow_mut().insert(id, plan);
                let ended = call(&world, &channel, plan, &book).await;
                book.calls.borrow_mut().remove(&id);
                let mut outcome = book.outcome.get();
                match ended {
                    Ok(true) => outcome.right += 1,
                    Ok(false) => outcome.cancelled += 1,
                    Err(error) => {
                        outcome.failed += 1;
                        check_error(&world, &plan, quiet && !leaping, &error);
                    }
                }
                book.outcome.set(outcome);
                book.open.set(book.open.get() - 1);
            });
        }
        channels.push(channel);
    }
    if leaping {
        let leaper = world.clone();
        world.spawn(async move {
            leaper.sleep(Duration::from_micros(leaper.below(300_000))).await;
            leaper.leap(Duration::from_secs(leaper.below(15)));
        });
    }

    let ended = world.run(END, || book.open.get() == 0);
    let context = || format!("seed {seed} ({}): ", book.plans.borrow().join("; "));
    let fail = |what: String| Err(context() + &what);
    if let Some(what) = world.violations().first() {
        return fail(what.clone());
    }
    if !ended {
        return fail(format!("{} calls hang: {:?}", book.open.get(), book.calls.borrow()));
    }
    // What was given up here must be given up there, without the connection's end.
    let soon = world.now().after(Duration::from_secs(if calm { 5 } else { 60 }));
    if !world.run(soon, || live.get() == 0) && world.violations().is_empty() {
        return fail(format!("{} answers go on that nobody waits for", live.get()));
    }
    world.run(world.now().after(Duration::from_secs(1)), || false);
    if let Some(lost) = channels.iter().map(Channel::waiting_bytes).find(|&bytes| bytes > 0) {
        return fail(format!("{lost} bytes of credit were not given back, though nothing waits"));
    }
    channels.iter().for_each(Channel::close);
    world.run(world.now().after(Duration::from_secs(30)), || false);
    if let Some(what) = world.violations().first() {
        return fail(what.clone());
    }
    world.end();
    Ok(book.outcome.get())
}

fn weather(world: &World) -> Weather {
    let mut weather = Weather {
        delay: Duration::from_micros([0, 20, 1_000, 40_000][world.below(4) as usize]),
        jitter: Duration::from_micros([0, 0, 500, 20_000][world.below(4) as usize]),
        room: [1, 100, 5_000, 200_000, 4 << 20][world.below(5) as usize],
        bite: [1, 70, 3_000, 100_000, 4 << 20][world.below(5) as usize],
        ..Weather::default()
    };
    // A network so slow that handshakes take seconds says nothing about them.
    weather.room = weather.room.max((weather.delay + weather.jitter).as_micros() as usize / 10);
    match world.below(8) {
        0 => weather.reset_after = Some(world.below(200_000)),
        1 => weather.reset_after = Some(world.below(2_000)),
        2 => {
            let begin = Time::from_micros(world.below(400_000));
            weather.partition = Some((begin, begin.after(Duration::from_micros(world.below(9_000_000)))));
        }
        3 => weather.half_open_from = Some(Time::from_micros(world.below(400_000))),
        _ => {}
    }
    weather
}

fn config(world: &World, fault: Option<Fault>) -> Config {
    Config {
        frame_bytes_max: [16 << 10, 20_000, 64 << 10][world.below(3) as usize],
        connection_window: [70_000, 200_000, 32 << 20][world.below(3) as usize],
        stream_window: [16 << 10, 40_000, 1 << 20][world.below(3) as usize],
        streams_max: [2, 16, 1024][world.below(3) as usize],
        safe_way: world.once_in(2),
        fault,
        ..Config::default()
    }
}

fn plan(world: &World, narrow: bool) -> Plan {
    let order = Order {
        messages: world.below(12) as u32,
        bytes: [0, 1, 300, 15_000, 60_000][world.below(if narrow { 3 } else { 5 }) as usize],
        pause_us: [0, 0, 100, 20_000][world.below(4) as usize],
        fail_after: if world.once_in(6) { 1 + world.below(5) as u32 } else { 0 },
    };
    Plan {
        method: [ECHO, COUNT, COUNT, SUM, MIRROR, HANG, 99][world.below(7) as usize],
        order,
        window: [16 << 10, 50_000, 1 << 20][world.below(3) as usize],
        timeout: world.once_in(4).then(|| Duration::from_micros(1 + world.below(2_000_000))),
        give_up_after: world.once_in(4).then(|| world.below(4) as u32),
        reader_pause: [0, 0, 0, 5_000, 50_000][world.below(5) as usize],
    }
}

/// Makes a call: true where all came as ordered, false where it was given up.
async fn call(world: &World, channel: &Channel, plan: Plan, book: &Book) -> Result<bool> {
    let spec = CallSpec {
        // A call that never ends by itself has to be given a time.
        timeout: plan.timeout.or((plan.method == HANG).then_some(Duration::from_secs(2))),
        window: plan.window,
        streaming: matches!(plan.method, SUM | MIRROR),
        ..CallSpec::default()
    };
    let mut call = channel.call(plan.method, plan.order.encode(), Vec::new(), &spec)?;
    let Order { messages, bytes, fail_after, .. } = plan.order;
    let expected = match plan.method {
        ECHO | SUM => 1,
        COUNT => messages,
        _ => 0,
    };
    if spec.streaming {
        for n in 0..messages {
            if plan.give_up_after == Some(n) {
                return Ok(false);
            }
            call.send(n.to_le_bytes().to_vec(), payload(n, bytes)).await?;
            if plan.method == MIRROR {
                check_message(world, call.receive_whole().await?, n, bytes);
            }
        }
        call.end();
    }
    let mut received = 0;
    while plan.give_up_after != Some(received) {
        let Some(whole) = call.receive_whole().await? else {
            let failing = plan.method == COUNT && fail_after != 0 && fail_after < messages;
            if received != expected || failing {
                world
                    .violated(format!("a call ended well after {received} of {expected} messages: {plan:?}"));
            }
            return Ok(true);
        };
        // Sums over the wire, before and after.
        let mut outcome = book.outcome.get();
        outcome.bytes += whole.payload.as_ref().map_or(0, |p| p.len() as u64);
        book.outcome.set(outcome);
        match plan.method {
            COUNT => check_message(world, Some(whole), received, bytes),
            SUM => {
                let sum = Order::decode(&whole.meta);
                if (sum.messages, sum.bytes) != (messages, messages * bytes) {
                    world.violated(format!("{sum:?} arrived of {:?}", plan.order));
                }
            }
            ECHO => {
                if whole.meta != plan.order.encode() {
                    world.violated("an echo came back changed".to_owned());
                }
            }
            _ => world.violated("a message that nobody sent".to_owned()),
        }
        received += 1;
        if channel.waiting_bytes() > 32 << 20 {
            world.violated(format!("{} bytes wait, more than any window", channel.waiting_bytes()));
        }
        if plan.reader_pause > 0 {
            world.sleep(Duration::from_micros(plan.reader_pause)).await;
        }
    }
    Ok(false)
}

fn check_message(world: &World, whole: Option<crate::call::Whole>, n: u32, bytes: u32) {
    let Some(whole) = whole else {
        world.violated(format!("the stream ended before message {n}"));
        return;
    };
    if whole.meta != n.to_le_bytes() {
        world.violated(format!("message {:?} where {n} was next", whole.meta));
    }
    let expected: Vec<u8> = payload(n, bytes).concat();
    if whole.payload.as_deref().unwrap_or_default() != expected {
        world.violated(format!("message {n} came changed"));
    }
}

/// Whether a connection may have ended so.
fn check_end(world: &World, side: &str, end: Option<&RpcError>) {
    if let Some(error) = end
        && error.kind() != ErrorKind::Unavailable
    {
        world.violated(format!("the {side}'s connection ended with {:?}: {error}", error.kind()));
    }
}

/// Whether a call may have failed so.
fn check_error(world: &World, plan: &Plan, quiet: bool, error: &RpcError) {
    let fine = match error.kind() {
        ErrorKind::DeadlineExceeded => plan.timeout.is_some() || plan.method == HANG,
        ErrorKind::Unavailable => !quiet,
        ErrorKind::DataLoss => {
            plan.method == COUNT && plan.order.fail_after != 0 && error.code() == "DL-0202"
        }
        ErrorKind::Unimplemented => plan.method == 99,
        ErrorKind::Overloaded => true,
        _ => false,
    };
    if !fine {
        world.violated(format!("a call failed with {:?}: {error}; {plan:?}", error.kind()));
    }
}

#[test]
fn thousands_of_schedules_hold() {
    let schedules =
        std::env::var("DELTALITE_SCHEDULES").ok().and_then(|n| n.parse().ok()).unwrap_or(SCHEDULES);
    let first = std::env::var("DELTALITE_SEED").ok().and_then(|n| n.parse().ok()).unwrap_or(0);
    let mut total = Outcome::default();
    for seed in first..first + schedules {
        let outcome = run(seed, None).unwrap_or_else(|what| {
            panic!("{what}\nreplay: DELTALITE_SEED={seed} DELTALITE_SCHEDULES=1 cargo test -p deltalite-net schedules")
        });
        total.right += outcome.right;
        total.failed += outcome.failed;
        total.cancelled += outcome.cancelled;
        total.bytes += outcome.bytes;
    }
    eprintln!("{schedules} schedules: {total:?}");
    // A simulation in which nothing happens would hold as well.
    if schedules > 100 {
        assert!(total.right > schedules as u32 && total.failed > 100 && total.cancelled > 100, "{total:?}");
    }
}

#[test]
fn planted_faults_are_found() {
    for fault in [Fault::LostCredit, Fault::DoubleGrant, Fault::ForgottenCancel, Fault::LeakedDiscard] {
        let found = (0..400).find_map(|seed| run(seed, Some(fault)).err());
        let Some(what) = found else { panic!("{fault:?} was not found in 400 schedules") };
        eprintln!("{fault:?}: {what}");
    }
}

#[test]
fn a_seed_replays() {
    let twice = [run(7, None), run(7, None)].map(|outcome| format!("{outcome:?}"));
    assert_eq!(twice[0], twice[1]);
}
