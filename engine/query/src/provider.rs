//! A version of a table, or some files, as a relation of plans.

use std::fmt;
use std::sync::Arc;

use arrow_schema::{DataType, Field, Schema, SchemaRef};
use async_trait::async_trait;
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::stats::Precision;
use datafusion::common::{
    ColumnStatistics, Constraint, Constraints, Result as PlanResult, ScalarValue, Statistics,
};
use datafusion::datasource::source::DataSourceExec;
use datafusion::logical_expr::{Expr, TableType};
use datafusion::physical_plan::ExecutionPlan;
use deltalite_format::predicate::{Predicate, bind};
use deltalite_format::reader::read_type;
use deltalite_shard::executor::ShardSet;
use deltalite_shard::scan::{DataFile, ScanFile};
use deltalite_table::log::action::StatValue;
use deltalite_table::table::{TableFile, TableSnapshot};

use crate::error::Result;
use crate::plain::plain_type;
use crate::scan::{Decode, FilesSource, with_places};

/// Files whose statistics are added up for plans; of larger tables only the number of rows is known.
const FILES_SUMMED_MAX: usize = 10_000;
/// Digits that a double holds of a decimal for sure.
const DOUBLE_DIGITS: u8 = 15;

/// What a scan reads.
#[derive(Debug)]
pub struct Relation {
    name: String,
    schema: SchemaRef,
    kind: Kind,
    statistics: Statistics,
    constraints: Constraints,
}

#[derive(Debug)]
enum Kind {
    Table { snapshot: Arc<TableSnapshot>, files: Vec<TableFile> },
    Files(Vec<Arc<DataFile>>),
}

impl Relation {
    /// A version of a table; with `places` also where each row is.
    ///
    /// # Errors
    /// When the log's statistics can't be read.
    pub fn of_table(name: impl Into<String>, snapshot: Arc<TableSnapshot>, places: bool) -> Result<Self> {
        let plain = read_form(snapshot.schema());
        let files = snapshot.files(None)?;
        let mut statistics = table_statistics(&plain, &snapshot, &files)?;
        let schema = if places { with_places(&plain) } else { plain };
        statistics.column_statistics.resize(schema.fields().len(), ColumnStatistics::new_unknown());
        let constraints = Constraints::new_unverified(keys_of(&schema, &snapshot)?);
        Ok(Self { name: name.into(), schema, kind: Kind::Table { snapshot, files }, statistics, constraints })
    }

    /// Files of one schema.
    ///
    /// # Errors
    /// When a file's metadata is damaged.
    pub fn of_files(name: impl Into<String>, files: Vec<Arc<DataFile>>) -> Result<Self> {
        let schema = match files.first() {
            Some(first) => {
                read_form(first.meta().schema().map_err(deltalite_table::TableError::from)?.arrow())
            }
            None => Arc::new(Schema::empty()),
        };
        let rows: u64 = files.iter().map(|f| f.meta().rows()).sum();
        let mut statistics = Statistics::new_unknown(&schema);
        statistics.num_rows = Precision::Exact(rows as usize);
        let constraints = Constraints::default();
        Ok(Self { name: name.into(), schema, kind: Kind::Files(files), statistics, constraints })
    }

    /// What it is called, for people.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its columns, as they are read.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    pub(crate) fn statistics(&self) -> &Statistics {
        &self.statistics
    }

    /// The files that may have matching rows, by position.
    pub(crate) fn select(&self, predicate: Option<&Predicate>) -> Result<Vec<usize>> {
        match (&self.kind, predicate) {
            (Kind::Table { snapshot, files }, Some(predicate)) => Ok(snapshot.select(files, predicate)?),
            (Kind::Table { files, .. }, None) => Ok((0..files.len()).collect()),
            (Kind::Files(files), _) => Ok((0..files.len()).collect()),
        }
    }

    pub(crate) fn open(&self, file: usize) -> Result<ScanFile> {
        match &self.kind {
            Kind::Table { files, .. } => Ok(files[file].open()?),
            Kind::Files(files) => Ok(files[file].clone().into()),
        }
    }

    /// Whether scans can evaluate a condition.
    pub(crate) fn understands(&self, predicate: &Predicate) -> bool {
        bind(predicate, &self.schema).is_ok()
    }

    /// The version, and its files by the numbers that rows' places have.
    pub(crate) fn table(&self) -> Option<(&Arc<TableSnapshot>, &[TableFile])> {
        match &self.kind {
            Kind::Table { snapshot, files } => Some((snapshot, files)),
            Kind::Files(_) => None,
        }
    }
}

/// Columns as scans yield them: strings and binaries as views, without the table's metadata.
fn read_form(schema: &Schema) -> SchemaRef {
    let read = |f: &Arc<Field>| Field::new(f.name(), plain_type(&read_type(f.data_type())), f.is_nullable());
    Arc::new(Schema::new(schema.fields().iter().map(read).collect::<Vec<_>>()))
}

/// The columns that no two rows have the same values in.
fn keys_of(schema: &Schema, snapshot: &TableSnapshot) -> Result<Vec<Constraint>> {
    let known = |key: Vec<String>| {
        let columns = key.iter().map(|name| schema.index_of(name).ok()).collect::<Option<Vec<usize>>>()?;
        // As in SQL, rows with a null in the key are not compared.
        let nullable = columns.iter().any(|at| schema.field(*at).is_nullable());
        Some(if nullable { Constraint::Unique(columns) } else { Constraint::PrimaryKey(columns) })
    };
    Ok(snapshot.keys()?.into_iter().filter_map(known).collect())
}

