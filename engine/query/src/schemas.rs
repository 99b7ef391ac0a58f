//! Schemas: folders in the catalog's folder that are no tables. The tables directly in it are of the schema `main`.
//!
//! Within the crate a table of another schema is known as `schema.table`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::catalog::{CatalogProvider, SchemaProvider, TableProvider};
use datafusion::common::{DataFusionError, Result as PlanResult, exec_datafusion_err, exec_err};
use deltalite_table::log::LOG_FOLDER;

use crate::catalog::Names;
use crate::delta::log::DELTA_LOG;

/// The catalog of a session.
pub(crate) const CATALOG: &str = "deltalite";
/// The schema of names without one.
pub(crate) const MAIN: &str = "main";

/// The folders of a folder, by name; those that begin with a dot are ours.
fn folders(folder: &Path) -> impl Iterator<Item = (String, PathBuf)> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok);
    entries
        .filter(|entry| entry.path().is_dir())
        .filter_map(|entry| Some((entry.file_name().into_string().ok()?, entry.path())))
        .filter(|(name, _)| !name.starts_with('.'))
}

fn is_table(folder: &Path) -> bool {
    [LOG_FOLDER, DELTA_LOG].iter().any(|log| folder.join(log).is_dir())
}

/// Names of the tables in a folder.
pub(crate) fn tables_in(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        folders(folder).filter(|(_, path)| is_table(path)).map(|(name, _)| name).collect();
    names.sort();
    names
}

/// Names of the schemas in a catalog's folder, but `main`.
pub(crate) fn schemas_in(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        folders(folder).filter(|(_, path)| !is_table(path)).map(|(name, _)| name).collect();
    names.sort();
    names
}

/// Whether a catalog's folder has a schema of this name.
pub(crate) fn is_schema(folder: &Path, name: &str) -> bool {
    let path = folder.join(name);
    let plain = Path::new(name).components().count() == 1 && !name.starts_with('.');
    plain && path.is_dir() && !is_table(&path)
}

/// The catalog: a folder.
#[derive(Debug)]
pub(crate) struct Catalog(pub(crate) Arc<Names>);

impl Catalog {
    fn folder(&self) -> PlanResult<&Path> {
        self.0.folder().ok_or_else(|| {
            exec_datafusion_err!(
                "schemas are folders, and this session has no folder for tables; give it a catalog"
            )
        })
    }
}

impl CatalogProvider for Catalog {
    fn schema_names(&self) -> Vec<String> {
        let others = self.0.folder().map(schemas_in).unwrap_or_default();
        std::iter::once(MAIN.to_owned()).chain(others.into_iter().filter(|name| name != MAIN)).collect()
    }

    fn schema(&self, name: &str) -> Option<Arc<dyn SchemaProvider>> {
        if name == MAIN {
            return Some(self.0.clone());
        }
        let folder = self.0.folder()?;
        is_schema(folder, name)
            .then(|| Arc::new(Schema { name: name.to_owned(), names: self.0.clone() }) as _)
    }

    fn register_schema(
        &self,
        name: &str,
        _: Arc<dyn SchemaProvider>,
    ) -> PlanResult<Option<Arc<dyn SchemaProvider>>> {
        let folder = self.folder()?;
        if name.is_empty() || name.starts_with('.') || Path::new(name).components().count() != 1 {
            return exec_err!("{name:?} can't be a schema: its name is a folder's");
        }
        if name == MAIN || folder.join(name).exists() {
            return exec_err!("there is a {name:?} in the catalog already");
        }
        std::fs::create_dir_all(folder.join(name))?;
        Ok(None)
    }

    fn deregister_schema(&self, name: &str, cascade: bool) -> PlanResult<Option<Arc<dyn SchemaProvider>>> {
        let Some(folder) = self.0.folder().filter(|folder| is_schema(folder, name)) else { return Ok(None) };
        let schema = Schema { name: name.to_owned(), names: self.0.clone() };
        let tables = schema.table_names();
        if !cascade && !tables.is_empty() {
            return exec_err!(
                "schema {name:?} has tables: {}; drop them, or DROP SCHEMA … CASCADE",
                tables.join(", ")
            );
        }
        if self.0.transaction().is_open() {
            return exec_err!("DROP SCHEMA is not part of transactions; COMMIT or ROLLBACK this one first");
        }
        for table in tables {
            let table = schema.full(&table);
            if !self.0.forget(&table) {
                let drop_it = self.0.open_table(&table).and_then(|table| Ok(table.drop_table()?));
                drop_it.map_err(|e| DataFusionError::External(Box::new(e)))?;
            }
        }
        // What is left in the folder is not ours to remove.
        std::fs::remove_dir(folder.join(name))
            .map_err(|e| exec_datafusion_err!("the folder of schema {name:?} stays: {e}"))?;
        Ok(Some(Arc::new(schema)))
    }
}

/// A schema other than `main`.
#[derive(Debug)]
struct Schema {
    name: String,
    names: Arc<Names>,
}

impl Schema {
    fn full(&self, table: &str) -> String {
        format!("{}.{table}", self.name)
    }
}

#[async_trait]
impl SchemaProvider for Schema {
    fn table_names(&self) -> Vec<String> {
        let prefix = self.full("");
        let mut names = self.names.folder().map(|f| tables_in(&f.join(&self.name))).unwrap_or_default();
        names.extend(
            self.names.registered_names().iter().filter_map(|n| Some(n.strip_prefix(&prefix)?.to_owned())),
        );
        names.sort();
        names.dedup();
        names
    }

    async fn table(&self, name: &str) -> PlanResult<Option<Arc<dyn TableProvider>>> {
        self.names.table(&self.full(name)).await
    }

    fn register_table(
        &self,
        name: String,
        table: Arc<dyn TableProvider>,
    ) -> PlanResult<Option<Arc<dyn TableProvider>>> {
        self.names.register_table(self.full(&name), table)
    }

    fn deregister_table(&self, name: &str) -> PlanResult<Option<Arc<dyn TableProvider>>> {
        self.names.deregister_table(&self.full(name))
    }

    fn table_exist(&self, name: &str) -> bool {
        self.names.table_exist(&self.full(name))
    }
}
