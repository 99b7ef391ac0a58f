//! Everything that is measured, and how a measurement becomes rows of the report.
//!
//! - [`scan`]: `decode`, `decode_materialized`, `projection`, `filter` and its sweep, `random`;
//! - [`mod@write`]: `write`, `size`, `size_compact`, `size_tables`;
//! - [`open`]: `open_wide`, `open_wide_project`;
//! - [`cold`]: `cold_scan`, `cold_cpu`;
//! - [`cores`]: the `cores` case;
//! - [`engine`]: `checksum`, `copies`, `foreground_p99`: what DeltaLite is compared with itself for;
//! - [`files`]: where each format's file of each table lies.

pub mod cold;
pub mod cores;
pub mod engine;
pub mod files;
pub mod open;
pub mod scan;
pub mod write;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::error::{BenchError, Result};
use crate::formats::Format;
use crate::formats::deltalite::Engine;
use crate::measure::{Budget, Contestant, Samples, interleave};
use crate::progress::Progress;
use crate::report::{Noise, Note, Outcome, Row, Timing};
use files::Files;

/// One thing that is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Case {
    /// Writing a table that is in memory.
    Write,
    /// Size of the file, default profile.
    Size,
    /// Size of the file, compact profile.
    SizeCompact,
    /// Sum of the sizes over all tables of a folder, default and compact profile.
    SizeTables,
    /// All columns, batches consumed as they come.
    Decode,
    /// All columns, all batches kept until the last has come.
    DecodeMaterialized,
    /// Three columns.
    Projection,
    /// Three columns of 1.3 % of the rows.
    Filter,
    /// Three columns of 0.01, 1, 10, 50 and 100 % of the rows.
    FilterSweep,
    /// 100 random rows of up to 16 columns.
    Random,
    /// Opening a file of 10,000 columns × 10 blocks.
    OpenWide,
    /// Opening it and reading 3 columns.
    OpenWideProject,
    /// All columns from a cold disk, against a raw `io_uring` loop.
    ColdScan,
    /// Processor time per MiB of that scan.
    ColdCpu,
    /// All columns on all cores, against one.
    Cores,
    /// A warm scan with checksums verified, against one without.
    Checksum,
    /// Bytes copied between the disk and Arrow in a scan of plain values.
    Copies,
    /// 99th percentile of 64 KiB reads while a scan saturates the disk, against the same reads alone.
    ForegroundP99,
}

impl Case {
    /// All cases, in the order they run.
    pub const ALL: [Self; 18] = [
        Self::Write,
        Self::Size,
        Self::SizeCompact,
        Self::SizeTables,
        Self::Decode,
        Self::DecodeMaterialized,
        Self::Projection,
        Self::Filter,
        Self::FilterSweep,
        Self::Random,
        Self::OpenWide,
        Self::OpenWideProject,
        Self::ColdScan,
        Self::ColdCpu,
        Self::Cores,
        Self::Checksum,
        Self::Copies,
        Self::ForegroundP99,
    ];

    /// Name in the report and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Write => "write",
            Self::Size => "size",
            Self::SizeCompact => "size_compact",
            Self::SizeTables => "size_tables",
            Self::Decode => "decode",
            Self::DecodeMaterialized => "decode_materialized",
            Self::Projection => "projection",
            Self::Filter => "filter",
            Self::FilterSweep => "filter_sweep",
            Self::Random => "random",
            Self::OpenWide => "open_wide",
            Self::OpenWideProject => "open_wide_project",
            Self::ColdScan => "cold_scan",
            Self::ColdCpu => "cold_cpu",
            Self::Cores => "cores",
            Self::Checksum => "checksum",
            Self::Copies => "copies",
            Self::ForegroundP99 => "foreground_p99",
        }
    }

    /// What is measured, in words.
    pub fn description(self) -> &'static str {
        match self {
            Self::Write => "write a table held in memory, in Arrow bytes per second",
            Self::Size => "size of the file, footers included",
            Self::SizeCompact => "size of the file, compact profile",
            Self::SizeTables => "sum of the sizes of all tables of a folder",
            Self::Decode => "read all columns, batches consumed as they come",
            Self::DecodeMaterialized => "read all columns and keep them in memory",
            Self::Projection => "read three columns",
            Self::Filter => "read three columns of about 1.3 % of the rows",
            Self::FilterSweep => "read three columns of 0.01 % to 100 % of the rows",
            Self::Random => "read 100 random rows, up to 16 columns",
            Self::OpenWide => "open a file of 10,000 columns × 10 blocks",
            Self::OpenWideProject => "open that file and read 3 of its columns",
            Self::ColdScan => "read all columns from a cold disk",
            Self::ColdCpu => "processor time of the cold scan",
            Self::Cores => "read all columns on all cores, against one core",
            Self::Checksum => "warm scan with checksums on, against off",
            Self::Copies => "bytes copied between the disk and Arrow, plain values",
            Self::ForegroundP99 => "99th percentile of 64 KiB reads under a saturating scan, against alone",
        }
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Case {
    type Err = BenchError;

    fn from_str(text: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|case| case.name() == text).ok_or_else(|| {
            let names: Vec<&str> = Self::ALL.iter().map(|case| case.name()).collect();
            BenchError::Usage(format!("there is no case {text}; the cases are {}", names.join(", ")))
        })
    }
}

