//! How many rows parts of a plan yield, by what tables' statistics say. What nothing is known of is not guessed: there is no estimate then.

use std::collections::HashMap;

use arrow_schema::DataType;
use datafusion::common::{Column, Constraint, DFSchema, ScalarValue};
use datafusion::datasource::source_as_provider;
use datafusion::logical_expr::expr::InList;
use datafusion::logical_expr::utils::split_conjunction;
use datafusion::logical_expr::{
    BinaryExpr, Cast, Distinct, Expr, FetchType, JoinType, Like, LogicalPlan, Operator, TableScan, TryCast,
};

use super::group::Group;

/// Part of the rows that conditions keep of which nothing is known: comparisons, patterns, anything else.
const COMPARED: f64 = 0.3;
const MATCHED: f64 = 0.1;
const CONDITIONED: f64 = 0.2;
/// Part of the rows that have one value of a column whose number of values is not known.
const ONE_VALUE: f64 = 0.1;
/// Operators above each other that are looked through.
const DEPTH_MAX: usize = 100;

/// What is known of a column.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Known {
    /// Different values, at most.
    pub(super) distinct: f64,
    /// Whether there are fewer values than rows: the column is then likely to have all of them. Where there may be as many, it may be a key.
    pub(super) repeats: bool,
    /// The least and the greatest value, as numbers.
    pub(super) range: Option<(f64, f64)>,
    data_type: DataType,
}

impl Known {
    /// A column that may be anything.
    pub(super) fn nothing(rows: f64, data_type: DataType) -> Self {
        Self { distinct: rows.max(1.0), repeats: false, range: None, data_type }
    }
}

/// What is known of the rows that a part of a plan yields.
#[derive(Debug, Clone, Default)]
pub(super) struct Estimate {
    pub(super) rows: f64,
    /// Rows before conditions on them.
    pub(super) all_rows: f64,
    columns: HashMap<Column, Known>,
}

impl Estimate {
    /// Rows of which nothing else is known.
    pub(super) fn of_rows(rows: f64) -> Self {
        Self { rows, all_rows: rows, columns: HashMap::new() }
    }

    /// What is known of a value: of a column, or nothing.
    pub(super) fn value(&self, expr: &Expr) -> Known {
        let known = plain_column(expr).and_then(|column| self.columns.get(column));
        known.cloned().unwrap_or_else(|| Known::nothing(self.all_rows, DataType::Null))
    }

    pub(super) fn take_columns(&mut self, of: Estimate) {
        self.columns.extend(of.columns);
    }

    /// The columns under other names, one after the other.
    fn renamed(mut self, from: &DFSchema, to: &DFSchema) -> Self {
        let mut columns = HashMap::new();
        for (from, to) in from.columns().into_iter().zip(to.columns()) {
            columns.extend(self.columns.remove(&from).map(|known| (to, known)));
        }
        self.columns = columns;
        self
    }

