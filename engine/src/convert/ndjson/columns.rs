//! JSON values to Arrow arrays of a schema.
//!
//! Each field has a [`Column`] that collects values in the JSON type nearest to it; a type that JSON doesn't have (dates, decimals,
//! narrow integers) is then cast to, and a value that does not fit is an error with its line.

use std::collections::HashMap;
use std::fmt::Write;
use std::sync::Arc;

use arrow_array::builder::{BooleanBuilder, Float64Builder, Int64Builder, StringBuilder, UInt64Builder};
use arrow_array::{Array, ArrayRef, ListArray, StructArray};
use arrow_cast::{CastOptions, cast_with_options};
use arrow_schema::{DataType, FieldRef, Fields};
use simd_json::{Node, StaticNode};

use super::after;

/// A line, and what is wrong there.
pub(super) type LineError = (u64, String);

/// The columns of an object: the row itself, or a nested one.
pub(super) struct Object {
    names: Vec<String>,
    columns: Vec<Column>,
    positions: HashMap<String, usize>,
    /// Rows of each column that have a value already, to notice keys left out or given twice.
    filled: Vec<u64>,
    rows: u64,
    /// Whether keys that are no field are left out; an error otherwise.
    ignore_unknown: bool,
}

impl Object {
    pub(super) fn new(fields: &Fields, ignore_unknown: bool) -> Self {
        Self {
            names: fields.iter().map(|f| f.name().clone()).collect(),
            columns: fields.iter().map(|f| Column::new(f.data_type(), ignore_unknown)).collect(),
            positions: fields.iter().enumerate().map(|(i, f)| (f.name().clone(), i)).collect(),
            filled: vec![0; fields.len()],
            rows: 0,
            ignore_unknown,
        }
    }

    /// Adds the object at `at`.
    pub(super) fn push(&mut self, line: u64, nodes: &[Node<'_>], at: usize) -> Result<(), String> {
        let Node::Object { len, .. } = nodes[at] else {
            return Err(format!("{} where an object is expected", text_of(nodes, at)));
        };
        self.rows += 1;
        let (mut at, mut expected) = (at + 1, 0);
        for _ in 0..len {
            let Node::String(key) = nodes[at] else { return Err("a key is not a string".to_owned()) };
            // Keys mostly come in the same order on each line.
            let position = if self.names.get(expected).is_some_and(|n| n == key) {
                Some(expected)
            } else {
                self.positions.get(key).copied()
            };
            match position {
                Some(i) if self.filled[i] == self.rows => return Err(format!("key {key:?} appears twice")),
                Some(i) => {
                    self.columns[i].push(line, nodes, at + 1).map_err(|e| format!("{key}: {e}"))?;
                    self.filled[i] = self.rows;
                    expected = i + 1;
                }
                None if self.ignore_unknown => {}
                None => {
                    return Err(format!(
                        "key {key:?} was in none of the rows that the schema was inferred from; let it look at more with \
                         --infer-rows N (0: all), or give --schema"
                    ));
                }
            }
            at = after(nodes, at + 1);
        }
        self.fill();
        Ok(())
    }

    /// Adds a row without any value.
    fn push_null(&mut self) {
        self.rows += 1;
        self.fill();
    }

    fn fill(&mut self) {
        for (column, filled) in self.columns.iter_mut().zip(&mut self.filled) {
            if *filled != self.rows {
                column.push_null();
                *filled = self.rows;
            }
        }
    }

    /// The arrays, leaving the columns empty.
    pub(super) fn finish(&mut self) -> Result<Vec<ArrayRef>, LineError> {
        let named = |((line, detail), name): (LineError, &String)| (line, format!("{name}: {detail}"));
        self.columns
            .iter_mut()
            .zip(&self.names)
            .map(|(c, name)| c.finish().map_err(|e| named((e, name))))
            .collect()
    }
}

enum Values {
    Bool(BooleanBuilder),
    Int(Int64Builder),
    UInt(UInt64Builder),
    Float(Float64Builder),
    Text(StringBuilder),
    List { item: FieldRef, ends: Vec<i32>, valid: Vec<bool>, values: Box<Column> },
    Struct { fields: Fields, valid: Vec<bool>, object: Object },
}

struct Column {
    values: Values,
    target: DataType,
    /// The line of each value, where a cast may fail afterwards.
    lines: Option<Vec<u64>>,
}

impl Column {
    fn new(target: &DataType, ignore_unknown: bool) -> Self {
        let values = match target {
            DataType::Boolean => Values::Bool(BooleanBuilder::new()),
            DataType::UInt64 => Values::UInt(UInt64Builder::new()),
            t if t.is_integer() => Values::Int(Int64Builder::new()),
            DataType::Float16 | DataType::Float32 | DataType::Float64 => Values::Float(Float64Builder::new()),
            DataType::List(item) => Values::List {
                item: item.clone(),
                ends: vec![0],
                valid: Vec::new(),
                values: Box::new(Self::new(item.data_type(), ignore_unknown)),
            },
            DataType::Struct(fields) => Values::Struct {
                fields: fields.clone(),
                valid: Vec::new(),
                object: Object::new(fields, ignore_unknown),
            },
            _ => Values::Text(StringBuilder::new()),
        };
        let direct = matches!(
            target,
            DataType::Boolean
                | DataType::UInt64
                | DataType::Int64
                | DataType::Float64
                | DataType::Utf8
                | DataType::List(_)
                | DataType::Struct(_)
        );
        Self { values, target: target.clone(), lines: (!direct).then(Vec::new) }
    }

