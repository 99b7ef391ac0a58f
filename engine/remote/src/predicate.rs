//! Conditions as they travel: the nodes of the tree, each after its parts, so that no depth can overflow a stack.

use std::sync::Arc;

use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_schema::{Field, Schema};
use deltalite_format::predicate::{CmpOp, Literal, Predicate};
use deltalite_net::{ErrorKind, Result, RpcError};
use rkyv::{Archive, Deserialize, Serialize};

/// Deepest tree that is taken.
const DEPTH_MAX: usize = 512;

/// A condition.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Archive, Serialize, Deserialize)]
pub struct WirePredicate {
    nodes: Vec<Node>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, Archive, Serialize, Deserialize)]
enum Node {
    And(u32),
    Or(u32),
    Not,
    Compare { column: String, op: u8, value: Value },
    Between { column: String, low: Value, high: Value, negated: bool },
    In { column: String, values: Vec<Value>, negated: bool },
    IsNull { column: String },
    IsNotNull { column: String },
    Like { column: String, pattern: String, escape: Option<char>, negated: bool, case_insensitive: bool },
    Literal(Option<bool>),
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, Archive, Serialize, Deserialize)]
enum Value {
    Null,
    Bool(bool),
    Number(String),
    Text(String),
    Bytes(Vec<u8>),
    /// An Arrow IPC stream of one row of one column.
    Typed(Vec<u8>),
}

const OPS: [CmpOp; 6] = [CmpOp::Eq, CmpOp::NotEq, CmpOp::Lt, CmpOp::LtEq, CmpOp::Gt, CmpOp::GtEq];

fn unreadable(what: &str) -> RpcError {
    RpcError::new(ErrorKind::InvalidArgument, format!("a condition that can't be read: {what}"))
}

impl WirePredicate {
    /// As it travels.
    ///
    /// # Errors
    /// For literals of types that Arrow IPC does not have.
    pub fn encode(predicate: &Predicate) -> Result<Self> {
        let mut nodes = Vec::new();
        push(predicate, &mut nodes)?;
        Ok(Self { nodes })
    }

    /// From the wire.
    ///
    /// # Errors
    /// Where it is no condition.
    pub fn decode(&self) -> Result<Predicate> {
        let mut stack: Vec<(Predicate, usize)> = Vec::new();
        for node in &self.nodes {
            let (predicate, depth) = match node {
                Node::And(n) | Node::Or(n) => {
                    let at = stack
                        .len()
                        .checked_sub(*n as usize)
                        .ok_or_else(|| unreadable("parts are missing"))?;
                    let depth = stack[at..].iter().map(|(_, depth)| *depth).max().unwrap_or(0);
                    let parts = stack.drain(at..).map(|(part, _)| part).collect();
                    (
                        if matches!(node, Node::And(_)) {
                            Predicate::And(parts)
                        } else {
                            Predicate::Or(parts)
                        },
                        depth + 1,
                    )
                }
                Node::Not => {
                    let (inner, depth) = stack.pop().ok_or_else(|| unreadable("NOT of nothing"))?;
                    (Predicate::Not(Box::new(inner)), depth + 1)
                }
                leaf => (leaf_of(leaf)?, 1),
            };
            if depth > DEPTH_MAX {
                return Err(unreadable("it is nested too deeply"));
            }
            stack.push((predicate, depth));
        }
        match (stack.pop(), stack.is_empty()) {
            (Some((predicate, _)), true) => Ok(predicate),
            _ => Err(unreadable("it is not one condition")),
        }
    }
}

fn push(predicate: &Predicate, nodes: &mut Vec<Node>) -> Result<()> {
    let node = match predicate {
        Predicate::And(parts) | Predicate::Or(parts) => {
            for part in parts {
                push(part, nodes)?;
            }
            let n = parts.len() as u32;
            if matches!(predicate, Predicate::And(_)) { Node::And(n) } else { Node::Or(n) }
        }
        Predicate::Not(inner) => {
            push(inner, nodes)?;
            Node::Not
        }
        Predicate::Compare { column, op, value } => Node::Compare {
            column: column.clone(),
            op: OPS.iter().position(|known| known == op).unwrap_or(0) as u8,
            value: value_of(value)?,
        },
        Predicate::Between { column, low, high, negated } => Node::Between {
            column: column.clone(),
            low: value_of(low)?,
            high: value_of(high)?,
            negated: *negated,
        },
        Predicate::In { column, values, negated } => Node::In {
            column: column.clone(),
            values: values.iter().map(value_of).collect::<Result<_>>()?,
            negated: *negated,
        },
        Predicate::IsNull { column } => Node::IsNull { column: column.clone() },
        Predicate::IsNotNull { column } => Node::IsNotNull { column: column.clone() },
        Predicate::Like { column, pattern, escape, negated, case_insensitive } => Node::Like {
            column: column.clone(),
            pattern: pattern.clone(),
            escape: *escape,
            negated: *negated,
            case_insensitive: *case_insensitive,
        },
        Predicate::Literal(value) => Node::Literal(*value),
    };
    nodes.push(node);
    Ok(())
}

