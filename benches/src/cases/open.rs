//! Opening a file of 10,000 columns, alone and with a read of three of them.

use std::sync::atomic::{AtomicU64, Ordering};

use super::{Case, Lane, Title, Unit};
use crate::data::{Table, wide};
use crate::digest::Digest;
use crate::error::{BenchError, Result};
use crate::formats::{Format, Request, Residence, WriteOptions};
use crate::measure::{Contestant, Residue};

/// Runs the open cases wanted. Files are opened by path, their bytes in the page cache.
pub fn run(lane: &mut Lane<'_>, table: &Table, cases: &[Case]) -> Result<()> {
    let wanted: Vec<Case> =
        cases.iter().copied().filter(|case| matches!(case, Case::OpenWide | Case::OpenWideProject)).collect();
    if wanted.is_empty() {
        return Ok(());
    }
    let title = Title::new(Case::OpenWide, &table.name);
    let options = WriteOptions { block_rows: Some(wide::OPEN_BLOCK_ROWS) };
    // Three columns that lie apart.
    let names = [1, wide::OPEN_COLUMNS / 2, wide::OPEN_COLUMNS - 3]
        .map(|column| table.schema.field(column).name().clone());
    let request = Request::project(&names);
    let mut files = Vec::new();
    let formats: Vec<&dyn Format> = lane.formats();
    for format in formats {
        // Ten thousand keys in each line of JSON say nothing about formats.
        if format.name() == "ndjson" {
            continue;
        }
        lane.progress.step(&format!("{} as {}", table.name, format.name()));
        let path = lane.files.written(table, format, options);
        match path.and_then(|path| check(format, &path, table, &request).map(|()| path)) {
            Ok(path) => files.push((format, path)),
            Err(error) if format.name() == lane.subject.name() => return Err(error),
            Err(error) => lane.left_out(&title, format.name(), &error),
        }
    }
    for case in wanted {
        let mut contestants: Vec<Contestant<'_>> = files
            .iter()
            .map(|(format, path)| {
                let request = &request;
                Contestant::new(format.name(), move || {
                    let file = format.open(path, Residence::Disk)?;
                    if case == Case::OpenWideProject {
                        let rows = AtomicU64::new(0);
                        file.scan(request, &|batch| {
                            rows.fetch_add(batch.num_rows() as u64, Ordering::Relaxed);
                            Ok(())
                        })?;
                    }
                    // Closing is part of it: whoever opens many files closes many.
                    drop(file);
                    Ok(Residue::Nothing)
                })
            })
            .collect();
        lane.compare(&[(Title::new(case, &table.name), Unit::Milliseconds)], &mut contestants)?;
    }
    Ok(())
}

fn check(format: &dyn Format, path: &std::path::Path, table: &Table, request: &Request) -> Result<()> {
    let file = format.open(path, Residence::Disk)?;
    let (found, expected) = (Digest::unordered(), Digest::unordered());
    file.scan(request, &|batch| found.add(&batch))?;
    for batch in &table.batches {
        let positions = request.positions(&table.schema)?;
        let batch = batch.project(&positions).map_err(BenchError::format("reference", "projecting"))?;
        expected.add(&batch)?;
    }
    if found.sum() == expected.sum() && file.schema().fields().len() == table.schema.fields().len() {
        return Ok(());
    }
    Err(BenchError::Different {
        case: Case::OpenWide.name().into(),
        data: table.name.clone(),
        format: format.name().into(),
        found: found.sum().to_string(),
        expected: expected.sum().to_string(),
    })
}
