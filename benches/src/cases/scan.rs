//! The cases that read a warm file: everything, a projection, a filter, single rows.

use std::cell::OnceCell;
use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use arrow::array::UInt64Array;
use arrow::compute::take_record_batch;
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;

use super::{Case, Lane, Title, Unit};
use crate::data::Table;
use crate::digest::{Digest, Sum};
use crate::error::{BenchError, Result};
use crate::formats::{OpenedFile, Request, Residence, WriteOptions};
use crate::measure::{Contestant, Residue};
use crate::predicate::Predicate;
use crate::report::Note;
use crate::workload::Workload;

/// A file open for the whole lane, with the name of its format.
pub struct Open {
    name: &'static str,
    file: Box<dyn OpenedFile>,
    compact: bool,
}

impl Open {
    /// The subject's compact profile and JSON are only decoded whole: the one is there for its size, the other for the
    /// scale of things.
    fn takes_part(&self, case: Case) -> bool {
        case == Case::Decode || !(self.compact || self.name == "ndjson")
    }
}

/// Opens a table's file in every format, in memory. Formats that can't are left out, with a note.
pub fn open_all(lane: &mut Lane<'_>, table: &Table) -> Result<Vec<Open>> {
    let mut opened = Vec::new();
    let title = Title::variant(Case::Decode, "open".into(), &table.name);
    let formats: Vec<_> = lane.formats().into_iter().map(|format| (format, false)).collect();
    let compact = lane.subject_compact.map(|format| (format, true));
    for (format, compact) in formats.into_iter().chain(compact) {
        lane.progress.step(&format!("{} as {}", table.name, format.name()));
        let file = lane
            .files
            .written(table, format, WriteOptions::default())
            .and_then(|path| format.open(&path, Residence::Memory));
        match file {
            Ok(file) => opened.push(Open { name: format.name(), file, compact }),
            Err(error) if format.name() == lane.subject.name() => return Err(error),
            Err(error) => lane.left_out(&title, format.name(), &error),
        }
    }
    Ok(opened)
}

/// What a scan must return, computed from the table itself when first needed.
struct Expected<'a> {
    table: &'a Table,
    request: Request,
    sum: OnceCell<Sum>,
}

impl<'a> Expected<'a> {
    fn new(table: &'a Table, request: Request) -> Self {
        Self { table, request, sum: OnceCell::new() }
    }

    fn sum(&self) -> Result<Sum> {
        if let Some(sum) = self.sum.get() {
            return Ok(*sum);
        }
        let digest = digest_for(&self.request);
        let fail = |error: ArrowError| BenchError::Format {
            format: "reference".into(),
            doing: "computing the expected result".into(),
            message: error.to_string(),
        };
        let mut first = 0;
        for batch in &self.table.batches {
            let next = first + batch.num_rows() as u64;
            digest.add(&reference(batch, &self.request, first, next).map_err(fail)?)?;
            first = next;
        }
        let sum = digest.sum();
        Ok(*self.sum.get_or_init(|| sum))
    }
}

fn digest_for(request: &Request) -> Digest {
    if request.rows.is_some() { Digest::ordered() } else { Digest::unordered() }
}

/// The part of a batch (rows `first..next` of the table) that a request asks for.
fn reference(
    batch: &RecordBatch,
    request: &Request,
    first: u64,
    next: u64,
) -> std::result::Result<RecordBatch, ArrowError> {
    let mut batch = batch.clone();
    if let Some(rows) = &request.rows {
        let wanted = rows.iter().filter(|row| (first..next).contains(row)).map(|row| row - first);
        batch = take_record_batch(&batch, &UInt64Array::from_iter_values(wanted))?;
    }
    if let Some(predicate) = &request.predicate {
        batch = predicate.filter(&batch)?;
    }
    if request.columns.is_none() {
        return Ok(batch);
    }
    let positions =
        request.positions(&batch.schema()).map_err(|error| ArrowError::SchemaError(error.to_string()))?;
    batch.project(&positions)
}

/// Runs the scan cases wanted on one table.
pub fn run(lane: &mut Lane<'_>, table: &Table, workload: &Workload, cases: &[Case]) -> Result<()> {
    if !cases.iter().any(|case| IS_SCAN.contains(case)) {
        return Ok(());
    }
    let opened = open_all(lane, table)?;
    for case in cases {
        let title = Title::new(*case, &table.name);
        if *case == Case::FilterSweep {
            for (fraction, predicate) in &workload.sweep {
                let request = filtered(workload, predicate);
                let title = Title::variant(*case, format!("filter_{}%", fraction * 100.0), &table.name);
                filter(lane, &opened, table, request, &title)?;
            }
            continue;
        }
        let Some(request) = request(*case, workload) else { continue };
        match case {
            Case::Filter => filter(lane, &opened, table, request, &title)?,
            Case::DecodeMaterialized => {
                scan(lane, &opened, &Expected::new(table, request), &title, Keep::Batches)?;
            }
            _ => scan(lane, &opened, &Expected::new(table, request), &title, Keep::Nothing)?,
        }
    }
    Ok(())
}

