//! Merging rows by key: changing those that are there, adding those that are not.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_array::{Array, ArrayRef, BooleanArray, RecordBatch, UInt32Array};
use arrow_select::concat::concat_batches;
use deltalite_format::predicate::Predicate;

use super::DeltaLiteTable;
use super::delete::ROW;
use super::keys::KeyEncoder;
use super::rows::RowWriter;
use super::run::builder_future;
use super::transaction::Outcome;
use super::write::{one, row_numbers};
use crate::error::{Result, TableError};
use crate::schema::prepare::fit;
use crate::txn::Rows;

/// What becomes of rows of the table that a row of the source has the key of.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
enum Matched {
    #[default]
    Keep,
    UpdateAll,
    Update(Vec<String>),
    Delete,
}

/// What becomes of rows of the table that no row of the source has the key of.
#[derive(Debug, Clone, PartialEq)]
enum Unmatched {
    Keep,
    Delete,
    DeleteIf(Predicate),
}

/// Merging rows into a table, by the values of some columns.
///
/// The source is kept in memory, once, with a hash of each of its keys; the table's key columns are read file by file, and of rows that
/// change the others.
#[derive(Debug)]
#[must_use]
pub struct MergeRows {
    table: DeltaLiteTable,
    source: Vec<RecordBatch>,
    on: Vec<String>,
    matched: Matched,
    matched_if: Option<Predicate>,
    insert: bool,
    unmatched: Unmatched,
}

impl DeltaLiteTable {
    /// Merges rows by the values of columns.
    ///
    /// ```no_run
    /// # fn main() -> Result<(), deltalite_table::TableError> {
    /// # let changes: arrow_array::RecordBatch = todo!();
    /// # let table = deltalite_table::DeltaLiteTable::open("customers").execute()?;
    /// table.merge([changes], ["id"]).when_matched_update_all().when_not_matched_insert_all().execute()?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn merge<S: Into<String>>(
        &self,
        source: impl IntoIterator<Item = RecordBatch>,
        on: impl IntoIterator<Item = S>,
    ) -> MergeRows {
        MergeRows {
            table: self.clone(),
            source: source.into_iter().collect(),
            on: on.into_iter().map(Into::into).collect(),
            matched: Matched::default(),
            matched_if: None,
            insert: false,
            unmatched: Unmatched::Keep,
        }
    }
}

impl MergeRows {
    /// Rows of the table whose key is in the source get all columns that the source has.
    pub fn when_matched_update_all(mut self) -> Self {
        self.matched = Matched::UpdateAll;
        self
    }

    /// Rows of the table whose key is in the source get these columns from it.
    pub fn when_matched_update<S: Into<String>>(mut self, columns: impl IntoIterator<Item = S>) -> Self {
        self.matched = Matched::Update(columns.into_iter().map(Into::into).collect());
        self
    }

    /// Rows of the table whose key is in the source go.
    pub fn when_matched_delete(mut self) -> Self {
        self.matched = Matched::Delete;
        self
    }

    /// Only rows of the table for which this is true are changed or deleted; others with a key of the source stay.
    pub fn matched_if(mut self, predicate: Predicate) -> Self {
        self.matched_if = Some(predicate);
        self
    }

    /// Rows of the source whose key is not in the table are added.
    pub fn when_not_matched_insert_all(mut self) -> Self {
        self.insert = true;
        self
    }

    /// Rows of the table whose key is not in the source go; with a condition, only those for which it is true.
    pub fn when_not_matched_by_source_delete(mut self, predicate: Option<Predicate>) -> Self {
        self.unmatched = predicate.map_or(Unmatched::Delete, Unmatched::DeleteIf);
        self
    }

