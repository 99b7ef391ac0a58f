//! Stopping long work from another thread.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::{Result, TableError};

/// Stops long work between two of its steps, before it commits. Clones stop the same work.
///
/// ```
/// use std::sync::Arc;
/// use arrow_array::{ArrayRef, Int64Array, RecordBatch};
/// use deltalite_table::{DeltaLiteTable, Interrupt, TableError};
///
/// let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(0..100));
/// let batch = RecordBatch::try_from_iter([("id", ids)])?;
/// let folder = tempfile::tempdir()?;
/// let table = DeltaLiteTable::create(folder.path().join("ids"), &batch.schema()).execute()?;
/// table.append([batch.clone()]).execute()?;
/// table.append([batch]).execute()?;
///
/// let interrupt = Interrupt::default();
/// // Elsewhere, say where Ctrl-C is handled:
/// interrupt.clone().stop();
/// assert!(matches!(table.optimize().interrupt(interrupt).execute(), Err(TableError::Interrupted { .. })));
/// assert_eq!(table.snapshot().files(None)?.len(), 2);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Asks the work to stop. It does not go on later.
    pub fn stop(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// # Errors
    /// When it is to stop.
    pub(crate) fn check(&self, what: &'static str) -> Result<()> {
        if self.0.load(Ordering::Relaxed) { Err(TableError::Interrupted { what }) } else { Ok(()) }
    }
}

/// Stops work that nobody waits for any more.
#[derive(Debug)]
pub(super) struct StopOnDrop(Option<Interrupt>);

impl StopOnDrop {
    pub(super) fn new(interrupt: Interrupt) -> Self {
        Self(Some(interrupt))
    }

    /// The work has ended.
    pub(super) fn ended(mut self) {
        self.0 = None;
    }
}

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        if let Some(interrupt) = &self.0 {
            interrupt.stop();
        }
    }
}
