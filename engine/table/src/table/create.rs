//! New tables.

use std::path::{Path, PathBuf};

use arrow_schema::Schema;
use uuid::Uuid;

use super::context::TableContext;
use super::core::Core;
use super::keys::{KEYS_PROPERTY, keys_of, keys_property};
use super::run::builder_future;
use super::{DeltaLiteTable, OptimisticTransaction, TableSnapshot, lifecycle};
use crate::commit::queue::WRITER_FEATURES;
use crate::error::{Result, TableError};
use crate::log::SealedCommit;
use crate::log::action::table::now_ms;
use crate::log::action::{Action, CommitInfo, Metadata, Protocol};
use crate::partition::{PARTITIONING_PROPERTY, Partitioning};
use crate::schema::{CONSTRAINT_PREFIX, MAX_COLUMN_ID, Preparer, TableSchema};

/// Features of readers that our tables need.
const READER_FEATURES_NEEDED: [&str; 5] =
    ["columnMapping", "deletionVectors", "deltaliteBlockFormat", "timestampNtz", "typeWidening"];

/// Making a table.
#[derive(Debug, Clone)]
#[must_use]
pub struct CreateTable {
    path: PathBuf,
    schema: Schema,
    context: Option<TableContext>,
    name: Option<String>,
    comment: Option<String>,
    partition_by: Vec<String>,
    properties: Vec<(String, String)>,
    keys: Vec<Vec<String>>,
    if_not_exists: bool,
}

impl DeltaLiteTable {
    /// Makes a table in a folder.
    pub fn create(path: impl AsRef<Path>, schema: &Schema) -> CreateTable {
        CreateTable {
            path: path.as_ref().to_owned(),
            schema: schema.clone(),
            context: None,
            name: None,
            comment: None,
            partition_by: Vec::new(),
            properties: Vec::new(),
            keys: Vec::new(),
            if_not_exists: false,
        }
    }
}

impl CreateTable {
    /// What it needs of the process; shards started for all tables of the process without.
    pub fn context(mut self, context: &TableContext) -> Self {
        self.context = Some(context.clone());
        self
    }

    /// Its name, which is only for people.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// What it is about.
    pub fn comment(mut self, comment: impl Into<String>) -> Self {
        self.comment = Some(comment.into());
        self
    }

    /// How its rows are kept apart: columns, or `year(column)`, `month`, `day`, `hour`, `bucket(n, column)`, `truncate(n, column)`.
    pub fn partition_by<S: Into<String>>(mut self, fields: impl IntoIterator<Item = S>) -> Self {
        self.partition_by = fields.into_iter().map(Into::into).collect();
        self
    }

    /// A property.
    pub fn property(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.properties.push((key.into(), value.into()));
        self
    }

    /// A condition that all rows fulfil.
    pub fn constraint(self, name: impl AsRef<str>, condition: impl Into<String>) -> Self {
        self.property(format!("{CONSTRAINT_PREFIX}{}", name.as_ref()), condition)
    }

    /// Columns in which no two rows have the same values, beside keys that were given before; rows with a null in one of them are not compared.
    pub fn key<S: Into<String>>(mut self, columns: impl IntoIterator<Item = S>) -> Self {
        self.keys.push(columns.into_iter().map(Into::into).collect());
        self
    }

    /// Opens the table if there is one already, whatever its columns.
    pub fn if_not_exists(mut self) -> Self {
        self.if_not_exists = true;
        self
    }

    /// The metadata of the new table.
    fn metadata(&self, context: &TableContext, schema: &TableSchema) -> Result<Metadata> {
        let partitioning = Partitioning::parse(self.partition_by.iter().map(String::as_str), schema.arrow())?;
        let mut properties = self.properties.clone();
        properties.extend(keys_property(&self.keys).map(|text| (KEYS_PROPERTY.to_owned(), text)));
        properties.push((MAX_COLUMN_ID.to_owned(), schema.max_id().to_string()));
        properties.push(("delta.columnMapping.mode".to_owned(), "id".to_owned()));
        properties.extend(partitioning.to_property().map(|text| (PARTITIONING_PROPERTY.to_owned(), text)));
        let configuration = properties.iter().map(|(k, v)| (k.as_str(), Some(v.as_str()))).collect();
        // Expressions that nobody understands are to be found now, not at the first insert.
        Preparer::new(schema, &configuration, context.expressions.as_ref())?;
        for column in keys_of(&configuration)?.concat() {
            schema.column(&column)?;
        }
        Ok(Metadata {
            id: Uuid::new_v4().to_string(),
            name: self.name.clone(),
            description: self.comment.clone(),
            schema_string: schema.to_json(),
            partition_columns: partitioning.identity_columns(),
            created_time: Some(now_ms()),
            configuration,
            ..Metadata::default()
        })
    }