    /// Merges and commits.
    ///
    /// # Errors
    /// When columns don't fit, two rows of the source have the key of one row that they would change, another transaction has won,
    /// or the system fails.
    pub fn execute(self) -> Result<Outcome> {
        if self.on.is_empty() {
            return Err(TableError::invalid("merging rows", "no columns are given to match by"));
        }
        let Some(first) = self.source.first() else {
            return Ok(Outcome { version: self.table.version(), ..Outcome::default() });
        };
        let source = concat_batches(&first.schema(), &self.source)
            .map_err(TableError::compute("joining the rows to be merged"))?;
        self.table.run(|txn| self.attempt(txn, &source))
    }

    fn attempt(&self, mut txn: super::OptimisticTransaction, source: &RecordBatch) -> Result<Outcome> {
        let base = txn.snapshot().clone();
        let encoder = KeyEncoder::new(&base.schema, &self.on)?;
        let keys = encoder.encode(source)?;
        let has_null = |row: usize| {
            self.on.iter().any(|name| source.column_by_name(name).is_some_and(|a| a.is_null(row)))
        };
        // As in SQL, NULL equals nothing. Keys are looked up by their hash and compared in place: no copies.
        let mut by_key: HashMap<&[u8], Vec<u32>> = HashMap::with_capacity(source.num_rows());
        let rows: Vec<arrow_row::Row<'_>> = keys.iter().collect();
        for (at, row) in rows.iter().enumerate().filter(|(at, _)| !has_null(*at)) {
            by_key.entry(row.data()).or_default().push(at as u32);
        }
        let mut met = vec![false; source.num_rows()];
        txn.read_whole_table();
        let mut writer = txn.writer()?;
        let columns: Vec<&str> = match &self.matched {
            Matched::UpdateAll => source.schema_ref().fields().iter().map(|f| f.name().as_str()).collect(),
            Matched::Update(columns) => columns.iter().map(String::as_str).collect(),
            Matched::Keep | Matched::Delete => Vec::new(),
        };
        for name in &columns {
            base.schema.column(name)?;
            if source.column_by_name(name).is_none() {
                let detail = format!("rows to be merged have no column {name:?}");
                return Err(TableError::invalid("merging rows", detail));
            }
        }
        for file in base.files(None)? {
            let mut gone = Rows::new();
            let mut updated: Vec<(u64, u32)> = Vec::new();
            let scan = base.scan().columns(self.key_and_condition_columns(&base)).row_numbers(ROW);
            for batch in scan.of_files(one(&file))? {
                let batch = batch?;
                let applies = mask(self.matched_if.as_ref(), &batch)?;
                let unmatched = match &self.unmatched {
                    Unmatched::Keep => BooleanArray::from(vec![false; batch.num_rows()]),
                    Unmatched::Delete => mask(None, &batch)?,
                    Unmatched::DeleteIf(predicate) => mask(Some(predicate), &batch)?,
                };
                let encoded = encoder.encode(&batch)?;
                for ((at, key), number) in encoded.iter().enumerate().zip(row_numbers(&batch)) {
                    let Some(matches) = by_key.get(key.data()) else {
                        if unmatched.value(at) {
                            gone.insert(number);
                        }
                        continue;
                    };
                    for m in matches {
                        met[*m as usize] = true;
                    }
                    if !applies.value(at) || self.matched == Matched::Keep {
                        continue;
                    }
                    gone.insert(number);
                    if self.matched == Matched::Delete {
                        continue;
                    }
                    if let [only] = matches.as_slice() {
                        updated.push((number, *only));
                    } else {
                        return Err(TableError::invalid(
                            "merging rows",
                            format!(
                                "{} rows to be merged have the key ({}) of one row; give one row a key",
                                matches.len(),
                                self.on.join(", ")
                            ),
                        ));
                    }
                }
            }
            if !updated.is_empty() {
                write_updated(&mut writer, &base, &file, source, &updated, &columns)?;
            }
            if !gone.is_empty() {
                let changed = updated.iter().map(|(row, _)| *row).collect();
                txn.take_rows(&file, &gone, &changed)?;
            }
        }
        if self.insert {
            let new: Vec<u32> = (0..source.num_rows()).filter(|r| !met[*r]).map(|r| r as u32).collect();
            let rows = arrow_select::take::take_record_batch(source, &UInt32Array::from(new))
                .map_err(TableError::compute("taking the rows to be added"))?;
            writer.write(&rows)?;
        }
        let added = txn.add(writer)?;
        txn.count("numTargetRowsUpdated", added.changed);
        if self.insert {
            txn.count("numTargetRowsInserted", added.new);
        }
        txn.count("numSourceRows", source.num_rows() as u64);
        let on = self.on.join(", ");
        txn.commit("MERGE", [("matchedBy", on.as_str())])
    }

