//! Files that are gone from the table but still on disk: what vacuum chooses from.

use std::sync::Arc;

use super::removed::read_removed;
use crate::error::Result;
use crate::log::action::Remove;
use crate::log::sidecar::SidecarRef;
use crate::log::store::LogStore;
use crate::version::Version;

/// A file that is gone, and since when.
#[derive(Debug, Clone, PartialEq)]
pub struct Tombstone {
    /// The version that removed it.
    pub version: Version,
    /// How.
    pub remove: Remove,
}

/// All removals that no checkpoint has forgotten. Those of checkpoints are read when asked for.
#[derive(Debug, Clone, Default)]
pub struct Tombstones {
    /// In sidecars of checkpoints.
    pub(crate) stored: Arc<Vec<SidecarRef>>,
    /// Since the last checkpoint, by version.
    pub(crate) recent: Vec<Arc<Vec<Tombstone>>>,
}

impl Tombstones {
    pub(crate) fn push(&mut self, version: Version, removes: Vec<Remove>) {
        if !removes.is_empty() {
            let rows = removes.into_iter().map(|remove| Tombstone { version, remove }).collect();
            self.recent.push(Arc::new(rows));
        }
    }

    /// Number of removals, of files that came back too.
    pub fn len(&self) -> u64 {
        let stored: u64 = self.stored.iter().map(|s| s.rows).sum();
        stored + self.recent.iter().map(|r| r.len() as u64).sum::<u64>()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All of them, the oldest first. A file may have been added again since: ask the live files.
    ///
    /// # Errors
    /// When a checkpoint's sidecar can't be read.
    pub fn read(&self, store: &dyn LogStore) -> Result<Vec<Tombstone>> {
        let mut all = Vec::with_capacity(self.len() as usize);
        for sidecar in self.stored.iter() {
            all.extend(read_removed(&sidecar.file().to_string(), sidecar.load(store)?)?);
        }
        all.extend(self.recent.iter().flat_map(|r| r.iter().cloned()));
        Ok(all)
    }
}
