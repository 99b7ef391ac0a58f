//! Ending a statement that changes tables: its thread waits for disks and commits, where dropping a future does not reach.

use deltalite_table::Interrupt;
use tokio::runtime::Handle;
use tokio::sync::watch;

use crate::error::{QueryError, Result};

/// Held by who waits for a statement. Dropping it cancels the statement.
#[derive(Debug)]
pub(crate) struct Waiting {
    _alive: watch::Sender<()>,
}

/// What the statement's thread asks.
#[derive(Debug, Clone)]
pub(crate) struct Stop(watch::Receiver<()>);

pub(crate) fn pair() -> (Waiting, Stop) {
    let (alive, stop) = watch::channel(());
    (Waiting { _alive: alive }, Stop(stop))
}

impl Stop {
    /// Stops a table's work when nobody waits any more.
    pub(crate) fn interrupt(&self, handle: &Handle) -> Interrupt {
        let (interrupt, mut stop) = (Interrupt::default(), self.clone());
        let asked = interrupt.clone();
        handle.spawn(async move {
            stop.asked().await;
            asked.stop();
        });
        interrupt
    }

    /// Ends when nobody waits any more.
    pub(crate) async fn asked(&mut self) {
        while self.0.changed().await.is_ok() {}
    }

    /// # Errors
    /// When nobody waits any more: before a commit, which is the last thing that can be left out.
    pub(crate) fn check(&self) -> Result<()> {
        if self.0.has_changed().is_err() { Err(QueryError::Cancelled) } else { Ok(()) }
    }
}
