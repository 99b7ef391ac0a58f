//! The command line of `deltalite-bench`.

use std::path::PathBuf;
use std::time::Instant;

use clap::{Args, Parser, Subcommand};

use crate::cases::files::Files;
use crate::cases::{Case, Lane, cold, cores, engine, open, scan, write};
use crate::cpu;
use crate::data::{self, Source, Table};
use crate::error::{BenchError, Result};
use crate::formats::{Format, Formats, SUBJECT};
use crate::machine::Machine;
use crate::measure::Budget;
use crate::net::Net;
use crate::progress::Progress;
use crate::report::{self, Details, Library, Measured, Outcome, terminal, unix_seconds};
use crate::single::{Ceiling, Single, say};
use crate::tables::Tables;
use crate::workload::Workload;

/// Compares DeltaLite with Parquet and other formats.
#[derive(Debug, Parser)]
#[command(
    name = "deltalite-bench",
    version,
    after_help = "Examples:\n  deltalite-bench demo --sf 0.1\n  deltalite-bench run --data lineitem,wide --cores 1\n  \
                  deltalite-bench run --data my.parquet --cases decode,filter --quick"
)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Generate TPC-H lineitem, write and scan it as DeltaLite and as Parquet, and report
    Demo(Common),
    /// Measure: all cases, all formats, unless told otherwise
    Run(Run),
    /// Generate the tables only
    Gen(Generate),
    /// Run one case of one format again and again, for profilers and comparisons of revisions
    Loop(Single),
    /// Measure a table's log: parsing, opening, refreshing, committing
    Tables(Tables),
    /// Measure the network: streams, calls, idle connections, scans of a server
    Net(Net),
    /// Read a file by a bare io_uring loop: what the disk can do
    Ceiling(Ceiling),
}

#[derive(Debug, Args)]
struct Common {
    /// Scale factor of the TPC-H tables; 1 has 6 million rows of lineitem
    #[arg(long, default_value_t = 1.0, value_name = "SF")]
    sf: f64,
    /// Folder of generated tables and written files
    #[arg(long, default_value = "target/bench-data", value_name = "FOLDER")]
    data_dir: PathBuf,
    /// Folder of the report
    #[arg(long, default_value = "target/report", value_name = "FOLDER")]
    report_dir: PathBuf,
    /// The format that the others are compared with
    #[arg(long, default_value = SUBJECT, value_name = "FORMAT")]
    subject: String,
}

#[derive(Debug, Args)]
struct Generate {
    #[command(flatten)]
    common: Common,
    /// Tables: lineitem, orders, wide, numbers, a Parquet file, or a folder of Parquet files (for size_tables)
    #[arg(long, value_delimiter = ',', default_value = "lineitem,orders,wide", value_name = "TABLE,…")]
    data: Vec<Source>,
}

#[derive(Debug, Args)]
struct Run {
    #[command(flatten)]
    generate: Generate,
    /// Cases; all if not given
    #[arg(long, value_delimiter = ',', value_name = "CASE,…")]
    cases: Vec<Case>,
    /// Formats to compare with; all if not given
    #[arg(long, value_delimiter = ',', value_name = "FORMAT,…")]
    peers: Vec<String>,
    /// Numbers of cores to measure on; 1 and all if not given
    #[arg(long, value_delimiter = ',', value_name = "N,…")]
    cores: Vec<usize>,
    /// A first impression in a fraction of the time
    #[arg(long)]
    quick: bool,
    /// Take files that earlier runs wrote in the formats of peers, instead of writing them again
    #[arg(long)]
    reuse: bool,
}

/// What `demo` compares: enough to understand, quick enough to wait for.
const DEMO_CASES: [Case; 7] =
    [Case::Write, Case::Size, Case::SizeCompact, Case::Decode, Case::Projection, Case::Filter, Case::Random];
const DEMO_PEERS: [&str; 4] = ["parquet", "parquet_zstd", "parquet_tuned", "arrow_ipc"];

