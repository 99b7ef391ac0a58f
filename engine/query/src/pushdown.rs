//! Conditions of a plan that a scan can take over: as the format's predicates.

use std::sync::Arc;

use datafusion::common::ScalarValue;
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::expressions::{
    BinaryExpr, CaseExpr, CastExpr, Column, InListExpr, IsNotNullExpr, IsNullExpr, LikeExpr, Literal, NotExpr,
};
use datafusion::physical_plan::PhysicalExpr;
use deltalite_format::predicate::{CmpOp, Literal as Value, Predicate};

/// The predicate that is true of exactly the same rows; `None` where there is none.
pub fn predicate_of(expr: &Arc<dyn PhysicalExpr>) -> Option<Predicate> {
    if let Some(binary) = expr.downcast_ref::<BinaryExpr>() {
        return of_binary(binary);
    }
    if let Some(not) = expr.downcast_ref::<NotExpr>() {
        return Some(Predicate::Not(Box::new(predicate_of(not.arg())?)));
    }
    if let Some(null) = expr.downcast_ref::<IsNullExpr>() {
        return Some(Predicate::IsNull { column: column(null.arg())? });
    }
    if let Some(null) = expr.downcast_ref::<IsNotNullExpr>() {
        return Some(Predicate::IsNotNull { column: column(null.arg())? });
    }
    if let Some(list) = expr.downcast_ref::<InListExpr>() {
        let values = list.list().iter().map(value).collect::<Option<Vec<_>>>()?;
        return Some(Predicate::In { column: column(list.expr())?, values, negated: list.negated() });
    }
    if let Some(like) = expr.downcast_ref::<LikeExpr>() {
        let pattern = like.pattern().downcast_ref::<Literal>()?.value().try_as_str()??.to_owned();
        return Some(Predicate::Like {
            column: column(like.expr())?,
            pattern,
            // As Arrow's kernels have it.
            escape: Some('\\'),
            negated: like.negated(),
            case_insensitive: like.case_insensitive(),
        });
    }
    if let Some(literal) = expr.downcast_ref::<Literal>() {
        return match literal.value() {
            ScalarValue::Boolean(value) => Some(Predicate::Literal(*value)),
            ScalarValue::Null => Some(Predicate::Literal(None)),
            _ => None,
        };
    }
    None
}

fn of_binary(binary: &BinaryExpr) -> Option<Predicate> {
    let (left, right) = (binary.left(), binary.right());
    let op = match binary.op() {
        Operator::And => return Some(predicate_of(left)?.and(predicate_of(right)?)),
        Operator::Or => return Some(predicate_of(left)?.or(predicate_of(right)?)),
        Operator::Eq => CmpOp::Eq,
        Operator::NotEq => CmpOp::NotEq,
        Operator::Lt => CmpOp::Lt,
        Operator::LtEq => CmpOp::LtEq,
        Operator::Gt => CmpOp::Gt,
        Operator::GtEq => CmpOp::GtEq,
        _ => return None,
    };
    if let (Some(column), Some(value)) = (column(left), value(right)) {
        return Some(Predicate::Compare { column, op, value });
    }
    Some(Predicate::Compare { column: column(right)?, op: op.flipped(), value: value(left)? })
}

/// The part of a condition that a scan can use to leave rows out: true wherever the whole is.
pub fn part_of(expr: &Arc<dyn PhysicalExpr>) -> Option<Predicate> {
    if let Some(binary) = expr.downcast_ref::<BinaryExpr>() {
        match binary.op() {
            Operator::And => {
                return match (part_of(binary.left()), part_of(binary.right())) {
                    (Some(a), Some(b)) => Some(a.and(b)),
                    (one, other) => one.or(other),
                };
            }
            Operator::Or => return Some(part_of(binary.left())?.or(part_of(binary.right())?)),
            _ => {}
        }
    }
    if let Some(case) = expr.downcast_ref::<CaseExpr>() {
        return any_branch(case);
    }
    predicate_of(expr)
}

/// What is true wherever one of a CASE's branches is, whichever it is: a join of several partitions hands down one for each.
fn any_branch(case: &CaseExpr) -> Option<Predicate> {
    let thens = case.when_then_expr().iter().map(|(_, then)| then);
    let mut branches = Vec::new();
    for branch in thens.chain(case.else_expr()) {
        match part_of(branch)? {
            // Nothing is true there.
            Predicate::Literal(Some(false) | None) => {}
            part => branches.push(part),
        }
    }
    // Lists of values of one column are one list, which says more than the bounds beside them.
    let lists: Option<Vec<_>> = branches.iter().map(list_of).collect();
    if let Some(lists) = lists
        && let Some((column, _)) = lists.first()
        && lists.iter().all(|(other, _)| other == column)
    {
        let values = lists.iter().flat_map(|(_, values)| values.iter().cloned()).collect();
        return Some(Predicate::In { column: (*column).clone(), values, negated: false });
    }
    let any = branches.into_iter().reduce(Predicate::or);
    Some(any.unwrap_or(Predicate::Literal(Some(false))))
}

/// The list of values that a part of a condition has for a column.
fn list_of(part: &Predicate) -> Option<(&String, &Vec<Value>)> {
    match part {
        Predicate::In { column, values, negated: false } => Some((column, values)),
        Predicate::And(parts) => parts.iter().find_map(list_of),
        _ => None,
    }
}

