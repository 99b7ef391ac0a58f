//! Rows in and out by the Arrow C interface (<https://arrow.apache.org/docs/format/CDataInterface/PyCapsuleInterface.html>).

use std::ffi::CStr;

use arrow_array::ffi::{FFI_ArrowArray, FFI_ArrowSchema, from_ffi};
use arrow_array::ffi_stream::{ArrowArrayStreamReader, FFI_ArrowArrayStream};
use arrow_array::{RecordBatch, RecordBatchIterator, RecordBatchReader, StructArray};
use arrow_schema::Schema;
use pyo3::prelude::*;
use pyo3::types::{PyCapsule, PyTuple};

use crate::errors::usage;

const SCHEMA: &CStr = c"arrow_schema";
const ARRAY: &CStr = c"arrow_array";
const STREAM: &CStr = c"arrow_array_stream";

/// Rows that Python gave.
pub(crate) type Reader = Box<dyn RecordBatchReader + Send>;

/// The struct in a capsule, which is left released behind: the interface's way of moving it.
fn take<T>(capsule: &Bound<'_, PyAny>, name: &CStr, moved: impl FnOnce(*mut T) -> T) -> PyResult<T> {
    let capsule = capsule.cast::<PyCapsule>()?;
    let pointer = capsule.pointer_checked(Some(name))?.cast::<T>().as_ptr();
    Ok(moved(pointer))
}

fn schema_of(capsule: &Bound<'_, PyAny>) -> PyResult<FFI_ArrowSchema> {
    // SAFETY: a capsule of this name holds that struct, says the interface; `from_raw` leaves it released.
    take(capsule, SCHEMA, |pointer| unsafe { FFI_ArrowSchema::from_raw(pointer) })
}

fn invalid(error: impl std::fmt::Display) -> PyErr {
    usage("reading Arrow data", error.to_string())
}

/// The columns of an object with `__arrow_c_schema__`, or of rows.
pub(crate) fn schema(data: &Bound<'_, PyAny>) -> PyResult<Schema> {
    if data.hasattr("__arrow_c_schema__")? {
        let ffi = schema_of(&data.call_method0("__arrow_c_schema__")?)?;
        return Schema::try_from(&ffi).map_err(invalid);
    }
    Ok(Schema::clone(&reader(data)?.schema()))
}

/// The rows of an object with `__arrow_c_stream__` or `__arrow_c_array__`.
pub(crate) fn reader(data: &Bound<'_, PyAny>) -> PyResult<Reader> {
    if data.hasattr("__arrow_c_stream__")? {
        let capsule = data.call_method0("__arrow_c_stream__")?;
        // SAFETY: a capsule of this name holds that struct, says the interface; `from_raw` leaves it released.
        let stream = take(&capsule, STREAM, |pointer| unsafe { FFI_ArrowArrayStream::from_raw(pointer) })?;
        return Ok(Box::new(ArrowArrayStreamReader::try_new(stream).map_err(invalid)?));
    }
    if data.hasattr("__arrow_c_array__")? {
        let pair = data.call_method0("__arrow_c_array__")?;
        let pair = pair.cast::<PyTuple>()?;
        let schema = schema_of(&pair.get_item(0)?)?;
        // SAFETY: as above.
        let array = take(&pair.get_item(1)?, ARRAY, |pointer| unsafe { FFI_ArrowArray::from_raw(pointer) })?;
        // SAFETY: both came together from one exporter.
        let data = unsafe { from_ffi(array, &schema) }.map_err(invalid)?;
        let batch = RecordBatch::from(StructArray::from(data));
        let columns = batch.schema();
        return Ok(Box::new(RecordBatchIterator::new([Ok(batch)], columns)));
    }
    let kind = data.get_type().name()?.to_string();
    Err(usage(
        "data",
        format!(
            "{kind} is no Arrow data; give a pyarrow Table, a polars or pandas DataFrame, a DuckDB relation, or anything else with __arrow_c_stream__"
        ),
    ))
}

/// Columns as a capsule.
pub(crate) fn schema_capsule<'py>(py: Python<'py>, schema: &Schema) -> PyResult<Bound<'py, PyCapsule>> {
    let ffi = FFI_ArrowSchema::try_from(schema).map_err(invalid)?;
    PyCapsule::new_with_value(py, ffi, SCHEMA)
}

/// Rows as a capsule.
pub(crate) fn stream_capsule(py: Python<'_>, rows: Reader) -> PyResult<Bound<'_, PyCapsule>> {
    PyCapsule::new_with_value(py, FFI_ArrowArrayStream::new(rows), STREAM)
}

/// The columns that a consumer asks for, if it does.
pub(crate) fn requested(capsule: Option<&Bound<'_, PyAny>>) -> PyResult<Option<Schema>> {
    let Some(capsule) = capsule.filter(|c| !c.is_none()) else { return Ok(None) };
    Schema::try_from(&schema_of(capsule)?).map(Some).map_err(invalid)
}
