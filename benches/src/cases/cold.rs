//! Scans from a cold disk. What a peer reads is pushed out of the page cache before each call.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use super::{Case, Lane, Title, Unit};
use deltalite_format::Profile;
use deltalite_shard::device::{ByteRange, raw_loop};
use deltalite_shard::scan::Verify;

use crate::caches::make_cold;
use crate::data::Table;
use crate::error::{BenchError, Result};
use crate::formats::deltalite::DeltaLite;
use crate::formats::{Format, Request, Residence, WriteOptions};
use crate::measure::{Contestant, Residue};

/// Bytes of a read of the raw loop: what a segment of a scan has at most.
const RAW_READ_BYTES: u32 = 1 << 20;
/// Reads the raw loop keeps in flight.
const RAW_DEPTH: u32 = 16;

/// Runs the cold cases wanted on one table.
pub fn run(lane: &mut Lane<'_>, table: &Table, cases: &[Case]) -> Result<()> {
    if cases.contains(&Case::ColdScan) { with_peers(lane, table) } else { Ok(()) }
}

/// The subject as it is by default against all peers, and against a bare loop over its file.
fn with_peers(lane: &mut Lane<'_>, table: &Table) -> Result<()> {
    let title = Title::new(Case::ColdScan, &table.name);
    let mut contestants = Vec::new();
    for format in lane.formats() {
        lane.progress.step(&format!("{} as {}", table.name, format.name()));
        match lane.files.written(table, format, WriteOptions::default()) {
            Ok(path) => contestants.push(contestant(format, path, table.rows)),
            Err(error) => lane.left_out(&title, format.name(), &error),
        }
    }
    contestants.push(raw_ring(&lane.files.written(table, lane.subject, WriteOptions::default())?)?);
    lane.compare(&[(title, Unit::Milliseconds)], &mut contestants)
}

/// Plain values against a bare loop: nothing to decode, so what is left is the price of the engine. Elapsed time with
/// checksums on, processor time without.
pub fn plain(lane: &mut Lane<'_>, table: &Table, cases: &[Case]) -> Result<()> {
    if !cases.iter().any(|case| matches!(case, Case::ColdScan | Case::ColdCpu)) {
        return Ok(());
    }
    let data = format!("{} plain", table.name);
    let checked = DeltaLite::new(Profile::Plain, lane.engine);
    let unchecked = DeltaLite::new(Profile::Plain, lane.engine).verifying(Verify::Off);
    lane.progress.step(&format!("{data} as {}", checked.name()));
    let path = lane.files.written(table, &checked, WriteOptions::default())?;
    let bytes = std::fs::metadata(&path).map_err(BenchError::io("reading the size of", &path))?.len();
    if cases.contains(&Case::ColdScan) {
        let mut contestants = [contestant(&checked, path.clone(), table.rows), raw_ring(&path)?];
        lane.compare(&[(Title::new(Case::ColdScan, &data), Unit::Milliseconds)], &mut contestants)?;
    }
    if cases.contains(&Case::ColdCpu) {
        let mut contestants = [contestant(&unchecked, path.clone(), table.rows), raw_ring(&path)?];
        let unit = Unit::CpuMillisecondsPerMebibyte { bytes };
        lane.compare(&[(Title::new(Case::ColdCpu, &data), unit)], &mut contestants)?;
    }
    Ok(())
}

/// Opens and scans the file of a format, pushed out of all caches before.
fn contestant(format: &dyn Format, path: PathBuf, rows: u64) -> Contestant<'_> {
    let cold = path.clone();
    let contestant = Contestant::new(format.name(), move || {
        let seen = AtomicU64::new(0);
        format.open(&path, Residence::Disk)?.scan(&Request::everything(), &|batch| {
            seen.fetch_add(batch.num_rows() as u64, Ordering::Relaxed);
            Ok(())
        })?;
        match seen.into_inner() {
            all if all == rows => Ok(Residue::Nothing),
            some => Err(BenchError::Format {
                format: format.name().into(),
                doing: "scanning cold".into(),
                message: format!("{some} rows instead of {rows}"),
            }),
        }
    });
    contestant.prepared(move || {
        format.drop_caches()?;
        make_cold(&cold).map(drop)
    })
}

/// A bare `io_uring` loop over a file: what the disk gives when nothing is done with the bytes.
fn raw_ring(path: &Path) -> Result<Contestant<'static>> {
    let (path, cold) = (path.to_path_buf(), path.to_path_buf());
    let bytes = std::fs::metadata(&path).map_err(BenchError::io("reading the size of", &path))?.len();
    let contestant = Contestant::new("raw_ring", move || {
        let whole = [ByteRange { offset: 0, len: bytes }];
        let report = raw_loop(&path, RAW_READ_BYTES, RAW_DEPTH, true, &whole)
            .map_err(BenchError::format("raw_ring", format!("reading {}", path.display())))?;
        // Its own clock starts when memory is touched and the ring is made, as a shard's are when a scan begins.
        Ok(Residue::Timed { seconds: report.seconds, cpu_seconds: report.cpu_seconds })
    });
    Ok(contestant.prepared(move || make_cold(&cold).map(drop)))
}
