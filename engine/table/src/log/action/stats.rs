//! Statistics of a file, parsed when somebody wants to know.

use simd_json::{Node, StaticNode};

use super::cursor::{Cursor, Fault, Parsed, Slot};
use super::read::LineReader;
use crate::error::{Result, TableError};

/// What is known of a file's rows without reading it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct FileStats {
    /// Number of rows, deleted ones included.
    pub num_records: Option<u64>,
    /// Whether minima, maxima and counts of nulls hold exactly for the rows that are not deleted; if false, they are bounds. True when not said.
    pub tight_bounds: bool,
    columns: Vec<ColumnStats>,
}

/// What is known of one column.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ColumnStats {
    /// Its name, after the names of the columns it is nested in.
    pub path: Vec<String>,
    /// No value is less.
    pub min: Option<StatValue>,
    /// No value is greater; a text may be cut short and then made greater.
    pub max: Option<StatValue>,
    /// Number of nulls.
    pub null_count: Option<u64>,
}

/// A bound as JSON says it. What it means follows from the column's type: dates and timestamps are texts, decimals numbers.
#[derive(Debug, Clone, PartialEq)]
pub enum StatValue {
    /// A boolean.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A whole number beyond 63 bits.
    Uint(u64),
    /// A number with a fraction or an exponent, rounded to the nearest double: for a decimal column, step one outwards before pruning.
    Float(f64),
    /// A text.
    Text(String),
}

impl FileStats {
    /// Parses statistics; `path` is the file's and stands in errors.
    ///
    /// ```
    /// use deltalite_table::log::action::{FileStats, StatValue};
    /// let stats = FileStats::parse("a.dlb", r#"{"numRecords":3,"minValues":{"id":1,"at":{"x":0.5}},"nullCount":{"id":0}}"#)?;
    /// assert_eq!(stats.num_records, Some(3));
    /// assert_eq!(stats.column(&["id"]).unwrap().null_count, Some(0));
    /// assert_eq!(stats.column(&["at", "x"]).unwrap().min, Some(StatValue::Float(0.5)));
    /// # Ok::<(), deltalite_table::TableError>(())
    /// ```
    ///
    /// # Errors
    /// When the text is no JSON or a field has a wrong type.
    pub fn parse(path: &str, text: &str) -> Result<Self> {
        LineReader::new().line(text.as_bytes(), read).map_err(|fault| {
            let (field, detail) = fault.into_parts();
            let field = if field.is_empty() { "stats".to_owned() } else { format!("stats.{field}") };
            TableError::Malformed { file: path.to_owned(), line: 1, field, detail }
        })
    }

    /// All columns that something is known of, by path.
    pub fn columns(&self) -> &[ColumnStats] {
        &self.columns
    }

    /// What is known of a column.
    pub fn column(&self, path: &[&str]) -> Option<&ColumnStats> {
        let at =
            self.columns.binary_search_by(|c| c.path.iter().map(String::as_str).cmp(path.iter().copied()));
        at.ok().map(|at| &self.columns[at])
    }
}

fn read(c: &mut Cursor<'_, '_>) -> Parsed<FileStats> {
    let (mut records, mut tight) = (Slot::new(), Slot::new());
    let mut found: Vec<ColumnStats> = Vec::new();
    let (mut min, mut max, mut nulls) = (Slot::new(), Slot::new(), Slot::new());
    c.object(|key, c| match key {
        "numRecords" => records.put(c.opt_u64()?),
        "tightBounds" => tight.put(c.opt_bool()?),
        "minValues" => {
            min.put(Some(()))?;
            leaves(c, &mut found, |c, column| {
                column.min = value(c.scalar()?);
                Ok(())
            })
        }
        "maxValues" => {
            max.put(Some(()))?;
            leaves(c, &mut found, |c, column| {
                column.max = value(c.scalar()?);
                Ok(())
            })
        }
        "nullCount" => {
            nulls.put(Some(()))?;
            leaves(c, &mut found, |c, column| {
                column.null_count = c.opt_u64()?;
                Ok(())
            })
        }
        _ => c.skip(),
    })?;
    found.sort_by(|a, b| a.path.cmp(&b.path));
    let mut columns: Vec<ColumnStats> = Vec::with_capacity(found.len());
    for next in found {
        match columns.last_mut() {
            Some(last) if last.path == next.path => {
                last.min = last.min.take().or(next.min);
                last.max = last.max.take().or(next.max);
                last.null_count = last.null_count.or(next.null_count);
            }
            _ => columns.push(next),
        }
    }
    Ok(FileStats { num_records: records.take(), tight_bounds: tight.take().unwrap_or(true), columns })
}

/// Walks nested objects down to their leaves.
fn leaves<'t, 'i>(
    c: &mut Cursor<'t, 'i>,
    found: &mut Vec<ColumnStats>,
    mut set: impl FnMut(&mut Cursor<'t, 'i>, &mut ColumnStats) -> Parsed<()>,
) -> Parsed<()> {
    fn walk<'t, 'i>(
        c: &mut Cursor<'t, 'i>,
        path: &mut Vec<String>,
        found: &mut Vec<ColumnStats>,
        set: &mut dyn FnMut(&mut Cursor<'t, 'i>, &mut ColumnStats) -> Parsed<()>,
    ) -> Parsed<()> {
        c.object(|key, c| {
            if path.is_empty() && key.is_empty() {
                return Err(Fault::new("names no column"));
            }
            path.push(key.to_owned());
            if c.is_object() {
                walk(c, path, found, set)?;
            } else {
                let mut column = ColumnStats { path: path.clone(), ..ColumnStats::default() };
                set(c, &mut column)?;
                found.push(column);
            }
            path.pop();
            Ok(())
        })
    }
    c.opt(|c| walk(c, &mut Vec::new(), found, &mut set))?;
    Ok(())
}

fn value(node: Node<'_>) -> Option<StatValue> {
    match node {
        Node::String(text) => Some(StatValue::Text(text.to_owned())),
        Node::Static(StaticNode::Bool(b)) => Some(StatValue::Bool(b)),
        Node::Static(StaticNode::I64(n)) => Some(StatValue::Int(n)),
        Node::Static(StaticNode::U64(n)) => Some(i64::try_from(n).map_or(StatValue::Uint(n), StatValue::Int)),
        Node::Static(StaticNode::F64(n)) => Some(StatValue::Float(n)),
        Node::Static(StaticNode::Null) | Node::Object { .. } | Node::Array { .. } => None,
    }
}
