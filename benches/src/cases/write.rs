//! Writing a table that is in memory, and how large it becomes.

use std::collections::BTreeMap;

use super::{Case, Lane, Title, Unit};
use crate::data::Table;
use crate::error::{BenchError, Result};
use crate::formats::{Format, WriteOptions};
use crate::measure::{Contestant, Residue};
use crate::report::Row;

/// `write`: Arrow bytes per second, to a file in the page cache.
pub fn write(lane: &mut Lane<'_>, table: &Table) -> Result<()> {
    let title = Title::new(Case::Write, &table.name);
    let mut contestants = Vec::new();
    let formats: Vec<&dyn Format> = lane.formats();
    for format in formats {
        let path = lane.files.path(table, format)?;
        lane.progress.step(&format!("{} as {}", table.name, format.name()));
        // The first write decides whether the format takes part.
        match format.write(table, &path, WriteOptions::default()) {
            Ok(()) => lane.files.note_written(&path),
            Err(error) if format.name() == lane.subject.name() => return Err(error),
            Err(error) => {
                lane.left_out(&title, format.name(), &error);
                continue;
            }
        }
        let target = path.clone();
        let contestant = Contestant::new(format.name(), move || {
            format.write(table, &target, WriteOptions::default())?;
            Ok(Residue::Nothing)
        });
        // Every write makes a new file: truncating a large one is not part of writing.
        contestants.push(contestant.prepared(move || remove(&path)));
    }
    let unit = Unit::MegabytesPerSecond { bytes: table.arrow_bytes };
    lane.compare(&[(title, unit)], &mut contestants)
}

fn remove(path: &std::path::Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(BenchError::io("removing", path)(error))
        }
        _ => Ok(()),
    }
}

fn size(lane: &Lane<'_>, table: &Table, format: &dyn Format) -> Result<u64> {
    let path = lane.files.written(table, format, WriteOptions::default())?;
    Ok(std::fs::metadata(&path).map_err(BenchError::io("reading the size of", &path))?.len())
}

fn row(title: &Title, peer: &str, cores: usize, ours: u64, theirs: u64) -> Row {
    Row {
        case: title.name.clone(),
        data: title.data.clone(),
        peer: peer.to_owned(),
        cores,
        ours: ours as f64,
        theirs: theirs as f64,
        unit: "bytes".to_owned(),
        ratio: theirs as f64 / ours as f64,
    }
}

/// `size` and `size_compact`: bytes of whole files.
pub fn sizes(lane: &mut Lane<'_>, table: &Table, case: Case) -> Result<()> {
    let subject = if case == Case::SizeCompact { lane.subject_compact } else { Some(lane.subject) };
    let Some(subject) = subject else { return Ok(()) };
    let title = Title::new(case, &table.name);
    lane.progress.step(&format!("{} {}", title.name, table.name));
    let ours = size(lane, table, subject)?;
    for peer in lane.peers.clone() {
        match size(lane, table, peer) {
            Ok(theirs) => lane.outcome.rows.push(row(&title, peer.name(), lane.cores, ours, theirs)),
            Err(error) => lane.left_out(&title, peer.name(), &error),
        }
    }
    Ok(())
}

/// `size_tables`: the sum over all tables of a folder, the default profile against peers' and the compact one.
pub fn size_tables(lane: &mut Lane<'_>, folder: &str, tables: &[Table]) -> Result<()> {
    let mut sums: BTreeMap<&'static str, u64> = BTreeMap::new();
    let mut failed: Vec<(&'static str, BenchError)> = Vec::new();
    let formats: Vec<&dyn Format> = lane.formats().into_iter().chain(lane.subject_compact).collect();
    for format in formats {
        let sum: Result<u64> = tables.iter().map(|table| size(lane, table, format)).sum();
        match sum {
            Ok(sum) => drop(sums.insert(format.name(), sum)),
            Err(error) => failed.push((format.name(), error)),
        }
    }
    let title = Title::new(Case::SizeTables, folder);
    for (format, error) in failed {
        lane.left_out(&title, format, &error);
    }
    let compact = Title::variant(Case::SizeTables, "size_tables_compact".into(), folder);
    let subjects = [(title, Some(lane.subject.name())), (compact, lane.subject_compact.map(Format::name))];
    for (title, subject) in subjects {
        let Some(ours) = subject.and_then(|name| sums.get(name).copied()) else { continue };
        for peer in lane.peers.clone() {
            if let Some(theirs) = sums.get(peer.name()) {
                lane.outcome.rows.push(row(&title, peer.name(), lane.cores, ours, *theirs));
            }
        }
    }
    Ok(())
}