/// What a case of this module asks a table for; none when the table doesn't offer it, or the case asks several things.
pub fn request(case: Case, workload: &Workload) -> Option<Request> {
    match case {
        Case::Decode | Case::DecodeMaterialized => Some(Request::everything()),
        Case::Projection => Some(Request::project(&workload.projection)),
        Case::Filter => workload.filter.as_ref().map(|predicate| filtered(workload, predicate)),
        Case::Random => {
            let mut request = Request::project(&workload.row_columns);
            request.rows = Some(workload.rows.clone());
            Some(request)
        }
        _ => None,
    }
}

fn filtered(workload: &Workload, predicate: &Predicate) -> Request {
    let mut request = Request::project(&workload.projection);
    request.predicate = Some(predicate.clone());
    request
}

/// The cases of this module.
const IS_SCAN: [Case; 6] =
    [Case::Decode, Case::DecodeMaterialized, Case::Projection, Case::Filter, Case::FilterSweep, Case::Random];

fn filter(
    lane: &mut Lane<'_>,
    opened: &[Open],
    table: &Table,
    request: Request,
    title: &Title,
) -> Result<()> {
    let expected = Expected::new(table, request);
    let sum = expected.sum()?;
    let predicate = expected.request.predicate.as_ref().map(ToString::to_string).unwrap_or_default();
    let kept = sum.rows as f64 / table.rows.max(1) as f64 * 100.0;
    lane.outcome.notes.push(Note {
        case: title.name.clone(),
        data: title.data.clone(),
        cores: lane.cores,
        format: String::new(),
        text: format!("{predicate} keeps {kept:.3} % of {} rows", table.rows),
        wrong_result: false,
    });
    scan(lane, opened, &expected, title, Keep::Nothing)
}

/// What the consumer does with batches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Keep {
    /// Drops each as it comes.
    Nothing,
    /// Keeps all until the last has come.
    Batches,
}

fn scan(
    lane: &mut Lane<'_>,
    opened: &[Open],
    expected: &Expected<'_>,
    title: &Title,
    keep: Keep,
) -> Result<()> {
    lane.progress.step(&format!("comparing results: {} {}", title.name, title.data));
    let sum = expected.sum()?;
    let mut contestants = Vec::new();
    for open in opened.iter().filter(|open| open.takes_part(title.case)) {
        match check(open, expected, title, sum) {
            Ok(()) => contestants.push(contestant(open, &expected.request, keep, sum.rows)),
            Err(error) => lane.left_out(title, open.name, &error),
        }
    }
    if contestants.first().is_none_or(|first| first.name != lane.subject.name()) {
        return Ok(());
    }
    lane.compare(&[(title.clone(), Unit::Milliseconds)], &mut contestants)
}

/// The result of a format must be the table's.
fn check(open: &Open, expected: &Expected<'_>, title: &Title, sum: Sum) -> Result<()> {
    let digest = digest_for(&expected.request);
    open.file.scan(&expected.request, &|batch| digest.add(&batch))?;
    if digest.sum() == sum {
        return Ok(());
    }
    Err(BenchError::Different {
        case: title.name.clone(),
        data: title.data.clone(),
        format: open.name.to_owned(),
        found: digest.sum().to_string(),
        expected: sum.to_string(),
    })
}

fn contestant<'a>(open: &'a Open, request: &'a Request, keep: Keep, rows: u64) -> Contestant<'a> {
    Contestant::new(open.name, move || {
        let seen = AtomicU64::new(0);
        let kept = Mutex::new(Vec::new());
        open.file.scan(request, &|batch: RecordBatch| {
            seen.fetch_add(batch.num_rows() as u64, Ordering::Relaxed);
            let batch = black_box(batch);
            if keep == Keep::Batches {
                kept.lock().unwrap_or_else(PoisonError::into_inner).push(batch);
            }
            Ok(())
        })?;
        let seen = seen.into_inner();
        if seen == rows {
            return Ok(Residue::Kept(Box::new(kept)));
        }
        Err(BenchError::Format {
            format: open.name.into(),
            doing: "scanning again".into(),
            message: format!("{seen} rows instead of {rows}"),
        })
    })
}
