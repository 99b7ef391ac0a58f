//! Drivers: a connection's bytes to and from a socket.
//!
//! | module | job |
//! |---|---|
//! | here | [`Driver`], the same for every runtime; [`Socket`] and [`Timer`], what a runtime has to offer |
//! | [`tokio`](mod@tokio), [`glommio`](mod@glommio) | sockets and timers of these runtimes |
//! | [`tls`] | a socket within another's encryption |

pub mod glommio;
pub mod tls;
pub mod tokio;

use std::cell::RefCell;
use std::future::Future;
use std::io::{self, IoSlice, IoSliceMut};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use crate::call::Shared;
use crate::connection::{Receiver, SendQueue};
use crate::error::{ErrorKind, RpcError};
use crate::time::Time;

/// A stream of bytes both ways, without waiting.
pub trait Socket: Unpin {
    /// Receives into the buffers in turn; 0 bytes mean that the peer has closed.
    ///
    /// # Errors
    /// The operating system's.
    fn poll_read(&mut self, cx: &mut Context<'_>, into: &mut [IoSliceMut<'_>]) -> Poll<io::Result<usize>>;

    /// Sends from the buffers in turn, as much as is taken.
    ///
    /// # Errors
    /// The operating system's.
    fn poll_write(&mut self, cx: &mut Context<'_>, from: &[IoSlice<'_>]) -> Poll<io::Result<usize>>;

    /// Sends what lower layers hold back.
    ///
    /// # Errors
    /// The operating system's.
    fn poll_flush(&mut self, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    /// Tells the peer that nothing more is sent.
    fn close(&mut self);

    /// Told before it waits: so many bytes are on their way for sure, and waking up for fewer is not worth it.
    fn expect(&mut self, _bytes: usize) {}

    /// Whether bytes can't change unseen between both ends: within TLS, or within one machine.
    fn keeps_bytes(&self) -> bool {
        false
    }

    /// The certificate that the peer proved to own, in DER.
    fn certificate(&self) -> Option<Vec<u8>> {
        None
    }
}

