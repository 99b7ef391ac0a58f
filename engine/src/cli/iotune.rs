//! `deltalite iotune`

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Args;
use deltalite::shard::device::{ByteRange, raw_loop, ring_available};
use deltalite::tuning::{DiskProfile, store};
use deltalite::{EngineError, Result};
use serde::Serialize;

use super::report::Outcome;
use super::{args, ui};

/// A depth is enough when it reaches this share of the best rate: deeper queues only make others wait.
const ENOUGH: f64 = 0.97;
/// Read sizes of sequential reads.
const SIZES: [u32; 4] = [128 << 10, 512 << 10, 1 << 20, 4 << 20];
/// Depths of sequential reads.
const SEQUENTIAL_DEPTHS: [u32; 3] = [4, 16, 32];
/// Depths of random reads.
const RANDOM_DEPTHS: [u32; 5] = [1, 8, 32, 64, 128];
/// Bytes of a random read.
const RANDOM_BYTES: u32 = 4096;

/// Measure what a disk can do, with a bare io_uring loop, and store what shards should use.
///
/// Writes a file of --size to the folder, reads it in several sizes and depths past the page cache, and removes it.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  deltalite iotune /data
  deltalite iotune --size 4GiB /data
  deltalite iotune --file /data/lineitem.dlb --dry-run --json")]
pub(super) struct Arguments {
    /// A folder on the disk to measure.
    #[arg(default_value = ".", value_name = "FOLDER")]
    folder: PathBuf,
    /// Bytes of the file that is written for it.
    #[arg(long, value_name = "BYTES", default_value = "1GiB", value_parser = args::size)]
    size: u64,
    /// Read this file instead of writing one.
    #[arg(long, conflicts_with_all = ["folder", "size"])]
    file: Option<PathBuf>,
    /// Bytes read for each sequential measurement.
    #[arg(long, value_name = "BYTES", default_value = "256MiB", value_parser = args::size)]
    read: u64,
    /// Only measure, store nothing.
    #[arg(long)]
    dry_run: bool,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Serialize)]
struct Measured {
    pattern: &'static str,
    read_bytes: u32,
    depth: u32,
    bytes_per_second: f64,
    reads_per_second: f64,
    cpu_seconds_per_gib: f64,
}

#[derive(Debug, Serialize)]
struct Report<'a> {
    profile: &'a DiskProfile,
    stored_in: Option<&'a Path>,
    measured: &'a [Measured],
}

/// A file that is removed when it is no longer needed.
struct Scratch {
    path: PathBuf,
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What can't be removed stays behind under a name that says what it is.
        let _ = std::fs::remove_file(&self.path);
    }
}

impl Arguments {
    pub(super) fn run(self) -> Result<Outcome> {
        if self.file.is_none() && !self.folder.is_dir() {
            return Err(EngineError::usage(
                self.folder.display().to_string(),
                "it is no folder; name one on the disk to measure",
            ));
        }
        ring_available().map_err(deltalite::shard::ShardError::from)?;
        let mut progress = ui::Progress::new("iotune", self.json);
        let (path, _scratch) = match &self.file {
            Some(file) => (file.clone(), None),
            None => {
                let scratch = write_scratch(&self.folder, self.size, &mut progress)?;
                (scratch.path.clone(), Some(scratch))
            }
        };
        let len = std::fs::metadata(&path).map_err(EngineError::io(&path))?.len();
        if len < 16 << 20 {
            return Err(EngineError::usage(
                path.display().to_string(),
                "16 MiB or more are needed to measure anything",
            ));
        }
        let mut measured = Vec::new();
        let steps = (SIZES.len() * SEQUENTIAL_DEPTHS.len() + RANDOM_DEPTHS.len()) as u64;
        for read_bytes in SIZES {
            for depth in SEQUENTIAL_DEPTHS {
                let range = ByteRange::new(0, self.read.min(len));
                measured.push(measure(&path, "sequential", read_bytes, depth, &[range])?);
                progress.set(measured.len() as u64, Some(steps), "measuring");
            }
        }
        let mut random = Random(0x9e37_79b9_7f4a_7c15);
        for depth in RANDOM_DEPTHS {
            let reads = (2000 * u64::from(depth)).min(20_000);
            let pages = len / u64::from(RANDOM_BYTES);
            let ranges: Vec<ByteRange> = (0..reads)
                .map(|_| {
                    ByteRange::new(random.next() % pages * u64::from(RANDOM_BYTES), u64::from(RANDOM_BYTES))
                })
                .collect();
            measured.push(measure(&path, "random", RANDOM_BYTES, depth, &ranges)?);
            progress.set(measured.len() as u64, Some(steps), "measuring");
        }
        progress.finish();
        self.conclude(&path, &measured)
    }

