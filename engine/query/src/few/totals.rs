//! What aggregates have come to, by group.
//!
//! Sums, averages and counts of numbers are added up in chunks of 64 bits, and chunks in 128; an expression that several aggregates share is added
//! up once. Every other aggregate is DataFusion's own, told which group each row is in.

use std::ops::Range;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Decimal128Type, Int64Type};
use arrow_array::{Array, ArrayRef, Decimal128Array, Int64Array, RecordBatch, UInt64Array};
use arrow_schema::{DataType, Schema};
use datafusion::arrow::buffer::{NullBuffer, ScalarBuffer};
use datafusion::common::{Result, plan_err};
use datafusion::functions_aggregate::average::Avg;
use datafusion::functions_aggregate::bool_and_or::{BoolAnd, BoolOr};
use datafusion::functions_aggregate::count::Count;
use datafusion::functions_aggregate::min_max::{Max, Min};
use datafusion::functions_aggregate::sum::Sum;
use datafusion::logical_expr::{EmitTo, GroupsAccumulator};
use datafusion::physical_expr::aggregate::AggregateFunctionExpr;
use datafusion::physical_expr::expressions::Literal;
use datafusion::physical_expr_common::physical_expr::is_volatile;
use datafusion::physical_plan::PhysicalExpr;
use deltalite_format::kernels::{Level, sums};

use super::keys::NONE;
use super::numbers::{CHUNK_ROWS, Number, Numbers};
use super::unscaled::Unscaled;

/// An aggregate as a plan has it.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    pub(super) function: Arc<AggregateFunctionExpr>,
    /// Its arguments, on the columns of what is read.
    pub(super) arguments: Vec<Arc<dyn PhysicalExpr>>,
    pub(super) filter: Option<Arc<dyn PhysicalExpr>>,
}

/// What becomes of an aggregate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum How {
    /// As a sum of numbers, or their average.
    Sum,
    /// By counting rows.
    Count,
    /// By DataFusion's own accumulator.
    Stock,
}

impl Wanted {
    /// How it is computed; `None` if it can't be here: it is not for groups, or holds more than a value or two of each.
    pub(super) fn how(&self, schema: &Schema) -> Result<Option<How>> {
        let function = &self.function;
        if function.is_distinct() || !function.order_bys().is_empty() {
            return Ok(None);
        }
        let inner = function.fun().inner();
        let types = self.arguments.iter().map(|arg| arg.data_type(schema)).collect::<Result<Vec<_>>>()?;
        if let (None, [argument]) = (&self.filter, types.as_slice()) {
            let states = function.state_fields()?;
            let state = states.last().map(|field| field.data_type());
            let wide =
                matches!((argument, state), (DataType::Decimal128(..), Some(DataType::Decimal128(..))));
            let long = matches!((argument, state), (DataType::Int64, Some(DataType::Int64)));
            let is_sum = inner.downcast_ref::<Sum>().is_some() && (wide || long)
                || inner.downcast_ref::<Avg>().is_some() && wide;
            if inner.downcast_ref::<Count>().is_some() {
                return Ok(Some(How::Count));
            }
            // What is evaluated again where it does not fit must be the same again.
            if is_sum && !self.arguments.iter().any(is_volatile) {
                return Ok(Some(How::Sum));
            }
        }
        let is_small = inner.downcast_ref::<Count>().is_some()
            || inner.downcast_ref::<Sum>().is_some()
            || inner.downcast_ref::<Avg>().is_some()
            || inner.downcast_ref::<Min>().is_some()
            || inner.downcast_ref::<Max>().is_some()
            || inner.downcast_ref::<BoolAnd>().is_some()
            || inner.downcast_ref::<BoolOr>().is_some();
        Ok((is_small && function.groups_accumulator_supported()).then_some(How::Stock))
    }
}

/// The sums of a number.
#[derive(Debug)]
struct Sums {
    number: Number,
    /// The same, for rows whose values don't fit 64 bits.
    expr: Arc<dyn PhysicalExpr>,
    totals: Vec<i128>,
    /// Rows that have a value.
    counts: Vec<u64>,
    /// Where the batch has none.
    nulls: Option<NullBuffer>,
}

