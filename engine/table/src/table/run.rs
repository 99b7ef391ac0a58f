//! Running what blocks without blocking the caller, and again when another transaction has won.

use std::future::Future;
use std::pin::Pin;
use std::thread;
use std::time::Duration;

use futures::channel::oneshot;
use rand::Rng;

use super::interrupt::{Interrupt, StopOnDrop};
use crate::error::{Result, TableError};
use crate::txn::conflict::Remedy;

/// How often a statement is run before it gives up.
pub(crate) const ATTEMPTS_MAX: usize = 50;
/// Longest pause before another attempt.
const PAUSE_MS_MAX: u64 = 200;

/// Runs on a thread of its own what waits for disks.
pub(crate) fn on_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Pin<Box<dyn Future<Output = Result<T>> + Send>> {
    let (sender, receiver) = oneshot::channel();
    let started = thread::Builder::new().name("deltalite-table".to_owned()).spawn(move || {
        let _ = sender.send(work());
    });
    Box::pin(async move {
        started.map_err(|e| TableError::invalid("starting a thread", e.to_string()))?;
        receiver.await.unwrap_or_else(|_| {
            Err(TableError::invalid("waiting for a statement", "its thread ended without an answer"))
        })
    })
}

/// As [`on_thread`]; the work is stopped when nobody waits for it any more.
pub(crate) fn on_thread_until<T: Send + 'static>(
    interrupt: Interrupt,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Pin<Box<dyn Future<Output = Result<T>> + Send>> {
    let waited = StopOnDrop::new(interrupt);
    let running = on_thread(work);
    Box::pin(async move {
        let result = running.await;
        waited.ended();
        result
    })
}

/// Makes a builder with `execute` one that can be awaited. With the field that interrupts it, its work stops when nobody waits for it.
macro_rules! builder_future {
    ($builder:ty => $output:ty, $run:expr) => {
        $crate::table::run::builder_future!(@ $builder, $output, this, $crate::table::run::on_thread(move || ($run)(this)));
    };
    ($builder:ty => $output:ty, $run:expr, until $interrupt:ident) => {
        $crate::table::run::builder_future!(
            @ $builder, $output, this,
            $crate::table::run::on_thread_until(this.$interrupt.clone(), move || ($run)(this))
        );
    };
    (@ $builder:ty, $output:ty, $this:ident, $started:expr) => {
        impl std::future::IntoFuture for $builder {
            type Output = $crate::error::Result<$output>;
            type IntoFuture = std::pin::Pin<Box<dyn Future<Output = Self::Output> + Send>>;

            fn into_future(self) -> Self::IntoFuture {
                let $this = self;
                $started
            }
        }
    };
}
pub(crate) use builder_future;

/// Runs a statement until it commits, or a conflict ends it that running again does not help.
///
/// # Errors
/// What the statement says; [`TableError::GaveUp`] after [`ATTEMPTS_MAX`] conflicts.
pub(crate) fn until_committed<T>(mut statement: impl FnMut() -> Result<T>) -> Result<T> {
    for attempt in 1.. {
        match statement() {
            Err(TableError::Conflict(conflict)) if conflict.remedy == Remedy::RunAgain => {
                if attempt == ATTEMPTS_MAX {
                    return Err(TableError::GaveUp { attempts: attempt, last: conflict });
                }
                tracing::debug!(%conflict, attempt, "running a statement again");
                let most = (1u64 << attempt.min(8)).min(PAUSE_MS_MAX);
                thread::sleep(Duration::from_millis(rand::rng().random_range(0..=most)));
            }
            result => return result,
        }
    }
    Err(TableError::invalid("running a statement", "it was never run"))
}
