//! A connection that several hold: those who call, those who answer, and the driver.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use deltalite_alloc::{BufferPool, PoolBuffer};
use futures::task::AtomicWaker;
use parking_lot::Mutex;

use crate::connection::{Accept, Connection, Event};
use crate::error::{Result, RpcError};
use crate::frame::Header;
use crate::time::{Clock, Time};

/// What a caller waits for on a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Wait {
    Message,
    Room,
    Ended,
}

struct State {
    connection: Connection,
    waiting: BTreeMap<(u32, Wait), Waker>,
    /// Who waits for the handshake or the end.
    settling: Vec<Waker>,
    opened: VecDeque<u32>,
    greeted: bool,
    ready: bool,
}

impl State {
    fn wake(&mut self, stream: u32, wait: Wait, woken: &mut Vec<Waker>) {
        woken.extend(self.waiting.remove(&(stream, wait)));
    }

    /// Hands events to those who wait for them; returns who is to be woken once the lock is gone.
    fn dispatch(&mut self) -> Vec<Waker> {
        let mut woken = Vec::new();
        while let Some(event) = self.connection.poll_event() {
            match event {
                Event::Greeted => self.greeted = true,
                Event::Ready => {
                    self.ready = true;
                    woken.append(&mut self.settling);
                }
                Event::Opened(stream) => self.opened.push_back(stream),
                Event::Readable(stream) => self.wake(stream, Wait::Message, &mut woken),
                Event::Writable(stream) => self.wake(stream, Wait::Room, &mut woken),
                Event::Ended(stream) => {
                    for wait in [Wait::Message, Wait::Room, Wait::Ended] {
                        self.wake(stream, wait, &mut woken);
                    }
                }
                Event::Closed => {
                    woken.append(&mut self.settling);
                    woken.extend(std::mem::take(&mut self.waiting).into_values());
                }
            }
        }
        woken
    }
}

/// See the module.
pub(crate) struct Shared {
    state: Mutex<State>,
    driver: AtomicWaker,
    clock: Clock,
}

impl Shared {
    pub(crate) fn new(connection: Connection, clock: Clock) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(State {
                connection,
                waiting: BTreeMap::new(),
                settling: Vec::new(),
                opened: VecDeque::new(),
                greeted: false,
                ready: false,
            }),
            driver: AtomicWaker::new(),
            clock,
        })
    }

    pub(crate) fn now(&self) -> Time {
        self.clock.now()
    }

    fn run<T>(&self, by_driver: bool, act: impl FnOnce(&mut State, Time) -> T) -> T {
        let now = self.now();
        let (done, woken, output) = {
            let mut state = self.state.lock();
            let done = act(&mut state, now);
            let woken = state.dispatch();
            (done, woken, state.connection.has_output() || state.connection.is_closed())
        };
        woken.into_iter().for_each(Waker::wake);
        if output && !by_driver {
            self.driver.wake();
        }
        done
    }

    /// Does something with the connection; whoever an event concerns is woken after, the driver where there is output.
    pub(crate) fn with<T>(&self, act: impl FnOnce(&mut Connection, Time) -> T) -> T {
        self.run(false, |state, now| act(&mut state.connection, now))
    }

    /// The same for the driver, which looks for output itself.
    pub(crate) fn drive<T>(&self, act: impl FnOnce(&mut Connection, Time) -> T) -> T {
        self.run(true, |state, now| act(&mut state.connection, now))
    }

    /// Asks the connection; where it has no answer yet, the task is woken when it may have one.
    pub(crate) fn poll<T>(
        &self,
        cx: &Context<'_>,
        stream: u32,
        wait: Wait,
        ask: impl FnOnce(&mut Connection, Time) -> Poll<T>,
    ) -> Poll<T> {
        self.run(false, |state, now| {
            let polled = ask(&mut state.connection, now);
            if polled.is_pending() {
                match state.waiting.entry((stream, wait)) {
                    std::collections::btree_map::Entry::Occupied(mut entry) => {
                        entry.get_mut().clone_from(cx.waker());
                    }
                    std::collections::btree_map::Entry::Vacant(entry) => {
                        entry.insert(cx.waker().clone());
                    }
                }
            }
            polled
        })
    }

    /// A stream is done with.
    pub(crate) fn forget(&self, stream: u32) {
        self.run(false, |state, _| {
            for wait in [Wait::Message, Wait::Room, Wait::Ended] {
                state.waiting.remove(&(stream, wait));
            }
            state.connection.forget(stream);
        });
    }

    /// The driver's waker.
    pub(crate) fn driven_by(&self, cx: &Context<'_>) {
        self.driver.register(cx.waker());
    }

    /// Waits for the handshake.
    pub(crate) fn poll_ready(&self, cx: &Context<'_>) -> Poll<Result<()>> {
        self.poll_settled(cx, |state| match (state.connection.is_closed(), state.ready) {
            (true, _) => Poll::Ready(Err(end_of(&state.connection))),
            (false, true) => Poll::Ready(Ok(())),
            (false, false) => Poll::Pending,
        })
    }

    /// Waits for the end.
    pub(crate) fn poll_closed(&self, cx: &Context<'_>) -> Poll<Option<RpcError>> {
        self.poll_settled(cx, |state| {
            if state.connection.is_closed() {
                Poll::Ready(state.connection.error().cloned())
            } else {
                Poll::Pending
            }
        })
    }

    fn poll_settled<T>(&self, cx: &Context<'_>, ask: impl FnOnce(&mut State) -> Poll<T>) -> Poll<T> {
        self.run(false, |state, _| {
            let polled = ask(state);
            if polled.is_pending() && !state.settling.iter().any(|waker| waker.will_wake(cx.waker())) {
                state.settling.push(cx.waker().clone());
            }
            polled
        })
    }

    /// Of a server's driver: whether a client has said hello and waits for an answer; once.
    pub(crate) fn take_greeted(&self) -> bool {
        std::mem::take(&mut self.state.lock().greeted)
    }

    /// Of a server's driver: a stream that the client opened.
    pub(crate) fn take_opened(&self) -> Option<u32> {
        self.state.lock().opened.pop_front()
    }
}

fn end_of(connection: &Connection) -> RpcError {
    connection
        .error()
        .cloned()
        .unwrap_or_else(|| RpcError::new(crate::error::ErrorKind::Unavailable, "the connection is closed"))
}

impl Accept for &Shared {
    fn check(&mut self, header: &Header) -> Result<BufferPool> {
        self.drive(|connection, now| (connection, now).check(header))
    }

    fn accept(&mut self, header: Header, body: Option<PoolBuffer>) {
        self.drive(|connection, now| (connection, now).accept(header, body));
    }

    fn reject(&mut self, error: RpcError) {
        self.drive(|connection, now| (connection, now).reject(error));
    }

    fn is_closed(&self) -> bool {
        self.state.lock().connection.is_closed()
    }
}
