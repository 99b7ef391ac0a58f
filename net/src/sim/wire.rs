//! Simulated sockets.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, IoSlice, IoSliceMut};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::tap::Tap;
use super::world::World;
use crate::drive::Socket;
use crate::time::Time;

/// How a network behaves.
#[derive(Debug, Clone, Default)]
pub(crate) struct Weather {
    /// Shortest time on the way.
    pub delay: Duration,
    /// What may be added to it, each time anew.
    pub jitter: Duration,
    /// Bytes on the way at most, each way.
    pub room: usize,
    /// Most bytes that one call of read or write moves.
    pub bite: usize,
    /// The connection is reset after so many bytes, counted both ways.
    pub reset_after: Option<u64>,
    /// From here to there nothing arrives; it does after.
    pub partition: Option<(Time, Time)>,
    /// From here on all is lost without a word.
    pub half_open_from: Option<Time>,
    /// The tap does not listen: one side keeps no promises.
    pub unheard: bool,
}

struct Way {
    chunks: VecDeque<(Time, Vec<u8>)>,
    bytes: usize,
    closed: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
    last: Time,
}

struct Wire {
    world: World,
    weather: Weather,
    ways: [Way; 2],
    moved: u64,
    reset: bool,
    tap: Tap,
}

impl Wire {
    fn break_off(&mut self) {
        self.reset = true;
        for way in &mut self.ways {
            way.chunks.clear();
            way.reader.take().into_iter().chain(way.writer.take()).for_each(Waker::wake);
        }
    }
}

/// One end of a simulated connection.
pub(crate) struct SimSocket {
    wire: Rc<RefCell<Wire>>,
    /// Which way it writes; it reads the other.
    side: usize,
}

/// Both ends of a connection: the client's and the server's.
pub(crate) fn connect(world: &World, weather: Weather) -> (SimSocket, SimSocket) {
    let way = || Way {
        chunks: VecDeque::new(),
        bytes: 0,
        closed: false,
        reader: None,
        writer: None,
        last: Time::default(),
    };
    let wire = Wire {
        world: world.clone(),
        weather,
        ways: [way(), way()],
        moved: 0,
        reset: false,
        tap: Tap::new(world.clone()),
    };
    let wire = Rc::new(RefCell::new(wire));
    (SimSocket { wire: Rc::clone(&wire), side: 0 }, SimSocket { wire, side: 1 })
}

impl Socket for SimSocket {
    fn poll_read(&mut self, cx: &mut Context<'_>, into: &mut [IoSliceMut<'_>]) -> Poll<io::Result<usize>> {
        let wire = &mut *self.wire.borrow_mut();
        if wire.reset {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        let now = wire.world.now();
        let way = &mut wire.ways[1 - self.side];
        let Some((at, _)) = way.chunks.front() else {
            if way.closed {
                return Poll::Ready(Ok(0));
            }
            way.reader = Some(cx.waker().clone());
            return Poll::Pending;
        };
        if *at > now {
            wire.world.wake_at(*at, cx.waker());
            way.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let mut left = 1 + wire.world.below(wire.weather.bite as u64) as usize;
        let mut read = Vec::new();
        while left > 0 {
            let Some((_, chunk)) = way.chunks.front_mut().filter(|(at, _)| *at <= now) else { break };
            let n = chunk.len().min(left);
            read.extend(chunk.drain(..n));
            left -= n;
            if chunk.is_empty() {
                way.chunks.pop_front();
            }
        }
        let room: usize = into.iter().map(|b| b.len()).sum();
        if read.len() > room {
            let rest = read.split_off(room);
            way.chunks.push_front((now, rest));
        }
        way.bytes -= read.len();
        way.writer.take().into_iter().for_each(Waker::wake);
        if !wire.weather.unheard {
            wire.tap.read(1 - self.side, &read);
        }
        let mut at = 0;
        for buffer in into {
            let n = buffer.len().min(read.len() - at);
            buffer[..n].copy_from_slice(&read[at..at + n]);
            at += n;
        }
        Poll::Ready(Ok(read.len()))
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, from: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let wire = &mut *self.wire.borrow_mut();
        if wire.reset || wire.ways[1 - self.side].closed && wire.ways[self.side].closed {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        let way = &mut wire.ways[self.side];
        if way.bytes >= wire.weather.room {
            way.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let most =
            (wire.weather.room - way.bytes).min(1 + wire.world.below(wire.weather.bite as u64) as usize);
        let mut bytes: Vec<u8> = Vec::new();
        for slice in from {
            let n = slice.len().min(most - bytes.len());
            bytes.extend_from_slice(&slice[..n]);
        }
        let n = bytes.len();
        if !wire.weather.unheard {
            wire.tap.written(self.side, &bytes);
        }
        let now = wire.world.now();
        let mut at = now.after(wire.weather.delay);
        at = at.after(Duration::from_micros(wire.world.below(wire.weather.jitter.as_micros() as u64 + 1)));
        if let Some((begin, end)) = wire.weather.partition
            && (begin..end).contains(&now)
        {
            at = end.after(wire.weather.delay);
        }
        // What was sent first arrives first.
        at = at.max(way.last);
        way.last = at;
        wire.moved += n as u64;
        way.bytes += n;
        if wire.weather.half_open_from.is_none_or(|from| now < from) {
            way.chunks.push_back((at, bytes));
            way.reader.take().into_iter().for_each(Waker::wake);
        }
        if wire.weather.reset_after.is_some_and(|after| wire.moved >= after) {
            wire.break_off();
        }
        Poll::Ready(Ok(n))
    }

    fn close(&mut self) {
        let wire = &mut *self.wire.borrow_mut();
        let way = &mut wire.ways[self.side];
        way.closed = true;
        if wire.weather.half_open_from.is_none_or(|from| wire.world.now() < from) {
            way.reader.take().into_iter().for_each(Waker::wake);
        }
    }
}

impl Drop for SimSocket {
    fn drop(&mut self) {
        self.close();
        // What arrives from now on is answered by a reset, as an operating system does.
        let wire = &mut *self.wire.borrow_mut();
        let other = &mut wire.ways[1 - self.side];
        other.closed = true;
        other.writer.take().into_iter().for_each(Waker::wake);
    }
}
