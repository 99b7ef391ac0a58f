//! What tables do beyond SQL.

use std::collections::BTreeMap;
use std::path::PathBuf;

use arrow_array::RecordBatchIterator;
use deltalite::EngineError;
use deltalite::table::{DeltaLiteTable, Outcome, TableError, Version};
use deltalite::where_clause::parse_where;
use pyo3::prelude::*;
use pyo3::types::{PyCapsule, PyDict};

use crate::arrow;
use crate::errors::{of_table, raise, usage};
use crate::session::Session;

/// A table's handle.
#[pyclass(frozen, module = "deltalite")]
pub(crate) struct NativeTable {
    table: DeltaLiteTable,
}

fn outcome(py: Python<'_>, outcome: &Outcome) -> PyResult<Py<PyDict>> {
    let dict = PyDict::new(py);
    dict.set_item("version", outcome.version.0)?;
    dict.set_item("committed", outcome.committed)?;
    for (name, value) in &outcome.metrics {
        dict.set_item(name, value)?;
    }
    Ok(dict.unbind())
}

/// Runs what waits for disks without the interpreter's lock.
fn run<T: Send>(py: Python<'_>, work: impl FnOnce() -> Result<T, TableError> + Send) -> PyResult<T> {
    py.detach(work).map_err(of_table)
}

#[pymethods]
impl NativeTable {
    #[staticmethod]
    #[pyo3(signature = (session, path, version = None, timestamp_ms = None))]
    fn open(
        py: Python<'_>,
        session: &Session,
        path: PathBuf,
        version: Option<u64>,
        timestamp_ms: Option<i64>,
    ) -> PyResult<Self> {
        let open = DeltaLiteTable::open(path).context(session.tables());
        let open = match (version, timestamp_ms) {
            (None, None) => open,
            (Some(version), None) => open.version(Version(version)),
            (None, Some(milliseconds)) => open.timestamp(milliseconds),
            (Some(_), Some(_)) => return Err(usage("version", "give a version or a timestamp, not both")),
        };
        Ok(Self { table: run(py, || open.execute())? })
    }

    #[staticmethod]
    #[pyo3(signature = (session, path, schema, partition_by, properties, comment = None, if_not_exists = false))]
    #[allow(clippy::too_many_arguments, reason = "the options of a function in Python")]
    fn create(
        py: Python<'_>,
        session: &Session,
        path: PathBuf,
        schema: &Bound<'_, PyAny>,
        partition_by: Vec<String>,
        properties: BTreeMap<String, String>,
        comment: Option<String>,
        if_not_exists: bool,
    ) -> PyResult<Self> {
        let mut create = DeltaLiteTable::create(path, &arrow::schema(schema)?)
            .context(session.tables())
            .partition_by(partition_by);
        for (key, value) in properties {
            create = create.property(key, value);
        }
        if let Some(comment) = comment {
            create = create.comment(comment);
        }
        if if_not_exists {
            create = create.if_not_exists();
        }
        Ok(Self { table: run(py, || create.execute())? })
    }

    #[getter]
    fn path(&self) -> PathBuf {
        self.table.path().to_owned()
    }

    #[getter]
    fn version(&self) -> u64 {
        self.table.version().0
    }

    fn refresh(&self, py: Python<'_>) -> PyResult<u64> {
        run(py, || self.table.refresh()).map(|v| v.0)
    }

    fn __arrow_c_schema__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyCapsule>> {
        arrow::schema_capsule(py, &self.table.schema())
    }

    #[pyo3(signature = (data, mode, merge_schema = false, overwrite_schema = false, replace_where = None, user_metadata = None, app_id = None, app_version = None))]
    #[allow(clippy::too_many_arguments, reason = "the options of a method in Python")]
    fn write(
        &self,
        py: Python<'_>,
        data: &Bound<'_, PyAny>,
        mode: &str,
        merge_schema: bool,
        overwrite_schema: bool,
        replace_where: Option<&str>,
        user_metadata: Option<String>,
        app_id: Option<String>,
        app_version: Option<i64>,
    ) -> PyResult<Py<PyDict>> {
        let reader = arrow::reader(data)?;
        let mut write = match mode {
            "append" => self.table.append_stream(reader),
            "overwrite" => self.table.overwrite_stream(reader),
            "overwrite_partitions" => self.table.overwrite_stream(reader).dynamic_partitions(),
            other => {
                let detail = format!("{other:?} is none; there is append, overwrite, overwrite_partitions");
                return Err(usage("mode", detail));
            }
        };
        if let Some(condition) = replace_where {
            let parsed = parse_where(condition, &self.table.schema());
            write = write.replace_where(parsed.map_err(|e| raise(&EngineError::from(e)))?);
        }
        if merge_schema {
            write = write.merge_schema();
        }
        if overwrite_schema {
            write = write.overwrite_schema();
        }
        if let Some(text) = user_metadata {
            write = write.user_metadata(text);
        }
        match (app_id, app_version) {
            (Some(id), Some(version)) => write = write.application(id, version),
            (None, None) => {}
            _ => return Err(usage("app_id", "an application's id and its version go together")),
        }
        let done = run(py, || write.execute())?;
        outcome(py, &done)
    }

    fn tags(&self, py: Python<'_>) -> PyResult<BTreeMap<String, u64>> {
        let tags = run(py, || self.table.tags())?;
        Ok(tags.into_iter().map(|(name, version)| (name, version.0)).collect())
    }

    #[pyo3(signature = (tag, version = None))]
    fn set_tag(&self, py: Python<'_>, tag: &str, version: Option<u64>) -> PyResult<Py<PyDict>> {
        let done = run(py, || self.table.set_tag(tag, version.map(Version)))?;
        outcome(py, &done)
    }

    /// Rows that versions inserted and deleted, from one to another, as a stream's capsule.
    fn changes<'py>(&self, py: Python<'py>, from: u64, to: u64) -> PyResult<Bound<'py, PyCapsule>> {
        let batches = run(py, || self.table.changes(Version(from), Version(to)))?;
        let schema = self.table.changes_schema();
        arrow::stream_capsule(py, Box::new(RecordBatchIterator::new(batches.into_iter().map(Ok), schema)))
    }

    fn checkpoint(&self, py: Python<'_>) -> PyResult<()> {
        run(py, || self.table.checkpoint())
    }
}
