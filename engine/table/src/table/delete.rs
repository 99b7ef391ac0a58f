//! Deleting rows.

use deltalite_format::predicate::Predicate;

use super::DeltaLiteTable;
use super::run::builder_future;
use super::transaction::{OptimisticTransaction, Outcome};
use super::write::{one, row_numbers};
use crate::error::Result;
use crate::txn::{Isolation, Rows};

/// Name of the column of row numbers in scans for rows to change.
pub(crate) const ROW: &str = "\u{0}row";

/// Deleting rows. Files stay as they are; which of their rows are gone is kept beside them.
#[derive(Debug, Clone)]
#[must_use]
pub struct DeleteRows {
    table: DeltaLiteTable,
    predicate: Option<Predicate>,
    isolation: Option<Isolation>,
}

impl DeltaLiteTable {
    /// Deletes rows: all, unless a filter says which.
    pub fn delete(&self) -> DeleteRows {
        DeleteRows { table: self.clone(), predicate: None, isolation: None }
    }

    /// Deletes all rows.
    ///
    /// # Errors
    /// As [`DeleteRows::execute`].
    pub fn truncate(&self) -> Result<Outcome> {
        self.run(|mut txn| {
            txn.delete_where(None)?;
            txn.commit("TRUNCATE", [])
        })
    }
}

impl DeleteRows {
    /// Only rows for which this is true.
    pub fn filter(mut self, predicate: Predicate) -> Self {
        self.predicate = Some(predicate);
        self
    }

    /// Commit at another level than the table's.
    pub fn isolation(mut self, level: Isolation) -> Self {
        self.isolation = Some(level);
        self
    }

    /// Deletes and commits.
    ///
    /// # Errors
    /// When the condition doesn't fit, another transaction has won, or the system fails.
    pub fn execute(self) -> Result<Outcome> {
        let text = self.predicate.as_ref().map_or_else(|| "TRUE".to_owned(), ToString::to_string);
        self.table.run(|mut txn| {
            if let Some(level) = self.isolation {
                txn = txn.isolation(level);
            }
            txn.delete_where(self.predicate.as_ref())?;
            txn.commit("DELETE", [("predicate", text.as_str())])
        })
    }
}

builder_future!(DeleteRows => Outcome, DeleteRows::execute);

impl OptimisticTransaction {
    /// Deletes the rows for which a condition is true, all without one; returns how many.
    ///
    /// # Errors
    /// When the condition doesn't fit, or reading fails.
    pub fn delete_where(&mut self, predicate: Option<&Predicate>) -> Result<u64> {
        self.take_where(predicate, false)
    }

    /// Takes the rows for which a condition is true: they are deleted, or the transaction writes what they become.
    pub(super) fn take_where(&mut self, predicate: Option<&Predicate>, changed: bool) -> Result<u64> {
        let base = self.snapshot().clone();
        let Some(predicate) = predicate else {
            self.read_whole_table();
            let files = base.files(None)?;
            return files.iter().map(|file| self.take_file(file, changed)).sum();
        };
        self.read_where(predicate)?;
        let (mut deleted, none) = (0, Rows::new());
        for file in base.files(Some(predicate))? {
            if file.all_match {
                self.read_file(&file.add.path);
                deleted += self.take_file(&file, changed)?;
                continue;
            }
            let scan = base.scan().columns(Vec::<String>::new()).filter(predicate.clone()).row_numbers(ROW);
            let mut rows = Rows::new();
            for batch in scan.of_files(one(&file))? {
                rows.extend(row_numbers(&batch?));
            }
            self.read_rows(&file.add.path, &rows);
            deleted += self.take_rows(&file, &rows, if changed { &rows } else { &none })?;
        }
        Ok(deleted)
    }
}
