//! Waiting for memory: as a future of any runtime, or on a thread.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::Instant;

use super::tree::Standing;
use super::{MemoryBudget, Reservation};
use crate::AllocError;

/// A request for memory that waits its turn; made by [`MemoryBudget::reserve`].
///
/// It joins the queue when first polled. Dropped, it leaves the queue, or gives back what it was granted in
/// the meantime.
#[derive(Debug)]
#[must_use = "a future does nothing unless it is polled"]
pub struct Reserve {
    budget: MemoryBudget,
    bytes: usize,
    state: State,
}

#[derive(Debug)]
enum State {
    New,
    Queued(u64),
    Done,
}

impl Reserve {
    pub(super) fn new(budget: MemoryBudget, bytes: usize) -> Self {
        Self { budget, bytes, state: State::New }
    }

    /// Polls on this thread until granted or until the deadline is over: then nothing.
    pub(super) fn wait(mut self, deadline: Option<Instant>) -> Option<Result<Reservation, AllocError>> {
        let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
        let mut context = Context::from_waker(&waker);
        loop {
            if let Poll::Ready(reservation) = Pin::new(&mut self).poll(&mut context) {
                return Some(reservation);
            }
            match deadline.map(|deadline| deadline.saturating_duration_since(Instant::now())) {
                None => std::thread::park(),
                Some(left) if left.is_zero() => return None,
                Some(left) => std::thread::park_timeout(left),
            }
        }
    }
}

impl Future for Reserve {
    type Output = Result<Reservation, AllocError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        // Cloned before the lock is taken: the waker is anybody's code.
        let waker = context.waker().clone();
        let this = &mut *self;
        match this.state {
            State::New => {
                let (requested, reclaims) = {
                    let mut tree = this.budget.tree();
                    let requested = tree.reserve_or_wait(this.budget.slot(), this.bytes, waker);
                    (requested, tree.take_newly_blocked())
                };
                match requested {
                    Ok(Some(ticket)) => {
                        this.state = State::Queued(ticket);
                        // What comes back may be granted at once: the waker is called then.
                        if reclaims {
                            this.budget.reclaim_for_waiters();
                        }
                        return Poll::Pending;
                    }
                    Ok(None) => this.state = State::Done,
                    Err(refusal) => {
                        this.state = State::Done;
                        return Poll::Ready(Err(this.budget.error(this.bytes, refusal)));
                    }
                }
            }
            State::Queued(ticket) => {
                let (standing, useless) = this.budget.tree().fetch(ticket, waker);
                drop(useless);
                match standing {
                    Standing::Waiting => return Poll::Pending,
                    Standing::Granted => this.state = State::Done,
                }
            }
            // Polled again after it was ready, against the contract of futures: nothing will come.
            State::Done => return Poll::Pending,
        }
        Poll::Ready(Ok(Reservation::granted(this.budget.clone(), this.bytes)))
    }
}

impl Drop for Reserve {
    fn drop(&mut self) {
        if let State::Queued(ticket) = self.state {
            self.budget.update(|tree| tree.cancel(ticket));
        }
    }
}

/// Wakes a thread that waits in `park`.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}
