//! Which versions this process reads: what vacuum, in this process or another, must leave alone.
//!
//! While a process has the table open, `<session>.pin` beside the log's temporary files holds the oldest version that it may read; `<session>.lock`
//! tells whether the process lives. A process first writes 0, then reads the log, then writes the version it got; vacuum first reads the
//! log, then the pins. So whoever vacuum does not see has read a version that vacuum has seen, or a later one.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::error::{Result, TableError};
use crate::log::store::Disk;
use crate::version::Version;

/// A pin that could be younger is written anew when it is older than this.
const STALE: Duration = Duration::from_secs(1);

#[derive(Debug)]
struct State {
    counts: BTreeMap<Version, usize>,
    /// What the file says.
    written: Option<(Version, Instant)>,
}

/// The versions that a process reads.
#[derive(Debug)]
pub(crate) struct Pins {
    disk: Arc<dyn Disk>,
    /// The file; none for a table that can only be read: vacuum elsewhere does not know of this process then.
    path: Option<PathBuf>,
    state: Mutex<State>,
}

impl Pins {
    pub(crate) fn new(disk: Arc<dyn Disk>, path: Option<PathBuf>) -> Self {
        Self { disk, path, state: Mutex::new(State { counts: BTreeMap::new(), written: None }) }
    }

    /// Keeps all versions until the first is pinned, or from one on.
    ///
    /// # Errors
    /// When the file system fails.
    pub(crate) fn announce(&self, from: Version) -> Result<()> {
        let mut state = self.state.lock();
        match state.written {
            Some((version, _)) if version <= from => Ok(()),
            _ => self.write(&mut state, from),
        }
    }

    /// Keeps a version until the result is dropped.
    ///
    /// # Errors
    /// When the file system fails.
    pub(crate) fn pin(self: &Arc<Self>, version: Version) -> Result<Pin> {
        let mut state = self.state.lock();
        *state.counts.entry(version).or_default() += 1;
        let oldest = state.counts.keys().next().copied().unwrap_or(version);
        let due = state.written.is_none_or(|(written, at)| {
            oldest < written || oldest > written && (written == Version(0) || at.elapsed() > STALE)
        });
        let pin = Pin { pins: self.clone(), version };
        if due {
            self.write(&mut state, oldest)?;
        }
        Ok(pin)
    }

    /// The oldest version that is read in this process.
    pub(crate) fn oldest(&self) -> Option<Version> {
        self.state.lock().counts.keys().next().copied()
    }

    fn write(&self, state: &mut State, version: Version) -> Result<()> {
        if let Some(path) = &self.path {
            let temp = path.with_extension("pin-new");
            let write = || {
                match self.disk.unlink(&temp) {
                    Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(e),
                    _ => {}
                }
                self.disk.create(&temp)?.append(version.0.to_string().as_bytes())?;
                self.disk.rename(&temp, path)
            };
            write().map_err(TableError::io("writing which versions are read to", path))?;
        }
        state.written = Some((version, Instant::now()));
        Ok(())
    }
}

/// Keeps a version from being vacuumed.
#[derive(Debug)]
pub(crate) struct Pin {
    pins: Arc<Pins>,
    version: Version,
}

impl Drop for Pin {
    fn drop(&mut self) {
        let mut state = self.pins.state.lock();
        if let Some(count) = state.counts.get_mut(&self.version) {
            *count -= 1;
            if *count == 0 {
                state.counts.remove(&self.version);
            }
        }
    }
}
