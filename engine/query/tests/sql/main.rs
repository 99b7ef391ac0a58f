//! Statements from the outside.
//!
//! * [`delta`] – Delta Lake tables; [`joins`] – joins of many tables, in any order; [`random`] – random queries, compared and rewritten; [`remote`] – tables of servers; [`statements`] – what each statement does; [`transactions`] – several of them as one; [`tpch`] – TPC-H against DataFusion over the same rows in memory.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod delta;
mod joins;
mod random;
mod remote;
mod statements;
mod tpch;
mod transactions;

use std::path::Path;
use std::sync::{Arc, LazyLock};

use datafusion::arrow::util::pretty::pretty_format_batches;
use deltalite_query::{QueryError, Session, SessionOptions};
use deltalite_shard::executor::{ShardOptions, ShardSet};

static SHARDS: LazyLock<Arc<ShardSet>> = LazyLock::new(|| {
    Arc::new(ShardSet::start(ShardOptions::with_shards(1).unwrap().arena(32 << 20)).unwrap())
});

fn session(folder: &Path) -> Session {
    Session::new(SessionOptions::default().shards(SHARDS.clone()).catalog(folder).partitions(2)).unwrap()
}

/// The rows of a statement as lines of text.
async fn lines(session: &Session, sql: &str) -> Vec<String> {
    match try_lines(session, sql).await {
        Ok(lines) => lines,
        Err(e) => panic!("{}\n{sql}", e.render(sql)),
    }
}

async fn try_lines(session: &Session, sql: &str) -> Result<Vec<String>, QueryError> {
    let batches = session.sql(sql).await?.collect().await?;
    let table = pretty_format_batches(&batches).unwrap().to_string();
    let rows = table.lines().filter(|line| line.starts_with('|')).skip(1);
    Ok(rows
        .map(|row| row.trim_matches('|').split('|').map(str::trim).collect::<Vec<_>>().join("|"))
        .collect())
}
