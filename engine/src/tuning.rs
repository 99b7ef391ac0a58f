//! What was measured of this machine's disk, and the shard options that follow from it.

use std::path::PathBuf;

use deltalite_shard::executor::ShardOptions;
use serde::{Deserialize, Serialize};

use crate::error::{EngineError, Result};

/// What `deltalite iotune` stores.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DiskProfile {
    /// Folder that was measured.
    pub measured_in: String,
    /// Best sequential rate found, in bytes per second.
    pub sequential_bytes_per_second: f64,
    /// Bytes of the reads that reached it.
    pub sequential_read_bytes: u32,
    /// Depth at which it was reached.
    pub sequential_depth: u32,
    /// Random 4 KiB reads per second.
    pub random_reads_per_second: f64,
    /// Depth at which they were reached.
    pub random_depth: u32,
}

/// Where the profile lies: `$XDG_CONFIG_HOME/deltalite/iotune.json` (or `~/.config/…`).
pub fn profile_path() -> Option<PathBuf> {
    let base = std::env::var_os("XDG_CONFIG_HOME")
        .filter(|v| !v.is_empty())
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|h| PathBuf::from(h).join(".config")))?;
    Some(base.join("deltalite").join("iotune.json"))
}

/// The stored profile, if there is one.
///
/// # Errors
/// When the file is there but can't be read.
pub fn load() -> Result<Option<DiskProfile>> {
    let Some(path) = profile_path() else { return Ok(None) };
    match std::fs::read(&path) {
        Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|e| EngineError::Foreign {
            path: path.display().to_string(),
            detail: format!("{e}; run `deltalite iotune` again"),
        }),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(EngineError::io(path)(e)),
    }
}

/// Stores a profile, and says where.
///
/// # Errors
/// When there is no home folder or it can't be written to.
pub fn store(profile: &DiskProfile) -> Result<PathBuf> {
    let path = profile_path()
        .ok_or_else(|| EngineError::usage("iotune", "neither XDG_CONFIG_HOME nor HOME is set"))?;
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(EngineError::io(folder))?;
    }
    let text = serde_json::to_vec_pretty(profile)
        .map_err(|e| EngineError::foreign(&path.display().to_string())(e.to_string()))?;
    std::fs::write(&path, text).map_err(EngineError::io(&path))?;
    Ok(path)
}

/// How memory that a process may use is shared out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shares {
    /// Bytes of each shard's buffers.
    pub arena: usize,
    /// Bytes that operators of queries may hold.
    pub operators: u64,
}

/// The process itself: code, stacks, metadata, what is on its way between operators.
const PROCESS_BYTES: u64 = 96 << 20;
/// Bytes of a shard's buffers: at least, and as without a limit.
const ARENA_MIN: u64 = 16 << 20;
const ARENA_MAX: u64 = 256 << 20;

/// Shares out `bytes` for a process with `shards` shards: an eighth for buffers, three quarters of most of the rest for operators. The last quarter is
/// for what operators have and do not account for, such as batches that are being merged: measured with TPC-H at scale factor 10 in 1 GiB.
///
/// ```
/// let shares = deltalite::tuning::share(1 << 30, 2);
/// assert_eq!(shares.arena, 64 << 20);
/// assert_eq!(shares.operators, ((1 << 30) - (128 << 20) - (96 << 20)) / 4 * 3);
/// ```
pub fn share(bytes: u64, shards: usize) -> Shares {
    let shards = shards.max(1) as u64;
    let arena = (bytes / 8 / shards).clamp(ARENA_MIN, ARENA_MAX);
    let rest = bytes.saturating_sub(arena * shards);
    Shares { arena: arena as usize, operators: rest.saturating_sub(PROCESS_BYTES).max(rest / 2) / 4 * 3 }
}

/// Options for `count` shards (0: one per core), with the measured depth where there is a profile.
///
/// # Errors
/// When there is no core to run on, or the profile can't be read.
pub fn shard_options(count: u32) -> Result<ShardOptions> {
    let mut options = if count == 0 { ShardOptions::per_core()? } else { ShardOptions::with_shards(count)? };
    if let Some(profile) = load()? {
        let depth = profile.sequential_depth.max(profile.random_depth).clamp(8, 1024);
        options.queue_depth = depth;
        options.tokens.ops = u64::from(depth);
        options.tokens.bytes =
            (u64::from(profile.sequential_read_bytes) * u64::from(profile.sequential_depth)).max(8 << 20);
    }
    Ok(options)
}
