//! A schema from JSON values seen.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_schema::{DataType, Field, Schema, SchemaRef};
use simd_json::{Node, StaticNode};

use super::after;

/// The narrowest type that holds every value seen so far.
#[derive(Debug, Default)]
pub(super) enum Inferred {
    #[default]
    Null,
    Bool,
    /// Whole numbers: whether any is below 0, and whether any exceeds `i64`.
    Int {
        negative: bool,
        large: bool,
    },
    Float,
    /// Text, and whatever has no other type in common.
    Text,
    List(Box<Inferred>),
    Struct {
        fields: Vec<(String, Inferred)>,
        positions: HashMap<String, usize>,
    },
}

impl Inferred {
    /// Takes the value at `at` into account.
    pub(super) fn see(&mut self, nodes: &[Node<'_>], at: usize) {
        let seen = match nodes[at] {
            Node::Static(StaticNode::Null) => return,
            Node::Static(StaticNode::Bool(_)) => Self::Bool,
            Node::Static(StaticNode::I64(v)) => Self::Int { negative: v < 0, large: false },
            Node::Static(StaticNode::U64(v)) => Self::Int { negative: false, large: v > i64::MAX as u64 },
            Node::Static(StaticNode::F64(_)) => Self::Float,
            Node::String(_) => Self::Text,
            Node::Array { len, .. } => {
                if matches!(self, Self::Null) {
                    *self = Self::List(Box::default());
                }
                let Self::List(item) = self else {
                    *self = Self::Text;
                    return;
                };
                let mut at = at + 1;
                for _ in 0..len {
                    item.see(nodes, at);
                    at = after(nodes, at);
                }
                return;
            }
            Node::Object { len, .. } => {
                if matches!(self, Self::Null) {
                    *self = Self::Struct { fields: Vec::new(), positions: HashMap::new() };
                }
                let Self::Struct { fields, positions } = self else {
                    *self = Self::Text;
                    return;
                };
                let mut at = at + 1;
                for _ in 0..len {
                    let Node::String(key) = nodes[at] else { return };
                    let position = positions.get(key).copied().unwrap_or_else(|| {
                        positions.insert(key.to_owned(), fields.len());
                        fields.push((key.to_owned(), Self::Null));
                        fields.len() - 1
                    });
                    fields[position].1.see(nodes, at + 1);
                    at = after(nodes, at + 1);
                }
                return;
            }
        };
        let before = std::mem::take(self);
        *self = before.merged(seen);
    }

    fn merged(self, seen: Self) -> Self {
        match (self, seen) {
            (Self::Null, seen) => seen,
            (Self::Bool, Self::Bool) => Self::Bool,
            (Self::Int { negative: a, large: b }, Self::Int { negative: c, large: d }) => {
                Self::Int { negative: a || c, large: b || d }
            }
            (Self::Int { .. } | Self::Float, Self::Float) | (Self::Float, Self::Int { .. }) => Self::Float,
            _ => Self::Text,
        }
    }

    fn data_type(self) -> DataType {
        match self {
            Self::Null | Self::Text => DataType::Utf8,
            Self::Bool => DataType::Boolean,
            Self::Int { large: false, .. } => DataType::Int64,
            Self::Int { large: true, negative: false } => DataType::UInt64,
            Self::Int { large: true, negative: true } | Self::Float => DataType::Float64,
            Self::List(item) => DataType::List(Arc::new(Field::new_list_field(item.data_type(), true))),
            Self::Struct { fields, .. } if fields.is_empty() => DataType::Utf8,
            Self::Struct { fields, .. } => DataType::Struct(
                fields.into_iter().map(|(name, t)| Field::new(name, t.data_type(), true)).collect(),
            ),
        }
    }

    /// The schema, if rows were seen.
    pub(super) fn into_schema(self) -> SchemaRef {
        match self.data_type() {
            DataType::Struct(fields) => Arc::new(Schema::new(fields)),
            _ => Arc::new(Schema::empty()),
        }
    }
}
