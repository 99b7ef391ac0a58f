//! Rows, tables, contexts.

use std::path::Path;
use std::sync::{Arc, LazyLock};

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{Array, Int64Array, RecordBatch, StringArray};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use deltalite_shard::executor::{ShardOptions, ShardSet};
use deltalite_table::table::TableSnapshot;
use deltalite_table::{DeltaLiteTable, TableContext};

static SHARDS: LazyLock<Arc<ShardSet>> = LazyLock::new(|| {
    Arc::new(ShardSet::start(ShardOptions::with_shards(1).unwrap().arena(32 << 20)).unwrap())
});

/// One shard for all tests of the process.
pub(crate) fn context() -> TableContext {
    TableContext::new(SHARDS.clone())
}

/// A row of the tests' tables.
pub(crate) type Row = (i64, Option<String>, i64);

pub(crate) fn schema() -> SchemaRef {
    Arc::new(Schema::new(vec![
        Field::new("id", DataType::Int64, false),
        Field::new("name", DataType::Utf8, true),
        Field::new("amount", DataType::Int64, false),
    ]))
}

pub(crate) fn batch(rows: &[Row]) -> RecordBatch {
    let ids = Int64Array::from_iter_values(rows.iter().map(|r| r.0));
    let names: StringArray = rows.iter().map(|r| r.1.clone()).collect();
    let amounts = Int64Array::from_iter_values(rows.iter().map(|r| r.2));
    RecordBatch::try_new(schema(), vec![Arc::new(ids), Arc::new(names), Arc::new(amounts)]).unwrap()
}

pub(crate) fn row(id: i64) -> Row {
    (id, Some(format!("name {id}")), id * 10)
}

pub(crate) fn rows(ids: impl IntoIterator<Item = i64>) -> RecordBatch {
    batch(&ids.into_iter().map(row).collect::<Vec<_>>())
}

pub(crate) fn create(path: &Path) -> DeltaLiteTable {
    DeltaLiteTable::create(path, &schema()).context(&context()).execute().unwrap()
}

pub(crate) fn open(path: &Path) -> DeltaLiteTable {
    DeltaLiteTable::open(path).context(&context()).execute().unwrap()
}

/// All rows, sorted.
pub(crate) fn read(table: &DeltaLiteTable) -> Vec<Row> {
    rows_of(&table.snapshot())
}

/// All rows of a version, sorted.
pub(crate) fn rows_of(snapshot: &Arc<TableSnapshot>) -> Vec<Row> {
    let mut out = Vec::new();
    for batch in snapshot.scan().columns(["id", "name", "amount"]).execute().unwrap() {
        let batch = batch.unwrap();
        let ids = batch.column(0).as_primitive::<Int64Type>();
        let names = batch.column(1).as_string_view();
        let amounts = batch.column(2).as_primitive::<Int64Type>();
        for at in 0..batch.num_rows() {
            let name = names.is_valid(at).then(|| names.value(at).to_owned());
            out.push((ids.value(at), name, amounts.value(at)));
        }
    }
    out.sort();
    out
}

/// The values of `id`, sorted.
pub(crate) fn ids(table: &DeltaLiteTable) -> Vec<i64> {
    read(table).into_iter().map(|r| r.0).collect()
}