/// Rows in which an expression is not null.
#[derive(Debug)]
struct Counts {
    expr: Arc<dyn PhysicalExpr>,
    counts: Vec<u64>,
}

/// An aggregate's place.
enum Part {
    Sum {
        of: usize,
        data_type: DataType,
    },
    Average {
        of: usize,
        data_type: DataType,
    },
    /// All rows.
    Rows,
    Count(usize),
    Stock {
        accumulator: Box<dyn GroupsAccumulator>,
        wanted: Wanted,
    },
}

/// The aggregates of all groups.
pub(super) struct Totals {
    parts: Vec<Part>,
    numbers: Numbers,
    sums: Vec<Sums>,
    counts: Vec<Counts>,
    /// Rows of each group.
    rows: Vec<u64>,
    /// Where batches have whole numbers for decimals.
    unscaled: Option<Unscaled>,
}

/// Rows of a chunk, and the groups they are in; one for all without.
struct Chunk<'a> {
    rows: Range<usize>,
    groups: Option<&'a [u8]>,
    /// Rows of each group.
    counts: Vec<u64>,
}

impl Totals {
    /// Of these aggregates, over what has this schema.
    pub(super) fn new(wanted: &[Wanted], schema: &Schema, unscaled: Option<Unscaled>) -> Result<Self> {
        let mut totals = Self {
            parts: Vec::with_capacity(wanted.len()),
            numbers: Numbers::default(),
            sums: Vec::new(),
            counts: Vec::new(),
            rows: Vec::new(),
            unscaled,
        };
        for wanted in wanted {
            let part = totals.part(wanted, schema)?;
            totals.parts.push(part);
        }
        Ok(totals)
    }

    fn part(&mut self, wanted: &Wanted, schema: &Schema) -> Result<Part> {
        match (wanted.how(schema)?, wanted.arguments.as_slice()) {
            (Some(How::Count), [argument]) => Ok(self.count(argument)),
            (Some(How::Sum), [argument]) => self.sum(wanted, argument, schema),
            (Some(How::Stock), _) => {
                let accumulator = wanted.function.create_groups_accumulator()?;
                Ok(Part::Stock { accumulator, wanted: wanted.clone() })
            }
            _ => plan_err!("{} is not for few groups", wanted.function.name()),
        }
    }

    fn count(&mut self, argument: &Arc<dyn PhysicalExpr>) -> Part {
        if argument.downcast_ref::<Literal>().is_some_and(|literal| !literal.value().is_null()) {
            return Part::Rows;
        }
        let at = self.counts.iter().position(|counts| counts.expr.eq(argument)).unwrap_or_else(|| {
            self.counts.push(Counts { expr: Arc::clone(argument), counts: Vec::new() });
            self.counts.len() - 1
        });
        Part::Count(at)
    }

    fn sum(&mut self, wanted: &Wanted, argument: &Arc<dyn PhysicalExpr>, schema: &Schema) -> Result<Part> {
        let (Some(number), Some(state)) =
            (self.numbers.add(argument, schema)?, wanted.function.state_fields()?.pop())
        else {
            return plan_err!("{} is not of numbers", wanted.function.name());
        };
        let of = self.sums.iter().position(|sums| sums.number == number).unwrap_or_else(|| {
            let expr = Arc::clone(argument);
            self.sums.push(Sums { number, expr, totals: Vec::new(), counts: Vec::new(), nulls: None });
            self.sums.len() - 1
        });
        let data_type = state.data_type().clone();
        let is_average = wanted.function.fun().inner().downcast_ref::<Avg>().is_some();
        Ok(if is_average { Part::Average { of, data_type } } else { Part::Sum { of, data_type } })
    }

