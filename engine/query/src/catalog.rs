//! What a name or a path in FROM stands for.
//!
//! A name is a table that was registered, else a folder of that name in the catalog's folder. What has a `/`, a `*` or a known ending is a path: a
//! table's folder (ours, or Delta Lake's), what a server has (`deltalite://host:port/table`), a `.dlb` file, or files of Parquet, CSV, JSON or Arrow, one, a folder of them, or by glob. `name@v3` is version 3 of a table, `name@t1700000000000`
//! the version at that time (milliseconds since 1970): what `VERSION AS OF` and `TIMESTAMP AS OF` become.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};

use async_trait::async_trait;
use datafusion::catalog::{SchemaProvider, TableProvider};
use datafusion::common::{DataFusionError, Result as PlanResult};
use datafusion::execution::session_state::SessionState;
use deltalite_remote::Address;
use deltalite_remote::protocol::At as RemoteAt;
use deltalite_shard::scan::DataFile;
use deltalite_table::log::LOG_FOLDER;
use deltalite_table::table::TableSnapshot;
use deltalite_table::{DeltaLiteTable, TableContext, TableError, Version};
use parking_lot::{Mutex, RwLock};

use crate::delta::log::{Asked, DELTA_LOG};
use crate::delta::table::DeltaTable;
use crate::error::{QueryError, Result};
use crate::foreign::{self, Kind};
use crate::pattern;
use crate::provider::{Relation, RelationProvider};
use crate::remote::Servers;
use crate::scan::Decode;
use crate::schemas::{is_schema, schemas_in, tables_in};
use crate::statement::quoted;
use crate::transaction::{Current, Writing};

/// What a session knows of names; itself the schema `main`.
pub(crate) struct Names {
    folder: Option<PathBuf>,
    context: TableContext,
    decode: Decode,
    servers: Servers,
    registered: Mutex<BTreeMap<String, Arc<dyn TableProvider>>>,
    state: Mutex<Option<Weak<RwLock<SessionState>>>>,
    transaction: Current,
}

impl std::fmt::Debug for Names {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Names").field("folder", &self.folder).finish_non_exhaustive()
    }
}

impl Names {
    pub(crate) fn new(
        folder: Option<PathBuf>,
        context: TableContext,
        decode: Decode,
        servers: Servers,
    ) -> Self {
        Self {
            folder,
            context,
            decode,
            servers,
            registered: Mutex::default(),
            state: Mutex::default(),
            transaction: Current::default(),
        }
    }

    /// The session that files of other formats are read by.
    pub(crate) fn attach(&self, state: Weak<RwLock<SessionState>>) {
        *self.state.lock() = Some(state);
    }

    pub(crate) fn register(&self, name: &str, table: Arc<dyn TableProvider>) {
        self.registered.lock().insert(name.to_owned(), table);
    }

    pub(crate) fn forget(&self, name: &str) -> bool {
        self.registered.lock().remove(name).is_some()
    }

    pub(crate) fn context(&self) -> &TableContext {
        &self.context
    }

    /// The transaction between BEGIN and COMMIT.
    pub(crate) fn transaction(&self) -> &Current {
        &self.transaction
    }

    /// The catalog's folder.
    pub(crate) fn folder(&self) -> Option<&Path> {
        self.folder.as_deref()
    }

    pub(crate) fn registered(&self, name: &str) -> Option<Arc<dyn TableProvider>> {
        self.registered.lock().get(name).cloned()
    }

    pub(crate) fn registered_names(&self) -> Vec<String> {
        self.registered.lock().keys().cloned().collect()
    }

    /// Names of the tables of all schemas.
    pub(crate) fn all_table_names(&self) -> Vec<String> {
        let mut names = self.table_names();
        for schema in self.folder.as_deref().map(schemas_in).unwrap_or_default() {
            let folder = self.folder.as_deref().unwrap_or(Path::new("")).join(&schema);
            names.extend(tables_in(&folder).into_iter().map(|table| format!("{schema}.{table}")));
        }
        names
    }