    /// Keeps rows for which conditions are true.
    pub(super) fn filter<'a>(&mut self, conditions: impl IntoIterator<Item = &'a Expr>) {
        let mut ranges: HashMap<Column, (f64, f64)> = HashMap::new();
        let mut kept = 1.0;
        for condition in conditions {
            match self.bound(condition) {
                Some((column, (low, high))) => {
                    let range = ranges.entry(column).or_insert((f64::NEG_INFINITY, f64::INFINITY));
                    *range = (range.0.max(low), range.1.min(high));
                }
                None => kept *= self.kept(condition),
            }
        }
        for (column, (low, high)) in ranges {
            let Some(known) = self.columns.get_mut(&column) else { continue };
            let Some((least, greatest)) = known.range else { continue };
            let (low, high) = (low.max(least), high.min(greatest));
            kept *= part_of((low, high), (least, greatest)).max(1.0 / self.all_rows.max(1.0));
            if low <= high {
                known.range = Some((low, high));
            }
        }
        self.rows *= kept;
    }

    /// A comparison of a column whose range is known with a literal, as the range that it leaves.
    fn bound(&self, condition: &Expr) -> Option<(Column, (f64, f64))> {
        let Expr::BinaryExpr(BinaryExpr { left, op, right }) = condition else { return None };
        let (column, literal, op) = match (plain_column(left), right.as_ref()) {
            (Some(column), Expr::Literal(literal, _)) => (column, literal, *op),
            _ => match (left.as_ref(), plain_column(right)) {
                (Expr::Literal(literal, _), Some(column)) => (column, literal, op.swap()?),
                _ => return None,
            },
        };
        let known = self.columns.get(column).filter(|known| known.range.is_some())?;
        let value = number(&literal.cast_to(&known.data_type).ok()?)?;
        let range = match op {
            Operator::Lt | Operator::LtEq => (f64::NEG_INFINITY, value),
            Operator::Gt | Operator::GtEq => (value, f64::INFINITY),
            _ => return None,
        };
        Some((column.clone(), range))
    }

    /// The part of rows that a condition keeps.
    fn kept(&self, condition: &Expr) -> f64 {
        match condition {
            Expr::Literal(ScalarValue::Boolean(Some(all)), _) => f64::from(u8::from(*all)),
            Expr::Not(inner) => 1.0 - self.kept(inner),
            Expr::IsNull(_) => MATCHED,
            Expr::IsNotNull(_) => 1.0,
            Expr::Like(Like { negated, .. }) | Expr::SimilarTo(Like { negated, .. }) => {
                if *negated {
                    1.0 - MATCHED
                } else {
                    MATCHED
                }
            }
            Expr::InList(InList { expr, list, negated }) => {
                let one = self.one_value(expr).unwrap_or(ONE_VALUE);
                let kept = (one * list.len() as f64).min(1.0);
                if *negated { 1.0 - kept } else { kept }
            }
            Expr::Between(between) => {
                if between.negated {
                    1.0 - COMPARED
                } else {
                    COMPARED
                }
            }
            Expr::BinaryExpr(BinaryExpr { left, op, right }) => match op {
                Operator::And => self.kept(left) * self.kept(right),
                Operator::Or => {
                    let (left, right) = (self.kept(left), self.kept(right));
                    left + right - left * right
                }
                Operator::Eq | Operator::IsNotDistinctFrom => self.equal(left, right),
                Operator::NotEq | Operator::IsDistinctFrom => 1.0 - self.equal(left, right),
                Operator::Lt | Operator::LtEq | Operator::Gt | Operator::GtEq => {
                    self.bound(condition).map_or(COMPARED, |(column, (low, high))| {
                        let range = self.columns.get(&column).and_then(|known| known.range);
                        range.map_or(COMPARED, |all| part_of((low.max(all.0), high.min(all.1)), all))
                    })
                }
                Operator::LikeMatch | Operator::RegexMatch => MATCHED,
                _ => CONDITIONED,
            },
            _ => CONDITIONED,
        }
    }

    /// The part of rows in which two values of a row are equal.
    fn equal(&self, left: &Expr, right: &Expr) -> f64 {
        let parts = [self.one_value(left), self.one_value(right)];
        parts.into_iter().flatten().reduce(f64::min).unwrap_or(ONE_VALUE)
    }

    /// The part of rows that have one value of a column.
    fn one_value(&self, expr: &Expr) -> Option<f64> {
        let known = self.columns.get(plain_column(expr)?)?;
        let one = 1.0 / known.distinct;
        Some(if known.repeats || known.range.is_some() { one } else { one.max(ONE_VALUE) })
    }
}

/// A column, also where its type is changed.
fn plain_column(expr: &Expr) -> Option<&Column> {
    match expr {
        Expr::Column(column) => Some(column),
        Expr::Cast(Cast { expr, .. }) | Expr::TryCast(TryCast { expr, .. }) => plain_column(expr),
        Expr::Alias(alias) => plain_column(&alias.expr),
        _ => None,
    }
}

/// The part of a range that another one is.
fn part_of(part: (f64, f64), all: (f64, f64)) -> f64 {
    if part.0 > part.1 {
        return 0.0;
    }
    // Both ends belong to it: of whole numbers there is one more than the difference.
    ((part.1 - part.0 + 1.0) / (all.1 - all.0 + 1.0)).clamp(0.0, 1.0)
}

