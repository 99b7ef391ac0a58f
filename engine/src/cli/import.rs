//! `deltalite import`

use std::path::PathBuf;

use clap::Args;
use deltalite::convert::{FileFormat, SourceOptions, expand, parse_columns};
use deltalite::import::{ImportOptions, import};
use deltalite::{EngineError, Result, WriterOptions};
use serde::Serialize;

use super::report::Outcome;
use super::{args, ui};

/// Make a DeltaLite file of Parquet, CSV, NDJSON or Arrow files.
///
/// Several sources become one file, in the order given; with a folder as DEST, each source becomes a file of its own there. DEST
/// appears only when it is whole, replacing what was there.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  deltalite import lineitem.parquet lineitem.dlb
  deltalite import 'logs/*.ndjson' logs.dlb --profile compact
  deltalite import prices.csv prices.dlb --type price='decimal(15,2)' --type day=date
  zcat events.csv.gz | deltalite import - events.dlb --format csv --bloom user_id
  deltalite import tables/ files/")]
pub(super) struct Arguments {
    /// Files, globs, folders (searched for files of known formats), or - for standard input.
    #[arg(required = true, value_name = "SRC")]
    sources: Vec<PathBuf>,
    /// The file to make, or a folder.
    #[arg(value_name = "DEST")]
    dest: PathBuf,
    /// Format of the sources: parquet, csv, ndjson, arrow. Without: by the name's ending, or the first bytes.
    #[arg(long, value_parser = args::format)]
    format: Option<FileFormat>,
    /// Columns and types of CSV and NDJSON, instead of inferring them: name:type,name:type. Others are left out.
    #[arg(long, value_name = "COLUMNS")]
    schema: Option<String>,
    /// Type of one column of CSV or NDJSON, instead of the inferred one. Can be given again.
    #[arg(long = "type", value_name = "NAME=TYPE", value_parser = args::typed)]
    types: Vec<(String, arrow_schema::DataType)>,
    /// CSV has no line of names.
    #[arg(long)]
    no_header: bool,
    /// What separates CSV's fields. Without: a tab in .tsv files, else a comma.
    #[arg(long, value_name = "CHAR", value_parser = args::delimiter)]
    delimiter: Option<u8>,
    /// Rows that types are inferred from; 0: all.
    #[arg(long, value_name = "N", default_value_t = SourceOptions::default().infer_rows)]
    infer_rows: usize,
    /// What to prefer.
    #[arg(long, value_enum, default_value = "default")]
    profile: args::ProfileName,
    /// Encoded bytes of a block, as in 64MiB.
    #[arg(long, value_name = "BYTES", value_parser = args::size)]
    block_size: Option<u64>,
    /// Rows of a block, at most.
    #[arg(long, value_name = "N")]
    block_rows: Option<u64>,
    /// Columns that get bloom filters, for equality conditions on values without order.
    #[arg(long, value_name = "COLUMN,…", value_delimiter = ',')]
    bloom: Vec<String>,
    /// Keep estimates of the number of distinct values.
    #[arg(long)]
    sketches: bool,
    /// Threads that read and encode. Without: one a CPU.
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// Say what was done as JSON.
    #[arg(long)]
    json: bool,
    /// Say nothing but errors.
    #[arg(long, short)]
    quiet: bool,
}

#[derive(Debug, Serialize)]
struct Done {
    file: String,
    sources: usize,
    rows: u64,
    blocks: u32,
    bytes: u64,
    seconds: f64,
}

impl Arguments {
    fn options(&self) -> Result<ImportOptions> {
        let defaults = WriterOptions::default();
        Ok(ImportOptions {
            source: SourceOptions {
                format: self.format,
                schema: self.schema.as_deref().map(parse_columns).transpose()?,
                types: self.types.clone(),
                header: !self.no_header,
                delimiter: self.delimiter,
                infer_rows: self.infer_rows,
                ignore_unknown: self.schema.is_some(),
            },
            writer: WriterOptions {
                profile: self.profile.into(),
                block_bytes: self.block_size.unwrap_or(defaults.block_bytes),
                block_rows: self.block_rows.unwrap_or(defaults.block_rows),
                threads: args::threads(self.threads),
                bloom_columns: self.bloom.clone(),
                sketches: self.sketches,
                ..defaults
            },
        })
    }

    pub(super) fn run(self) -> Result<Outcome> {
        let options = self.options()?;
        let formats = [FileFormat::Parquet, FileFormat::Csv, FileFormat::Ndjson, FileFormat::Arrow];
        let sources = expand(&self.sources, &formats)?;
        let into_folder = self.dest.is_dir() || self.dest.as_os_str().to_string_lossy().ends_with('/');
        let jobs: Vec<(Vec<PathBuf>, PathBuf)> = if into_folder {
            std::fs::create_dir_all(&self.dest).map_err(EngineError::io(&self.dest))?;
            sources
                .into_iter()
                .map(|s| {
                    (vec![s.clone()], self.dest.join(s.with_extension("dlb").file_name().unwrap_or_default()))
                })
                .collect()
        } else {
            args::require_file_place(&self.dest)?;
            vec![(sources, self.dest.clone())]
        };
        for (i, (_, dest)) in jobs.iter().enumerate() {
            if let Some((other, _)) = jobs[..i].iter().find(|(_, d)| d == dest) {
                return Err(EngineError::usage(
                    dest.display().to_string(),
                    format!(
                        "two sources would become it ({} is one); import them one by one",
                        other[0].display()
                    ),
                ));
            }
        }
        let mut done = Vec::new();
        for (sources, dest) in &jobs {
            if sources.iter().any(|s| s == dest) {
                return Err(EngineError::usage(
                    dest.display().to_string(),
                    "it is source and destination at once",
                ));
            }
            done.push(self.job(sources, dest, &options)?);
        }
        if self.json {
            if let ([only], false) = (done.as_slice(), into_folder) {
                ui::print_json(only)?;
            } else {
                ui::print_json(&done)?;
            }
        }
        Ok(Outcome::Done)
    }

    fn job(&self, sources: &[PathBuf], dest: &std::path::Path, options: &ImportOptions) -> Result<Done> {
        let mut progress = ui::Progress::new("import", self.quiet);
        let summary = import(sources, dest, options, &mut |p| {
            progress.set(p.bytes_read, p.bytes, &format!("{} rows", ui::count(p.rows)));
        })?;
        progress.finish();
        let done = Done {
            file: dest.display().to_string(),
            sources: sources.len(),
            rows: summary.rows,
            blocks: summary.blocks,
            bytes: summary.bytes,
            seconds: progress.seconds(),
        };
        if !self.quiet && !self.json {
            eprintln!(
                "{}: {}, {} in {}, {:.1} s",
                done.file,
                ui::plural(done.rows, "row"),
                ui::bytes(done.bytes),
                ui::plural(done.blocks.into(), "block"),
                done.seconds
            );
        }
        Ok(done)
    }
}
