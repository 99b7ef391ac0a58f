//! Values of identity columns: each process leases ranges of them, so that writers don't wait for each other.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock};

use parking_lot::Mutex;

use super::run::until_committed;
use super::snapshot::TableSnapshot;
use super::transaction::OptimisticTransaction;
use crate::error::{Result, TableError};
use crate::schema::{IDENTITY_HIGH_WATER, IDENTITY_START, IDENTITY_STEP};

/// Values leased at once, at least.
const LEASE: u64 = 10_000;

/// The next value of a column, and how many are left of the lease.
type Lease = (i64, u64);

/// A table's folder, its id, the column.
type Key = (PathBuf, String, String);

static LEASES: LazyLock<Mutex<HashMap<Key, Lease>>> = LazyLock::new(Mutex::default);

/// Takes as many values of an identity column as there are rows; returns the first.
///
/// # Errors
/// When values run out, or a lease can't be committed.
pub(super) fn take(base: &Arc<TableSnapshot>, column: &str, rows: u64) -> Result<i64> {
    let id = base.log.metadata().id.clone();
    let key = (base.core.root.clone(), id, column.to_owned());
    let mut leases = LEASES.lock();
    let step = number(base, column, IDENTITY_STEP)?.unwrap_or(1);
    let lease = match leases.get(&key) {
        Some((next, left)) if *left >= rows => (*next, *left),
        _ => lease(base, column, rows.max(LEASE), step)?,
    };
    let (first, left) = lease;
    let next = i128::from(first) + i128::from(step) * i128::from(rows);
    leases.insert(key, (i64::try_from(next).map_err(|_| none_left(column))?, left - rows));
    Ok(first)
}

fn none_left(column: &str) -> TableError {
    TableError::invalid("adding rows", format!("identity column {column:?} has no values left"))
}

fn number(base: &TableSnapshot, column: &str, key: &str) -> Result<Option<i64>> {
    let field = base.schema.arrow().field(base.schema.column(column)?);
    let text = field.metadata().get(&format!("json:{key}")).or_else(|| field.metadata().get(key));
    Ok(text.and_then(|text| text.parse().ok()))
}

/// Raises the column's high-water mark, and with that owns the values below it.
fn lease(base: &Arc<TableSnapshot>, column: &str, values: u64, step: i64) -> Result<Lease> {
    until_committed(|| {
        let (log, pin) = base.core.newest()?;
        let now = TableSnapshot::new(base.core.clone(), log, pin)?;
        let start = number(&now, column, IDENTITY_START)?.unwrap_or(1);
        let high = number(&now, column, IDENTITY_HIGH_WATER)?;
        let first = match high {
            Some(high) => high.checked_add(step),
            None => Some(start),
        };
        let first = first.ok_or_else(|| none_left(column))?;
        let last = i128::from(first) + i128::from(step) * i128::from(values - 1);
        let last = i64::try_from(last).map_err(|_| none_left(column))?;
        let mark = format!("json:{IDENTITY_HIGH_WATER}");
        let schema = now.schema.set_column_metadata(column, &mark, Some(&last.to_string()))?;
        let mut txn = OptimisticTransaction::new(now.clone())?;
        let mut metadata = txn.metadata().clone();
        metadata.schema_string = schema.to_json();
        txn.set_metadata(metadata)?;
        txn.commit("LEASE IDENTITY", [("column", column)])?;
        Ok((first, values))
    })
}
