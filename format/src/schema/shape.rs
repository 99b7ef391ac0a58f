//! A column as a tree of streams.
//!
//! | type | streams, in order |
//! |---|---|
//! | leaf | one, with its validity inside the pages |
//! | struct | `Bool` validity (values are the validity itself), then each child's |
//! | list, map, list view | `U32` lengths with validity, then the child's, in rows of the child |
//! | fixed-size list | `Bool` validity, then the child's, `size` rows for each row |
//! | null | none |

use arrow_schema::{DataType, FieldRef, IntervalUnit};

use crate::error::{FormatError, Result};
use crate::phys::PhysType;

/// What a stream holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StreamSpec {
    /// Type of its values.
    pub ptype: PhysType,
    /// Width of `Fixed` values in bytes, else 0.
    pub width: u32,
    /// Whether byte strings are text.
    pub utf8: bool,
    /// Whether its rows are those of the block (not a list's child).
    pub flat: bool,
    /// Whether its zones have min/max statistics: flat leaves with an order.
    pub stats: bool,
}

/// A node of a column's tree; numbers are positions in [`ColumnShape::streams`].
#[derive(Debug, Clone)]
pub enum Shape {
    /// No values: every row is null.
    Null,
    /// Values of one stream.
    Leaf {
        /// The stream.
        stream: usize,
        /// The Arrow type written.
        data_type: DataType,
    },
    /// Children side by side.
    Struct {
        /// The stream of the struct's own validity.
        validity: usize,
        /// The children with their fields.
        children: Vec<(FieldRef, Shape)>,
    },
    /// Rows of differing numbers of child rows.
    List {
        /// The stream of lengths.
        lengths: usize,
        /// The list type written (list, large list, map or a view of them).
        data_type: DataType,
        /// The child.
        child: Box<Shape>,
    },
    /// Rows of one number of child rows.
    FixedList {
        /// The stream of the list's own validity.
        validity: usize,
        /// Child rows a row.
        size: usize,
        /// The list type written.
        data_type: DataType,
        /// The child.
        child: Box<Shape>,
    },
}

/// A column's tree and its streams.
#[derive(Debug, Clone)]
pub struct ColumnShape {
    /// The tree.
    pub root: Shape,
    /// The streams in order.
    pub streams: Vec<StreamSpec>,
    /// The Arrow type of each stream's values as written: `Boolean` of validity, `UInt32` of lengths.
    pub types: Vec<DataType>,
}

impl ColumnShape {
    /// Takes a type apart.
    ///
    /// # Errors
    /// When the type can't be stored.
    pub fn of(data_type: &DataType) -> Result<Self> {
        let mut streams = Vec::new();
        let root = build(data_type, true, &mut streams)?;
        let mut types = vec![DataType::Boolean; streams.len()];
        name_types(&root, &mut types);
        Ok(Self { root, streams, types })
    }

    /// Whether every stream's rows are those of the block, so that any row range can be decoded by itself.
    pub fn is_flat(&self) -> bool {
        self.streams.iter().all(|s| s.flat)
    }

    /// The one stream of a leaf column.
    pub fn leaf(&self) -> Option<(usize, &DataType)> {
        match &self.root {
            Shape::Leaf { stream, data_type } => Some((*stream, data_type)),
            _ => None,
        }
    }
}

fn name_types(shape: &Shape, types: &mut [DataType]) {
    match shape {
        Shape::Null => {}
        Shape::Leaf { stream, data_type } => {
            types[*stream] = match data_type {
                DataType::Dictionary(_, value) => value.as_ref().clone(),
                other => other.clone(),
            }
        }
        Shape::Struct { children, .. } => children.iter().for_each(|(_, c)| name_types(c, types)),
        Shape::List { lengths, child, .. } => {
            types[*lengths] = DataType::UInt32;
            name_types(child, types);
        }
        Shape::FixedList { child, .. } => name_types(child, types),
    }
}

fn build(data_type: &DataType, flat: bool, streams: &mut Vec<StreamSpec>) -> Result<Shape> {
    let mut push = |ptype, width, utf8, stats| {
        streams.push(StreamSpec { ptype, width, utf8, flat, stats: stats && flat });
        streams.len() - 1
    };
    Ok(match data_type {
        DataType::Null => Shape::Null,
        DataType::Struct(fields) => {
            let validity = push(PhysType::Bool, 0, false, false);
            let children = fields
                .iter()
                .map(|f| Ok((f.clone(), build(f.data_type(), flat, streams)?)))
                .collect::<Result<_>>()?;
            Shape::Struct { validity, children }
        }
        DataType::List(c)
        | DataType::LargeList(c)
        | DataType::Map(c, _)
        | DataType::ListView(c)
        | DataType::LargeListView(c) => {
            let lengths = push(PhysType::U32, 0, false, false);
            let child = Box::new(build(c.data_type(), false, streams)?);
            Shape::List { lengths, data_type: data_type.clone(), child }
        }
        DataType::FixedSizeList(c, n) => {
            let validity = push(PhysType::Bool, 0, false, false);
            let child = Box::new(build(c.data_type(), false, streams)?);
            Shape::FixedList {
                validity,
                size: usize::try_from(*n).unwrap_or(0),
                data_type: data_type.clone(),
                child,
            }
        }
        leaf => {
            let (ptype, width, utf8) = leaf_type(leaf).ok_or_else(|| {
                FormatError::invalid("schema", format!("type {leaf} can't be stored; cast it first"))
            })?;
            let stream = push(ptype, width, utf8, true);
            Shape::Leaf { stream, data_type: leaf.clone() }
        }
    })
}

/// Stored type, fixed width and textness of a leaf type.
pub fn leaf_type(data_type: &DataType) -> Option<(PhysType, u32, bool)> {
    use DataType as T;
    use PhysType as P;
    Some(match data_type {
        T::Boolean => (P::Bool, 0, false),
        T::Int8 => (P::I8, 0, false),
        T::Int16 => (P::I16, 0, false),
        T::Int32 | T::Date32 | T::Time32(_) | T::Decimal32(..) | T::Interval(IntervalUnit::YearMonth) => {
            (P::I32, 0, false)
        }
        T::Int64 | T::Date64 | T::Time64(_) | T::Timestamp(..) | T::Duration(_) | T::Decimal64(..) => {
            (P::I64, 0, false)
        }
        T::UInt8 => (P::U8, 0, false),
        T::UInt16 | T::Float16 => (P::U16, 0, false),
        T::UInt32 => (P::U32, 0, false),
        T::UInt64 => (P::U64, 0, false),
        T::Float32 => (P::F32, 0, false),
        T::Float64 => (P::F64, 0, false),
        T::Decimal128(p, _) | T::Decimal256(p, _) => match p {
            0..=9 => (P::I32, 0, false),
            10..=18 => (P::I64, 0, false),
            19..=38 => (P::I128, 0, false),
            _ => (P::I256, 0, false),
        },
        T::Interval(IntervalUnit::DayTime) => (P::Fixed, 8, false),
        T::Interval(IntervalUnit::MonthDayNano) => (P::Fixed, 16, false),
        T::FixedSizeBinary(n) => (P::Fixed, u32::try_from(*n).ok()?, false),
        T::Utf8 | T::LargeUtf8 | T::Utf8View => (P::Bytes, 0, true),
        T::Binary | T::LargeBinary | T::BinaryView => (P::Bytes, 0, false),
        T::Dictionary(_, value) => leaf_type(value)?,
        _ => return None,
    })
}
