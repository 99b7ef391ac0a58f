//! Fewer, larger files, and rows in an order that lets statistics skip.
//!
//! Rows are moved, not changed: the version says where each went, so that whoever deletes rows of a file meanwhile finds them.

use std::collections::BTreeMap;

use arrow_array::{RecordBatch, UInt32Array};
use deltalite_format::predicate::Predicate;

use super::cluster::{Curve, order};
use super::delete::ROW;
use super::interrupt::Interrupt;
use super::run::builder_future;
use super::transaction::{OptimisticTransaction, Outcome};
use super::write::{one, row_numbers};
use super::{DeltaLiteTable, TableFile};
use crate::data::DataWriter;
use crate::error::{Result, TableError};
use crate::log::action::StringMap;
use crate::schema::prepare::fit;
use crate::txn::RowMapBuilder;

/// Files of less than this share of the target are worth joining.
const SMALL: f64 = 0.75;
/// Files of which more than this share of the rows is deleted are worth writing anew.
const HOLES: f64 = 0.1;
/// Bytes of files whose rows are ordered together: they are in memory, decoded.
const CLUSTER_BYTES_MAX: u64 = 256 << 20;

/// What is told when it is stopped.
const WHAT: &str = "optimizing";

/// Rewriting files.
#[derive(Debug, Clone)]
#[must_use]
pub struct OptimizeTable {
    table: DeltaLiteTable,
    filter: Option<Predicate>,
    file_bytes: Option<u64>,
    cluster: Option<(Curve, Vec<String>)>,
    interrupt: Interrupt,
}

impl DeltaLiteTable {
    /// Writes small files, and files with many deleted rows, into fewer of the target's size.
    pub fn optimize(&self) -> OptimizeTable {
        OptimizeTable {
            table: self.clone(),
            filter: None,
            file_bytes: None,
            cluster: None,
            interrupt: Interrupt::default(),
        }
    }
}

impl OptimizeTable {
    /// Only files that may hold matching rows.
    pub fn filter(mut self, predicate: Predicate) -> Self {
        self.filter = Some(predicate);
        self
    }

    /// Bytes of a file to aim at, instead of what the table says.
    pub fn file_bytes(mut self, bytes: u64) -> Self {
        self.file_bytes = Some(bytes);
        self
    }

    /// Orders rows along a Z-order curve through these columns: each of them prunes about equally well.
    pub fn zorder_by<S: Into<String>>(mut self, columns: impl IntoIterator<Item = S>) -> Self {
        self.cluster = Some((Curve::Z, columns.into_iter().map(Into::into).collect()));
        self
    }

    /// Orders rows along a Hilbert curve through these columns: neighbours stay closer together than along a Z-order curve.
    pub fn hilbert_by<S: Into<String>>(mut self, columns: impl IntoIterator<Item = S>) -> Self {
        self.cluster = Some((Curve::Hilbert, columns.into_iter().map(Into::into).collect()));
        self
    }

    /// Stops it when asked: nothing is changed then.
    pub fn interrupt(mut self, interrupt: Interrupt) -> Self {
        self.interrupt = interrupt;
        self
    }

    /// Rewrites and commits. Awaited instead, it stops when the future is dropped.
    ///
    /// # Errors
    /// When it is stopped, another transaction has removed one of the files, or the system fails.
    pub fn execute(self) -> Result<Outcome> {
        self.table.run(|txn| self.attempt(txn))
    }