/// A value as a number, where its order is that of numbers.
fn number(value: &ScalarValue) -> Option<f64> {
    use ScalarValue as V;
    let number = match value {
        V::Int8(v) => f64::from((*v)?),
        V::Int16(v) => f64::from((*v)?),
        V::Int32(v) | V::Date32(v) => f64::from((*v)?),
        V::UInt8(v) => f64::from((*v)?),
        V::UInt16(v) => f64::from((*v)?),
        V::UInt32(v) => f64::from((*v)?),
        V::UInt64(v) => (*v)? as f64,
        V::Float32(v) => f64::from((*v)?),
        V::Float64(v) => (*v)?,
        V::Decimal128(v, _, scale) => (*v)? as f64 / 10f64.powi(i32::from(*scale)),
        V::Int64(v)
        | V::Date64(v)
        | V::TimestampSecond(v, _)
        | V::TimestampMillisecond(v, _)
        | V::TimestampMicrosecond(v, _)
        | V::TimestampNanosecond(v, _) => (*v)? as f64,
        _ => return None,
    };
    number.is_finite().then_some(number)
}

/// What a part of a plan yields; `None` if that is not known.
pub(super) fn estimate(plan: &LogicalPlan, depth: usize) -> Option<Estimate> {
    if depth > DEPTH_MAX {
        return None;
    }
    let of = |plan: &LogicalPlan| estimate(plan, depth + 1);
    match plan {
        LogicalPlan::TableScan(scan) => of_table(scan),
        LogicalPlan::Filter(filter) => {
            let mut all = of(&filter.input)?;
            all.filter(split_conjunction(&filter.predicate));
            Some(all)
        }
        LogicalPlan::Projection(projection) => {
            let mut all = of(&projection.input)?;
            let names = projection.schema.columns();
            let kept = projection.expr.iter().zip(names);
            let kept = kept.filter_map(|(expr, name)| {
                let column = match expr {
                    Expr::Column(column) => column,
                    Expr::Alias(alias) => alias.expr.try_as_col()?,
                    _ => return None,
                };
                Some((name, all.columns.get(column)?.clone()))
            });
            all.columns = kept.collect();
            Some(all)
        }
        LogicalPlan::SubqueryAlias(alias) => {
            Some(of(&alias.input)?.renamed(alias.input.schema(), &alias.schema))
        }
        LogicalPlan::Aggregate(aggregate) => {
            let all = of(&aggregate.input)?;
            if aggregate.group_expr.iter().any(|expr| matches!(expr, Expr::GroupingSet(_))) {
                return None;
            }
            let values = aggregate.group_expr.iter().map(|expr| all.value(expr).distinct);
            let mut groups = Estimate::of_rows(values.product::<f64>().min(all.rows).max(1.0));
            for (expr, name) in aggregate.group_expr.iter().zip(aggregate.schema.columns()) {
                let known = all.value(expr);
                let distinct = known.distinct.min(groups.rows);
                groups.columns.insert(name, Known { distinct, repeats: distinct < groups.rows, ..known });
            }
            Some(groups)
        }
        LogicalPlan::Distinct(Distinct::All(input)) => of(input),
        LogicalPlan::Window(window) => of(&window.input),
        LogicalPlan::Sort(sort) => Some(limited(of(&sort.input)?, sort.fetch)),
        LogicalPlan::Limit(limit) => {
            let Ok(FetchType::Literal(fetch)) = limit.get_fetch_type() else { return None };
            Some(limited(of(&limit.input)?, fetch))
        }
        LogicalPlan::Repartition(repartition) => of(&repartition.input),
        LogicalPlan::Union(union) => {
            let rows: Option<Vec<f64>> = union.inputs.iter().map(|input| Some(of(input)?.rows)).collect();
            Some(Estimate::of_rows(rows?.into_iter().sum()))
        }
        LogicalPlan::Values(values) => Some(Estimate::of_rows(values.values.len() as f64)),
        LogicalPlan::EmptyRelation(relation) => {
            Some(Estimate::of_rows(f64::from(u8::from(relation.produce_one_row))))
        }
        LogicalPlan::Join(join) => {
            let grouped = Group::of(plan, depth + 1);
            if let Some(mut group) = grouped {
                return Some(group.estimate());
            }
            // Rows of a side that is kept whole are there at least once.
            let (mut left, right) = (of(&join.left)?, of(&join.right)?);
            let rows = match join.join_type {
                JoinType::Left | JoinType::LeftSemi | JoinType::LeftAnti | JoinType::LeftMark => left.rows,
                JoinType::Right => right.rows,
                JoinType::Full => left.rows + right.rows,
                _ => return None,
            };
            (left.rows, left.all_rows) = (rows, rows);
            if matches!(join.join_type, JoinType::Left | JoinType::Right | JoinType::Full) {
                left.take_columns(right);
            }
            Some(left)
        }
        _ => None,
    }
}

