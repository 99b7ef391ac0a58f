//! Tables, side by side with DuckDB, DataFusion over Parquet, and the `deltalake` package.
//!
//! [`log`] – the log alone; [`writers`] – many who commit; [`changes`] – deleting, merging; [`tpch`] – queries; [`python`] – the process of
//! peers that are Python packages.

mod changes;
mod log;
mod python;
mod tpch;
mod writers;

use std::cell::RefCell;
use std::fs;
use std::path::PathBuf;

use clap::Args;
use deltalite_table::TableError;

use crate::error::{BenchError, Result};
use crate::measure::{Budget, Samples};
use crate::progress::Progress;
use crate::report::{Row, significant};
use python::Python;

/// Arguments of `deltalite-bench tables`.
#[derive(Debug, Args)]
pub struct Tables {
    /// Folder of the tables made; the large one is kept for the next run
    #[arg(long, default_value = "target/bench-data", value_name = "FOLDER")]
    data_dir: PathBuf,
    /// Folder of tables.json
    #[arg(long, default_value = "target/report", value_name = "FOLDER")]
    report_dir: PathBuf,
    /// Files of the large table
    #[arg(long, default_value_t = 1_000_000, value_name = "N")]
    files: usize,
    /// Scale factor of lineitem
    #[arg(long, default_value_t = 1.0, value_name = "SF")]
    sf: f64,
    /// Rows of the table that is merged into; a twentieth of them is merged
    #[arg(long, default_value_t = 20_000_000, value_name = "N")]
    merge_rows: usize,
    /// The interpreter that has the packages duckdb, deltalake and pyarrow; those peers are left out without
    #[arg(long, value_name = "FILE")]
    python: Option<PathBuf>,
    /// Only cases whose name has one of these parts, separated by commas
    #[arg(long, value_name = "PARTS", value_delimiter = ',')]
    only: Vec<String>,
    /// A first impression in a fraction of the time
    #[arg(long)]
    quick: bool,
}

fn failed(doing: &'static str) -> impl Fn(TableError) -> BenchError {
    move |error| BenchError::Format {
        format: "deltalite".to_owned(),
        doing: doing.to_owned(),
        message: error.to_string(),
    }
}

/// What a group of cases is, and what measures it.
type Group<'a> = (&'static [&'static str], Box<dyn FnOnce() -> Result<Vec<Row>> + 'a>);

impl Tables {
    /// Measures, prints, and writes `tables.json`.
    pub fn execute(&self) -> Result<()> {
        let budget = if self.quick { Budget::QUICK } else { Budget::FULL };
        let folder = self.data_dir.join("tables");
        fs::create_dir_all(&folder).map_err(BenchError::io("creating", &folder))?;
        // Paths reach a process of another working folder.
        let folder = folder.canonicalize().map_err(BenchError::io("finding", &folder))?;
        let python = self.python.as_deref().map(Python::start).transpose()?.map(RefCell::new);
        if python.is_none() {
            eprintln!("no --python: duckdb and deltalake are left out; make bench-tables has them");
        }
        let python = python.as_ref();
        let groups: Vec<Group<'_>> = vec![
            (&["log_parse"], Box::new(|| Ok(vec![log::parse(budget)?]))),
            (&["commits_1"], Box::new(|| Ok(vec![log::commits(&folder.join("commits"), budget)?]))),
            (&["append_1", "commits_64"], Box::new(|| writers::commits(&folder, self.quick, python))),
            (&["disjoint_aborts"], Box::new(|| Ok(vec![writers::disjoint(&folder)?]))),
            (&["optimize_aborts"], Box::new(|| Ok(vec![writers::optimize(&folder)?]))),
            (
                &["tpch_q1", "tpch_q6", "tpch_sum"],
                Box::new(|| tpch::queries(&folder, &self.data_dir, self.sf, budget, python)),
            ),
            (
                &["delete_scan"],
                Box::new(|| Ok(vec![changes::delete_scan(&folder, &self.data_dir, self.sf, budget)?])),
            ),
            (&["merge"], Box::new(|| changes::merge(&folder, self.merge_rows, python))),
            (
                &["open_million", "refresh_100"],
                Box::new(|| log::large_tables(&folder, self.files, budget, python)),
            ),
        ];
        let wanted = |names: &[&str]| {
            self.only.is_empty()
                || names.iter().any(|n| self.only.iter().any(|part| n.contains(part.as_str())))
        };
        let groups: Vec<Group<'_>> = groups.into_iter().filter(|(names, _)| wanted(names)).collect();
        let progress = Progress::steps("tables", groups.len() as u64);
        let mut rows = Vec::new();
        for (names, measure) in groups {
            progress.step(&names.join(", "));
            rows.extend(measure()?);
            progress.advance(1);
        }
        progress.finish();
        fs::create_dir_all(&self.report_dir).map_err(BenchError::io("creating", &self.report_dir))?;
        let path = self.report_dir.join("tables.json");
        let json = serde_json::to_vec_pretty(&rows)
            .map_err(BenchError::format::<serde_json::Error>("report", "writing tables.json"))?;
        fs::write(&path, json).map_err(BenchError::io("writing", &path))?;
        for row in &rows {
            println!(
                "{:<16} {:>10} {:<10} against {:>10} of {:<18} {:>8}×  {}",
                row.case,
                significant(row.ours),
                row.unit,
                significant(row.theirs),
                row.peer,
                significant(row.ratio),
                row.data
            );
        }
        println!("{}", path.display());
        Ok(())
    }
}

/// A row of times: the peer's over ours.
fn row(
    case: &str,
    data: &str,
    cores: usize,
    unit: &str,
    factor: f64,
    samples: &[Samples],
    peer: &str,
) -> Result<Row> {
    let (ours, theirs) = (named(samples, "deltalite")?.median(), named(samples, peer)?.median());
    Ok(Row {
        case: case.to_owned(),
        data: data.to_owned(),
        peer: peer.to_owned(),
        cores,
        ours: ours * factor,
        theirs: theirs * factor,
        unit: unit.to_owned(),
        ratio: theirs / ours,
    })
}

/// A row of figures where more is better: ours over the peer's.
fn rate(case: &str, data: &str, cores: usize, unit: &str, ours: f64, peer: &str, theirs: f64) -> Row {
    Row {
        case: case.to_owned(),
        data: data.to_owned(),
        peer: peer.to_owned(),
        cores,
        ours,
        theirs,
        unit: unit.to_owned(),
        ratio: ours / theirs,
    }
}

/// A row without a peer: how many times better than the aim it is.
fn alone(case: &str, data: &str, ours: f64, aim: f64) -> Row {
    Row {
        case: case.to_owned(),
        data: data.to_owned(),
        peer: "aim".to_owned(),
        cores: 1,
        ours,
        theirs: aim,
        unit: "ms".to_owned(),
        ratio: aim / ours,
    }
}

fn named<'a>(samples: &'a [Samples], name: &str) -> Result<&'a Samples> {
    samples
        .iter()
        .find(|s| s.name == name)
        .ok_or_else(|| BenchError::Usage(format!("{name} was not measured")))
}
