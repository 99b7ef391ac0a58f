//! The two ends of one operation: the future that its caller awaits and the promise that the device keeps.

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use super::error::DeviceError;

enum State<T> {
    Waiting(Option<Waker>),
    Done(Result<T, DeviceError>),
    Taken,
}

/// The outcome of one device operation.
///
/// Dropping it does not stop what the kernel already has: the buffer stays with the device until the completion
/// comes and goes back to its pool then. What is still queued is dropped at once.
#[must_use = "an operation whose future is dropped while queued is never issued"]
pub struct IoFuture<T>(Rc<RefCell<State<T>>>);

/// The device's end. Kept exactly once: [`IoPromise::keep`] consumes it, and a promise dropped unkept tells its
/// caller that the device shut down.
pub(crate) struct IoPromise<T>(Option<Rc<RefCell<State<T>>>>);

pub(crate) fn promise<T>() -> (IoPromise<T>, IoFuture<T>) {
    let state = Rc::new(RefCell::new(State::Waiting(None)));
    (IoPromise(Some(Rc::clone(&state))), IoFuture(state))
}

impl<T> IoFuture<T> {
    /// A future that is complete already.
    pub(crate) fn ready(result: Result<T, DeviceError>) -> Self {
        Self(Rc::new(RefCell::new(State::Done(result))))
    }

    /// The result, if it is there; the future must not be polled after that.
    pub fn try_take(&mut self) -> Option<Result<T, DeviceError>> {
        let mut state = self.0.borrow_mut();
        if matches!(*state, State::Waiting(_)) {
            return None;
        }
        match std::mem::replace(&mut *state, State::Taken) {
            State::Done(result) => Some(result),
            State::Waiting(_) | State::Taken => None,
        }
    }
}

impl<T> Future for IoFuture<T> {
    type Output = Result<T, DeviceError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.0.borrow_mut();
        match &mut *state {
            State::Waiting(Some(waker)) if waker.will_wake(cx.waker()) => Poll::Pending,
            State::Waiting(waker) => {
                *waker = Some(cx.waker().clone());
                Poll::Pending
            }
            State::Done(_) => match std::mem::replace(&mut *state, State::Taken) {
                State::Done(result) => Poll::Ready(result),
                State::Waiting(_) | State::Taken => Poll::Pending,
            },
            // Polled after completion: like a fused future it stays silent.
            State::Taken => Poll::Pending,
        }
    }
}

impl<T> IoPromise<T> {
    /// True when nobody waits for the result any more.
    pub(crate) fn is_abandoned(&self) -> bool {
        self.0.as_ref().is_none_or(|state| Rc::strong_count(state) == 1)
    }

    /// Hands over the result; the waker returned is to be woken once the device is no longer borrowed.
    #[must_use]
    pub(crate) fn keep(mut self, result: Result<T, DeviceError>) -> Option<Waker> {
        let state = self.0.take()?;
        settle(&state, result)
    }
}

fn settle<T>(state: &RefCell<State<T>>, result: Result<T, DeviceError>) -> Option<Waker> {
    match std::mem::replace(&mut *state.borrow_mut(), State::Done(result)) {
        State::Waiting(waker) => waker,
        State::Done(_) | State::Taken => None,
    }
}

impl<T> Drop for IoPromise<T> {
    fn drop(&mut self) {
        if let Some(state) = self.0.take()
            && let Some(waker) = settle(&state, Err(DeviceError::ShutDown))
        {
            waker.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt;

    #[test]
    fn kept_promise_resolves_once() {
        let (promise, mut future) = promise::<u32>();
        assert!((&mut future).now_or_never().is_none());
        assert!(promise.keep(Ok(7)).is_some());
        assert_eq!((&mut future).now_or_never(), Some(Ok(7)));
        assert!((&mut future).now_or_never().is_none());
    }

    #[test]
    fn dropped_promise_says_shut_down() {
        let (promise, future) = promise::<u32>();
        drop(promise);
        assert_eq!(future.now_or_never(), Some(Err(DeviceError::ShutDown)));
    }

    #[test]
    fn dropped_future_is_seen() {
        let (promise, future) = promise::<u32>();
        assert!(!promise.is_abandoned());
        drop(future);
        assert!(promise.is_abandoned());
    }
}
