//! SQL.

use std::path::PathBuf;
use std::time::Duration;

use deltalite::EngineError;
use deltalite::credentials::Credentials;
use deltalite::query::{self, SessionOptions};
use deltalite::table::TableContext;
use pyo3::prelude::*;

use crate::arrow;
use crate::errors::{of_query, raise, usage};
use crate::rows::Rows;
use crate::run::{runtime, wait};

/// Takes statements.
#[pyclass(frozen, module = "deltalite")]
pub(crate) struct Session {
    session: query::Session,
}

impl Session {
    pub(crate) fn tables(&self) -> &TableContext {
        self.session.tables()
    }
}

#[pymethods]
impl Session {
    #[new]
    #[pyo3(signature = (catalog = None, *, memory_bytes = None, threads = None, temp_dir = None, timeout = None, token = None, tls_ca = None, tls_client = None))]
    #[expect(clippy::too_many_arguments, reason = "they have names in Python")]
    fn new(
        py: Python<'_>,
        catalog: Option<PathBuf>,
        memory_bytes: Option<u64>,
        threads: Option<u32>,
        temp_dir: Option<PathBuf>,
        timeout: Option<f64>,
        token: Option<String>,
        tls_ca: Option<PathBuf>,
        tls_client: Option<(PathBuf, PathBuf)>,
    ) -> PyResult<Self> {
        let credentials = Credentials { token, tls_ca, tls_client };
        let mut options = SessionOptions::default().connecting(credentials.for_sessions());
        if let Some(catalog) = catalog {
            options = options.catalog(catalog);
        }
        if let Some(folder) = temp_dir {
            options = options.temp_dir(folder);
        }
        if let Some(seconds) = timeout {
            let limit = Duration::try_from_secs_f64(seconds)
                .map_err(|_| usage("timeout", format!("{seconds} is no number of seconds")))?;
            options = options.timeout(limit);
        }
        let session = py.detach(|| {
            let options = match (threads, memory_bytes) {
                (Some(0), _) => return Err(usage("threads", "at least one is needed")),
                (_, Some(bytes)) => {
                    let within = deltalite::shards_within(threads.unwrap_or(0), bytes);
                    let (shards, operators) = within.map_err(|e| raise(&e))?;
                    options.partitions(shards.len()).shards(shards).memory_bytes(operators)
                }
                (Some(threads), None) => {
                    let shards = deltalite::shards(threads).map_err(|e| raise(&e))?;
                    options.partitions(shards.len()).shards(shards)
                }
                (None, None) => options,
            };
            query::Session::new(options).map_err(|e| of_query(&e, ""))
        })?;
        Ok(Self { session })
    }

    /// Runs statements; the rows of the last one.
    fn in_transaction(&self) -> bool {
        self.session.in_transaction()
    }

    fn sql(&self, py: Python<'_>, text: &str) -> PyResult<Rows> {
        let statements = query::Session::statements(text).map_err(|e| of_query(&e, text))?;
        let Some((last, earlier)) = statements.ranges.split_last() else {
            return Err(raise(&EngineError::usage("sql", "there is no statement")));
        };
        wait(py, async {
            for range in earlier {
                let statement = &text[range.clone()];
                let query = self.session.sql(statement).await.map_err(|e| of_query(&e, statement))?;
                query.collect().await.map_err(|e| of_query(&e, statement))?;
            }
            let statement = &text[last.clone()];
            let query = self.session.sql(statement).await.map_err(|e| of_query(&e, statement))?;
            query.into_stream().map(Rows::new).map_err(|e| of_query(&e, statement))
        })
    }

    /// Gives rows a name that statements know. They are held in memory.
    fn register(&self, py: Python<'_>, name: &str, data: &Bound<'_, PyAny>) -> PyResult<()> {
        let reader = arrow::reader(data)?;
        py.detach(|| {
            let schema = reader.schema();
            let batches = reader.collect::<Result<Vec<_>, _>>();
            let batches = batches.map_err(|e| usage("reading Arrow data", e.to_string()))?;
            let _inside = runtime()?.enter();
            self.session.register(name, schema, batches).map_err(|e| of_query(&e, ""))
        })
    }

    /// Takes a name back; whether there was one.
    fn unregister(&self, name: &str) -> bool {
        self.session.unregister(name)
    }

    /// The names of tables.
    fn table_names(&self) -> Vec<String> {
        self.session.table_names()
    }
}
