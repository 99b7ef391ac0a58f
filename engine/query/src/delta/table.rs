//! A Delta Lake table as a relation: its Parquet files, without their deleted rows, with the values of their partitions.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_schema::{DataType, Field, FieldRef, Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::{DataFusionError, Result as PlanResult, ScalarValue};
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::parquet::ParquetRowSelection;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfigBuilder, ParquetSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::datasource::table_schema::TableSchema;
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::logical_expr::{Expr, TableType};
use datafusion::parquet::arrow::arrow_reader::{ParquetRecordBatchReaderBuilder, RowSelection};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column;
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::projection::{ProjectionExec, ProjectionExpr};
use deltalite_table::TableError;
use deltalite_table::deletion_vector::{file_of, read_file, read_inline};
use deltalite_table::log::action::{Add, decode_path};
use deltalite_table::schema;
use deltalite_table::txn::Rows;

use super::ids::ByNumber;
use super::log::{Asked, DeltaSnapshot};
use super::names::{self, Named};
use crate::error::{QueryError, Result};
use crate::plain::plain_type;

/// A version of a table.
#[derive(Debug)]
pub(crate) struct DeltaTable {
    /// Columns by the names that people know.
    schema: SchemaRef,
    /// Where each is among the columns of files and, after them, the values of partitions.
    places: Vec<usize>,
    stored: TableSchema,
    files: Vec<PartitionedFile>,
    /// Where columns are found by their numbers.
    by_number: Option<Arc<ByNumber>>,
}

fn not_supported(detail: String) -> QueryError {
    QueryError::NotSupported(detail)
}

/// Strings and binaries as views, as all scans yield them.
fn as_view(field: &Field) -> FieldRef {
    let data_type = match field.data_type() {
        DataType::Utf8 => DataType::Utf8View,
        DataType::Binary => DataType::BinaryView,
        other => other.clone(),
    };
    Arc::new(Field::new(field.name(), data_type, field.is_nullable()))
}

/// Whether fields below a column have other names in files.
fn renames_below(data_type: &DataType) -> bool {
    let field = |f: &FieldRef| schema::physical_name(f) != f.name() || renames_below(f.data_type());
    match data_type {
        DataType::Struct(fields) => fields.iter().any(field),
        DataType::List(f) | DataType::Map(f, _) => renames_below(f.data_type()),
        _ => false,
    }
}

fn local(root: &Path, path: &str) -> Result<PathBuf> {
    let decoded = decode_path(path)?;
    if let Some(absolute) = decoded.strip_prefix("file://") {
        return Ok(PathBuf::from(absolute));
    }
    if decoded.contains("://") {
        return Err(not_supported(format!("{decoded} is not on this machine; only local files are read")));
    }
    Ok(root.join(decoded))
}

/// Rows of a file that are deleted.
pub(super) fn deleted_rows(root: &Path, add: &Add) -> Result<Option<Rows>> {
    let Some(vector) = &add.deletion_vector else { return Ok(None) };
    let Some(file) = file_of(vector)? else { return Ok(Some(read_inline(vector)?)) };
    let path = local(root, &file)?;
    let bytes = std::fs::read(&path)
        .map_err(|source| QueryError::Table(TableError::Io { what: "reading", path, source }))?;
    Ok(Some(read_file(vector, &bytes)?))
}

/// The files that have a file's rows, and which of them are deleted.
pub(super) fn files_of(root: &Path, add: &Add) -> Result<Vec<PathBuf>> {
    let mut files = vec![local(root, &add.path)?];
    if let Some(vector) = &add.deletion_vector
        && let Some(file) = file_of(vector)?
    {
        files.push(local(root, &file)?);
    }
    Ok(files)
}

fn rows_of(path: &Path) -> Result<u64> {
    let file = File::open(path).map_err(|source| {
        QueryError::Table(TableError::Io { what: "opening", path: path.to_owned(), source })
    })?;
    let reader = ParquetRecordBatchReaderBuilder::try_new(file)
        .map_err(|e| QueryError::Engine(format!("{}: {e}", path.display())))?;
    Ok(reader.metadata().file_metadata().num_rows() as u64)
}

/// The rows that are left.
fn selection(deleted: &Rows, rows: u64) -> RowSelection {
    let mut ranges = Vec::new();
    let mut at = 0;
    for row in deleted.iter().chain([rows]) {
        let row = row.min(rows);
        if row > at {
            ranges.push(at as usize..row as usize);
        }
        at = row + 1;
    }
    RowSelection::from_consecutive_ranges(ranges.into_iter(), rows as usize)
}

impl DeltaTable {
    /// Opens a version.
    ///
    /// # Errors
    /// When it can't be read, or needs what is not supported.
    pub(crate) fn open(root: &Path, asked: Asked) -> Result<Self> {
        let root = std::path::absolute(root).map_err(|source| {
            QueryError::Table(TableError::Io { what: "finding", path: root.to_owned(), source })
        })?;
        Self::of(&DeltaSnapshot::open(&root, asked)?)
    }

