//! Scans from a cold disk. What a peer reads is pushed out of the page cache before each call.

use std::sync::atomic::{AtomicU64, Ordering};

use super::{Case, Lane, Title, Unit};
use deltalite_shard::device::{ByteRange, raw_loop};

use crate::caches::make_cold;
use crate::data::Table;
use crate::error::{BenchError, Result};
use crate::formats::{Format, Request, Residence, WriteOptions};
use crate::measure::{Contestant, Residue};

/// Bytes of a read of the raw loop: what scans coalesce to at most.
const RAW_READ_BYTES: u32 = 1 << 20;
/// Reads the raw loop keeps in flight.
const RAW_DEPTH: u32 = 16;

/// Runs the cold cases wanted on one table.
pub fn run(lane: &mut Lane<'_>, table: &Table, cases: &[Case]) -> Result<()> {
    if !cases.iter().any(|case| matches!(case, Case::ColdScan | Case::ColdCpu)) {
        return Ok(());
    }
    let scan = Title::new(Case::ColdScan, &table.name);
    let mut contestants = Vec::new();
    let formats: Vec<&dyn Format> = lane.formats();
    for format in formats {
        lane.progress.step(&format!("{} as {}", table.name, format.name()));
        let path = match lane.files.written(table, format, WriteOptions::default()) {
            Ok(path) => path,
            Err(error) => {
                lane.left_out(&scan, format.name(), &error);
                continue;
            }
        };
        let rows = table.rows;
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
        contestants.push(contestant.prepared(move || make_cold(&cold).map(drop)));
    }
    contestants.push(raw_ring(lane, table)?);
    let mut figures = Vec::new();
    if cases.contains(&Case::ColdScan) {
        figures.push((scan, Unit::Milliseconds));
    }
    if cases.contains(&Case::ColdCpu) {
        let unit = Unit::CpuMillisecondsPerMebibyte { bytes: table.arrow_bytes };
        figures.push((Title::new(Case::ColdCpu, &table.name), unit));
    }
    lane.compare(&figures, &mut contestants)
}

/// A bare `io_uring` loop over the subject's own file: what the disk gives when nothing is done with the bytes.
fn raw_ring(lane: &Lane<'_>, table: &Table) -> Result<Contestant<'static>> {
    let path = lane.files.written(table, lane.subject, WriteOptions::default())?;
    let bytes = std::fs::metadata(&path).map_err(BenchError::io("reading the size of", &path))?.len();
    let cold = path.clone();
    let contestant = Contestant::new("raw_ring", move || {
        let whole = [ByteRange { offset: 0, len: bytes }];
        let report = raw_loop(&path, RAW_READ_BYTES, RAW_DEPTH, true, &whole)
            .map_err(BenchError::format("raw_ring", format!("reading {}", path.display())))?;
        // Its own clock starts when memory is touched and the ring is made, as a shard's are when a scan begins.
        Ok(Residue::Timed { seconds: report.seconds, cpu_seconds: report.cpu_seconds })
    });
    Ok(contestant.prepared(move || make_cold(&cold).map(drop)))
}
