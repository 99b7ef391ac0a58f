//! Answering calls.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures::stream::{FuturesUnordered, StreamExt};

use super::{Call, Shared};
use crate::connection::{Config, Connection, Greeting, Opened};
use crate::drive::{Driver, Socket, Timer};
use crate::error::{Result, RpcError};
use crate::hello::Hello;
use crate::time::Clock;

/// Turns of driver and answers before other tasks have theirs.
const TURNS_MAX: usize = 8;

/// What answers calls.
pub trait Service {
    /// Who calls, as far as it was proven; given to each call.
    type Caller: Clone;
    /// An answer being given. Dropped when the call is cancelled or its time is over.
    type Answer: Future<Output = ()>;

    /// Whether a client may call, and as whom.
    ///
    /// # Errors
    /// Why not; the client is told.
    fn admit(&self, hello: &Hello, peer: &Peer) -> Result<(Greeting, Self::Caller)>;

    /// Answers a call.
    fn serve(&self, call: Call, opened: Opened, caller: &Self::Caller) -> Self::Answer;
}

/// What the transport knows of the other end.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Peer {
    /// Its address.
    pub address: String,
    /// The certificate it proved to own, in DER, where there is mutual TLS.
    pub certificate: Option<Vec<u8>>,
}

/// Serves one connection: a future that ends with it.
pub struct Serving<S, T, V: Service> {
    shared: Arc<Shared>,
    driver: Driver<S, T>,
    service: V,
    peer: Peer,
    caller: Option<V::Caller>,
    answers: FuturesUnordered<Answering<V::Answer>>,
}

/// An answer, for as long as its call lasts.
struct Answering<A> {
    answer: Pin<Box<A>>,
    shared: Arc<Shared>,
    stream: u32,
}

impl<A: Future<Output = ()>> Future for Answering<A> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        if Call::poll_ended(&this.shared, this.stream, cx).is_ready() {
            return Poll::Ready(());
        }
        this.answer.as_mut().poll(cx)
    }
}

impl<S: Socket, T: Timer, V: Service> Serving<S, T, V> {
    /// A connection that was accepted.
    pub fn new(socket: S, timer: T, clock: Clock, mut config: Config, service: V, peer: Peer) -> Self {
        config.safe_way |= socket.keeps_bytes();
        let shared = Shared::new(Connection::server(config, clock.now()), clock);
        Self {
            driver: Driver::new(Arc::clone(&shared), socket, timer),
            shared,
            service,
            peer,
            caller: None,
            answers: FuturesUnordered::new(),
        }
    }

    /// Tells the connection to end once its calls have.
    pub fn closer(&self) -> Closer {
        Closer(Arc::downgrade(&self.shared))
    }

    fn admit(&mut self) {
        let Some(hello) = self.shared.drive(|connection, _| connection.peer().cloned()) else { return };
        self.peer.certificate = self.driver.socket().certificate();
        match self.service.admit(&hello, &self.peer) {
            Ok((greeting, caller)) => {
                self.caller = Some(caller);
                self.shared.drive(|connection, now| connection.admit(greeting, now));
            }
            Err(error) => self.shared.drive(|connection, _| connection.refuse(&error)),
        }
    }

    fn begin_answers(&mut self) {
        while let Some(stream) = self.shared.take_opened() {
            let Some(caller) = &self.caller else { return };
            let Some(opened) = self.shared.drive(|connection, _| connection.take_opened(stream)) else {
                continue;
            };
            let call = Call::new(Arc::clone(&self.shared), stream);
            let answer = Box::pin(self.service.serve(call, opened, caller));
            self.answers.push(Answering { answer, shared: Arc::clone(&self.shared), stream });
        }
    }
}

impl<S: Socket, T: Timer, V: Service> Future for Serving<S, T, V>
where
    Self: Unpin,
{
    type Output = Option<RpcError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        for _ in 0..TURNS_MAX {
            if Pin::new(&mut this.driver).poll(cx).is_ready() {
                // Answers to nobody.
                this.answers.clear();
                return Poll::Ready(this.shared.drive(|connection, _| connection.error().cloned()));
            }
            if this.shared.take_greeted() {
                this.admit();
            }
            this.begin_answers();
            while let Poll::Ready(Some(())) = this.answers.poll_next_unpin(cx) {}
            // What was just answered should leave in this turn.
            if !this.driver.has_output() {
                return Poll::Pending;
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

/// Ends a connection that is being served, in order.
#[derive(Clone)]
pub struct Closer(std::sync::Weak<Shared>);

impl Closer {
    /// Whether the connection is still there.
    pub fn is_alive(&self) -> bool {
        self.0.strong_count() > 0
    }

    /// Whether its client has not been admitted yet.
    pub fn is_greeting(&self) -> bool {
        self.0.upgrade().is_some_and(|shared| shared.with(|connection, _| connection.is_greeting()))
    }

    /// Ends the connection at once, with an error that its client is told.
    pub fn refuse(&self, error: &RpcError) {
        if let Some(shared) = self.0.upgrade() {
            shared.with(|connection, _| connection.refuse(error));
        }
    }

    /// Takes no more calls; the connection ends when those under way have.
    pub fn close(&self) {
        if let Some(shared) = self.0.upgrade() {
            shared.with(|connection, _| connection.close());
        }
    }
}
