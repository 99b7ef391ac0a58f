//! The predicates the filter cases use: a conjunction of comparisons with constants, which every format can express.
//!
//! Each adapter translates it to its own expressions; [`Predicate::evaluate`] is the reference that decides what the
//! right answer is.

use std::fmt;

use arrow::array::{Array, ArrayRef, BooleanArray, Datum, RecordBatch, Scalar};
use arrow::compute::kernels::cmp;
use arrow::compute::{and, cast, filter_record_batch};
use arrow::error::ArrowError;
use arrow::util::display::array_value_to_string;

/// How a column is compared with a constant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Comparison {
    /// `=`
    Equal,
    /// `<=`
    AtMost,
    /// `>=`
    AtLeast,
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Equal => "=",
            Self::AtMost => "<=",
            Self::AtLeast => ">=",
        })
    }
}

/// One comparison of a top-level column with a constant.
#[derive(Debug, Clone)]
pub struct Term {
    /// Name of the column.
    pub column: String,
    /// The comparison.
    pub comparison: Comparison,
    /// The constant: an array of length 1, not null, of the type the source table has for this column.
    pub value: ArrayRef,
}

/// A conjunction of comparisons.
#[derive(Debug, Clone)]
pub struct Predicate {
    /// All of these must hold.
    pub terms: Vec<Term>,
}

impl Predicate {
    /// `column BETWEEN low AND high`, both inclusive; the values are arrays of length 1.
    pub fn between(column: &str, low: ArrayRef, high: ArrayRef) -> Self {
        let term = |comparison, value| Term { column: column.to_owned(), comparison, value };
        Self { terms: vec![term(Comparison::AtLeast, low), term(Comparison::AtMost, high)] }
    }

    /// `column <= value`; the value is an array of length 1.
    pub fn at_most(column: &str, value: ArrayRef) -> Self {
        Self { terms: vec![Term { column: column.to_owned(), comparison: Comparison::AtMost, value }] }
    }

    /// Names of the columns it reads, each once, in order of appearance.
    pub fn columns(&self) -> Vec<&str> {
        let mut names: Vec<&str> = Vec::new();
        for term in &self.terms {
            if !names.contains(&term.column.as_str()) {
                names.push(&term.column);
            }
        }
        names
    }

    /// One entry per row: true where all terms hold. A null operand gives null, which selects nothing.
    pub fn evaluate(&self, batch: &RecordBatch) -> Result<BooleanArray, ArrowError> {
        let mut all: Option<BooleanArray> = None;
        for term in &self.terms {
            let column = batch
                .column_by_name(&term.column)
                .ok_or_else(|| ArrowError::SchemaError(format!("no column {} in the batch", term.column)))?;
            let mask = term.compare(column)?;
            all = Some(match all {
                None => mask,
                Some(before) => and(&before, &mask)?,
            });
        }
        Ok(all.unwrap_or_else(|| BooleanArray::from(vec![true; batch.num_rows()])))
    }

    /// The rows of `batch` for which the predicate holds.
    pub fn filter(&self, batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
        filter_record_batch(batch, &self.evaluate(batch)?)
    }
}

impl Term {
    /// Compares a column (of the source's type, or of one it casts to without loss) with the constant.
    pub fn compare(&self, column: &dyn Array) -> Result<BooleanArray, ArrowError> {
        let value = if column.data_type() == self.value.data_type() {
            self.value.clone()
        } else {
            cast(&self.value, column.data_type())?
        };
        let constant = Scalar::new(value);
        let column: &dyn Datum = &column;
        match self.comparison {
            Comparison::Equal => cmp::eq(column, &constant),
            Comparison::AtMost => cmp::lt_eq(column, &constant),
            Comparison::AtLeast => cmp::gt_eq(column, &constant),
        }
    }

    /// Whether a zone with these bounds may hold a row for which the term is true. Unknown bounds (null) may.
    pub fn may_hold(&self, minimums: &dyn Array, maximums: &dyn Array) -> Result<BooleanArray, ArrowError> {
        let bound = |comparison, bounds: &dyn Array| {
            let term = Self { column: self.column.clone(), comparison, value: self.value.clone() };
            let mask = term.compare(bounds)?;
            Ok::<_, ArrowError>(
                mask.iter().map(|known| Some(known.unwrap_or(true))).collect::<BooleanArray>(),
            )
        };
        match self.comparison {
            Comparison::AtMost => bound(Comparison::AtMost, minimums),
            Comparison::AtLeast => bound(Comparison::AtLeast, maximums),
            Comparison::Equal => {
                and(&bound(Comparison::AtMost, minimums)?, &bound(Comparison::AtLeast, maximums)?)
            }
        }
    }
}

impl fmt::Display for Predicate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (position, term) in self.terms.iter().enumerate() {
            if position > 0 {
                f.write_str(" AND ")?;
            }
            let value = array_value_to_string(&term.value, 0).map_err(|_| fmt::Error)?;
            write!(f, "{} {} {value}", term.column, term.comparison)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{Int64Array, StringArray, StringViewArray};

    use super::*;

    #[test]
    fn nulls_select_nothing_and_string_types_mix() {
        let batch = RecordBatch::try_from_iter(vec![
            ("a", Arc::new(Int64Array::from(vec![Some(1), None, Some(3), Some(4)])) as ArrayRef),
            ("s", Arc::new(StringViewArray::from(vec!["x", "x", "x", "y"])) as ArrayRef),
        ])
        .unwrap();
        let mut predicate =
            Predicate::between("a", Arc::new(Int64Array::from(vec![2])), Arc::new(Int64Array::from(vec![4])));
        assert_eq!(predicate.filter(&batch).unwrap().num_rows(), 2);
        predicate.terms.push(Term {
            column: "s".into(),
            comparison: Comparison::Equal,
            value: Arc::new(StringArray::from(vec!["x"])),
        });
        assert_eq!(predicate.filter(&batch).unwrap().num_rows(), 1);
        assert_eq!(predicate.columns(), ["a", "s"]);
        assert_eq!(predicate.to_string(), "a >= 2 AND a <= 4 AND s = x");
    }

    #[test]
    fn a_zone_is_kept_unless_its_bounds_exclude_it() {
        let predicate = Predicate::between(
            "a",
            Arc::new(Int64Array::from(vec![10])),
            Arc::new(Int64Array::from(vec![20])),
        );
        let minimums = Int64Array::from(vec![Some(0), Some(5), Some(21), None]);
        let maximums = Int64Array::from(vec![Some(9), Some(15), Some(30), None]);
        let keep: Vec<bool> = (0..4)
            .map(|zone| {
                predicate.terms.iter().all(|term| term.may_hold(&minimums, &maximums).unwrap().value(zone))
            })
            .collect();
        assert_eq!(keep, [false, true, false, true]);
    }
}
