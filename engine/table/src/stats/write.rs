//! From a data file's footer to the statistics that the log has of it, in Delta's JSON.

use std::sync::Arc;

use arrow_array::{Array, ArrayRef, StringArray, make_array};
use arrow_buffer::Buffer;
use arrow_cast::cast;
use arrow_data::ArrayData;
use arrow_schema::DataType;
use deltalite_format::FileMeta;
use deltalite_format::stats::ExactBounds;

use crate::error::{Result, TableError};
use crate::schema::table_schema::physical_name;

/// Characters of a text that are kept.
const TEXT_CHARS: usize = 32;

/// The statistics of a file: its number of rows, and of each of its first columns the number of nulls and, where it is of a plain
/// type, the least and the greatest value. Columns go by their physical names.
///
/// # Errors
/// When the footer is damaged.
pub fn of_file(meta: &FileMeta, indexed_columns: usize) -> Result<String> {
    let (mut min, mut max, mut nulls) = (Vec::new(), Vec::new(), Vec::new());
    for index in 0..meta.column_count().min(u32::try_from(indexed_columns).unwrap_or(u32::MAX)) {
        let column = meta.column(index)?;
        let name = quoted(physical_name(&column.field))?;
        nulls.push(format!("{name}:{}", column.nulls));
        if let Some(bounds) = &column.bounds
            && column.nans == 0
            && let Some((least, greatest)) = texts(bounds, column.field.data_type())?
        {
            min.push(format!("{name}:{least}"));
            max.push(format!("{name}:{greatest}"));
        }
    }
    Ok(format!(
        r#"{{"numRecords":{},"tightBounds":true,"minValues":{{{}}},"maxValues":{{{}}},"nullCount":{{{}}}}}"#,
        meta.rows(),
        min.join(","),
        max.join(","),
        nulls.join(",")
    ))
}

fn quoted(text: &str) -> Result<String> {
    serde_json::to_string(text).map_err(|e| TableError::invalid("writing statistics", e.to_string()))
}

/// Both bounds as JSON; `None` where the type has none that JSON can say.
fn texts(bounds: &ExactBounds, data_type: &DataType) -> Result<Option<(String, String)>> {
    match data_type {
        DataType::Utf8 => return text_bounds(bounds),
        DataType::Int8
        | DataType::Int16
        | DataType::Int32
        | DataType::Int64
        | DataType::UInt8
        | DataType::UInt16
        | DataType::UInt32
        | DataType::UInt64
        | DataType::Float32
        | DataType::Float64
        | DataType::Decimal128(..)
        | DataType::Date32
        | DataType::Timestamp(..) => {}
        _ => return Ok(None),
    }
    let number = !matches!(data_type, DataType::Date32 | DataType::Timestamp(..));
    let one = |bytes: &[u8]| -> Option<String> {
        let array = of_bytes(bytes, data_type)?;
        let text = cast(&array, &DataType::Utf8).ok()?;
        let text = text.as_any().downcast_ref::<StringArray>().filter(|t| t.is_valid(0))?.value(0).to_owned();
        if !number {
            return quoted(&text).ok();
        }
        // Infinities have no JSON; neither do forms such as "1." or "+1".
        serde_json::from_str::<serde_json::Number>(&text).ok().map(|_| text)
    };
    Ok(one(&bounds.min).zip(one(&bounds.max)))
}

/// A value from the bytes of Arrow's native type.
fn of_bytes(bytes: &[u8], data_type: &DataType) -> Option<ArrayRef> {
    if data_type.primitive_width() != Some(bytes.len()) {
        return None;
    }
    // The copy is aligned as Arrow wants it.
    let data = ArrayData::builder(data_type.clone()).len(1).add_buffer(Buffer::from_slice_ref(bytes));
    let data = data.align_buffers(true).build().ok()?;
    Some(Arc::new(make_array(data)))
}

fn text_bounds(bounds: &ExactBounds) -> Result<Option<(String, String)>> {
    let (Ok(min), Ok(max)) = (std::str::from_utf8(&bounds.min), std::str::from_utf8(&bounds.max)) else {
        return Ok(None);
    };
    let least: String = min.chars().take(TEXT_CHARS).collect();
    let kept: Vec<char> = max.chars().take(TEXT_CHARS).collect();
    let greatest = if bounds.max_exact && kept.len() == max.chars().count() {
        Some(max.to_owned())
    } else {
        after_all_with(kept)
    };
    let Some(greatest) = greatest else { return Ok(None) };
    Ok(Some((quoted(&least)?, quoted(&greatest)?)))
}

/// A text that is greater than all that begin with some characters; `None` if there is none.
fn after_all_with(mut prefix: Vec<char>) -> Option<String> {
    while let Some(last) = prefix.pop() {
        // After the last character before the surrogates comes the first after them.
        let next = char::from_u32(last as u32 + 1).or((last == '\u{D7FF}').then_some('\u{E000}'));
        if let Some(next) = next {
            prefix.push(next);
            return Some(prefix.into_iter().collect());
        }
    }
    None
}