/// Wakes a task at a time of the connection's clock.
pub trait Timer: Unpin {
    /// Ready from `at` on; before that the task is woken then, or earlier.
    fn poll_until(&mut self, cx: &mut Context<'_>, now: Time, at: Time) -> Poll<()>;
}

/// Buffers given to the kernel at once.
const SLICES_MAX: usize = 64;
/// Bytes received at once beyond what lands where it stays. One buffer a thread: idle connections have none.
const SCRATCH_BYTES: usize = 64 << 10;
/// Reads and writes before other tasks have a turn.
const TURNS_MAX: usize = 16;
/// How long a connection that is over tries to tell the peer why.
const LINGER: Duration = Duration::from_secs(1);
/// Bytes from the peer that are thrown away meanwhile.
const LINGER_BYTES_MAX: usize = 64 << 20;

thread_local! {
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Moves a connection's bytes, and ends with it.
pub struct Driver<S, T> {
    shared: Arc<Shared>,
    socket: S,
    timer: T,
    queue: SendQueue,
    receiver: Receiver,
    blocked: bool,
    /// Since when it is over, and how much was thrown away.
    over: Option<(Time, usize)>,
    said_bye: bool,
}

impl<S: Socket, T: Timer> Driver<S, T> {
    pub(crate) fn new(shared: Arc<Shared>, socket: S, timer: T) -> Self {
        Self {
            shared,
            socket,
            timer,
            queue: SendQueue::default(),
            receiver: Receiver::default(),
            blocked: false,
            over: None,
            said_bye: false,
        }
    }

    pub(crate) fn socket(&self) -> &S {
        &self.socket
    }

    /// Whether there is something to send that the socket might take.
    pub(crate) fn has_output(&self) -> bool {
        !self.blocked
            && (!self.queue.is_empty() || self.shared.drive(|connection, _| connection.has_output()))
    }

    /// Sends once; true where something moved.
    fn write(&mut self, cx: &mut Context<'_>) -> io::Result<bool> {
        self.shared.drive(|connection, now| connection.encode(&mut self.queue, now));
        self.blocked = false;
        if self.queue.is_empty() {
            self.blocked = self.socket.poll_flush(cx)?.is_pending();
            return Ok(false);
        }
        let mut slices: [IoSlice<'_>; SLICES_MAX] = std::array::from_fn(|_| IoSlice::new(&[]));
        let mut n = 0;
        for (slice, chunk) in slices.iter_mut().zip(self.queue.chunks()) {
            *slice = IoSlice::new(chunk);
            n += 1;
        }
        match self.socket.poll_write(cx, &slices[..n]) {
            Poll::Pending => {
                self.blocked = true;
                Ok(false)
            }
            Poll::Ready(Ok(0)) => Err(io::ErrorKind::WriteZero.into()),
            Poll::Ready(Ok(n)) => {
                self.queue.sent(n);
                Ok(true)
            }
            Poll::Ready(Err(error)) => Err(error),
        }
    }

    /// Receives once; true where something moved.
    fn read(&mut self, cx: &mut Context<'_>) -> io::Result<bool> {
        SCRATCH.with_borrow_mut(|scratch| {
            if scratch.is_empty() {
                *scratch = vec![0; SCRATCH_BYTES];
            }
            let (landing, polled) = match self.receiver.landing() {
                // What follows the body comes along.
                Some(landing) => {
                    let room = landing.len();
                    let mut into = [IoSliceMut::new(landing), IoSliceMut::new(scratch)];
                    (room, self.socket.poll_read(cx, &mut into))
                }
                None => (0, self.socket.poll_read(cx, &mut [IoSliceMut::new(scratch)])),
            };
            match polled {
                Poll::Pending => {
                    self.socket.expect(landing.max(1));
                    Ok(false)
                }
                Poll::Ready(Ok(0)) => Err(io::ErrorKind::UnexpectedEof.into()),
                Poll::Ready(Ok(n)) => {
                    let mut to = &*self.shared;
                    let landed = n.min(landing);
                    if landed > 0 {
                        self.receiver.landed(landed, &mut to);
                    }
                    self.receiver.receive(&scratch[..n - landed], &mut to);
                    Ok(true)
                }
                Poll::Ready(Err(error)) => Err(error),
            }
        })
    }

    /// The connection is over: sends what is left, says bye and waits for the peer's, for a while. A socket that is closed over
    /// bytes unread would take back what was sent.
    fn finish(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let now = self.shared.now();
        let (since, mut discarded) = *self.over.get_or_insert((now, 0));
        loop {
            match self.write(cx) {
                Ok(true) => {}
                Ok(false) => break,
                Err(_) => return Poll::Ready(()),
            }
        }
        if self.queue.is_empty() && !self.blocked && !self.said_bye {
            self.said_bye = true;
            self.socket.close();
            if matches!(self.socket.poll_flush(cx), Poll::Ready(Err(_))) {
                return Poll::Ready(());
            }
        }
        let done = SCRATCH.with_borrow_mut(|scratch| {
            scratch.resize(SCRATCH_BYTES, 0);
            for _ in 0..TURNS_MAX {
                match self.socket.poll_read(cx, &mut [IoSliceMut::new(scratch)]) {
                    Poll::Ready(Ok(n)) if n > 0 && discarded < LINGER_BYTES_MAX => discarded += n,
                    Poll::Ready(_) => return true,
                    Poll::Pending => return false,
                }
            }
            // A peer that sends on and on has no more than its turns.
            cx.waker().wake_by_ref();
            false
        });
        self.over = Some((since, discarded));
        let at = since.after(LINGER);
        if done || now >= at || self.timer.poll_until(cx, now, at).is_ready() {
            return Poll::Ready(());
        }
        Poll::Pending
    }
}

impl<S: Socket, T: Timer> Future for Driver<S, T> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        this.shared.driven_by(cx);
        for _ in 0..TURNS_MAX {
            if this.shared.drive(|connection, _| connection.is_closed()) {
                return this.finish(cx);
            }
            let moved = match this.write(cx).and_then(|wrote| this.read(cx).map(|read| wrote || read)) {
                Ok(moved) => moved,
                Err(error) => {
                    let error = disconnected(&error);
                    this.shared.drive(|connection, _| connection.disconnect(&error));
                    return Poll::Ready(());
                }
            };
            let wake_at = this.shared.drive(|connection, now| {
                if connection.wake_at().is_some_and(|at| at <= now) {
                    connection.tick(now);
                }
                connection.wake_at()
            });
            if moved || this.has_output() {
                continue;
            }
            match wake_at {
                Some(at) if this.timer.poll_until(cx, this.shared.now(), at).is_ready() => {}
                Some(_) => return Poll::Pending,
                // Over; the next turn says bye.
                None => {}
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl<S, T> Drop for Driver<S, T> {
    fn drop(&mut self) {
        // Whoever still waits must not do so for ever. After an end in order this does nothing.
        self.shared.drive(|connection, _| {
            connection.disconnect(&RpcError::new(ErrorKind::Unavailable, "the connection was dropped"));
        });
    }
}

fn disconnected(error: &io::Error) -> RpcError {
    let what = match error.kind() {
        io::ErrorKind::UnexpectedEof => "the peer closed the connection".to_owned(),
        io::ErrorKind::ConnectionReset => "the peer reset the connection".to_owned(),
        io::ErrorKind::InvalidData => return RpcError::new(ErrorKind::Protocol, error.to_string()),
        _ => error.to_string(),
    };
    RpcError::new(ErrorKind::Unavailable, what)
}
