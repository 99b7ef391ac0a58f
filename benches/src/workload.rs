//! What is asked of a table: which columns are projected, which predicates filter it, which rows are picked.
//!
//! TPC-H tables get the questions their benchmark is known for; any other table gets the same kind of questions,
//! derived from its types and from the quantiles of its values.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, Date32Array};
use arrow::compute::{SortOptions, concat, sort_to_indices, take};
use arrow::datatypes::DataType;
use arrow::error::ArrowError;
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::index::sample;

use crate::data::Table;
use crate::error::{BenchError, Result};
use crate::predicate::Predicate;

/// Number of rows that the `random` case picks.
pub const RANDOM_ROWS: usize = 100;
/// Number of columns it reads of them, at most.
pub const RANDOM_COLUMNS: usize = 16;
/// Number of columns of a projection, at most.
pub const PROJECTED_COLUMNS: usize = 3;
/// Fractions of rows that the filter cases keep.
pub const SELECTIVITIES: [f64; 5] = [0.0001, 0.01, 0.1, 0.5, 1.0];

/// Days since 1970-01-01 of 1994-01-01, where a thirty-three-day window of ship dates keeps 1.3 % of lineitem.
const DAY_1994: i32 = 8766;

/// The questions for one table.
#[derive(Debug, Clone)]
pub struct Workload {
    /// Columns of the `projection` and `filter` cases.
    pub projection: Vec<String>,
    /// The predicate of the `filter` case, keeping about 1.3 % of rows.
    pub filter: Option<Predicate>,
    /// Predicates that keep about the fractions of [`SELECTIVITIES`].
    pub sweep: Vec<(f64, Predicate)>,
    /// Rows of the `random` case, ascending.
    pub rows: Vec<u64>,
    /// Columns of the `random` case.
    pub row_columns: Vec<String>,
}

impl Workload {
    /// The questions for a table.
    pub fn of(table: &Table) -> Result<Self> {
        let names = |list: &[&str]| list.iter().map(ToString::to_string).collect::<Vec<_>>();
        let (projection, filter, sweep_column) = if table.name.starts_with("lineitem-") {
            (
                names(&["l_extendedprice", "l_discount", "l_tax"]),
                Some(days("l_shipdate", DAY_1994, DAY_1994 + 32)),
                Some("l_partkey".to_owned()),
            )
        } else if table.name.starts_with("orders-") {
            (
                names(&["o_custkey", "o_totalprice", "o_orderdate"]),
                Some(days("o_orderdate", DAY_1994, DAY_1994 + 30)),
                Some("o_custkey".to_owned()),
            )
        } else {
            let column = filter_column(table);
            let filter = column.as_ref().map(|column| quantiles(table, column, &[0.013])).transpose()?;
            (projected(table), filter.and_then(|filters| filters.into_iter().next()), column)
        };
        let sweep = match &sweep_column {
            None => Vec::new(),
            Some(column) => {
                SELECTIVITIES.into_iter().zip(quantiles(table, column, &SELECTIVITIES)?).collect()
            }
        };
        let mut random = StdRng::seed_from_u64(table.rows);
        let mut rows: Vec<u64> =
            sample(&mut random, table.rows as usize, RANDOM_ROWS.min(table.rows as usize))
                .into_iter()
                .map(|row| row as u64)
                .collect();
        rows.sort_unstable();
        let row_columns =
            table.schema.fields().iter().take(RANDOM_COLUMNS).map(|field| field.name().clone()).collect();
        Ok(Self { projection, filter, sweep, rows, row_columns })
    }
}

fn days(column: &str, first: i32, last: i32) -> Predicate {
    let day = |day: i32| Arc::new(Date32Array::from(vec![day])) as ArrayRef;
    Predicate::between(column, day(first), day(last))
}

/// Decimals first, then floats, integers, dates and times, then whatever there is.
fn projected(table: &Table) -> Vec<String> {
    let rank = |kind: &DataType| match kind {
        DataType::Decimal128(..) | DataType::Decimal256(..) => 0,
        DataType::Float32 | DataType::Float64 => 1,
        kind if kind.is_integer() => 2,
        kind if kind.is_temporal() => 3,
        kind if kind.is_nested() => 5,
        _ => 4,
    };
    let mut fields: Vec<_> = table.schema.fields().iter().collect();
    fields.sort_by_key(|field| rank(field.data_type()));
    fields.into_iter().take(PROJECTED_COLUMNS).map(|field| field.name().clone()).collect()
}

/// The number, date or time column with the most distinct values in a sample.
fn filter_column(table: &Table) -> Option<String> {
    let batch = table.batches.iter().find(|batch| batch.num_rows() > 0)?;
    let distinct = |column: &ArrayRef| {
        let options = Some(SortOptions { descending: false, nulls_first: true });
        let head = column.slice(0, column.len().min(8192));
        let order = sort_to_indices(&head, options, None).ok()?;
        let sorted = take(&head, &order, None).ok()?;
        arrow::compute::partition(&[sorted]).ok().map(|partitions| partitions.len())
    };
    batch
        .schema()
        .fields()
        .iter()
        .zip(batch.columns())
        .filter(|(field, _)| {
            let kind = field.data_type();
            // Intervals have no order.
            (kind.is_numeric() || kind.is_temporal())
                && !matches!(kind, DataType::Interval(_) | DataType::Float16)
        })
        .filter_map(|(field, column)| distinct(column).map(|count| (count, field.name().clone())))
        .max_by_key(|(count, _)| *count)
        .map(|(_, name)| name)
}

/// For each fraction, the predicate `column <= value` that keeps about that fraction of the rows.
fn quantiles(table: &Table, column: &str, fractions: &[f64]) -> Result<Vec<Predicate>> {
    let fail = |error: ArrowError| BenchError::Format {
        format: "workload".into(),
        doing: format!("finding quantiles of {column} in {}", table.name),
        message: error.to_string(),
    };
    let parts: Vec<&dyn Array> = table.column(column).map(AsRef::as_ref).collect();
    let whole = concat(&parts).map_err(fail)?;
    let order = sort_to_indices(&whole, Some(SortOptions { descending: false, nulls_first: false }), None);
    let order = order.map_err(fail)?;
    let valued = whole.len() - whole.null_count();
    if valued == 0 {
        return Ok(Vec::new());
    }
    fractions
        .iter()
        .map(|fraction| {
            let rank = ((whole.len() as f64 * fraction) as usize).clamp(1, valued) - 1;
            let value = take(&whole, &order.slice(rank, 1), None).map_err(fail)?;
            Ok(Predicate::at_most(column, value))
        })
        .collect()
}
