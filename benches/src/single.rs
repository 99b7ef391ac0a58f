//! One case of one format, again and again, with nothing beside it: what profilers and A/B comparisons look at.

use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;
use deltalite_shard::device::{ByteRange, raw_loop};

use crate::caches::make_cold;
use crate::cases::files::Files;
use crate::cases::scan::request;
use crate::cases::{Case, Title};
use crate::cpu;
use crate::data::{self, Source};
use crate::error::{BenchError, Result};
use crate::formats::{Formats, Residence, SUBJECT, WriteOptions};
use crate::measure::median;
use crate::workload::Workload;

/// Arguments of `deltalite-bench loop`.
#[derive(Debug, Args)]
pub struct Single {
    /// The format
    #[arg(long, default_value = SUBJECT, value_name = "FORMAT")]
    format: String,
    /// The case: write, decode, projection, filter, random
    #[arg(long, default_value = "decode", value_name = "CASE")]
    case: Case,
    /// The table: lineitem, orders, wide, numbers, or a Parquet file
    #[arg(long, default_value = "lineitem", value_name = "TABLE")]
    data: Source,
    /// Scale factor of the TPC-H tables
    #[arg(long, default_value_t = 1.0, value_name = "SF")]
    sf: f64,
    /// How long, in seconds
    #[arg(long, default_value_t = 3.0, value_name = "SECONDS")]
    seconds: f64,
    /// How often, instead of how long
    #[arg(long, value_name = "N")]
    count: Option<usize>,
    /// Number of cores
    #[arg(long, default_value_t = 1, value_name = "N")]
    cores: usize,
    /// Folder of generated tables and written files
    #[arg(long, default_value = "target/bench-data", value_name = "FOLDER")]
    data_dir: PathBuf,
    /// Push the file out of all caches before each call, which is not timed
    #[arg(long)]
    cold: bool,
    /// Print the median in milliseconds and nothing else
    #[arg(long)]
    quiet: bool,
}

impl Single {
    /// Runs it and prints how long a call took.
    pub fn execute(&self) -> Result<()> {
        let allowed = cpu::allowed();
        if self.cores == 0 || self.cores > allowed.len() {
            return Err(BenchError::Usage(format!(
                "--cores {}: between 1 and {}",
                self.cores,
                allowed.len()
            )));
        }
        let seconds = cpu::on_cores(&allowed[allowed.len() - self.cores..], || self.run())?;
        let milliseconds: Vec<f64> = seconds.iter().map(|seconds| seconds * 1e3).collect();
        let shortest = milliseconds.iter().copied().fold(f64::INFINITY, f64::min);
        let text = if self.quiet {
            format!("{:.6}\n", median(&milliseconds))
        } else {
            format!(
                "{} {} of {}: median {:.4} ms, shortest {shortest:.4} ms, {} calls\n",
                self.format,
                self.case,
                self.sf_name(),
                median(&milliseconds),
                milliseconds.len()
            )
        };
        say(&text)
    }

    fn sf_name(&self) -> String {
        match &self.data {
            Source::Lineitem => format!("lineitem at scale factor {}", self.sf),
            Source::Orders => format!("orders at scale factor {}", self.sf),
            Source::Wide => "the wide table".to_owned(),
            Source::Numbers => "the table of numbers".to_owned(),
            Source::Path(path) => path.display().to_string(),
        }
    }

    fn run(&self) -> Result<Vec<f64>> {
        let tables = data::prepare(&self.data, self.sf, &self.data_dir)?;
        let [table] = tables.as_slice() else {
            return Err(BenchError::Usage(format!("{} is a folder; name one file", self.sf_name())));
        };
        let formats = Formats::on(self.cores);
        let format = formats.named(&self.format)?;
        let files = Files::new(&self.data_dir, true);
        let path = files.written(table, format, WriteOptions::default())?;
        if self.case == Case::Write {
            return self.repeat(|| Ok(()), || format.write(table, &path, WriteOptions::default()));
        }
        let request = request(self.case, &Workload::of(table)?).ok_or_else(|| {
            let title = Title::new(self.case, &table.name);
            BenchError::Usage(format!("{} can't be run alone on {}", title.name, title.data))
        })?;
        let residence = if self.cold { Residence::Disk } else { Residence::Memory };
        let file = format.open(&path, residence)?;
        let prepare = || {
            if self.cold {
                format.drop_caches()?;
                make_cold(&path)?;
            }
            Ok(())
        };
        self.repeat(prepare, || {
            file.scan(&request, &|batch| {
                std::hint::black_box(batch);
                Ok(())
            })
        })
    }

    /// Calls once to warm up, then until it was often or long enough; seconds of each call.
    fn repeat(
        &self,
        prepare: impl Fn() -> Result<()>,
        mut call: impl FnMut() -> Result<()>,
    ) -> Result<Vec<f64>> {
        call()?;
        let end = Instant::now() + Duration::from_secs_f64(self.seconds.clamp(0.0, 1e6));
        let mut seconds = Vec::new();
        loop {
            prepare()?;
            let start = Instant::now();
            call()?;
            seconds.push(start.elapsed().as_secs_f64());
            if self.count.map_or_else(|| Instant::now() >= end, |count| seconds.len() >= count) {
                return Ok(seconds);
            }
        }
    }
}

/// Arguments of `deltalite-bench ceiling`.
#[derive(Debug, Args)]
pub struct Ceiling {
    /// The file to read
    file: PathBuf,
    /// Bytes of one read, multiples of 4096
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "4096,65536,262144,524288,1048576",
        value_name = "BYTES,…"
    )]
    read_bytes: Vec<u32>,
    /// Reads in flight
    #[arg(long, default_value_t = 16, value_name = "N")]
    depth: u32,
}

impl Ceiling {
    /// Reads the file whole in each size, with and without huge pages, and prints what was reached.
    pub fn execute(&self) -> Result<()> {
        let bytes =
            std::fs::metadata(&self.file).map_err(BenchError::io("reading the size of", &self.file))?.len();
        let whole = [ByteRange { offset: 0, len: bytes }];
        say("io_uring, O_DIRECT, registered buffer and file:\n")?;
        for read_bytes in &self.read_bytes {
            // Small reads go deeper: their latency is all there is.
            let depth = if *read_bytes <= 16_384 { self.depth * 8 } else { self.depth };
            for huge_pages in [false, true] {
                let report = raw_loop(&self.file, *read_bytes, depth, huge_pages, &whole)
                    .map_err(BenchError::format("raw_ring", "reading"))?;
                let reads = report.bytes.div_ceil(u64::from(*read_bytes)).max(1) as f64;
                say(&format!(
                    "  {:>7} bytes, depth {depth:>3}, {} huge pages: {:>6.2} GB/s, {:>6.0} reads/s, {:>5.1} µs CPU a read\n",
                    read_bytes,
                    if huge_pages { "with   " } else { "without" },
                    report.bytes_per_second() / 1e9,
                    reads / report.seconds,
                    report.cpu_seconds * 1e6 / reads,
                ))?;
            }
        }
        Ok(())
    }
}

/// Prints to standard output.
pub fn say(text: &str) -> Result<()> {
    std::io::stdout()
        .write_all(text.as_bytes())
        .map_err(|source| BenchError::System { doing: "writing to standard output", source })
}
