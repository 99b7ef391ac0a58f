//! What statements that change rows keep in memory: a binary of its own, because it counts every allocation.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::path::Path;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use deltalite_query::{Session, SessionOptions};
use deltalite_shard::executor::{ShardOptions, ShardSet};
use deltalite_testkit::memory::Counting;

#[global_allocator]
static MEMORY: Counting = Counting::new();

/// Rows of the table, each of which becomes a kilobyte.
const ROWS: usize = 450_000;
const CHANGED_BYTES: usize = ROWS * 1000;
/// What operators may hold.
const BUDGET_BYTES: u64 = 48 << 20;
/// What statements may: the budget, and rows on their way into files.
const PEAK_BYTES: usize = 256 << 20;

fn session(folder: &Path) -> Session {
    let shards = Arc::new(ShardSet::start(ShardOptions::with_shards(1).unwrap().arena(16 << 20)).unwrap());
    let options = SessionOptions::default().shards(shards).catalog(folder).partitions(1);
    Session::new(options.memory_bytes(BUDGET_BYTES)).unwrap()
}

async fn run(session: &Session, sql: &str) -> Vec<i64> {
    let rows = match session.sql(sql).await {
        Ok(query) => query.collect().await,
        Err(e) => Err(e),
    };
    let batches = rows.unwrap_or_else(|e| panic!("{}", e.render(sql)));
    let Some(batch) = batches.iter().find(|b| b.num_rows() > 0) else { return Vec::new() };
    let numbers =
        batch.columns().iter().map(|c| arrow_cast::cast(c, &arrow_schema::DataType::Int64).unwrap());
    numbers.map(|c| c.as_primitive::<Int64Type>().value(0)).collect()
}

/// Runs a statement; returns what it answered and the most that was in use beyond what was before.
async fn measured(session: &Session, sql: &str) -> (Vec<i64>, usize) {
    let before = MEMORY.begin();
    let answer = run(session, sql).await;
    (answer, MEMORY.peak() - before)
}

#[tokio::test(flavor = "multi_thread")]
async fn changed_rows_are_written_as_they_come() {
    const { assert!(CHANGED_BYTES > PEAK_BYTES + (128 << 20), "holding all of them would not fit") };
    let folder = tempfile::tempdir().unwrap();
    let s = session(folder.path());
    run(&s, &format!("CREATE TABLE t AS SELECT value AS id, 'x' AS v FROM generate_series(1, {ROWS})")).await;
    let update = "UPDATE t SET v = repeat(chr(97 + id % 20), 1000) WHERE id % 2 >= 0";
    let (answer, peak) = measured(&s, update).await;
    assert_eq!(answer, [ROWS as i64]);
    assert!(peak < PEAK_BYTES, "the update took {peak} bytes");
    run(&s, "UPDATE t SET v = 'x'").await;
    // Half of the source's rows are in the table, half are new.
    let merge = format!(
        "MERGE INTO t USING (SELECT value AS id FROM generate_series({}, {})) AS s ON t.id = s.id \
         WHEN MATCHED THEN UPDATE SET v = repeat(chr(97 + t.id % 20), 1000) \
         WHEN NOT MATCHED THEN INSERT VALUES (s.id, repeat('n', 1000))",
        ROWS / 2 + 1,
        ROWS + ROWS / 2
    );
    let (answer, peak) = measured(&s, &merge).await;
    assert_eq!(answer, [ROWS as i64]);
    assert!(peak < PEAK_BYTES, "the merge took {peak} bytes");
    let sums = run(&s, "SELECT count(*), count(DISTINCT id), sum(length(v)) FROM t").await;
    let (rows, short) = ((ROWS + ROWS / 2) as i64, (ROWS / 2) as i64);
    assert_eq!(sums, [rows, rows, short + (rows - short) * 1000]);
}