    fn conclude(&self, path: &Path, measured: &[Measured]) -> Result<Outcome> {
        let (Some(sequential), Some(random)) = (enough(measured, "sequential"), enough(measured, "random"))
        else {
            return Err(EngineError::usage("iotune", "nothing was measured"));
        };
        let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let profile = DiskProfile {
            measured_in: folder.canonicalize().unwrap_or_else(|_| folder.to_owned()).display().to_string(),
            sequential_bytes_per_second: sequential.bytes_per_second,
            sequential_read_bytes: sequential.read_bytes,
            sequential_depth: sequential.depth,
            random_reads_per_second: random.reads_per_second,
            random_depth: random.depth,
        };
        let stored_in = if self.dry_run { None } else { Some(store(&profile)?) };
        if self.json {
            ui::print_json(&Report { profile: &profile, stored_in: stored_in.as_deref(), measured })?;
            return Ok(Outcome::Done);
        }
        let rows = measured.iter().map(|m| {
            vec![
                m.pattern.to_owned(),
                ui::bytes(m.read_bytes.into()),
                m.depth.to_string(),
                format!("{}/s", ui::bytes(m.bytes_per_second as u64)),
                ui::count(m.reads_per_second as u64),
                format!("{:.2} s", m.cpu_seconds_per_gib),
            ]
        });
        let heading = ["pattern", "read", "depth", "rate", "reads/s", "CPU per GiB"];
        ui::print(&ui::table(&heading, &heading[1..], rows))?;
        ui::print(&format!(
            "\nsequential: reads of {} at a depth of {} reach {}/s\nrandom: a depth of {} reaches {} reads/s\n",
            ui::bytes(profile.sequential_read_bytes.into()),
            profile.sequential_depth,
            ui::bytes(profile.sequential_bytes_per_second as u64),
            profile.random_depth,
            ui::count(profile.random_reads_per_second as u64),
        ))?;
        if let Some(stored) = stored_in {
            eprintln!("stored in {}; shards use it from now on", stored.display());
        }
        Ok(Outcome::Done)
    }
}

/// The setting with the fewest bytes in flight that reaches nearly the best rate of its pattern.
fn enough<'a>(measured: &'a [Measured], pattern: &str) -> Option<&'a Measured> {
    let of = || measured.iter().filter(|m| m.pattern == pattern);
    let best = of().map(|m| m.bytes_per_second).fold(0.0, f64::max);
    of().filter(|m| m.bytes_per_second >= ENOUGH * best)
        .min_by_key(|m| u64::from(m.read_bytes) * u64::from(m.depth))
}

fn measure(
    path: &Path,
    pattern: &'static str,
    read_bytes: u32,
    depth: u32,
    ranges: &[ByteRange],
) -> Result<Measured> {
    let report =
        raw_loop(path, read_bytes, depth, true, ranges).map_err(deltalite::shard::ShardError::from)?;
    let rate = report.bytes_per_second();
    Ok(Measured {
        pattern,
        read_bytes,
        depth,
        bytes_per_second: rate,
        reads_per_second: rate / f64::from(read_bytes),
        cpu_seconds_per_gib: report.cpu_seconds * (1_u64 << 30) as f64 / (report.bytes.max(1)) as f64,
    })
}

/// Random numbers that need no quality but differ (xorshift64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

fn write_scratch(folder: &Path, size: u64, progress: &mut ui::Progress) -> Result<Scratch> {
    const PIECE_BYTES: usize = 4 << 20;
    let path = folder.join(format!(".deltalite-iotune-{}.tmp", std::process::id()));
    let mut file = File::create_new(&path).map_err(EngineError::io(&path))?;
    let scratch = Scratch { path };
    // Not zeros: a disk or file system may store those as nothing.
    let mut random = Random(0x2545_f491_4f6c_dd1d);
    let piece: Vec<u8> = (0..PIECE_BYTES / 8).flat_map(|_| random.next().to_le_bytes()).collect();
    let mut written = 0;
    while written < size {
        let n = (size - written).min(PIECE_BYTES as u64);
        file.write_all(&piece[..n as usize]).map_err(EngineError::io(&scratch.path))?;
        written += n;
        progress.set(written, Some(size), "writing");
    }
    file.sync_all().map_err(EngineError::io(&scratch.path))?;
    Ok(scratch)
}
