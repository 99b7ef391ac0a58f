//! The native half of the Python package `deltalite`; `python/deltalite` is the other.
//!
//! [`errors`] – exceptions; [`arrow`] – rows in and out by the Arrow C interface; [`run`] – waiting without the interpreter's lock;
//! [`session`] – SQL; [`rows`] – what it yields; [`table`] – what tables do beyond SQL.

mod arrow;
mod errors;
mod rows;
mod run;
mod session;
mod table;

use pyo3::prelude::*;

#[pymodule]
fn _deltalite(py: Python<'_>, module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    module.add("DeltaLiteError", py.get_type::<errors::DeltaLiteError>())?;
    module.add("ConflictError", py.get_type::<errors::ConflictError>())?;
    module.add_class::<session::Session>()?;
    module.add_class::<rows::Rows>()?;
    module.add_class::<table::NativeTable>()?;
    Ok(())
}