fn table_statistics(schema: &SchemaRef, snapshot: &TableSnapshot, files: &[TableFile]) -> Result<Statistics> {
    let mut statistics = Statistics::new_unknown(schema);
    if let Some(rows) = snapshot.count_rows()? {
        statistics.num_rows = Precision::Exact(rows as usize);
    }
    statistics.total_byte_size = Precision::Inexact(files.iter().map(|f| f.add.size).sum::<u64>() as usize);
    if files.len() > FILES_SUMMED_MAX {
        return Ok(statistics);
    }
    // Deleted rows are still in minima, maxima and counts of nulls.
    let tight = files.iter().all(|f| f.add.deletion_vector.is_none());
    let mut sums: Vec<Option<Sum>> = vec![Some(Sum::default()); schema.fields().len()];
    for file in files {
        let Some(stats) = file.add.stats()? else { return Ok(statistics) };
        for (at, slot) in sums.iter_mut().enumerate() {
            let data_type = schema.field(at).data_type();
            let column = stats.column(&[snapshot.table_schema().physical_name(at)]);
            *slot = slot.take().and_then(|sum| sum.plus(stats.num_records?, column?, data_type));
        }
    }
    for (at, sum) in sums.into_iter().enumerate() {
        let Some(sum) = sum else { continue };
        // Texts are cut.
        let exact = tight && !matches!(schema.field(at).data_type(), DataType::Utf8View);
        let bound = |value: Option<ScalarValue>| match value {
            Some(value) if exact => Precision::Exact(value),
            Some(value) => Precision::Inexact(value),
            None => Precision::Absent,
        };
        let column = &mut statistics.column_statistics[at];
        column.null_count = if tight { Precision::Exact(sum.nulls) } else { Precision::Inexact(sum.nulls) };
        if !sum.unbounded {
            column.min_value = bound(sum.min);
            column.max_value = bound(sum.max);
        }
    }
    Ok(statistics)
}

/// What is known of a column over several files.
#[derive(Debug, Clone, Default)]
struct Sum {
    nulls: usize,
    min: Option<ScalarValue>,
    max: Option<ScalarValue>,
    /// Some file has values and says nothing of them.
    unbounded: bool,
}

impl Sum {
    fn plus(
        mut self,
        rows: u64,
        column: &deltalite_table::log::action::ColumnStats,
        data_type: &DataType,
    ) -> Option<Self> {
        let nulls = column.null_count?;
        self.nulls += nulls as usize;
        if nulls >= rows {
            return Some(self);
        }
        let value = |stat: &Option<StatValue>| scalar(stat.as_ref()?, data_type);
        match (value(&column.min), value(&column.max)) {
            (Some(min), Some(max)) => {
                if self.min.as_ref().is_none_or(|known| min < *known) {
                    self.min = Some(min);
                }
                if self.max.as_ref().is_none_or(|known| max > *known) {
                    self.max = Some(max);
                }
            }
            _ => self.unbounded = true,
        }
        Some(self)
    }
}

fn scalar(stat: &StatValue, data_type: &DataType) -> Option<ScalarValue> {
    let text = match stat {
        StatValue::Bool(value) => value.to_string(),
        StatValue::Int(value) => value.to_string(),
        StatValue::Uint(value) => value.to_string(),
        StatValue::Text(text) => text.clone(),
        StatValue::Float(value) => match data_type {
            DataType::Float32 | DataType::Float64 => value.to_string(),
            DataType::Decimal128(precision, _) if *precision <= DOUBLE_DIGITS => value.to_string(),
            _ => return None,
        },
    };
    ScalarValue::try_from_string(text, data_type).ok()
}

/// A relation in the catalog.
#[derive(Clone)]
pub struct RelationProvider {
    relation: Arc<Relation>,
    shards: Arc<ShardSet>,
    decode: Decode,
}

impl fmt::Debug for RelationProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RelationProvider").field("relation", &self.relation.name).finish_non_exhaustive()
    }
}

impl RelationProvider {
    /// A relation that is read with these shards.
    pub fn new(relation: Arc<Relation>, shards: Arc<ShardSet>, decode: Decode) -> Self {
        Self { relation, shards, decode }
    }
}

#[async_trait]
impl TableProvider for RelationProvider {
    fn schema(&self) -> SchemaRef {
        self.relation.schema.clone()
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn constraints(&self) -> Option<&Constraints> {
        Some(&self.relation.constraints)
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        _filters: &[Expr],
        limit: Option<usize>,
    ) -> PlanResult<Arc<dyn ExecutionPlan>> {
        let partitions = state.config().target_partitions();
        let mut source =
            FilesSource::new(self.relation.clone(), self.shards.clone(), partitions, self.decode)
                .limit(limit);
        if let Some(projection) = projection {
            source = source.project(projection.clone());
        }
        Ok(DataSourceExec::from_data_source(source))
    }

    fn statistics(&self) -> Option<Statistics> {
        Some(self.relation.statistics.clone())
    }
}
