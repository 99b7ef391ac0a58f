//! `deltalite scan`

use std::path::{Path, PathBuf};

use arrow_array::RecordBatch;
use arrow_cast::display::FormatOptions;
use arrow_cast::pretty::pretty_format_batches_with_options;
use arrow_schema::SchemaRef;
use clap::{Args, ValueEnum};
use deltalite::convert::{FileFormat, Output, open_sink};
use deltalite::remote::Address;
use deltalite::{EngineError, Result, ScanStream};
use serde::Serialize;

use super::config::settings::Client;
use super::config::{self, Layers};
use super::remote::RemoteRows;
use super::report::Outcome;
use super::select::{Selection, open_files, report_skipped};
use super::telemetry::{self, Telemetry};
use super::ui;

/// Rows that a table shows without --limit.
const TABLE_ROWS: u64 = 100;

/// Read rows of DeltaLite files and print them.
///
/// As a table, the first 100 rows are shown unless --limit says otherwise. Files of one call have the same columns. A table or file
/// of a server (`deltalite serve`) is deltalite://host:port/name.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  deltalite scan lineitem.dlb --limit 10
  deltalite scan 'trips/*.dlb' --columns id,fare --output csv > fares.csv
  deltalite scan logs.dlb --where \"level = 'error' AND at >= '2024-06-01'\" --output ndjson | jq .message
  deltalite scan logs.dlb --count --metrics
  deltalite scan deltalite://scan-7:7433/sales/trips --where 'fare > 100'
  deltalite scan 'deltalite://scan-7/trips?version=12' --count")]
pub(super) struct Arguments {
    /// Files, globs or folders; or one deltalite://host:port/name.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    selection: Selection,
    /// How to print rows.
    #[arg(long, short, value_enum, default_value = "table")]
    output: Shape,
    /// Print only the number of rows.
    #[arg(long, conflicts_with = "output")]
    count: bool,
    /// Say on standard error, as JSON, what the scan did: bytes read, blocks pruned, times.
    #[arg(long)]
    metrics: bool,
    #[command(flatten)]
    pub(super) client: config::settings::Client,
    #[command(flatten)]
    pub(super) log: config::settings::Log,
}

/// Where rows come from.
enum Rows {
    Files(Box<ScanStream>),
    Server(RemoteRows),
}

impl Rows {
    fn schema(&self) -> &SchemaRef {
        match self {
            Self::Files(scan) => scan.schema(),
            Self::Server(scan) => scan.schema(),
        }
    }
}

impl Iterator for Rows {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Self::Files(scan) => Some(scan.next()?.map_err(EngineError::from)),
            Self::Server(scan) => scan.next(),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Shape {
    Table,
    Csv,
    Ndjson,
    Arrow,
    Parquet,
}

#[derive(Debug, Serialize)]
struct Metrics {
    rows: u64,
    batches: u64,
    bytes_read: u64,
    reads: u64,
    cache_hits: u64,
    cache_misses: u64,
    blocks: u64,
    blocks_pruned: u64,
    blocks_bloomed: u64,
    units: u64,
    units_pruned: u64,
    pages: u64,
    pages_skipped: u64,
    rows_tested: u64,
    bytes_decoded: u64,
    bytes_in_place: u64,
    decode_seconds: f64,
    wait_seconds: f64,
    blocked_seconds: f64,
    rows_skipped: u64,
    seconds: f64,
}

impl Arguments {
    pub(super) fn run(self, layers: &Layers) -> Result<Outcome> {
        let _telemetry = Telemetry::begin(&layers.section(&self.log)?, telemetry::QUIET)?;
        let client = layers.section(&self.client)?.check()?;
        let started = std::time::Instant::now();
        let limit = match (self.output, self.count, self.selection.limit) {
            (Shape::Table, false, None) => Some(TABLE_ROWS + 1),
            (_, _, limit) => limit,
        };
        let mut scan = self.open(limit, &client)?;
        let mut sent = (0, 0);
        if self.count {
            for batch in scan.by_ref() {
                count(&mut sent, &batch?);
            }
            ui::print(&format!("{}\n", sent.0))?;
        } else if let Some(format) = self.output.format() {
            let (output, writer) = Output::create(Path::new("-"))?;
            let mut sink = open_sink("standard output", format, &scan.schema().clone(), writer)?;
            for batch in scan.by_ref() {
                let batch = batch?;
                count(&mut sent, &batch);
                sink.write(&batch)?;
            }
            sink.finish()?;
            output.commit()?;
        } else {
            self.table(&mut scan, &mut sent)?;
        }
        let scan = match scan {
            Rows::Files(scan) => scan,
            Rows::Server(scan) => {
                if self.metrics {
                    let seconds = started.elapsed().as_secs_f64();
                    let (rows, batches) = sent;
                    let resumed = scan.resumed();
                    eprintln!(
                        "{}",
                        serde_json::json!({"rows": rows, "batches": batches, "resumed": resumed, "seconds": seconds})
                    );
                }
                return Ok(Outcome::Done);
            }
        };
        let skipped = report_skipped(&scan);
        if self.metrics {
            let m = scan.metrics();
            let metrics = Metrics {
                rows: m.rows,
                batches: m.batches,
                bytes_read: m.bytes_read,
                reads: m.reads,
                cache_hits: m.cache_hits,
                cache_misses: m.cache_misses,
                blocks: m.pruned.blocks,
                blocks_pruned: m.pruned.blocks_pruned,
                blocks_bloomed: m.pruned.blocks_bloomed,
                units: m.pruned.units,
                units_pruned: m.pruned.units_pruned,
                pages: m.decoded.pages,
                pages_skipped: m.decoded.pages_skipped,
                rows_tested: m.decoded.rows_tested,
                bytes_decoded: m.decoded.bytes_decoded,
                bytes_in_place: m.decoded.bytes_in_place,
                decode_seconds: m.decode_time.as_secs_f64(),
                wait_seconds: m.wait_time.as_secs_f64(),
                blocked_seconds: m.blocked_time.as_secs_f64(),
                rows_skipped: m.skipped.iter().map(|s| s.rows).sum(),
                seconds: started.elapsed().as_secs_f64(),
            };
            eprintln!(
                "{}",
                serde_json::to_string(&metrics).map_err(|e| EngineError::foreign("-")(e.to_string()))?
            );
        }
        Ok(if skipped { Outcome::Damaged } else { Outcome::Done })
    }