impl Cli {
    /// Does what was asked for.
    pub fn execute(self) -> Result<()> {
        match self.command {
            Command::Loop(single) => single.execute(),
            Command::Tables(tables) => tables.execute(),
            Command::Net(net) => net.execute(),
            Command::Ceiling(ceiling) => ceiling.execute(),
            Command::Demo(common) => Plan {
                cases: DEMO_CASES.to_vec(),
                peers: DEMO_PEERS.iter().map(ToString::to_string).collect(),
                cores: vec![1],
                budget: Budget::QUICK,
                reuse: false,
                data: vec![Source::Lineitem],
                common,
            }
            .measure(),
            Command::Run(run) => {
                let mut cores = run.cores;
                if cores.is_empty() {
                    cores = vec![1, cpu::allowed().len()];
                    cores.dedup();
                }
                Plan {
                    cases: if run.cases.is_empty() { Case::ALL.to_vec() } else { run.cases },
                    peers: run.peers,
                    cores,
                    budget: if run.quick { Budget::QUICK } else { Budget::FULL },
                    reuse: run.reuse,
                    data: run.generate.data,
                    common: run.generate.common,
                }
                .measure()
            }
            Command::Gen(generate) => {
                for source in &generate.data {
                    for table in data::prepare(source, generate.common.sf, &generate.common.data_dir)? {
                        say(&format!(
                            "{}: {} rows × {} columns, {}\n",
                            table.path.display(),
                            table.rows,
                            table.schema.fields().len(),
                            report::figure(table.arrow_bytes as f64, "bytes")
                        ))?;
                    }
                }
                Ok(())
            }
        }
    }
}

/// A run, decided.
struct Plan {
    common: Common,
    data: Vec<Source>,
    cases: Vec<Case>,
    peers: Vec<String>,
    cores: Vec<usize>,
    budget: Budget,
    reuse: bool,
}

/// A table with its questions. The tables of a folder are not among them: only their sizes are summed.
struct Job {
    table: Table,
    workload: Workload,
}

impl Plan {
    fn measure(self) -> Result<()> {
        let (started, clock) = (unix_seconds(), Instant::now());
        let allowed = cpu::allowed();
        if let Some(cores) = self.cores.iter().find(|cores| **cores == 0 || **cores > allowed.len()) {
            return Err(BenchError::Usage(format!(
                "--cores {cores}: between 1 and the {} allowed",
                allowed.len()
            )));
        }
        let mut jobs = Vec::new();
        let mut folders = Vec::new();
        for source in &self.data {
            let tables = data::prepare(source, self.common.sf, &self.common.data_dir)?;
            if let Source::Path(path) = source
                && path.is_dir()
            {
                let name = path
                    .file_name()
                    .map_or_else(|| "folder".into(), |name| name.to_string_lossy().into_owned());
                folders.push((name, tables));
                continue;
            }
            for table in tables {
                jobs.push(Job { workload: Workload::of(&table)?, table });
            }
        }
        let wide_cases = [Case::OpenWide, Case::OpenWideProject];
        let wide = self.cases.iter().any(|case| wide_cases.contains(case));
        let wide = wide.then(|| data::wide::open(&self.common.data_dir)).transpose()?;
        let plain_cases = [Case::ColdScan, Case::ColdCpu, Case::Copies, Case::ForegroundP99];
        let plain =
            self.common.subject == SUBJECT && self.cases.iter().any(|case| plain_cases.contains(case));
        let numbers = plain.then(|| data::wide::numbers(&self.common.data_dir)).transpose()?;
        let synthetic = Synthetic { wide, numbers };

        let machine = Machine::detect(&self.common.data_dir);
        let progress = Progress::steps("measuring", (jobs.len() * self.cores.len()) as u64);
        let files = Files::new(&self.common.data_dir, self.reuse);
        let mut outcome = Outcome::default();
        let mut libraries: Vec<Library> = Vec::new();
        for cores in &self.cores {
            // The last cores: the first one usually serves interrupts.
            let chosen = &allowed[allowed.len() - cores..];
            let (found, names) =
                cpu::on_cores(chosen, || self.lane(*cores, &jobs, &folders, &synthetic, &files, &progress))?;
            outcome.extend(found);
            libraries = names;
        }
        if self.cases.contains(&Case::Cores) {
            for job in &jobs {
                progress.step(&format!("cores {}", job.table.name));
                outcome.extend(cores::run(&job.table, &self.common.subject, &files, self.budget)?);
            }
        }
        progress.finish();

        let details = Details {
            command: std::env::args().collect::<Vec<_>>().join(" "),
            started_unix_seconds: started,
            took_seconds: clock.elapsed().as_secs_f64(),
            machine,
            subject: self.common.subject.clone(),
            libraries,
            tables: jobs
                .iter()
                .map(|job| &job.table)
                .chain(&synthetic.wide)
                .chain(&synthetic.numbers)
                .map(measured)
                .collect(),
            budget: self.budget,
            noise_floor: outcome.noise_floor(),
            noise: outcome.noise,
            notes: outcome.notes,
            timings: outcome.timings,
        };
        let page = report::write(&self.common.report_dir, &outcome.rows, &details)?;
        say(&terminal::render(&outcome.rows, &details))?;
        say(&format!("\nThe report: {}\n", page.display()))?;
        match details.notes.iter().find(|note| note.wrong_result) {
            None => Ok(()),
            Some(note) => Err(BenchError::Usage(format!("a format returned a wrong result: {}", note.text))),
        }
    }