    /// Adds a batch whose rows are in these of `count` groups; without, all are in the one there is.
    pub(super) fn add(&mut self, batch: &RecordBatch, groups: Option<&[u8]>, count: usize) -> Result<()> {
        self.grow(count);
        self.numbers.begin(batch)?;
        for sums in &mut self.sums {
            sums.nulls = self.numbers.nulls(sums.number).filter(|nulls| nulls.null_count() > 0);
        }
        for from in (0..batch.num_rows()).step_by(CHUNK_ROWS) {
            let rows = from..(from + CHUNK_ROWS).min(batch.num_rows());
            let groups = groups.map(|groups| &groups[rows.clone()]);
            let mut counts = vec![0; count];
            match groups {
                Some(groups) => sums::count_by_group(Level::current(), groups, &mut counts),
                None => counts[0] = rows.len() as u64,
            }
            self.rows.iter_mut().zip(&counts).for_each(|(rows, more)| *rows += more);
            if !self.sums.is_empty() {
                self.numbers.compute(&rows)?;
                let chunk = Chunk { rows, groups, counts };
                for sums in &mut self.sums {
                    sums.add(&self.numbers, batch, self.unscaled.as_ref(), &chunk)?;
                }
            }
        }
        self.numbers.end();
        for counts in &mut self.counts {
            counts.add(batch, groups)?;
        }
        self.add_to_stock(batch, groups, count)
    }

    fn grow(&mut self, count: usize) {
        self.rows.resize(count, 0);
        for sums in &mut self.sums {
            sums.totals.resize(count, 0);
            sums.counts.resize(count, 0);
        }
        self.counts.iter_mut().for_each(|counts| counts.counts.resize(count, 0));
    }

    fn add_to_stock(&mut self, batch: &RecordBatch, groups: Option<&[u8]>, count: usize) -> Result<()> {
        let mut indices: Option<Vec<usize>> = None;
        for part in &mut self.parts {
            let Part::Stock { accumulator, wanted } = part else { continue };
            let rows = batch.num_rows();
            let indices = indices.get_or_insert_with(|| match groups {
                Some(groups) => groups.iter().map(|group| usize::from(*group)).collect(),
                None => vec![0; rows],
            });
            let evaluate = |expr: &Arc<dyn PhysicalExpr>| expr.evaluate(batch)?.into_array(rows);
            let arguments = wanted.arguments.iter().map(evaluate).collect::<Result<Vec<_>>>()?;
            let filter = wanted.filter.as_ref().map(evaluate).transpose()?;
            let filter = filter.as_ref().map(AsArray::as_boolean);
            accumulator.update_batch(&arguments, indices, filter, count)?;
        }
        Ok(())
    }

    /// The states of all aggregates, of `count` groups.
    pub(super) fn states(&mut self, count: usize) -> Result<Vec<ArrayRef>> {
        self.grow(count);
        let mut states: Vec<ArrayRef> = Vec::new();
        for part in &mut self.parts {
            match part {
                Part::Sum { of, data_type } => states.push(self.sums[*of].array(data_type)?),
                Part::Average { of, data_type } => {
                    let sums = &self.sums[*of];
                    states
                        .push(Arc::new(UInt64Array::new(sums.counts.clone().into(), sums.groups_without())));
                    states.push(sums.array(data_type)?);
                }
                Part::Rows => states.push(counted(&self.rows)),
                Part::Count(of) => states.push(counted(&self.counts[*of].counts)),
                Part::Stock { accumulator, .. } => states.extend(accumulator.state(EmitTo::All)?),
            }
        }
        Ok(states)
    }
}

fn counted(counts: &[u64]) -> ArrayRef {
    Arc::new(Int64Array::from_iter_values(counts.iter().map(|count| *count as i64)))
}

impl Sums {
    /// The groups without a value, which have no sum.
    fn groups_without(&self) -> Option<NullBuffer> {
        let any = self.counts.contains(&0);
        any.then(|| self.counts.iter().map(|count| *count > 0).collect::<Vec<bool>>().into())
    }