    fn open(&self, limit: Option<u64>, client: &Client) -> Result<Rows> {
        let address =
            |path: &PathBuf| path.to_str().filter(|text| Address::is_address(text)).map(str::to_owned);
        let Some(address) = self.files.iter().find_map(address) else {
            let files = open_files(&self.files)?;
            return Ok(Rows::Files(Box::new(self.selection.start(files, limit)?)));
        };
        if self.files.len() > 1 {
            return Err(EngineError::usage("FILE", "a server's table is scanned alone; give one address"));
        }
        if self.selection.is_local() {
            return Err(EngineError::usage(
                "--skip-damaged, --threads",
                "they are for files here, not for a server's",
            ));
        }
        Ok(Rows::Server(RemoteRows::start(&address, &self.selection, limit, client)?))
    }

    fn table(&self, scan: &mut Rows, sent: &mut (u64, u64)) -> Result<()> {
        let mut batches: Vec<RecordBatch> = Vec::new();
        for batch in scan.by_ref() {
            let batch = batch?;
            count(sent, &batch);
            batches.push(batch);
        }
        let mut left = self.selection.limit.unwrap_or(TABLE_ROWS);
        let mut more = false;
        for batch in &mut batches {
            let rows = (batch.num_rows() as u64).min(left);
            more |= rows < batch.num_rows() as u64;
            *batch = batch.slice(0, rows as usize);
            left -= rows;
        }
        if batches.is_empty() {
            batches.push(RecordBatch::new_empty(scan.schema().clone()));
        }
        let options = FormatOptions::default().with_display_error(true).with_null("NULL");
        let table = pretty_format_batches_with_options(&batches, &options)
            .map_err(|e| EngineError::foreign("standard output")(e.to_string()))?;
        ui::print(&format!("{table}\n"))?;
        if more && self.selection.limit.is_none() {
            eprintln!(
                "there are more than {TABLE_ROWS} rows; --limit N shows N of them, --output csv (or another format) all"
            );
        }
        Ok(())
    }
}

/// Counts rows and batches.
fn count(sent: &mut (u64, u64), batch: &RecordBatch) {
    sent.0 += batch.num_rows() as u64;
    sent.1 += 1;
}

impl Shape {
    fn format(self) -> Option<FileFormat> {
        match self {
            Self::Table => None,
            Self::Csv => Some(FileFormat::Csv),
            Self::Ndjson => Some(FileFormat::Ndjson),
            Self::Arrow => Some(FileFormat::Arrow),
            Self::Parquet => Some(FileFormat::Parquet),
        }
    }
}
