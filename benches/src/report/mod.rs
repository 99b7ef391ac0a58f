//! What a run has found, and its three shapes.
//!
//! - `report.json`: an array of [`Row`]s and nothing else, for machines;
//! - `details.json`: [`Details`]: every timing, noise, hardware, versions, what was left out and why;
//! - [`terminal`]: a table for people;
//! - [`html`]: one page with charts, without any external resource;
//! - [`aims`]: the ratios the project set out to reach, marked in both.

pub mod aims;
pub mod html;
pub mod terminal;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;

use crate::error::{BenchError, Result};
use crate::machine::Machine;
use crate::measure::{Budget, Samples};

/// One comparison: a case on a table, ours against one peer.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    /// Name of the case, for example `decode`.
    pub case: String,
    /// Name of the table, for example `lineitem-sf1`.
    pub data: String,
    /// Name of the format compared with, for example `parquet_zstd`.
    pub peer: String,
    /// Number of cores both ran on.
    pub cores: usize,
    /// Our figure (the median, when it is a time).
    pub ours: f64,
    /// The peer's.
    pub theirs: f64,
    /// Unit of both figures.
    pub unit: String,
    /// How many times better ours is; below 1 when the peer's is better.
    pub ratio: f64,
}

/// How far the subject was from itself in a comparison it took part in twice.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Noise {
    /// Name of the case.
    pub case: String,
    /// Name of the table.
    pub data: String,
    /// Number of cores.
    pub cores: usize,
    /// Median of its first part by median of its second: 1 without noise.
    pub ratio: f64,
}

/// Timings of one contestant in a comparison.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Timing {
    /// Name of the case.
    pub case: String,
    /// Name of the table.
    pub data: String,
    /// Number of cores.
    pub cores: usize,
    /// The timings.
    #[serde(flatten)]
    pub samples: Samples,
}

/// Something a reader should know: what was left out and why, or what exactly was asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Note {
    /// Name of the case.
    pub case: String,
    /// Name of the table.
    pub data: String,
    /// Number of cores.
    pub cores: usize,
    /// Name of the format it is about; empty when about all.
    pub format: String,
    /// What there is to know.
    pub text: String,
    /// The format returned a wrong result: the run fails.
    pub wrong_result: bool,
}

/// What was found on one set of cores.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    /// The comparisons.
    pub rows: Vec<Row>,
    /// Noise of each.
    pub noise: Vec<Noise>,
    /// Timings behind them.
    pub timings: Vec<Timing>,
    /// Remarks.
    pub notes: Vec<Note>,
}

impl Outcome {
    /// Adds what was found elsewhere.
    pub fn extend(&mut self, other: Self) {
        self.rows.extend(other.rows);
        self.noise.extend(other.noise);
        self.timings.extend(other.timings);
        self.notes.extend(other.notes);
    }

    /// Median over comparisons of how far the subject was from itself, as a fraction: 0.02 is 2 %.
    pub fn noise_floor(&self) -> f64 {
        let distances: Vec<f64> =
            self.noise.iter().map(|noise| (noise.ratio.ln()).abs().exp() - 1.0).collect();
        if distances.is_empty() { 0.0 } else { crate::measure::median(&distances) }
    }
}

/// A table that was measured with.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Measured {
    /// Name in the report.
    pub name: String,
    /// Number of rows.
    pub rows: u64,
    /// Number of columns.
    pub columns: usize,
    /// Size in memory as Arrow.
    pub arrow_bytes: u64,
}

/// A format that took part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Library {
    /// Name in the report.
    pub name: String,
    /// The library and its version.
    pub version: String,
}

/// Everything needed to judge and to repeat a run.
#[derive(Debug, Clone, Serialize)]
pub struct Details {
    /// The command line.
    pub command: String,
    /// When the run began, in seconds since 1970-01-01 UTC.
    pub started_unix_seconds: u64,
    /// How long it took, in seconds.
    pub took_seconds: f64,
    /// The machine.
    pub machine: Machine,
    /// The format that others are compared with.
    pub subject: String,
    /// All formats.
    pub libraries: Vec<Library>,
    /// All tables.
    pub tables: Vec<Measured>,
    /// How long was measured.
    pub budget: Budget,
    /// Median distance of the subject from itself, as a fraction.
    pub noise_floor: f64,
    /// Noise of each comparison.
    pub noise: Vec<Noise>,
    /// Remarks.
    pub notes: Vec<Note>,
    /// Every timing.
    pub timings: Vec<Timing>,
}

/// Seconds since 1970-01-01 UTC.
pub fn unix_seconds() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs())
}

/// Writes `report.json`, `details.json` and `index.html`; returns the path of the page.
pub fn write(folder: &Path, rows: &[Row], details: &Details) -> Result<PathBuf> {
    fs::create_dir_all(folder).map_err(BenchError::io("creating", folder))?;
    let put = |name: &str, bytes: Vec<u8>| {
        let path = folder.join(name);
        // A reader of the folder never sees half a report.
        let partial = folder.join(format!(".{name}.partial"));
        fs::write(&partial, bytes).map_err(BenchError::io("writing", &partial))?;
        fs::rename(&partial, &path).map_err(BenchError::io("renaming", &partial))?;
        Ok::<_, BenchError>(path)
    };
    let json = BenchError::format::<serde_json::Error>;
    put("report.json", serde_json::to_vec_pretty(rows).map_err(json("report", "writing report.json"))?)?;
    put("details.json", serde_json::to_vec(details).map_err(json("report", "writing details.json"))?)?;
    put("index.html", html::page(rows, details).into_bytes())
}

/// A figure with three significant digits and its unit, for people: bytes as megabytes.
pub fn figure(value: f64, unit: &str) -> String {
    match unit {
        "bytes" => format!("{} MB", significant(value / 1e6)),
        unit => format!("{} {unit}", significant(value)),
    }
}

/// Three significant digits, without an exponent.
pub fn significant(value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return format!("{value}");
    }
    let digits = 2 - value.abs().log10().floor() as i32;
    format!("{value:.*}", digits.clamp(0, 6) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_three_digits() {
        assert_eq!(significant(0.012_345), "0.0123");
        assert_eq!(significant(1.0), "1.00");
        assert_eq!(significant(123.4), "123");
        assert_eq!(significant(123_456.0), "123456");
        assert_eq!(significant(0.0), "0");
        assert_eq!(figure(153_500_000.0, "bytes"), "154 MB");
    }

    #[test]
    fn a_row_has_exactly_the_agreed_shape() {
        let row = Row {
            case: "decode".into(),
            data: "lineitem-sf1".into(),
            peer: "parquet_zstd".into(),
            cores: 1,
            ours: 125.0,
            theirs: 1000.0,
            unit: "ms".into(),
            ratio: 8.0,
        };
        let value = serde_json::to_value(&row).unwrap();
        let keys: Vec<&str> = value.as_object().unwrap().keys().map(String::as_str).collect();
        let mut expected = ["case", "data", "peer", "cores", "ours", "theirs", "unit", "ratio"];
        expected.sort_unstable();
        let mut keys = keys;
        keys.sort_unstable();
        assert_eq!(keys, expected);
    }
}
