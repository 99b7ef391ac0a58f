//! The tables that are measured: TPC-H, wide synthetic ones, and Parquet files given by path.
//!
//! - [`tpch`]: lineitem and orders at any scale factor;
//! - [`wide`]: 10,000 columns for opening, 400 mixed columns for everything else;
//! - [`external`]: real Parquet files;
//! - [`table`]: what all of them become, an Arrow IPC file in the data folder, mapped into memory.

pub mod external;
pub mod table;
pub mod tpch;
pub mod wide;

use std::path::{Path, PathBuf};

pub use table::Table;

use crate::error::{BenchError, Result};

/// Names of a table that `--data` understands, or a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// TPC-H lineitem.
    Lineitem,
    /// TPC-H orders.
    Orders,
    /// The wide synthetic table with 400 columns of mixed types.
    Wide,
    /// Numbers without a pattern, which are stored as they are.
    Numbers,
    /// A Parquet file, or a folder of them.
    Path(PathBuf),
}

impl std::str::FromStr for Source {
    type Err = BenchError;

    fn from_str(text: &str) -> Result<Self> {
        Ok(match text {
            "lineitem" => Self::Lineitem,
            "orders" => Self::Orders,
            "wide" => Self::Wide,
            "numbers" => Self::Numbers,
            path if Path::new(path).exists() => Self::Path(PathBuf::from(path)),
            other => {
                return Err(BenchError::Usage(format!(
                    "--data {other}: neither lineitem, orders, wide or numbers nor an existing Parquet file or folder"
                )));
            }
        })
    }
}

/// Makes (or finds, when made before) the tables of a source. A folder gives one table per Parquet file in it.
pub fn prepare(source: &Source, scale: f64, folder: &Path) -> Result<Vec<Table>> {
    std::fs::create_dir_all(folder).map_err(BenchError::io("creating", folder))?;
    Ok(match source {
        Source::Lineitem => vec![tpch::table(tpch::Kind::Lineitem, scale, folder)?],
        Source::Orders => vec![tpch::table(tpch::Kind::Orders, scale, folder)?],
        Source::Wide => vec![wide::mixed(folder)?],
        Source::Numbers => vec![wide::numbers(folder)?],
        Source::Path(path) => external::tables(path, folder)?,
    })
}