    /// The schema of a name, and the table's name in it.
    pub(crate) fn split_schema<'a>(&self, name: &'a str) -> Option<(&'a str, &'a str)> {
        let (schema, table) = name.split_once('.')?;
        let folder = self.folder.as_deref()?;
        (!table.is_empty() && is_schema(folder, schema)).then_some((schema, table))
    }

    /// How statements write a table's name.
    pub(crate) fn quoted(&self, name: &str) -> String {
        match self.split_schema(name) {
            Some((schema, table)) => format!("{}.{}", quoted(schema), quoted(table)),
            None => quoted(name),
        }
    }

    /// The tables of the catalog's folder.
    pub(crate) fn tables(&self) -> Vec<DeltaLiteTable> {
        let names = self.all_table_names();
        let folders = names.iter().filter_map(|name| self.path_of(name).ok());
        let ours = folders.filter(|path| path.join(LOG_FOLDER).is_dir());
        // One that can't be opened is told of when it is named.
        ours.filter_map(|path| DeltaLiteTable::open(path).context(&self.context).execute().ok()).collect()
    }

    /// Begins a statement that writes a table, within the session's transaction; `None` outside of one.
    pub(crate) fn write(&self, name: &str) -> Result<Option<Writing<'_>>> {
        if !self.transaction.is_open() {
            return Ok(None);
        }
        self.transaction.write(&self.path_of(name)?, || self.open_table(name))
    }

    /// Where the table of a name is, or will be.
    pub(crate) fn path_of(&self, name: &str) -> Result<PathBuf> {
        if let (Some((schema, table)), Some(folder)) = (self.split_schema(name), &self.folder) {
            return Ok(folder.join(schema).join(table));
        }
        if Address::is_address(name) {
            return Err(QueryError::NotSupported(format!(
                "{name} is a server's, which is only read; CREATE TABLE … AS SELECT * FROM it makes a table here"
            )));
        }
        if is_path(name) {
            return Ok(PathBuf::from(name));
        }
        match &self.folder {
            Some(folder) => Ok(folder.join(name)),
            None => Err(QueryError::NotSupported(format!(
                "{name:?} is a name, and this session has no folder for tables; give a path such as './{name}', or a catalog"
            ))),
        }
    }

    /// Opens a table to change it.
    pub(crate) fn open_table(&self, name: &str) -> Result<DeltaLiteTable> {
        if name.contains('@') && split_version(name).1.is_some() {
            return Err(QueryError::NotSupported("a version of the past can't be changed".to_owned()));
        }
        let path = self.path_of(name)?;
        if path.join(DELTA_LOG).is_dir() && !path.join(LOG_FOLDER).is_dir() {
            return Err(QueryError::NotSupported(format!(
                "{name} is a Delta Lake table, which is only read; CREATE TABLE … AS SELECT * FROM it makes one of ours"
            )));
        }
        if !path.join(LOG_FOLDER).is_dir() {
            let message = format!("no table {name:?}");
            return Err(QueryError::name(message, name, &self.all_table_names(), name));
        }
        match DeltaLiteTable::open(path).context(&self.context).execute() {
            Err(TableError::NoTable { detail, .. }) => Err(QueryError::name(
                format!("no table {name:?}: {detail}"),
                name,
                &self.all_table_names(),
                name,
            )),
            opened => Ok(opened?),
        }
    }

    /// A table as the next statement that writes it sees it.
    pub(crate) fn snapshot_of(&self, name: &str) -> Result<Arc<TableSnapshot>> {
        match self.transaction.snapshot(&self.path_of(name)?, || self.open_table(name))? {
            Some(snapshot) => Ok(snapshot),
            None => Ok(self.open_table(name)?.snapshot()),
        }
    }

    async fn find(&self, name: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        if let Some(known) = self.registered.lock().get(name) {
            return Ok(Some(known.clone()));
        }
        let (base, at) = split_version(name);
        if Address::is_address(base) {
            let mut address: Address = base.parse()?;
            match at {
                None => {}
                Some(At::Version(version)) => address.target.at = RemoteAt::Version(version.0),
                Some(At::Timestamp(milliseconds)) => address.target.at = RemoteAt::Timestamp(milliseconds),
            }
            return Ok(Some(Arc::new(self.servers.table(&address).await?)));
        }
        let Ok(path) = self.path_of(base) else { return Ok(None) };
        if path.join(LOG_FOLDER).is_dir() {
            let open = || Ok(DeltaLiteTable::open(&path).context(&self.context).execute()?);
            if at.is_none()
                && let Some(snapshot) = self.transaction.snapshot(&path, open)?
            {
                return Ok(Some(self.provide(Relation::of_table(base, snapshot, false)?)));
            }
            let table = match open() {
                Err(QueryError::Table(TableError::NoTable { .. })) => return Ok(None),
                opened => opened?,
            };
            let table = match at {
                None => table,
                Some(At::Version(version)) => table.at_version(version)?,
                Some(At::Timestamp(milliseconds)) => table.at_timestamp(milliseconds)?,
            };
            return Ok(Some(self.provide(Relation::of_table(base, table.snapshot(), false)?)));
        }
        if path.join(DELTA_LOG).is_dir() {
            let asked = match at {
                None => Asked::Newest,
                Some(At::Version(version)) => Asked::Version(version.0),
                Some(At::Timestamp(milliseconds)) => Asked::Timestamp(milliseconds),
            };
            return Ok(Some(Arc::new(DeltaTable::open(&path, asked)?)));
        }
        if at.is_some() || !is_path(base) || self.split_schema(base).is_some() {
            return Ok(None);
        }
        if Path::new(base).extension().is_some_and(|e| e == "dlb") {
            let files = pattern::files(base)?;
            if files.is_empty() {
                return Ok(None);
            }
            let open = files.iter().map(DataFile::open).collect::<Result<Vec<_>, _>>();
            return Ok(Some(self.provide(Relation::of_files(base, open.map_err(TableError::from)?)?)));
        }
        self.foreign(base).await
    }

    fn provide(&self, relation: Relation) -> Arc<dyn TableProvider> {
        Arc::new(RelationProvider::new(Arc::new(relation), self.context.shards().clone(), self.decode))
    }

    /// Files of another format.
    async fn foreign(&self, path: &str) -> Result<Option<Arc<dyn TableProvider>>> {
        if Kind::of(path).is_none() && !path.contains('*') && !Path::new(path).is_dir() {
            return Ok(None);
        }
        let state = self.state.lock().as_ref().and_then(Weak::upgrade);
        let Some(state) = state.map(|state| state.read().clone()) else { return Ok(None) };
        foreign::open(&state, path).await.map_err(|error| QueryError::of(error, path))
    }
}

