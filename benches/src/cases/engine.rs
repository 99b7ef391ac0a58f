//! What DeltaLite is compared with itself for: the price of checksums, copies, and foreground reads under a scan.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use deltalite_alloc::ALIGNMENT;
use deltalite_format::Profile;
use deltalite_shard::device::{ByteRange, IoClass};
use deltalite_shard::executor::ShardSet;
use deltalite_shard::scan::{DataFile, Scan, Verify};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::{Case, Lane, Title, Unit};
use crate::data::Table;
use crate::error::{BenchError, Result};
use crate::formats::deltalite::DeltaLite;
use crate::formats::{Format, OpenedFile, Request, Residence, SUBJECT, WriteOptions};
use crate::measure::{Contestant, Residue};
use crate::report::{Note, Row};

const FOREGROUND_BYTES: u64 = 64 << 10;
/// Reads in one stretch; both kinds of stretches take turns.
const FOREGROUND_READS: usize = 400;
const FOREGROUND_STRETCHES: usize = 6;

/// Runs the cases of this module that are wanted on one table, if DeltaLite is what is compared.
pub fn run(lane: &mut Lane<'_>, table: &Table, cases: &[Case]) -> Result<()> {
    if lane.subject.name() == SUBJECT && cases.contains(&Case::Checksum) {
        checksum(lane, table)?;
    }
    Ok(())
}

/// Runs the cases wanted that are about plain values.
pub fn plain(lane: &mut Lane<'_>, table: &Table, cases: &[Case]) -> Result<()> {
    if cases.contains(&Case::Copies) {
        copies(lane, table)?;
    }
    if cases.contains(&Case::ForegroundP99) {
        foreground(lane, table)?;
    }
    Ok(())
}

/// Warm scans, verified (once, when pages entered the cache) and not.
fn checksum(lane: &mut Lane<'_>, table: &Table) -> Result<()> {
    let on = DeltaLite::new(Profile::Default, lane.engine);
    let off = DeltaLite::new(Profile::Default, lane.engine).verifying(Verify::Off);
    let path = lane.files.written(table, &on, WriteOptions::default())?;
    let (on, off) = (on.open(&path, Residence::Memory)?, off.open(&path, Residence::Memory)?);
    let decode = |file: &dyn OpenedFile| {
        file.scan(&Request::everything(), &|batch| {
            std::hint::black_box(batch);
            Ok(())
        })?;
        Ok(Residue::Nothing)
    };
    let mut contestants =
        [Contestant::new("on", || decode(on.as_ref())), Contestant::new("off", || decode(off.as_ref()))];
    lane.compare(&[(Title::new(Case::Checksum, &table.name), Unit::Milliseconds)], &mut contestants)
}

fn plain_file(lane: &Lane<'_>, table: &Table) -> Result<PathBuf> {
    lane.files.written(table, &DeltaLite::new(Profile::Plain, lane.engine), WriteOptions::default())
}

fn fail<E: std::fmt::Display>(doing: &'static str) -> impl Fn(E) -> BenchError {
    move |error| BenchError::Format {
        format: SUBJECT.into(),
        doing: doing.into(),
        message: error.to_string(),
    }
}

/// Bytes of values that were decoded or copied on their way from the disk into batches, when values are stored plain.
fn copies(lane: &mut Lane<'_>, table: &Table) -> Result<()> {
    let shards = lane.engine.shards().map_err(fail("starting shards"))?.clone();
    let path = plain_file(lane, table)?;
    let file = DataFile::open(&path).map_err(fail("opening"))?;
    let mut scan = Scan::of(file).start(&shards).map_err(fail("starting a scan"))?;
    for batch in scan.by_ref() {
        batch.map_err(fail("scanning"))?;
    }
    let counts = scan.metrics().decoded;
    let title = Title::new(Case::Copies, &format!("{} plain", table.name));
    lane.outcome.notes.push(Note {
        case: title.name.clone(),
        data: title.data.clone(),
        cores: lane.cores,
        format: SUBJECT.to_owned(),
        text: format!(
            "{} bytes decoded or copied, {} bytes handed out in the buffer they were read into",
            counts.bytes_decoded, counts.bytes_in_place
        ),
        wrong_result: false,
    });
    lane.outcome.rows.push(Row {
        case: title.name,
        data: title.data,
        peer: "none".to_owned(),
        cores: lane.cores,
        ours: counts.bytes_decoded as f64,
        theirs: 0.0,
        unit: "bytes".to_owned(),
        // What share of the values was not copied.
        ratio: counts.bytes_in_place as f64 / (counts.bytes_decoded + counts.bytes_in_place).max(1) as f64,
    });
    Ok(())
}