    /// Everything on one set of cores; runs on a thread that is held there.
    fn lane(
        &self,
        cores: usize,
        jobs: &[Job],
        folders: &[(String, Vec<Table>)],
        synthetic: &Synthetic,
        files: &Files,
        progress: &Progress,
    ) -> Result<(Outcome, Vec<Library>)> {
        let formats = Formats::on(cores);
        let subject = formats.named(&self.common.subject)?;
        let peers: Vec<&dyn Format> = if self.peers.is_empty() {
            // DeltaLite's profiles are compared with others, not with each other.
            let family =
                |format: &&dyn Format| subject.name() == SUBJECT && format.name().starts_with(SUBJECT);
            formats.iter().filter(|format| format.name() != subject.name() && !family(format)).collect()
        } else {
            self.peers.iter().map(|name| formats.named(name)).collect::<Result<_>>()?
        };
        let mut lane = Lane {
            cores,
            subject,
            subject_compact: formats.named(&format!("{}_compact", subject.name())).ok(),
            engine: &formats.engine,
            peers,
            files,
            budget: self.budget,
            progress,
            outcome: Outcome::default(),
        };
        for job in jobs {
            if self.cases.contains(&Case::Write) {
                write::write(&mut lane, &job.table)?;
            }
            // A size doesn't depend on the cores it was written on.
            if cores == self.cores[0] {
                for case in [Case::Size, Case::SizeCompact] {
                    if self.cases.contains(&case) {
                        write::sizes(&mut lane, &job.table, case)?;
                    }
                }
            }
            scan::run(&mut lane, &job.table, &job.workload, &self.cases)?;
            cold::run(&mut lane, &job.table, &self.cases)?;
            engine::run(&mut lane, &job.table, &self.cases)?;
            progress.advance(1);
        }
        if self.cases.contains(&Case::SizeTables) && cores == self.cores[0] {
            for (folder, tables) in folders {
                write::size_tables(&mut lane, folder, tables)?;
            }
        }
        if let Some(wide) = &synthetic.wide {
            open::run(&mut lane, wide, &self.cases)?;
        }
        if let Some(numbers) = &synthetic.numbers {
            cold::plain(&mut lane, numbers, &self.cases)?;
            engine::plain(&mut lane, numbers, &self.cases)?;
        }
        let libraries = lane.formats().iter().map(|format| library(*format)).collect();
        Ok((lane.outcome, libraries))
    }
}

/// Tables made for single cases.
struct Synthetic {
    /// For opening.
    wide: Option<Table>,
    /// For what concerns plain values.
    numbers: Option<Table>,
}

fn measured(table: &Table) -> Measured {
    Measured {
        name: table.name.clone(),
        rows: table.rows,
        columns: table.schema.fields().len(),
        arrow_bytes: table.arrow_bytes,
    }
}

fn library(format: &dyn Format) -> Library {
    Library { name: format.name().to_owned(), version: format.version() }
}