fn leaf_of(node: &Node) -> Result<Predicate> {
    Ok(match node {
        Node::Compare { column, op, value } => Predicate::Compare {
            column: column.clone(),
            op: *OPS.get(*op as usize).ok_or_else(|| unreadable("an unknown comparison"))?,
            value: literal_of(value)?,
        },
        Node::Between { column, low, high, negated } => Predicate::Between {
            column: column.clone(),
            low: literal_of(low)?,
            high: literal_of(high)?,
            negated: *negated,
        },
        Node::In { column, values, negated } => Predicate::In {
            column: column.clone(),
            values: values.iter().map(literal_of).collect::<Result<_>>()?,
            negated: *negated,
        },
        Node::IsNull { column } => Predicate::IsNull { column: column.clone() },
        Node::IsNotNull { column } => Predicate::IsNotNull { column: column.clone() },
        Node::Like { column, pattern, escape, negated, case_insensitive } => Predicate::Like {
            column: column.clone(),
            pattern: pattern.clone(),
            escape: *escape,
            negated: *negated,
            case_insensitive: *case_insensitive,
        },
        Node::Literal(value) => Predicate::Literal(*value),
        Node::And(_) | Node::Or(_) | Node::Not => return Err(unreadable("a part without a place")),
    })
}

fn value_of(literal: &Literal) -> Result<Value> {
    Ok(match literal {
        Literal::Null => Value::Null,
        Literal::Bool(b) => Value::Bool(*b),
        Literal::Number(n) => Value::Number(n.clone()),
        Literal::Text(t) => Value::Text(t.clone()),
        Literal::Bytes(b) => Value::Bytes(b.clone()),
        Literal::Typed(array) => Value::Typed(typed(array)?),
    })
}

fn typed(array: &ArrayRef) -> Result<Vec<u8>> {
    let failed = |e: arrow_schema::ArrowError| {
        RpcError::new(
            ErrorKind::InvalidArgument,
            format!("a literal of type {} can't travel", array.data_type()),
        )
        .caused_by(e)
    };
    let schema = Arc::new(Schema::new(vec![Field::new("", array.data_type().clone(), true)]));
    let batch = RecordBatch::try_new(Arc::clone(&schema), vec![Arc::clone(array)]).map_err(failed)?;
    let mut bytes = Vec::new();
    arrow_ipc::writer::StreamWriter::try_new(&mut bytes, &schema)
        .and_then(|mut writer| writer.write(&batch).and_then(|()| writer.finish()))
        .map_err(failed)?;
    Ok(bytes)
}

fn literal_of(value: &Value) -> Result<Literal> {
    Ok(match value {
        Value::Null => Literal::Null,
        Value::Bool(b) => Literal::Bool(*b),
        Value::Number(n) => Literal::Number(n.clone()),
        Value::Text(t) => Literal::Text(t.clone()),
        Value::Bytes(b) => Literal::Bytes(b.clone()),
        Value::Typed(bytes) => {
            Literal::Typed(crate::ipc::value(bytes).map_err(|e| unreadable("a literal").caused_by(e))?)
        }
    })
}

#[cfg(test)]
mod tests {
    use deltalite_format::predicate::{col, lit};

    use super::*;

    #[test]
    fn conditions_survive() {
        let date = Literal::date("1998-09-02").unwrap();
        let all = [
            Predicate::And(Vec::new()),
            col("a").lt(10.5).and(col("b").like("A%").or(!col("c").is_null())),
            col("d").between(date.clone(), date),
            col("e").is_in(["x", "y"]).and(col("e").not_in([1i64, 2])),
            col("f").gt_eq(lit(Literal::Bytes(vec![0, 255]))).or(Predicate::Literal(None)),
            col("g.h").ilike("x\\%_").and(col("i").is_not_null()),
        ];
        for predicate in all {
            let wire = WirePredicate::encode(&predicate).unwrap();
            let bytes = crate::protocol::encode(&wire).unwrap();
            let there: WirePredicate = crate::protocol::decode(&bytes).unwrap();
            assert_eq!(there.decode().unwrap(), predicate);
        }
    }

    #[test]
    fn what_is_no_condition_is_refused() {
        let leaf = || Node::Literal(Some(true));
        let deep = std::iter::once(leaf()).chain((0..1000).map(|_| Node::Not)).collect();
        for nodes in [
            vec![],
            vec![Node::And(1)],
            vec![leaf(), leaf()],
            vec![Node::Not],
            vec![leaf(), Node::Or(2)],
            deep,
        ] {
            assert!(WirePredicate { nodes }.decode().is_err());
        }
        let op = Node::Compare { column: "a".into(), op: 9, value: Value::Null };
        let typed = Node::Compare { column: "a".into(), op: 1, value: Value::Typed(vec![1, 2, 3]) };
        assert!(WirePredicate { nodes: vec![op] }.decode().is_err());
        assert!(WirePredicate { nodes: vec![typed] }.decode().is_err());
    }
}