    fn array(&self, data_type: &DataType) -> Result<ArrayRef> {
        let nulls = self.groups_without();
        Ok(match data_type {
            DataType::Int64 => {
                let sums: Vec<i64> = self.totals.iter().map(|sum| *sum as i64).collect();
                Arc::new(Int64Array::new(sums.into(), nulls))
            }
            DataType::Decimal128(..) => {
                let sums = Decimal128Array::new(ScalarBuffer::from(self.totals.clone()), nulls);
                Arc::new(sums.with_data_type(data_type.clone()))
            }
            other => return plan_err!("sums of type {other}"),
        })
    }

    fn add(
        &mut self,
        numbers: &Numbers,
        batch: &RecordBatch,
        unscaled: Option<&Unscaled>,
        chunk: &Chunk<'_>,
    ) -> Result<()> {
        let nulls = self.nulls.as_ref().map(|nulls| nulls.slice(chunk.rows.start, chunk.rows.len()));
        let mut with_values = [NONE; CHUNK_ROWS];
        let groups = match nulls.filter(|nulls| nulls.null_count() > 0) {
            None => {
                self.counts.iter_mut().zip(&chunk.counts).for_each(|(count, more)| *count += more);
                chunk.groups
            }
            Some(nulls) => {
                let groups = &mut with_values[..chunk.rows.len()];
                for row in nulls.valid_indices() {
                    groups[row] = chunk.groups.map_or(0, |groups| groups[row]);
                }
                sums::count_by_group(Level::current(), groups, &mut self.counts);
                Some(&*groups)
            }
        };
        let Some(values) = numbers.values(self.number) else {
            let rows = batch.slice(chunk.rows.start, chunk.rows.len());
            let rows = unscaled.map_or(Ok(rows.clone()), |unscaled| unscaled.scaled(&rows))?;
            return self.add_wide(&rows, groups);
        };
        let Some(groups) = groups else {
            let sum = numbers.sum(self.number).unwrap_or_else(|| sums::sum(Level::current(), values));
            self.totals[0] = self.totals[0].wrapping_add(i128::from(sum));
            return Ok(());
        };
        let mut some = [0; sums::GROUPS_MAX];
        let some = &mut some[..self.totals.len()];
        sums::by_group(Level::current(), values, groups, some);
        for (sum, more) in self.totals.iter_mut().zip(some) {
            *sum = sum.wrapping_add(i128::from(*more));
        }
        Ok(())
    }

    /// Adds rows whose values, or their sums, don't fit 64 bits.
    fn add_wide(&mut self, rows: &RecordBatch, groups: Option<&[u8]>) -> Result<()> {
        let array = self.expr.evaluate(rows)?.into_array(rows.num_rows())?;
        let mut add = |row: usize, value: i128| {
            let group = groups.map_or(0, |groups| usize::from(groups[row]));
            if let Some(sum) = self.totals.get_mut(group) {
                *sum = sum.wrapping_add(value);
            }
        };
        if let Some(array) = array.as_primitive_opt::<Decimal128Type>() {
            array.values().iter().enumerate().for_each(|(row, value)| add(row, *value));
        } else if let Some(array) = array.as_primitive_opt::<Int64Type>() {
            array.values().iter().enumerate().for_each(|(row, value)| add(row, i128::from(*value)));
        } else {
            return plan_err!("a number of another type: {}", array.data_type());
        }
        Ok(())
    }
}

impl Counts {
    fn add(&mut self, batch: &RecordBatch, groups: Option<&[u8]>) -> Result<()> {
        let array = self.expr.evaluate(batch)?.into_array(batch.num_rows())?;
        match (groups, array.logical_nulls().filter(|nulls| nulls.null_count() > 0)) {
            (None, nulls) => {
                let nulls = nulls.map_or(0, |nulls| nulls.null_count());
                self.counts[0] += (array.len() - nulls) as u64;
            }
            (Some(groups), None) => sums::count_by_group(Level::current(), groups, &mut self.counts),
            (Some(groups), Some(nulls)) => {
                nulls.valid_indices().for_each(|row| self.counts[usize::from(groups[row])] += 1);
            }
        }
        Ok(())
    }
}
