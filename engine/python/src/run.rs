//! Waiting without the interpreter's lock, so that other threads run, and Ctrl-C is heard.

use std::future::Future;
use std::sync::OnceLock;
use std::time::Duration;

use pyo3::prelude::*;
use tokio::runtime::Runtime;

use crate::errors::usage;

/// How often signals are looked for.
const LISTEN: Duration = Duration::from_millis(100);

/// The threads of this process that statements are planned and run on.
pub(crate) fn runtime() -> PyResult<&'static Runtime> {
    static RUNTIME: OnceLock<Result<Runtime, String>> = OnceLock::new();
    let started = RUNTIME.get_or_init(|| {
        tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(|e| e.to_string())
    });
    started.as_ref().map_err(|e| usage("starting threads", e))
}

/// Waits for what a statement does. Ctrl-C, and any other handler of signals that raises, drops it.
pub(crate) fn wait<T: Send>(py: Python<'_>, work: impl Future<Output = PyResult<T>> + Send) -> PyResult<T> {
    let runtime = runtime()?;
    py.detach(|| {
        runtime.block_on(async {
            let mut work = std::pin::pin!(work);
            loop {
                tokio::select! {
                    done = &mut work => return done,
                    () = tokio::time::sleep(LISTEN) => raise_signals()?,
                }
            }
        })
    })
}

#[expect(
    clippy::redundant_closure_for_method_calls,
    reason = "the method alone is of one lifetime, not of any"
)]
fn raise_signals() -> PyResult<()> {
    Python::attach(|py| py.check_signals())
}
