//! What tables need of the process they are opened in.

use std::sync::{Arc, OnceLock};

use deltalite_shard::executor::{ShardOptions, ShardSet};

use crate::error::{Result, TableError};
use crate::log::store::{Disk, RealDisk};
use crate::schema::{Expressions, Literals};

/// What tables need of the process: shards to read with, and who understands SQL expressions.
///
/// ```
/// use std::sync::Arc;
/// use deltalite_shard::executor::{ShardOptions, ShardSet};
/// use deltalite_table::TableContext;
/// let shards = Arc::new(ShardSet::start(ShardOptions::with_shards(1)?.arena(16 << 20))?);
/// let context = TableContext::new(shards);
/// # drop(context);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone)]
pub struct TableContext {
    pub(crate) shards: Arc<ShardSet>,
    pub(crate) expressions: Arc<dyn Expressions>,
    pub(crate) disk: Arc<dyn Disk>,
    /// Whether data files may go past `disk`.
    pub(crate) direct: bool,
    /// Threads that encode columns.
    pub(crate) threads: usize,
}

impl TableContext {
    /// With shards of the caller's. Expressions are literals.
    pub fn new(shards: Arc<ShardSet>) -> Self {
        let threads = shards.len().max(1);
        Self { shards, expressions: Arc::new(Literals), disk: Arc::new(RealDisk), direct: true, threads }
    }

    /// With one shard a core, started once for the process.
    ///
    /// # Errors
    /// When shards can't be started.
    pub fn of_process() -> Result<Self> {
        static SHARDS: OnceLock<Arc<ShardSet>> = OnceLock::new();
        if let Some(shards) = SHARDS.get() {
            return Ok(Self::new(shards.clone()));
        }
        let started = Arc::new(ShardSet::start(ShardOptions::per_core()?).map_err(TableError::Data)?);
        Ok(Self::new(SHARDS.get_or_init(|| started).clone()))
    }

    /// Who understands the SQL of constraints, defaults and generated columns.
    #[must_use]
    pub fn expressions(mut self, expressions: Arc<dyn Expressions>) -> Self {
        self.expressions = expressions;
        self
    }

    /// Another file system for writing: one that records, or fails. Data files are read past it, by their path.
    #[must_use]
    pub fn disk(mut self, disk: Arc<dyn Disk>) -> Self {
        self.disk = disk;
        self.direct = false;
        self
    }

    /// The shards.
    pub fn shards(&self) -> &Arc<ShardSet> {
        &self.shards
    }
}