fn limited(mut all: Estimate, fetch: Option<usize>) -> Estimate {
    if let Some(fetch) = fetch {
        all.rows = all.rows.min(fetch as f64);
    }
    all
}

fn of_table(scan: &TableScan) -> Option<Estimate> {
    let provider = source_as_provider(&scan.source).ok()?;
    let statistics = provider.statistics()?;
    let rows = *statistics.num_rows.get_value()? as f64;
    let mut found = Estimate::of_rows(rows);
    let schema = provider.schema();
    let unique = |at: usize| {
        provider.constraints().is_some_and(|constraints| {
            constraints.iter().any(|constraint| match constraint {
                Constraint::PrimaryKey(columns) | Constraint::Unique(columns) => *columns == [at],
            })
        })
    };
    let names = scan.projected_schema.columns();
    let places = scan.projection.clone().unwrap_or_else(|| (0..schema.fields().len()).collect());
    for (name, at) in names.into_iter().zip(places) {
        let mut known = Known::nothing(rows, schema.field(at).data_type().clone());
        let column = statistics.column_statistics.get(at)?;
        let bound = |value: Option<&ScalarValue>| number(value?);
        let least = bound(column.min_value.get_value());
        let range = least.zip(bound(column.max_value.get_value())).filter(|(least, most)| least <= most);
        let steps = known.data_type.is_integer() || known.data_type == DataType::Date32;
        known.range = range;
        match (column.distinct_count.get_value(), range) {
            (Some(distinct), _) => known.distinct = (*distinct as f64).clamp(1.0, rows.max(1.0)),
            (None, Some((least, most))) if steps => known.distinct = known.distinct.min(most - least + 1.0),
            _ if known.data_type == DataType::Boolean => known.distinct = known.distinct.min(2.0),
            _ => {}
        }
        known.repeats = known.distinct < rows && !unique(at);
        found.columns.insert(name, known);
    }
    found.filter(&scan.filters);
    Some(limited(found, scan.fetch))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::ops::Not;

    use super::*;
    use datafusion::logical_expr::{col, lit};

    fn table() -> Estimate {
        let mut found = Estimate::of_rows(1000.0);
        let mut add = |name: &str, known: Known| found.columns.insert(Column::from_name(name), known);
        let range = Some((0.0, 99.0));
        add("a", Known { distinct: 100.0, repeats: true, range, data_type: DataType::Int64 });
        add("t", Known::nothing(1000.0, DataType::Utf8View));
        found
    }

    fn kept(conditions: &[Expr]) -> f64 {
        let mut found = table();
        found.filter(conditions);
        found.rows.round()
    }

    #[test]
    fn conditions_keep_a_part() {
        assert!((kept(&[col("a").eq(lit(5_i64))]) - 10.0).abs() < 1e-9);
        // Bounds of one column are taken together.
        assert!((kept(&[col("a").gt_eq(lit(10_i64)), col("a").lt_eq(lit(19_i64))]) - 100.0).abs() < 1e-9);
        assert!((kept(&[lit(90_i32).lt_eq(col("a"))]) - 100.0).abs() < 1e-9);
        assert!((kept(&[col("a").gt(lit(1000_i64))]) - 1.0).abs() < 1e-9);
        assert!((kept(&[col("a").in_list(vec![lit(1_i64), lit(2_i64)], false)]) - 20.0).abs() < 1e-9);
        assert!((kept(&[col("t").eq(lit("x"))]) - 100.0).abs() < 1e-9);
        assert!((kept(&[col("t").eq(lit("x")).not()]) - 900.0).abs() < 1e-9);
        let either = col("a").lt(lit(49_i64)).or(col("a").gt(lit(1000_i64)));
        assert!((kept(&[either]) - 500.0).abs() < 1e-9);
    }
}