    /// Files of a version.
    ///
    /// # Errors
    /// As [`DeltaTable::open`].
    pub(crate) fn of(snapshot: &DeltaSnapshot) -> Result<Self> {
        let columns = schema::delta_schema(&snapshot.metadata.schema_string)?;
        let partitions = &snapshot.metadata.partition_columns;
        let is_partition = |f: &Field| partitions.contains(f.name());
        let physical = |f: &FieldRef| {
            let stored = f.as_ref().clone().with_name(schema::physical_name(f));
            as_view(&if renames_below(f.data_type()) {
                stored.with_data_type(names::in_files(f.data_type()))
            } else {
                stored
            })
        };
        let in_files: Vec<FieldRef> =
            columns.fields().iter().filter(|f| !is_partition(f)).map(physical).collect();
        let by_partition: Vec<&FieldRef> = columns.fields().iter().filter(|f| is_partition(f)).collect();
        let (mut next, mut next_partition) = (0, in_files.len());
        let places = columns.fields().iter().map(|f| {
            let next = if is_partition(f) { &mut next_partition } else { &mut next };
            *next += 1;
            *next - 1
        });
        let places = places.collect();
        let stored_partitions: Vec<FieldRef> = by_partition.iter().map(|f| physical(f)).collect();
        let mut files = Vec::with_capacity(snapshot.files.len());
        for add in &snapshot.files {
            files.push(partitioned(&snapshot.root, add, &by_partition, &stored_partitions)?);
        }
        let stored = TableSchema::builder(Arc::new(Schema::new(in_files)))
            .with_table_partition_cols(stored_partitions)
            .build();
        let known = |f: &FieldRef| {
            let plain = || f.as_ref().clone().with_data_type(plain_type(f.data_type()));
            if renames_below(f.data_type()) { as_view(&plain()) } else { as_view(f) }
        };
        let schema = Arc::new(Schema::new(columns.fields().iter().map(known).collect::<Vec<_>>()));
        let mode = snapshot.metadata.configuration.value("delta.columnMapping.mode");
        let by_number = (mode == Some("id")).then(|| Arc::new(ByNumber::new(columns.fields())));
        Ok(Self { schema, places, stored, files, by_number })
    }
}

/// A file, with the values of its partition and the rows that are left of it.
fn partitioned(root: &Path, add: &Add, fields: &[&FieldRef], stored: &[FieldRef]) -> Result<PartitionedFile> {
    let path = local(root, &add.path)?;
    let location = object_store::path::Path::from_absolute_path(&path)
        .map_err(|e| not_supported(format!("{}: {e}", path.display())))?;
    let mut file = PartitionedFile::new(String::new(), add.size);
    file.object_meta.location = location;
    for (field, stored) in fields.iter().zip(stored) {
        let text = add.partition_values.value(schema::physical_name(field)).filter(|t| !t.is_empty());
        let value = match text {
            None => ScalarValue::try_from(stored.data_type()),
            Some(text) => ScalarValue::try_from_string(text.to_owned(), stored.data_type()),
        };
        let value = value
            .map_err(|e| QueryError::Engine(format!("{}, partition {}: {e}", add.path, field.name())))?;
        file.partition_values.push(value);
    }
    if let Some(deleted) = deleted_rows(root, add)? {
        let known = add.stats()?.and_then(|s| s.num_records);
        let rows = known.map_or_else(|| rows_of(&path), Ok)?;
        file = file.with_extension(ParquetRowSelection::new(selection(&deleted, rows)));
    }
    Ok(file)
}

#[async_trait]
impl TableProvider for DeltaTable {
    fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        limit: Option<usize>,
    ) -> PlanResult<Arc<dyn ExecutionPlan>> {
        let wanted: Vec<usize> = projection.cloned().unwrap_or_else(|| (0..self.places.len()).collect());
        let indices = wanted.iter().map(|at| self.places[*at]).collect();
        let parts = state.config().target_partitions().clamp(1, self.files.len().max(1));
        let mut groups = vec![FileGroup::default(); parts];
        for (at, file) in self.files.iter().enumerate() {
            groups[at % parts].push(file.clone());
        }
        let source = Arc::new(ParquetSource::new(self.stored.clone()));
        let config = FileScanConfigBuilder::new(ObjectStoreUrl::local_filesystem(), source)
            .with_file_groups(groups)
            .with_projection_indices(Some(indices))?
            .with_limit(limit)
            .with_expr_adapter(self.by_number.clone().map(|by_number| by_number as _))
            .build();
        let scan: Arc<dyn ExecutionPlan> = DataSourceExec::from_data_source(config);
        let stored = scan.schema();
        let known = |column: &usize| self.schema.field(*column);
        let names = wanted.iter().zip(stored.fields()).enumerate().map(|(at, (column, field))| {
            let (known, values) = (known(column), Arc::new(Column::new(field.name(), at)));
            let expr: Arc<dyn PhysicalExpr> = if known.data_type() == field.data_type() {
                values
            } else {
                Arc::new(Named::new(values, known.data_type().clone()))
            };
            ProjectionExpr { expr, alias: known.name().clone() }
        });
        let names: Vec<ProjectionExpr> = names.collect();
        let is_same = |(column, field): (&usize, &FieldRef)| {
            known(column).name() == field.name() && known(column).data_type() == field.data_type()
        };
        if wanted.iter().zip(stored.fields()).all(is_same) {
            return Ok(scan);
        }
        Ok(Arc::new(ProjectionExec::try_new(names, scan).map_err(|e: DataFusionError| e)?))
    }
}
