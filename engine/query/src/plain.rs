//! Types as SQL knows them: the fields within lists, structs and maps without what a table's schema says of them.
//!
//! A table's nested fields have numbers (`PARQUET:field_id`), and a list's are called as the Delta protocol calls them. To Arrow these are other types than those
//! of the same literal, and neither comparisons nor unions of the two would work.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, FixedSizeListArray, LargeListArray, ListArray, MapArray, StructArray};
use arrow_schema::{DataType, Field, FieldRef, Fields};
use datafusion::common::Result;

fn field(field: &FieldRef) -> FieldRef {
    Arc::new(Field::new(field.name(), plain_type(field.data_type()), field.is_nullable()))
}

fn item(field: &FieldRef) -> FieldRef {
    Arc::new(Field::new_list_field(plain_type(field.data_type()), field.is_nullable()))
}

/// The type without what is said of its fields beside their types.
pub(crate) fn plain_type(of: &DataType) -> DataType {
    match of {
        DataType::List(f) => DataType::List(item(f)),
        DataType::LargeList(f) => DataType::LargeList(item(f)),
        DataType::FixedSizeList(f, length) => DataType::FixedSizeList(item(f), *length),
        DataType::ListView(f) => DataType::ListView(item(f)),
        DataType::LargeListView(f) => DataType::LargeListView(item(f)),
        DataType::Struct(fields) => DataType::Struct(fields.iter().map(field).collect()),
        DataType::Map(entries, sorted) => DataType::Map(field(entries), *sorted),
        other => other.clone(),
    }
}

/// The same values under [`plain_type`]; nothing is copied.
pub(crate) fn with_plain_type(array: &ArrayRef) -> Result<ArrayRef> {
    Ok(match array.data_type() {
        DataType::List(f) => {
            let (_, offsets, values, nulls) = array.as_list::<i32>().clone().into_parts();
            Arc::new(ListArray::try_new(item(f), offsets, with_plain_type(&values)?, nulls)?)
        }
        DataType::LargeList(f) => {
            let (_, offsets, values, nulls) = array.as_list::<i64>().clone().into_parts();
            Arc::new(LargeListArray::try_new(item(f), offsets, with_plain_type(&values)?, nulls)?)
        }
        DataType::FixedSizeList(f, _) => {
            let (_, length, values, nulls) = array.as_fixed_size_list().clone().into_parts();
            Arc::new(FixedSizeListArray::try_new(item(f), length, with_plain_type(&values)?, nulls)?)
        }
        DataType::Struct(_) => Arc::new(plain_struct(array.as_struct())?),
        DataType::Map(entries, sorted) => {
            let (_, offsets, values, nulls, _) = array.as_map().clone().into_parts();
            Arc::new(MapArray::try_new(field(entries), offsets, plain_struct(&values)?, nulls, *sorted)?)
        }
        _ => array.clone(),
    })
}

fn plain_struct(array: &StructArray) -> Result<StructArray> {
    let fields: Fields = array.fields().iter().map(field).collect();
    let columns = array.columns().iter().map(with_plain_type).collect::<Result<Vec<_>>>()?;
    Ok(StructArray::try_new_with_length(fields, columns, array.nulls().cloned(), array.len())?)
}