    fn key_and_condition_columns(&self, base: &super::TableSnapshot) -> Vec<String> {
        let mut columns = self.on.clone();
        let unmatched = match &self.unmatched {
            Unmatched::DeleteIf(predicate) => Some(predicate),
            Unmatched::Keep | Unmatched::Delete => None,
        };
        let conditions = self.matched_if.iter().chain(unmatched);
        for path in conditions.flat_map(Predicate::columns) {
            let name = path.split('.').next().unwrap_or(path);
            let name = if base.schema.column(path).is_ok() { path } else { name };
            if !columns.iter().any(|known| known == name) {
                columns.push(name.to_owned());
            }
        }
        columns
    }
}

builder_future!(MergeRows => Outcome, MergeRows::execute);

/// Where a condition is true; everywhere without one.
fn mask(predicate: Option<&Predicate>, batch: &RecordBatch) -> Result<BooleanArray> {
    let Some(predicate) = predicate else { return Ok(BooleanArray::from(vec![true; batch.num_rows()])) };
    let found = deltalite_format::predicate::bind(predicate, &batch.schema())?.evaluate_batch(batch)?;
    Ok((0..batch.num_rows()).map(|row| Some(found.get(row))).collect())
}

/// Writes rows of a file as they become: `(row of the file, row of the source)`, in the file's order.
fn write_updated(
    writer: &mut RowWriter,
    base: &Arc<super::TableSnapshot>,
    file: &super::TableFile,
    source: &RecordBatch,
    updated: &[(u64, u32)],
    columns: &[&str],
) -> Result<()> {
    let wanted: Rows = updated.iter().map(|(row, _)| *row).collect();
    let mut next = updated.iter();
    for batch in base.scan().row_numbers(ROW).of_files(one(file))? {
        let mut batch = batch?;
        let keep: BooleanArray = row_numbers(&batch).map(|n| Some(wanted.contains(n))).collect();
        batch.remove_column(batch.num_columns() - 1);
        let old = arrow_select::filter::filter_record_batch(&batch, &keep)
            .map_err(TableError::compute("taking the rows to be changed"))?;
        let from: Vec<u32> = next.by_ref().take(old.num_rows()).map(|(_, row)| *row).collect();
        if from.is_empty() {
            continue;
        }
        let from = UInt32Array::from(from);
        let arrays = base
            .schema
            .arrow()
            .fields()
            .iter()
            .enumerate()
            .filter(|(_, f)| !f.metadata().contains_key(crate::schema::GENERATION_EXPRESSION))
            .map(|(at, field)| {
                let array = match source.column_by_name(field.name()) {
                    Some(new) if columns.contains(&field.name().as_str()) => {
                        arrow_select::take::take(new, &from, None)
                            .map_err(TableError::compute("taking the rows to be merged"))?
                    }
                    _ => old.column(at).clone(),
                };
                Ok((field.name().clone(), fit(&array, field)?, true))
            })
            .collect::<Result<Vec<(String, ArrayRef, bool)>>>()?;
        let rows =
            RecordBatch::try_from_iter_with_nullable(arrays).map_err(TableError::compute("changing rows"))?;
        writer.write_changed(&rows)?;
    }
    Ok(())
}