#[derive(Debug, Clone, Copy)]
enum At {
    Version(Version),
    Timestamp(i64),
}

/// A name without its version, and that.
fn split_version(name: &str) -> (&str, Option<At>) {
    let Some((head, at)) = name.rsplit_once('@') else { return (name, None) };
    let parsed = at.strip_prefix('v').and_then(|n| n.parse().ok()).map(|n| At::Version(Version(n)));
    let parsed = parsed.or_else(|| at.strip_prefix('t').and_then(|n| n.parse().ok()).map(At::Timestamp));
    match parsed {
        Some(at) => (head, Some(at)),
        None => (name, None),
    }
}

/// Whether a name in FROM is a path.
fn is_path(name: &str) -> bool {
    let is_ours = Path::new(name).extension().is_some_and(|ending| ending == "dlb");
    name.contains(['/', '*']) || is_ours || Kind::of(name).is_some()
}

#[async_trait]
impl SchemaProvider for Names {
    fn table_names(&self) -> Vec<String> {
        let mut names = self.registered_names();
        names.retain(|name| self.split_schema(name).is_none());
        names.extend(self.folder.as_deref().map(tables_in).unwrap_or_default());
        names.sort();
        names.dedup();
        names
    }

    async fn table(&self, name: &str) -> PlanResult<Option<Arc<dyn TableProvider>>> {
        self.find(name).await.map_err(|error| DataFusionError::External(Box::new(error)))
    }

    fn register_table(
        &self,
        name: String,
        table: Arc<dyn TableProvider>,
    ) -> PlanResult<Option<Arc<dyn TableProvider>>> {
        Ok(self.registered.lock().insert(name, table))
    }

    fn deregister_table(&self, name: &str) -> PlanResult<Option<Arc<dyn TableProvider>>> {
        Ok(self.registered.lock().remove(name))
    }

    fn table_exist(&self, name: &str) -> bool {
        self.registered.lock().contains_key(name)
            || self.path_of(split_version(name).0).is_ok_and(|path| path.exists())
    }
}
