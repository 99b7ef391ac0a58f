//! Exceptions.

use deltalite::EngineError;
use deltalite::query::QueryError;
use deltalite::table::TableError;
use pyo3::exceptions::PyException;
use pyo3::prelude::*;

pyo3::create_exception!(
    _deltalite,
    DeltaLiteError,
    PyException,
    "What went wrong; `code` is the stable code of it."
);
pyo3::create_exception!(
    _deltalite,
    ConflictError,
    DeltaLiteError,
    "Another commit contradicts this one, and running it again did not help."
);

/// An exception of an error, with its code.
pub(crate) fn raise(error: &EngineError) -> PyErr {
    let code = error.code();
    let text = format!("{error} [{code}]");
    let text = if error.to_string().contains(code) { error.to_string() } else { text };
    let raised = match code {
        "DL-0620" | "DL-0621" => ConflictError::new_err(text),
        _ => DeltaLiteError::new_err(text),
    };
    Python::attach(|py| {
        // An exception without its code is still the exception.
        let _ = raised.value(py).setattr("code", code);
    });
    raised
}

pub(crate) fn of_table(error: TableError) -> PyErr {
    raise(&EngineError::Table(error))
}

pub(crate) fn of_query(error: &QueryError, statement: &str) -> PyErr {
    raise(&EngineError::statement(error, statement))
}

/// An argument that makes no sense.
pub(crate) fn usage(what: &str, detail: impl Into<String>) -> PyErr {
    raise(&EngineError::usage(what, detail))
}