    /// Makes it.
    ///
    /// # Errors
    /// When there is a table already, the columns or the partitioning can't be, or the system fails.
    pub fn execute(self) -> Result<DeltaLiteTable> {
        let context = self.context.clone().map_or_else(TableContext::of_process, Ok)?;
        if self.if_not_exists
            && let Ok(core) = Core::open(&self.path, &context)
        {
            return DeltaLiteTable::newest(core);
        }
        let metadata = self.metadata(&context, &TableSchema::create(&self.schema)?)?;
        lifecycle::make_way(&self.path, &context)?;
        let actions = vec![Action::Protocol(protocol()), Action::Metadata(Box::new(metadata))];
        let first = SealedCommit::first(CommitInfo::new("CREATE TABLE"), actions)?;
        let made = Core::create(&self.path, &context, first)?;
        if !made && !self.if_not_exists {
            return Err(self.there_is_one());
        }
        let table = DeltaLiteTable::newest(Core::open(&self.path, &context)?)?;
        Ok(table)
    }

    fn there_is_one(&self) -> TableError {
        TableError::invalid("making a table", format!("there is one in {} already", self.path.display()))
    }

    /// Makes it within a transaction: nobody else sees it until that is committed, and it is gone if it is not.
    ///
    /// ```
    /// use arrow_schema::{DataType, Field, Schema};
    /// use deltalite_table::DeltaLiteTable;
    /// let folder = tempfile::tempdir()?;
    /// let path = folder.path().join("t");
    /// let schema = Schema::new(vec![Field::new("id", DataType::Int64, true)]);
    /// let txn = DeltaLiteTable::create(&path, &schema).begin()?;
    /// assert!(DeltaLiteTable::open(&path).execute().is_err());
    /// txn.commit("CREATE TABLE", [])?;
    /// assert!(DeltaLiteTable::open(&path).execute().is_ok());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As [`CreateTable::execute`].
    pub fn begin(self) -> Result<OptimisticTransaction> {
        let context = self.context.clone().map_or_else(TableContext::of_process, Ok)?;
        let metadata = self.metadata(&context, &TableSchema::create(&self.schema)?)?;
        lifecycle::make_way(&self.path, &context)?;
        let creating = lifecycle::begin_creating(&context, &self.path)?;
        let actions =
            vec![Action::Protocol(protocol()), Action::Metadata(Box::new(metadata)), lifecycle::creating()];
        let first = SealedCommit::first(CommitInfo::new("CREATE TABLE"), actions)?;
        if !Core::create(&self.path, &context, first)? {
            return Err(self.there_is_one());
        }
        OptimisticTransaction::on_new(Core::open(&self.path, &context)?, creating)
    }
}

impl OptimisticTransaction {
    /// Makes the table another one: without rows, and with the columns, partitioning, constraints and properties of `new`, whose path does not matter.
    /// Older versions are read as they were.
    ///
    /// ```
    /// use arrow_schema::{DataType, Field, Schema};
    /// use deltalite_table::{DeltaLiteTable, Version};
    /// let folder = tempfile::tempdir()?;
    /// let schema = |name| Schema::new(vec![Field::new(name, DataType::Int64, true)]);
    /// let table = DeltaLiteTable::create(folder.path(), &schema("a")).execute()?;
    /// let mut txn = table.begin()?;
    /// txn.replace_table(&DeltaLiteTable::create("", &schema("b")))?;
    /// txn.commit("CREATE OR REPLACE TABLE", [])?;
    /// table.refresh()?;
    /// assert_eq!(table.schema().field(0).name(), "b");
    /// assert_eq!(table.at_version(Version(0))?.schema().field(0).name(), "a");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// When the columns or the partitioning can't be, or the table only takes appends.
    pub fn replace_table(&mut self, new: &CreateTable) -> Result<()> {
        self.read_whole_table();
        for file in self.snapshot().clone().files(None)? {
            self.remove_file(&file)?;
        }
        let old = self.metadata().clone();
        let known = super::alter::max_column_id(&old, &self.snapshot().schema)?;
        let context = self.snapshot().core.context.clone();
        let metadata = new.metadata(&context, &TableSchema::create_after(&new.schema, known)?)?;
        self.set_metadata(Metadata { id: old.id, created_time: old.created_time, ..metadata })?;
        self.keys_of_replaced()
    }
}

builder_future!(CreateTable => DeltaLiteTable, CreateTable::execute);

/// What readers and writers of our tables must know.
pub(super) fn protocol() -> Protocol {
    let texts = |names: &[&str]| names.iter().map(|n| (*n).to_owned()).collect();
    Protocol {
        min_reader_version: 3,
        min_writer_version: 7,
        reader_features: Some(texts(&READER_FEATURES_NEEDED)),
        writer_features: Some(texts(&WRITER_FEATURES)),
    }
}

impl TableSnapshot {
    /// What the table is called and what it is about.
    pub fn name(&self) -> Option<&str> {
        self.log.metadata().name.as_deref()
    }

    /// The table's keys: columns in which no two rows have the same values.
    ///
    /// # Errors
    /// When the property that says so can't be read.
    pub fn keys(&self) -> Result<Vec<Vec<String>>> {
        keys_of(&self.log.metadata().configuration)
    }
}
