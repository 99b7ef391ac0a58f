//! Conditions of a plan that a scan can take over: as the format's predicates.

use std::sync::Arc;

use datafusion::common::ScalarValue;
use datafusion::logical_expr::Operator;
use datafusion::physical_expr::expressions::{
    BinaryExpr, CastExpr, Column, InListExpr, IsNotNullExpr, IsNullExpr, LikeExpr, Literal, NotExpr,
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
    if let Some(binary) = expr.downcast_ref::<BinaryExpr>()
        && *binary.op() == Operator::And
    {
        return match (part_of(binary.left()), part_of(binary.right())) {
            (Some(a), Some(b)) => Some(a.and(b)),
            (one, other) => one.or(other),
        };
    }
    predicate_of(expr)
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
