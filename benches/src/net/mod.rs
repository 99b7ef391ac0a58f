//! The network, side by side with bare sockets in the same run.
//!
//! [`wire`] – streams, calls and connections over loopback; [`flight`] – batches beside Arrow Flight; [`idle`] – connections that do nothing; [`scans`] – scans of a server
//! beside the same scans without one; [`zero_copy`] – frames that the kernel does not copy.

mod flight;
mod idle;
mod scans;
mod wire;
mod zero_copy;

use std::fs;
use std::path::PathBuf;

use clap::Args;
use deltalite_net::RpcError;

use crate::error::{BenchError, Result};
use crate::progress::Progress;
use crate::report::{Row, significant};

/// Arguments of `deltalite-bench net`.
#[derive(Debug, Args)]
pub struct Net {
    /// Folder of the tables made
    #[arg(long, default_value = "target/bench-data", value_name = "FOLDER")]
    data_dir: PathBuf,
    /// Folder of net.json
    #[arg(long, default_value = "target/report", value_name = "FOLDER")]
    report_dir: PathBuf,
    /// Scale factor of lineitem
    #[arg(long, default_value_t = 1.0, value_name = "SF")]
    sf: f64,
    /// Idle connections
    #[arg(long, default_value_t = 10_000, value_name = "N")]
    connections: usize,
    /// Only cases whose name has one of these parts, separated by commas
    #[arg(long, value_name = "PARTS", value_delimiter = ',')]
    only: Vec<String>,
    /// A first impression in a fraction of the time
    #[arg(long)]
    quick: bool,
    /// Serve the connections that do nothing, for the process that measures them
    #[arg(long, hide = true)]
    serve_idle: bool,
}

fn failed(doing: &'static str) -> impl Fn(RpcError) -> BenchError {
    move |error| BenchError::Format {
        format: "deltalite".to_owned(),
        doing: doing.to_owned(),
        message: error.to_string(),
    }
}

fn system(doing: &'static str) -> impl Fn(std::io::Error) -> BenchError {
    move |source| BenchError::System { doing, source }
}

/// What a group of cases is, and what measures it.
type Group<'a> = (&'static [&'static str], Box<dyn FnOnce() -> Result<Vec<Row>> + 'a>);

impl Net {
    /// Measures, prints, and writes `net.json`.
    pub fn execute(&self) -> Result<()> {
        if self.serve_idle {
            return idle::serve_until_the_end();
        }
        let rounds = if self.quick { 3 } else { 9 };
        let groups: Vec<Group<'_>> = vec![
            (&["idle_connections"], Box::new(|| idle::idle(self.connections))),
            (&["stream", "raw_tcp"], Box::new(|| wire::streams(rounds))),
            (&["credits"], Box::new(|| wire::credits(rounds))),
            (&["stream", "arrow_flight"], Box::new(|| flight::batches(rounds))),
            (&["zero_copy", "sendmsg"], Box::new(|| zero_copy::frames(rounds))),
            (&["call_p50", "call_p99"], Box::new(|| wire::calls(rounds))),
            (&["slow_reader"], Box::new(|| wire::slow_reader(rounds))),
            (&["remote_scan"], Box::new(|| scans::remote(&self.data_dir, self.sf, rounds))),
        ];
        let wanted = |names: &[&str]| {
            self.only.is_empty()
                || names.iter().any(|n| self.only.iter().any(|part| n.contains(part.as_str())))
        };
        let groups: Vec<Group<'_>> = groups.into_iter().filter(|(names, _)| wanted(names)).collect();
        let progress = Progress::steps("net", groups.len() as u64);
        let mut rows = Vec::new();
        for (names, measure) in groups {
            progress.step(&names.join(", "));
            rows.extend(measure()?);
            progress.advance(1);
        }
        progress.finish();
        fs::create_dir_all(&self.report_dir).map_err(BenchError::io("creating", &self.report_dir))?;
        let path = self.report_dir.join("net.json");
        let json = serde_json::to_vec_pretty(&rows)
            .map_err(BenchError::format::<serde_json::Error>("report", "writing net.json"))?;
        fs::write(&path, json).map_err(BenchError::io("writing", &path))?;
        for row in &rows {
            println!(
                "{:<18} {:>10} {:<10} against {:>10} of {:<18} {:>8}×  {}",
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

/// A figure beside a peer's; `better` is how many times better ours is.
fn row(case: &str, data: &str, unit: &str, ours: f64, peer: &str, theirs: f64, better: f64) -> Row {
    Row {
        case: case.to_owned(),
        data: data.to_owned(),
        peer: peer.to_owned(),
        cores: 2,
        ours,
        theirs,
        unit: unit.to_owned(),
        ratio: better,
    }
}
