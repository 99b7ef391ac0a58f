//! Tasks as they travel to a shard, and the handles that stay behind.

use std::any::Any;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;

use futures::FutureExt;
use futures::channel::oneshot;
use futures::future::{AbortHandle, AbortRegistration, Abortable, LocalBoxFuture};

use super::shard::Shard;
use crate::device::IoClass;
use crate::error::ShardError;

type Begin = Box<dyn FnOnce(Rc<Shard>) -> LocalBoxFuture<'static, ()> + Send>;

/// What a shard finds in its mailbox.
pub(super) enum Job {
    /// A task to begin.
    Run { class: IoClass, abort: AbortHandle, begin: Begin },
    /// Let tasks finish, then end.
    Finish,
    /// Cancel tasks, then end.
    Cancel,
}

/// Makes a job of `make` and the handle to its result.
pub(super) fn job<T, F, Fut>(shard: u32, class: IoClass, make: F) -> (Job, TaskHandle<T>)
where
    T: Send + 'static,
    F: FnOnce(Rc<Shard>) -> Fut + Send + 'static,
    Fut: Future<Output = T> + 'static,
{
    let (abort, registration) = AbortHandle::new_pair();
    let (sender, result) = oneshot::channel();
    let begin = move |on: Rc<Shard>| guarded(shard, async move { make(on).await }, registration, sender);
    let handle = TaskHandle { result, abort: Some(abort.clone()) };
    (Job::Run { class, abort, begin: Box::new(begin) }, handle)
}

/// Makes a task of a future that is on its shard already.
pub(super) fn local<T: 'static>(
    shard: u32,
    future: impl Future<Output = T> + 'static,
) -> (AbortHandle, TaskHandle<T>, LocalBoxFuture<'static, ()>) {
    let (abort, registration) = AbortHandle::new_pair();
    let (sender, result) = oneshot::channel();
    let handle = TaskHandle { result, abort: Some(abort.clone()) };
    (abort, handle, guarded(shard, future, registration, sender))
}

/// An executor aborts the process when a task panics, so nothing may escape from here.
fn guarded<T: 'static>(
    shard: u32,
    future: impl Future<Output = T> + 'static,
    registration: AbortRegistration,
    sender: oneshot::Sender<Result<T, ShardError>>,
) -> LocalBoxFuture<'static, ()> {
    let task = Abortable::new(AssertUnwindSafe(future).catch_unwind(), registration);
    Box::pin(async move {
        let outcome = match task.await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(panic)) => Err(ShardError::TaskPanicked { shard, message: message_of(&*panic) }),
            Err(_) => Err(ShardError::TaskCancelled),
        };
        // A handle that is gone wants no result.
        let _ = sender.send(outcome);
    })
}

fn message_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|s| (*s).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "(no message)".to_owned())
}

/// The result of a task on a shard, to be awaited on any executor or joined by a plain thread.
///
/// Dropping it cancels the task at its next suspension point; [`detach`](Self::detach) lets it go on alone.
#[must_use = "dropping the handle cancels the task"]
pub struct TaskHandle<T> {
    result: oneshot::Receiver<Result<T, ShardError>>,
    abort: Option<AbortHandle>,
}

impl<T> TaskHandle<T> {
    /// Blocks this thread until the task is done. Not to be called on a shard.
    pub fn join(self) -> Result<T, ShardError> {
        block_on(self)
    }

    /// Lets the task run on without anybody waiting for it.
    pub fn detach(mut self) {
        self.abort = None;
    }

    /// Asks the task to end at its next suspension point; its result will be [`ShardError::TaskCancelled`].
    pub fn cancel(&self) {
        if let Some(abort) = &self.abort {
            abort.abort();
        }
    }
}

impl<T> Future for TaskHandle<T> {
    type Output = Result<T, ShardError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        // A task dropped without a result fell with its shard.
        self.result.poll_unpin(cx).map(|answer| answer.unwrap_or(Err(ShardError::TaskCancelled)))
    }
}

impl<T> Drop for TaskHandle<T> {
    fn drop(&mut self) {
        self.cancel();
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Blocks this thread until `future` is done.
pub(crate) fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = std::pin::pin!(future);
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut cx = Context::from_waker(&waker);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut cx) {
            return output;
        }
        std::thread::park();
    }
}