/// How a time becomes the figure of a row.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Unit {
    /// Elapsed milliseconds; less is better.
    Milliseconds,
    /// This many bytes per elapsed second, in MB/s; more is better.
    MegabytesPerSecond {
        /// Bytes handled in one call.
        bytes: u64,
    },
    /// Processor milliseconds per MiB, all threads together; less is better.
    CpuMillisecondsPerMebibyte {
        /// Bytes handled in one call.
        bytes: u64,
    },
}

impl Unit {
    fn name(self) -> &'static str {
        match self {
            Self::Milliseconds => "ms",
            Self::MegabytesPerSecond { .. } => "MB/s",
            Self::CpuMillisecondsPerMebibyte { .. } => "cpu ms/MiB",
        }
    }

    fn figure(self, samples: &Samples) -> f64 {
        match self {
            Self::Milliseconds => samples.median() * 1e3,
            Self::MegabytesPerSecond { bytes } => bytes as f64 / samples.median() / 1e6,
            Self::CpuMillisecondsPerMebibyte { bytes } => {
                samples.cpu_median() * 1e3 / (bytes as f64 / 1_048_576.0)
            }
        }
    }

    fn ratio(self, ours: f64, theirs: f64) -> f64 {
        match self {
            Self::MegabytesPerSecond { .. } => ours / theirs,
            Self::Milliseconds | Self::CpuMillisecondsPerMebibyte { .. } => theirs / ours,
        }
    }
}

/// Which measurement: what a row has in common for all peers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Title {
    /// The case.
    pub case: Case,
    /// Name in the report: the case's, with a variant if it has any.
    pub name: String,
    /// Name of the table.
    pub data: String,
}

impl Title {
    /// A case on a table.
    pub fn new(case: Case, data: &str) -> Self {
        Self { case, name: case.name().to_owned(), data: data.to_owned() }
    }

    /// A variant of a case, named.
    pub fn variant(case: Case, name: String, data: &str) -> Self {
        Self { case, name, data: data.to_owned() }
    }
}

/// The formats on one set of cores, and what they have shown so far.
pub struct Lane<'a> {
    /// Number of cores all of this runs on.
    pub cores: usize,
    /// The format that the others are compared with.
    pub subject: &'a dyn Format,
    /// Its variant that makes the smallest files, if it has one.
    pub subject_compact: Option<&'a dyn Format>,
    /// The others.
    pub peers: Vec<&'a dyn Format>,
    /// The shards of DeltaLite's profiles.
    pub engine: &'a Arc<Engine>,
    /// Where files lie.
    pub files: &'a Files,
    /// How long to measure.
    pub budget: Budget,
    /// Where progress is shown.
    pub progress: &'a Progress,
    /// Rows and details so far.
    pub outcome: Outcome,
}

impl<'a> Lane<'a> {
    /// Lets contestants take turns and turns their timings into rows: the first is the subject, the others its peers.
    /// `figures` says what becomes of the timings, for example both elapsed and processor time.
    pub fn compare(&mut self, figures: &[(Title, Unit)], contestants: &mut [Contestant<'_>]) -> Result<()> {
        let Some((title, _)) = figures.first() else { return Ok(()) };
        self.progress.step(&format!("{} {} on {} core(s)", title.name, title.data, self.cores));
        let samples = interleave(contestants, self.budget)?;
        let [first, again, rest @ ..] = samples.as_slice() else { return Ok(()) };
        self.outcome.noise.push(Noise {
            case: title.name.clone(),
            data: title.data.clone(),
            cores: self.cores,
            ratio: first.median() / again.median(),
        });
        for (title, unit) in figures {
            for peer in rest {
                let (ours, theirs) = (unit.figure(first), unit.figure(peer));
                self.outcome.rows.push(Row {
                    case: title.name.clone(),
                    data: title.data.clone(),
                    peer: peer.name.clone(),
                    cores: self.cores,
                    ours,
                    theirs,
                    unit: unit.name().to_owned(),
                    ratio: unit.ratio(ours, theirs),
                });
            }
        }
        for samples in samples {
            self.outcome.timings.push(Timing {
                case: title.name.clone(),
                data: title.data.clone(),
                cores: self.cores,
                samples,
            });
        }
        Ok(())
    }

    /// Notes that a format can't take part in a case, and why.
    pub fn left_out(&mut self, title: &Title, format: &str, reason: &BenchError) {
        let wrong_result = matches!(reason, BenchError::Different { .. });
        self.progress.line(&format!("{} on {}: without {format}: {reason}", title.name, title.data));
        self.outcome.notes.push(Note {
            case: title.name.clone(),
            data: title.data.clone(),
            cores: self.cores,
            format: format.to_owned(),
            text: reason.to_string(),
            wrong_result,
        });
    }

    /// The subject, then the peers.
    pub fn formats(&self) -> Vec<&'a dyn Format> {
        std::iter::once(self.subject).chain(self.peers.iter().copied()).collect()
    }
}
