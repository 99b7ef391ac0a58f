//! Queries of TPC-H over lineitem, one thread each: our table, DuckDB's own file, DataFusion over Parquet.

use std::cell::RefCell;
use std::fs;
use std::path::{Path, PathBuf};

use arrow::array::RecordBatch;
use datafusion::prelude::{ParquetReadOptions, SessionConfig, SessionContext};
use deltalite::query::{Session, SessionOptions};
use deltalite_table::DeltaLiteTable;
use serde_json::json;
use tokio::runtime::Runtime;

use super::python::Python;
use super::{failed, row};
use crate::data::tpch::{Kind, table};
use crate::error::{BenchError, Result};
use crate::formats::parquet::{Flavour, Parquet};
use crate::formats::{Format, WriteOptions};
use crate::measure::{Budget, Contestant, Residue, interleave};
use crate::report::Row;

/// The cases: their names and their statements.
const QUERIES: [(&str, &str); 3] = [
    (
        "tpch_q1",
        "SELECT l_returnflag, l_linestatus, sum(l_quantity) AS sum_qty, sum(l_extendedprice) AS sum_base_price, \
         sum(l_extendedprice * (1 - l_discount)) AS sum_disc_price, \
         sum(l_extendedprice * (1 - l_discount) * (1 + l_tax)) AS sum_charge, avg(l_quantity) AS avg_qty, \
         avg(l_extendedprice) AS avg_price, avg(l_discount) AS avg_disc, count(*) AS count_order FROM lineitem \
         WHERE l_shipdate <= DATE '1998-09-02' GROUP BY l_returnflag, l_linestatus ORDER BY l_returnflag, l_linestatus",
    ),
    (
        "tpch_q6",
        "SELECT sum(l_extendedprice * l_discount) AS revenue FROM lineitem WHERE l_shipdate >= DATE '1994-01-01' \
         AND l_shipdate < DATE '1995-01-01' AND l_discount BETWEEN 0.05 AND 0.07 AND l_quantity < 24",
    ),
    ("tpch_sum", "SELECT sum(l_extendedprice) AS total FROM lineitem"),
];

/// The name of lineitem's table at a scale factor.
pub(super) fn name(scale: f64) -> String {
    format!("lineitem-sf{scale}")
}

/// Lineitem as a table of ours, made unless an earlier run has left it.
pub(super) fn lineitem(folder: &Path, data_dir: &Path, scale: f64) -> Result<DeltaLiteTable> {
    let path = folder.join(name(scale));
    let marker = folder.join(format!("{}.made", name(scale)));
    if marker.exists() {
        return DeltaLiteTable::open(&path).execute().map_err(failed("opening a table"));
    }
    if path.exists() {
        fs::remove_dir_all(&path).map_err(BenchError::io("removing", &path))?;
    }
    let data = table(Kind::Lineitem, scale, data_dir)?;
    let made = DeltaLiteTable::create(&path, &data.schema).execute().map_err(failed("making a table"))?;
    made.append(data.batches.clone()).execute().map_err(failed("appending"))?;
    fs::write(&marker, []).map_err(BenchError::io("writing", &marker))?;
    Ok(made)
}

fn parquet(folder: &Path, data_dir: &Path, scale: f64) -> Result<PathBuf> {
    let path = folder.join(format!("{}-zstd.parquet", name(scale)));
    if !path.exists() {
        let data = table(Kind::Lineitem, scale, data_dir)?;
        let temporary = path.with_extension("temp");
        Parquet::new(Flavour::Zstd, 1).write(&data, &temporary, WriteOptions::default())?;
        fs::rename(&temporary, &path).map_err(BenchError::io("renaming", &path))?;
    }
    Ok(path)
}

fn ours(error: impl std::fmt::Display) -> BenchError {
    BenchError::format::<String>("deltalite", "running a query")(error.to_string())
}

fn datafusion(error: impl std::fmt::Display) -> BenchError {
    BenchError::format::<String>("datafusion_parquet", "running a query")(error.to_string())
}

fn text(batches: &[RecordBatch]) -> Result<String> {
    arrow::util::pretty::pretty_format_batches(batches).map(|t| t.to_string()).map_err(ours)
}

/// A session of one thread.
pub(super) fn session(catalog: &Path) -> Result<Session> {
    let shards = deltalite::shards(1).map_err(ours)?;
    Session::new(SessionOptions::default().partitions(1).shards(shards).catalog(catalog)).map_err(ours)
}

pub(super) fn one_thread() -> Result<Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(ours)
}

pub(super) fn queries(
    folder: &Path,
    data_dir: &Path,
    scale: f64,
    budget: Budget,
    python: Option<&RefCell<Python>>,
) -> Result<Vec<Row>> {
    lineitem(folder, data_dir, scale)?;
    let parquet = parquet(folder, data_dir, scale)?;
    let native = folder.join(format!("{}.duckdb", name(scale)));
    if let Some(python) = python {
        let load = format!("CREATE TABLE IF NOT EXISTS lineitem AS SELECT * FROM '{}'", parquet.display());
        python.borrow_mut().call(&json!({"do": "duck_load", "path": native, "sql": [load]}))?;
    }
    let (session, runtime) = (session(folder)?, one_thread()?);
    let context = SessionContext::new_with_config(SessionConfig::new().with_target_partitions(1));
    runtime
        .block_on(context.register_parquet(
            "lineitem",
            parquet.display().to_string(),
            ParquetReadOptions::default(),
        ))
        .map_err(datafusion)?;
    let mut rows = Vec::new();
    for (case, sql) in QUERIES {
        let over = sql.replace("FROM lineitem", &format!("FROM \"{}\"", name(scale)));
        let run_ours = || runtime.block_on(async { session.sql(&over).await?.collect().await }).map_err(ours);
        let run_theirs =
            || runtime.block_on(async { context.sql(sql).await?.collect().await }).map_err(datafusion);
        let (mine, yours) = (text(&run_ours()?)?, text(&run_theirs()?)?);
        if mine != yours {
            return Err(BenchError::Usage(format!(
                "{case}: deltalite and DataFusion differ:\n{mine}\n{yours}"
            )));
        }
        let mut contestants = vec![
            Contestant::new("deltalite", || Ok(Residue::Kept(Box::new(run_ours()?)))),
            Contestant::new("datafusion_parquet", || Ok(Residue::Kept(Box::new(run_theirs()?)))),
        ];
        if let Some(python) = python {
            let request = json!({"do": "duck_query", "path": native, "sql": sql});
            python.borrow_mut().call(&request)?;
            contestants.push(Contestant::new("duckdb", move || python.borrow_mut().timed(&request)));
        }
        let samples = interleave(&mut contestants, budget)?;
        drop(contestants);
        let data = format!("lineitem SF{scale}, one thread");
        for peer in
            samples.iter().map(|s| s.name.as_str()).filter(|n| matches!(*n, "duckdb" | "datafusion_parquet"))
        {
            rows.push(row(case, &data, 1, "ms", 1e3, &samples, peer)?);
        }
    }
    Ok(rows)
}