fn column(expr: &Arc<dyn PhysicalExpr>) -> Option<String> {
    expr.downcast_ref::<Column>().map(|c| c.name().to_owned())
}

fn value(expr: &Arc<dyn PhysicalExpr>) -> Option<Value> {
    if let Some(cast) = expr.downcast_ref::<CastExpr>() {
        let inner = cast.expr().downcast_ref::<Literal>()?;
        let array = inner.value().cast_to(cast.cast_type()).ok()?.to_array().ok()?;
        return Some(Value::Typed(array));
    }
    let literal = expr.downcast_ref::<Literal>()?.value();
    if literal.is_null() {
        return Some(Value::Null);
    }
    match literal {
        ScalarValue::Dictionary(_, inner) => inner.to_array().ok().map(Value::Typed),
        other => other.to_array().ok().map(Value::Typed),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that can't set up its data has failed")]
mod tests {
    use arrow_array::Int64Array;
    use arrow_schema::{DataType, Field, Schema};
    use datafusion::physical_expr::expressions::{binary, col, in_list, is_null, lit};
    use deltalite_format::predicate::bind;

    use super::*;

    fn schema() -> Schema {
        Schema::new(vec![Field::new("a", DataType::Int64, true), Field::new("b", DataType::Int64, true)])
    }

    fn compare(name: &str, op: Operator, value: i64) -> Arc<dyn PhysicalExpr> {
        binary(col(name, &schema()).unwrap(), op, lit(value), &schema()).unwrap()
    }

    fn both(a: Arc<dyn PhysicalExpr>, op: Operator, b: Arc<dyn PhysicalExpr>) -> Arc<dyn PhysicalExpr> {
        binary(a, op, b, &schema()).unwrap()
    }

    fn list(name: &str, values: &[i64]) -> Arc<dyn PhysicalExpr> {
        let values = values.iter().map(|v| lit(*v)).collect();
        in_list(col(name, &schema()).unwrap(), values, &false, &schema()).unwrap()
    }

    /// One branch for each partition of a join.
    fn case(
        branches: &[Arc<dyn PhysicalExpr>],
        otherwise: Option<Arc<dyn PhysicalExpr>>,
    ) -> Arc<dyn PhysicalExpr> {
        let branches = branches.iter().enumerate().map(|(n, then)| (lit(n as i64), then.clone())).collect();
        Arc::new(CaseExpr::try_new(Some(col("b", &schema()).unwrap()), branches, otherwise).unwrap())
    }

    /// Values of `a` up to 100 that a part keeps.
    fn kept(expr: &Arc<dyn PhysicalExpr>) -> Option<Vec<i64>> {
        let numbers = Int64Array::from_iter_values(0..100);
        let columns = vec![Arc::new(numbers.clone()) as _, Arc::new(numbers) as _];
        let batch = arrow_array::RecordBatch::try_new(Arc::new(schema()), columns).unwrap();
        let mask = bind(&part_of(expr)?, &schema()).unwrap().evaluate_batch(&batch).unwrap();
        Some((0..100).filter(|n| mask.get(*n as usize)).collect())
    }

    #[test]
    fn branches_of_partitions_are_one_condition() {
        let (low, high) = (compare("a", Operator::GtEq, 3), compare("a", Operator::LtEq, 90));
        let bounds = |from, to| {
            both(compare("a", Operator::GtEq, from), Operator::And, compare("a", Operator::LtEq, to))
        };
        let with_list = |values: &[i64]| both(bounds(0, 99), Operator::And, list("a", values));
        // What a scan does not know: a comparison of columns.
        let unknown = both(col("a", &schema()).unwrap(), Operator::Eq, col("b", &schema()).unwrap());
        let no = || Some(lit(false));
        assert_eq!(kept(&case(&[with_list(&[5, 70]), with_list(&[6])], no())), Some(vec![5, 6, 70]));
        assert_eq!(kept(&case(&[with_list(&[5]), lit(false), list("a", &[8])], None)), Some(vec![5, 8]));
        assert!(matches!(
            part_of(&case(&[list("a", &[1]), list("a", &[2])], no())),
            Some(Predicate::In { .. })
        ));
        // Lists of other columns, and bounds alone, are alternatives.
        assert_eq!(kept(&case(&[list("a", &[1]), list("b", &[2])], no())), Some(vec![1, 2]));
        let some = both(bounds(10, 12), Operator::And, unknown.clone());
        assert_eq!(kept(&case(&[some, bounds(20, 21)], no())), Some(vec![10, 11, 12, 20, 21]));
        // A branch of which nothing is known, or that is always true, may have any row.
        assert_eq!(kept(&case(&[low.clone(), unknown.clone()], no())), None);
        assert_eq!(kept(&case(&[low.clone(), lit(true)], no())).unwrap().len(), 100);
        assert_eq!(kept(&case(&[lit(false)], Some(unknown.clone()))), None);
        assert_eq!(kept(&case(&[lit(false)], no())), Some(Vec::new()));
        // Rows without a key are kept beside those that match.
        let or_null = both(high, Operator::Or, is_null(col("a", &schema()).unwrap()).unwrap());
        assert_eq!(kept(&or_null).unwrap().len(), 91);
        assert_eq!(kept(&both(low, Operator::Or, unknown)), None);
    }
}