/// Latencies of single reads, alone and while scans keep the disk busy, in turns.
fn foreground(lane: &mut Lane<'_>, table: &Table) -> Result<()> {
    lane.progress.step(&format!("foreground_p99 {}", table.name));
    let shards = lane.engine.shards().map_err(fail("starting shards"))?.clone();
    let path = plain_file(lane, table)?;
    let (mut alone, mut under) = (Vec::new(), Vec::new());
    for stretch in 0..FOREGROUND_STRETCHES as u64 {
        alone.extend(reads(&shards, &path, stretch)?);
        let stop = AtomicBool::new(false);
        let latencies = std::thread::scope(|scope| {
            let scanning = scope.spawn(|| saturate(&shards, &path, &stop));
            let latencies = reads(&shards, &path, stretch);
            stop.store(true, Ordering::Relaxed);
            match scanning.join() {
                Ok(result) => result.and(latencies),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        });
        under.extend(latencies?);
    }
    let (ours, theirs) = (percentile_99(&mut under), percentile_99(&mut alone));
    lane.outcome.rows.push(Row {
        case: Case::ForegroundP99.name().to_owned(),
        data: table.name.clone(),
        peer: "alone".to_owned(),
        cores: lane.cores,
        ours: ours * 1e3,
        theirs: theirs * 1e3,
        unit: "ms".to_owned(),
        ratio: theirs / ours,
    });
    Ok(())
}

/// Scans the file from the disk again and again until told to stop.
fn saturate(shards: &Arc<ShardSet>, path: &Path, stop: &AtomicBool) -> Result<()> {
    let file = DataFile::open(path).map_err(fail("opening"))?;
    while !stop.load(Ordering::Relaxed) {
        for shard in 0..shards.len() {
            if let Some(cache) = shards.cache_of(shard) {
                cache.clear();
            }
        }
        let scan = Scan::of(file.clone()).verify(Verify::Off).ordered(false).start(shards);
        for batch in scan.map_err(fail("starting a scan"))? {
            batch.map_err(fail("scanning"))?;
            if stop.load(Ordering::Relaxed) {
                break;
            }
        }
    }
    Ok(())
}

/// Seconds of each of a number of reads at random places, one after the other, on the first shard.
fn reads(shards: &Arc<ShardSet>, path: &Path, seed: u64) -> Result<Vec<f64>> {
    let (opened, file) = (path.to_path_buf(), path.to_path_buf());
    let bytes = std::fs::metadata(path).map_err(BenchError::io("reading the size of", path))?.len();
    let places = (bytes.saturating_sub(FOREGROUND_BYTES) / ALIGNMENT as u64).max(1);
    let task = shards.spawn_on(0, IoClass::Rpc, move |shard| async move {
        let mut random = StdRng::seed_from_u64(seed);
        let file = shard.open(&opened).map_err(|error| error.to_string())?;
        let mut seconds = Vec::with_capacity(FOREGROUND_READS);
        for _ in 0..FOREGROUND_READS {
            let range = ByteRange::new(random.random_range(0..places) * ALIGNMENT as u64, FOREGROUND_BYTES);
            let start = Instant::now();
            let read = shard.read(&file, range, IoClass::Rpc).map_err(|error| error.to_string())?;
            read.await.map_err(|error| error.to_string())?;
            seconds.push(start.elapsed().as_secs_f64());
        }
        Ok::<_, String>(seconds)
    });
    let seconds = task
        .and_then(deltalite_shard::executor::TaskHandle::join)
        .map_err(fail("reading in the foreground"))?;
    seconds.map_err(|message| BenchError::Format {
        format: SUBJECT.into(),
        doing: format!("reading {} in the foreground", file.display()),
        message,
    })
}

fn percentile_99(seconds: &mut [f64]) -> f64 {
    seconds.sort_by(f64::total_cmp);
    seconds.get(seconds.len() * 99 / 100).copied().unwrap_or(f64::NAN)
}
