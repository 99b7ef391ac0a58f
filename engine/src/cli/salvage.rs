//! `deltalite salvage`

use std::path::PathBuf;

use clap::Args;
use deltalite::salvage::salvage;
use deltalite::{Result, WriterOptions};
use serde::Serialize;

use super::report::Outcome;
use super::{args, select, ui};

/// Copy every intact row of a damaged or cut-off file to a new one.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  deltalite salvage damaged.dlb rescued.dlb
  deltalite salvage damaged.dlb rescued.dlb --json

Exit codes: 0 every row was copied; 1 nothing could be salvaged; 4 copied, but rows were lost.")]
pub(super) struct Arguments {
    /// The damaged file.
    #[arg(value_name = "SRC")]
    source: PathBuf,
    /// The file to make.
    #[arg(value_name = "DEST")]
    dest: PathBuf,
    /// Say what was done as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Done {
    file: String,
    rows: u64,
    /// Rows that the source is known to have.
    source_rows: u64,
    /// Whether the source's footer was usable.
    footer: bool,
    lost: Vec<Lost>,
}

#[derive(Debug, Serialize)]
struct Lost {
    first_row: u64,
    rows: u64,
    reason: String,
}

impl Arguments {
    pub(super) fn run(self) -> Result<Outcome> {
        args::require_file_place(&self.dest)?;
        let bytes = std::fs::metadata(&self.source).map_or(0, |m| m.len());
        let mut progress = ui::Progress::new("salvage", false);
        let options = WriterOptions { threads: args::threads(None), ..WriterOptions::default() };
        let shards = select::shards(0, bytes)?;
        let result = salvage(&self.source, &self.dest, options, &shards, &mut |rows, of| {
            progress.set(bytes * rows / of.max(1), Some(bytes), &format!("{} rows", ui::count(rows)));
        })?;
        progress.finish();
        let lost = result.skipped.iter().map(|s| Lost {
            first_row: s.first_row,
            rows: s.rows,
            reason: s.reason.clone(),
        });
        let done = Done {
            file: self.dest.display().to_string(),
            rows: result.written.rows,
            source_rows: result.source_rows,
            footer: result.footer,
            lost: lost.collect(),
        };
        if self.json {
            ui::print_json(&done)?;
        } else {
            for lost in &done.lost {
                eprintln!(
                    "lost rows {} to {}: {}",
                    lost.first_row,
                    lost.first_row + lost.rows - 1,
                    lost.reason
                );
            }
            if !done.footer {
                eprintln!(
                    "the footer is lost: complete blocks were found by their headers; blocks cut off are missing"
                );
            }
            eprintln!("{}: {} of {}", done.file, ui::count(done.rows), ui::plural(done.source_rows, "row"));
        }
        Ok(if done.footer && done.rows == done.source_rows { Outcome::Done } else { Outcome::RowsLost })
    }
}
