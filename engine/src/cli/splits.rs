//! `deltalite splits`

use std::path::PathBuf;

use clap::Args;
use deltalite::Result;
use deltalite::format::split::plan_splits;
use serde::Serialize;

use super::report::Outcome;
use super::select::open_files;
use super::{args, ui};

/// Cut files into ranges that can be read independently; together they have every row exactly once.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  deltalite splits lineitem.dlb
  deltalite splits 'lineitem/*.dlb' --size 128MiB --json")]
pub(super) struct Arguments {
    /// Files, globs or folders.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Bytes of a split, about.
    #[arg(long, value_name = "BYTES", default_value = "64MiB", value_parser = args::size)]
    size: u64,
    /// As a JSON array.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Split {
    file: String,
    start: u64,
    end: u64,
    /// First row and the row after the last, where the split takes a part of a block only.
    rows: Option<[u64; 2]>,
    /// Rows of the split.
    row_count: u64,
}

impl Arguments {
    pub(super) fn run(self) -> Result<Outcome> {
        let mut splits = Vec::new();
        for file in open_files(&self.files)? {
            let meta = file.meta();
            for split in plan_splits(meta, self.size) {
                let row_count = match &split.rows {
                    Some(rows) => rows.end - rows.start,
                    None => {
                        meta.blocks().iter().filter(|b| split.owns(b.offset)).map(|b| u64::from(b.rows)).sum()
                    }
                };
                let rows = split.rows.map(|r| [r.start, r.end]);
                splits.push(Split { file: split.file, start: split.start, end: split.end, rows, row_count });
            }
        }
        if self.json {
            ui::print_json(&splits)?;
        } else {
            let rows = splits.iter().map(|s| {
                vec![
                    s.file.clone(),
                    s.start.to_string(),
                    s.end.to_string(),
                    s.rows.map_or_else(|| "all".to_owned(), |[a, b]| format!("{a}..{b}")),
                    ui::count(s.row_count),
                ]
            });
            let heading = ["file", "start", "end", "rows of its blocks", "rows"];
            ui::print(&ui::table(&heading, &["start", "end", "rows"], rows))?;
        }
        Ok(Outcome::Done)
    }
}
