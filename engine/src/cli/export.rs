//! `deltalite export`

use std::path::{Path, PathBuf};

use clap::Args;
use deltalite::convert::{FileFormat, Output, cast_batch, open_sink, written_schema};
use deltalite::{EngineError, Result};

use super::report::Outcome;
use super::select::{Selection, open_files, report_skipped};
use super::{args, ui};

/// Write rows of DeltaLite files as Parquet, CSV, NDJSON or Arrow, by DEST's ending.
///
/// DEST appears only when it is whole, replacing what was there.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  deltalite export lineitem.dlb lineitem.parquet
  deltalite export 'logs/*.dlb' errors.ndjson --where \"level = 'error'\" --columns at,message
  deltalite export trips.dlb - --format arrow | python3 plot.py")]
pub(super) struct Arguments {
    /// Files, globs or folders.
    #[arg(required = true, value_name = "SRC")]
    sources: Vec<PathBuf>,
    /// The file to make (.parquet, .csv, .ndjson, .arrow), or - for standard output.
    #[arg(value_name = "DEST")]
    dest: PathBuf,
    #[command(flatten)]
    selection: Selection,
    /// Format of DEST, whatever its ending: parquet, csv, ndjson, arrow.
    #[arg(long, value_parser = args::format)]
    format: Option<FileFormat>,
    /// Say nothing but errors.
    #[arg(long, short)]
    quiet: bool,
}

impl Arguments {
    pub(super) fn run(self) -> Result<Outcome> {
        let format = match self.format.or_else(|| FileFormat::of(&self.dest)) {
            Some(FileFormat::DeltaLite) => {
                return Err(EngineError::usage(
                    self.dest.display().to_string(),
                    "export writes other formats; copy a DeltaLite file with cp",
                ));
            }
            Some(format) => format,
            None if self.dest == Path::new("-") => {
                return Err(EngineError::usage(
                    "standard output",
                    "it has no ending that tells the format; give --format csv, ndjson, parquet or arrow",
                ));
            }
            None => {
                return Err(EngineError::usage(
                    self.dest.display().to_string(),
                    "the ending tells no format; end it in .parquet, .csv, .ndjson or .arrow, or give --format",
                ));
            }
        };
        args::require_folder(&self.dest)?;
        let files = open_files(&self.sources)?;
        let rows: u64 = files.iter().map(|f| f.meta().rows()).sum();
        let bytes: u64 = files.iter().map(|f| f.meta().file_len()).sum();
        let mut scan = self.selection.start(files.clone(), self.selection.limit)?;
        let schema = written_schema(files[0].meta(), scan.schema())?;
        let (output, writer) = Output::create(&self.dest)?;
        let mut progress = ui::Progress::new("export", self.quiet || self.dest == Path::new("-"));
        let result = (|| {
            let mut sink = open_sink(&self.dest.display().to_string(), format, &schema, writer)?;
            let mut done = 0;
            for batch in scan.by_ref() {
                let batch = cast_batch(&batch?, &schema)?;
                sink.write(&batch)?;
                done += batch.num_rows() as u64;
                progress.set(bytes * done / rows.max(1), Some(bytes), &format!("{} rows", ui::count(done)));
            }
            sink.finish()?;
            Ok(done)
        })();
        let done = match result {
            Ok(done) => done,
            // What the writing thread met is the cause, and says more.
            Err(error @ EngineError::Foreign { .. }) => return Err(output.failure().unwrap_or(error)),
            Err(error) => return Err(error),
        };
        output.commit()?;
        progress.finish();
        if !self.quiet && self.dest != Path::new("-") {
            eprintln!("{}: {}, {:.1} s", self.dest.display(), ui::plural(done, "row"), progress.seconds());
        }
        Ok(if report_skipped(&scan) { Outcome::Damaged } else { Outcome::Done })
    }
}
