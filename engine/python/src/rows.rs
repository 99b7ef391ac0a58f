//! What a statement yields.

use std::sync::{Arc, Mutex};

use arrow_array::{RecordBatch, RecordBatchReader};
use arrow_schema::{ArrowError, SchemaRef};
use deltalite::query::{QueryError, QueryStream};
use futures::StreamExt;
use pyo3::prelude::*;
use pyo3::types::PyCapsule;

use crate::arrow::{requested, schema_capsule, stream_capsule};
use crate::errors::usage;
use crate::run::runtime;

/// Rows that a statement yields, once: they are computed as they are taken.
#[pyclass(frozen, module = "deltalite")]
pub(crate) struct Rows {
    schema: SchemaRef,
    stream: Mutex<Option<QueryStream>>,
}

impl Rows {
    pub(crate) fn new(stream: QueryStream) -> Self {
        Self { schema: stream.schema(), stream: Mutex::new(Some(stream)) }
    }
}

/// Rows on their way to another library.
struct Taken {
    schema: SchemaRef,
    stream: QueryStream,
    cast: bool,
}

impl Taken {
    fn cast(&self, batch: RecordBatch) -> Result<RecordBatch, ArrowError> {
        if !self.cast {
            return Ok(batch);
        }
        let columns = batch
            .columns()
            .iter()
            .zip(self.schema.fields())
            .map(|(column, field)| arrow_cast::cast(column, field.data_type()))
            .collect::<Result<Vec<_>, _>>()?;
        RecordBatch::try_new(self.schema.clone(), columns)
    }
}

impl Iterator for Taken {
    type Item = Result<RecordBatch, ArrowError>;

    fn next(&mut self) -> Option<Self::Item> {
        let runtime = runtime().map_err(|e| ArrowError::CDataInterface(e.to_string()));
        match runtime {
            Err(error) => Some(Err(error)),
            Ok(runtime) => {
                let next = runtime.block_on(self.stream.next())?;
                // Consumers show the text and nothing else of it.
                let told = |e: QueryError| ArrowError::ExternalError(format!("{e} [{}]", e.code()).into());
                Some(next.map_err(told).and_then(|b| self.cast(b)))
            }
        }
    }
}

impl RecordBatchReader for Taken {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }
}

#[pymethods]
impl Rows {
    /// The names of the columns.
    #[getter]
    fn column_names(&self) -> Vec<String> {
        self.schema.fields().iter().map(|f| f.name().clone()).collect()
    }

    fn __arrow_c_schema__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyCapsule>> {
        schema_capsule(py, &self.schema)
    }

    #[pyo3(signature = (requested_schema = None))]
    fn __arrow_c_stream__<'py>(
        &self,
        py: Python<'py>,
        requested_schema: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyCapsule>> {
        let wanted = requested(requested_schema)?;
        let taken = self.stream.lock().ok().and_then(|mut stream| stream.take());
        let stream =
            taken.ok_or_else(|| usage("rows", "they were taken already; run the statement again"))?;
        // Types are a wish, says the interface: other columns than ours are not.
        let fits = |s: &arrow_schema::Schema| {
            s.fields().len() == self.schema.fields().len()
                && s.fields().iter().zip(self.schema.fields()).all(|(a, b)| {
                    arrow_cast::can_cast_types(b.data_type(), a.data_type()) && a.name() == b.name()
                })
        };
        let wanted = wanted.filter(fits).map(Arc::new).filter(|w| *w != self.schema);
        let cast = wanted.is_some();
        let schema = wanted.unwrap_or_else(|| self.schema.clone());
        stream_capsule(py, Box::new(Taken { schema, stream, cast }))
    }
}