    fn push_null(&mut self) {
        if let Some(lines) = &mut self.lines {
            lines.push(0);
        }
        match &mut self.values {
            Values::Bool(b) => b.append_null(),
            Values::Int(b) => b.append_null(),
            Values::UInt(b) => b.append_null(),
            Values::Float(b) => b.append_null(),
            Values::Text(b) => b.append_null(),
            Values::List { ends, valid, .. } => {
                ends.push(ends.last().copied().unwrap_or(0));
                valid.push(false);
            }
            Values::Struct { valid, object, .. } => {
                valid.push(false);
                object.push_null();
            }
        }
    }

    fn push(&mut self, line: u64, nodes: &[Node<'_>], at: usize) -> Result<(), String> {
        let node = nodes[at];
        if matches!(node, Node::Static(StaticNode::Null)) {
            self.push_null();
            return Ok(());
        }
        let target = &self.target;
        let misfit = || {
            format!(
                "{} is no {target}; give the column another type with --type NAME=TYPE, or let inference see more rows with \
                 --infer-rows N (0: all)",
                text_of(nodes, at)
            )
        };
        match (&mut self.values, node) {
            (Values::Bool(b), Node::Static(StaticNode::Bool(v))) => b.append_value(v),
            (Values::Int(b), Node::Static(StaticNode::I64(v))) => b.append_value(v),
            (Values::Int(b), Node::Static(StaticNode::U64(v))) => {
                b.append_value(i64::try_from(v).map_err(|_| misfit())?);
            }
            (Values::Int(b), Node::String(v)) => b.append_value(v.trim().parse().map_err(|_| misfit())?),
            (Values::UInt(b), Node::Static(StaticNode::U64(v))) => b.append_value(v),
            (Values::UInt(b), Node::Static(StaticNode::I64(v))) => {
                b.append_value(u64::try_from(v).map_err(|_| misfit())?);
            }
            (Values::UInt(b), Node::String(v)) => b.append_value(v.trim().parse().map_err(|_| misfit())?),
            (Values::Float(b), Node::Static(StaticNode::F64(v))) => b.append_value(v),
            (Values::Float(b), Node::Static(StaticNode::I64(v))) => b.append_value(v as f64),
            (Values::Float(b), Node::Static(StaticNode::U64(v))) => b.append_value(v as f64),
            (Values::Float(b), Node::String(v)) => b.append_value(v.trim().parse().map_err(|_| misfit())?),
            (Values::Text(b), Node::String(v)) => b.append_value(v),
            (Values::Text(b), _) => b.append_value(text_of(nodes, at)),
            (Values::List { ends, valid, values, .. }, Node::Array { len, .. }) => {
                let mut at = at + 1;
                for _ in 0..len {
                    values.push(line, nodes, at)?;
                    at = after(nodes, at);
                }
                let end = i64::from(ends.last().copied().unwrap_or(0)) + len as i64;
                ends.push(
                    i32::try_from(end).map_err(|_| "a batch's lists hold more than 2³¹ values".to_owned())?,
                );
                valid.push(true);
            }
            (Values::Struct { valid, object, .. }, Node::Object { .. }) => {
                object.push(line, nodes, at)?;
                valid.push(true);
            }
            _ => return Err(misfit()),
        }
        if let Some(lines) = &mut self.lines {
            lines.push(line);
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<ArrayRef, LineError> {
        let internal = |e: arrow_schema::ArrowError| (0, e.to_string());
        let array: ArrayRef = match &mut self.values {
            Values::Bool(b) => Arc::new(b.finish()),
            Values::Int(b) => Arc::new(b.finish()),
            Values::UInt(b) => Arc::new(b.finish()),
            Values::Float(b) => Arc::new(b.finish()),
            Values::Text(b) => Arc::new(b.finish()),
            Values::List { item, ends, valid, values } => {
                let values = values.finish()?;
                let ends = std::mem::replace(ends, vec![0]);
                let valid = std::mem::take(valid);
                let list = ListArray::try_new(
                    item.clone(),
                    arrow_buffer::OffsetBuffer::new(ends.into()),
                    values,
                    Some(valid.into()),
                );
                Arc::new(list.map_err(internal)?)
            }
            Values::Struct { fields, valid, object } => {
                let arrays = object.finish()?;
                let valid = std::mem::take(valid);
                Arc::new(StructArray::try_new(fields.clone(), arrays, Some(valid.into())).map_err(internal)?)
            }
        };
        let Some(lines) = &mut self.lines else { return Ok(array) };
        let lines = std::mem::take(lines);
        let options = CastOptions { safe: true, ..CastOptions::default() };
        let cast = cast_with_options(&array, &self.target, &options).map_err(internal)?;
        if cast.null_count() > array.null_count()
            && let Some(row) = (0..array.len()).find(|&row| array.is_valid(row) && cast.is_null(row))
        {
            let value = arrow_cast::display::array_value_to_string(&array, row).unwrap_or_default();
            return Err((lines[row], format!("{value:?} is no {}", self.target)));
        }
        Ok(cast)
    }
}

/// The JSON text of the value at `at`.
fn text_of(nodes: &[Node<'_>], at: usize) -> String {
    let mut out = String::new();
    write_json(nodes, at, &mut out);
    out
}

fn write_json(nodes: &[Node<'_>], at: usize, out: &mut String) {
    // Writing to a string can't fail.
    match nodes[at] {
        Node::String(v) => {
            let _ = write!(out, "{}", serde_json::Value::from(v));
        }
        Node::Static(StaticNode::Null) => out.push_str("null"),
        Node::Static(StaticNode::Bool(v)) => {
            let _ = write!(out, "{v}");
        }
        Node::Static(StaticNode::I64(v)) => {
            let _ = write!(out, "{v}");
        }
        Node::Static(StaticNode::U64(v)) => {
            let _ = write!(out, "{v}");
        }
        Node::Static(StaticNode::F64(v)) => {
            let _ = write!(out, "{v:?}");
        }
        Node::Array { len, .. } => {
            out.push('[');
            let mut at = at + 1;
            for i in 0..len {
                if i > 0 {
                    out.push(',');
                }
                write_json(nodes, at, out);
                at = after(nodes, at);
            }
            out.push(']');
        }
        Node::Object { len, .. } => {
            out.push('{');
            let mut at = at + 1;
            for i in 0..len {
                if i > 0 {
                    out.push(',');
                }
                write_json(nodes, at, out);
                out.push(':');
                write_json(nodes, at + 1, out);
                at = after(nodes, at + 1);
            }
            out.push('}');
        }
    }
}