    fn attempt(&self, mut txn: OptimisticTransaction) -> Result<Outcome> {
        let base = txn.snapshot().clone();
        txn.set_data_change(false);
        let mut how = txn.write_as()?;
        let target = self.file_bytes.unwrap_or(how.file_bytes);
        how.file_bytes = u64::MAX;
        let mut map = RowMapBuilder::default();
        for (values, files) in self.bins(base.files(self.filter.as_ref())?, target)? {
            let mut writer = DataWriter::new(base.core.clone(), how.clone());
            match &self.cluster {
                None => {
                    for file in &files {
                        map.source(&file.add.path);
                        for batch in base.scan().row_numbers(ROW).of_files(one(file))? {
                            self.interrupt.check(WHAT)?;
                            let batch = batch?;
                            let (output, first) = writer.write_to(values.clone(), &stored(&batch, &how)?)?;
                            for (start, len, at) in runs(row_numbers(&batch)) {
                                map.run(&file.add.path, start, len, &output, first + at);
                            }
                        }
                    }
                }
                Some((curve, columns)) => {
                    let (mut batches, mut places) = (Vec::new(), Vec::new());
                    for (number, file) in files.iter().enumerate() {
                        map.source(&file.add.path);
                        for batch in base.scan().row_numbers(ROW).of_files(one(file))? {
                            self.interrupt.check(WHAT)?;
                            let batch = batch?;
                            places.extend(row_numbers(&batch).map(|row| (number, row)));
                            batches.push(stored(&batch, &how)?);
                        }
                    }
                    let Some(schema) = batches.first().map(RecordBatch::schema) else { continue };
                    let all = arrow_select::concat::concat_batches(&schema, &batches)
                        .map_err(TableError::compute("joining the rows to be ordered"))?;
                    drop(batches);
                    self.interrupt.check(WHAT)?;
                    let order = order(*curve, &all, columns)?;
                    let sorted =
                        arrow_select::take::take_record_batch(&all, &UInt32Array::from(order.clone()))
                            .map_err(TableError::compute("ordering rows"))?;
                    self.interrupt.check(WHAT)?;
                    let (output, first) = writer.write_to(values.clone(), &sorted)?;
                    for (new, old) in order.into_iter().enumerate() {
                        let (file, row) = places[old as usize];
                        map.run(&files[file].add.path, row, 1, &output, first + new as u64);
                    }
                }
            }
            txn.add_written(writer.finish()?)?;
            for file in &files {
                txn.remove_file(file)?;
            }
        }
        self.interrupt.check(WHAT)?;
        if txn.is_empty() {
            return txn.commit("OPTIMIZE", []);
        }
        txn.moves(map.build()?);
        let by = self.cluster.as_ref().map(|(curve, columns)| (curve.name(), columns.join(", ")));
        let parameters = by.as_ref().map(|(name, columns)| (*name, columns.as_str()));
        txn.commit("OPTIMIZE", parameters)
    }

    /// Files to be written together, by partition.
    fn bins(&self, files: Vec<TableFile>, target: u64) -> Result<Vec<(StringMap, Vec<TableFile>)>> {
        let most = if self.cluster.is_some() { target.min(CLUSTER_BYTES_MAX) } else { target };
        let mut partitions: BTreeMap<Vec<(String, Option<String>)>, Vec<TableFile>> = BTreeMap::new();
        for file in files {
            let values = file.add.partition_values.iter();
            let key = values.map(|(k, v)| (k.to_owned(), v.map(ToOwned::to_owned))).collect();
            partitions.entry(key).or_default().push(file);
        }
        let mut bins = Vec::new();
        for mut files in partitions.into_values() {
            if self.cluster.is_none() {
                let mut worth = Vec::with_capacity(files.len());
                for file in files {
                    if (file.add.size as f64) < SMALL * target as f64 || has_holes(&file)? {
                        worth.push(file);
                    }
                }
                files = worth;
            }
            files.sort_by(|a, b| a.add.path.cmp(&b.add.path));
            let (mut bin, mut bytes) = (Vec::new(), 0);
            for file in files {
                if bytes + file.add.size > most && !bin.is_empty() {
                    bins.push(std::mem::take(&mut bin));
                    bytes = 0;
                }
                bytes += file.add.size;
                bin.push(file);
            }
            bins.push(bin);
        }
        let mut out = Vec::new();
        for bin in bins {
            let worth = match bin.as_slice() {
                [] => false,
                [only] => self.cluster.is_some() || has_holes(only)?,
                _ => true,
            };
            if worth {
                out.push((bin[0].add.partition_values.clone(), bin));
            }
        }
        Ok(out)
    }
}

builder_future!(OptimizeTable => Outcome, OptimizeTable::execute, until interrupt);

fn has_holes(file: &TableFile) -> Result<bool> {
    let Some(vector) = &file.add.deletion_vector else { return Ok(false) };
    let rows = file.add.stats()?.and_then(|s| s.num_records).unwrap_or(u64::MAX);
    Ok(vector.cardinality as f64 > HOLES * rows as f64)
}

/// Rows as they are stored, without their numbers.
fn stored(batch: &RecordBatch, how: &crate::data::writer::WriteAs) -> Result<RecordBatch> {
    let columns = how.schema.fields().iter().zip(batch.columns());
    let arrays = columns.map(|(field, array)| fit(array, field)).collect::<Result<Vec<_>>>()?;
    RecordBatch::try_new(how.schema.clone(), arrays).map_err(TableError::compute("moving rows"))
}

/// Runs of consecutive numbers: the first, how many, and how many numbers came before.
fn runs(numbers: impl Iterator<Item = u64>) -> Vec<(u64, u64, u64)> {
    let mut runs: Vec<(u64, u64, u64)> = Vec::new();
    for (at, number) in numbers.enumerate() {
        match runs.last_mut() {
            Some((start, len, _)) if *start + *len == number => *len += 1,
            _ => runs.push((number, 1, at as u64)),
        }
    }
    runs
}
