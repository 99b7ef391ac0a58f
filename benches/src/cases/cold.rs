//! Scans from a cold disk. What a peer reads is pushed out of the page cache before each call.

use std::sync::atomic::{AtomicU64, Ordering};

use super::{Case, Lane, Title, Unit};
use crate::caches::make_cold;
use crate::data::Table;
use crate::error::{BenchError, Result};
use crate::formats::{Format, Request, Residence, WriteOptions};
use crate::measure::{Contestant, Residue};

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
                all if all == rows => Ok(Box::new(()) as Residue),
                some => Err(BenchError::Format {
                    format: format.name().into(),
                    doing: "scanning cold".into(),
                    message: format!("{some} rows instead of {rows}"),
                }),
            }
        });
        contestants.push(contestant.prepared(move || make_cold(&cold).map(drop)));
    }
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
