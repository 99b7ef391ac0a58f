//! `deltalite verify`

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use deltalite::convert::{FileFormat, expand};
use deltalite::format::reader::{FileMeta, ReadAt};
use deltalite::format::verify::verify_file;
use deltalite::shard::scan::FileSource;
use deltalite::{EngineError, Result};
use serde::Serialize;

use super::report::Outcome;
use super::ui;

/// Check every byte of files against its checksum. Exit code 3 when anything is damaged.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  deltalite verify lineitem.dlb
  deltalite verify /data --json | jq '.[] | select(.intact | not) | .file'

Exit codes: 0 all is intact; 1 a file can't be read; 3 damage found.")]
pub(super) struct Arguments {
    /// Files, globs or folders.
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// As a JSON array, an object a file.
    #[arg(long)]
    json: bool,
    /// Print only damaged files.
    #[arg(long, short)]
    quiet: bool,
}

#[derive(Debug, Serialize)]
struct FileCheck {
    file: String,
    intact: bool,
    rows: Option<u64>,
    blocks: u64,
    pages: u64,
    bytes_checked: u64,
    problems: Vec<Problem>,
    damaged: Vec<DamagedRows>,
}

#[derive(Debug, Serialize)]
struct Problem {
    code: &'static str,
    message: String,
}

#[derive(Debug, Serialize)]
struct DamagedRows {
    block: u32,
    first_row: u64,
    rows: u64,
}

impl Arguments {
    pub(super) fn run(self) -> Result<Outcome> {
        let files = expand(&self.paths, &[FileFormat::DeltaLite])?;
        let lengths = |f: &PathBuf| std::fs::metadata(f).map_or(0, |m| m.len());
        let total: u64 = files.iter().map(lengths).sum();
        let mut progress = ui::Progress::new("verify", self.quiet);
        let (mut checks, mut before) = (Vec::new(), 0);
        for file in &files {
            checks.push(check(file, &mut |done| progress.set(before + done, Some(total), ""))?);
            before += lengths(file);
        }
        progress.finish();
        if self.json {
            ui::print_json(&checks)?;
        } else {
            self.print(&checks)?;
        }
        Ok(if checks.iter().all(|c| c.intact) { Outcome::Done } else { Outcome::Damaged })
    }

    fn print(&self, checks: &[FileCheck]) -> Result<()> {
        let style = ui::Style::of_stdout();
        let mut text = String::new();
        for c in checks {
            if c.intact {
                if !self.quiet {
                    text += &format!(
                        "{}: {} ({}, {}, {})\n",
                        c.file,
                        style.green("intact"),
                        ui::plural(c.rows.unwrap_or(0), "row"),
                        ui::plural(c.pages, "page"),
                        ui::bytes(c.bytes_checked)
                    );
                }
                continue;
            }
            text += &format!("{}: {}\n", c.file, style.red("damaged"));
            for problem in &c.problems {
                text += &format!("  {} {}\n", problem.code, problem.message);
            }
            for rows in &c.damaged {
                text += &format!(
                    "  block {}: rows {} to {} have a damaged page\n",
                    rows.block,
                    rows.first_row,
                    (rows.first_row + rows.rows).saturating_sub(1)
                );
            }
        }
        ui::print(&text)?;
        if checks.iter().any(|c| !c.intact) {
            eprintln!(
                "{}: `deltalite salvage SRC DEST` keeps what is intact",
                ui::Style::of_stderr().bold("help")
            );
        }
        Ok(())
    }
}

fn check(path: &Path, progress: &mut dyn FnMut(u64)) -> Result<FileCheck> {
    let file = path.display().to_string();
    let source: Arc<dyn ReadAt> = Arc::new(FileSource::open(path)?);
    let problem = |e: &deltalite::format::FormatError| Problem { code: e.code(), message: e.to_string() };
    let meta = match FileMeta::open(source.clone(), &file) {
        Ok(meta) => meta,
        Err(e) if matches!(e.code(), "DL-0201" | "DL-0202" | "DL-0203") => {
            return Ok(FileCheck {
                file,
                intact: false,
                rows: None,
                blocks: 0,
                pages: 0,
                bytes_checked: 0,
                problems: vec![problem(&e)],
                damaged: Vec::new(),
            });
        }
        Err(e) => return Err(EngineError::from(e)),
    };
    let report = verify_file(&source, &meta, progress)?;
    Ok(FileCheck {
        file,
        intact: report.is_intact(),
        rows: Some(meta.rows()),
        blocks: report.blocks,
        pages: report.pages,
        bytes_checked: report.bytes,
        problems: report.problems.iter().map(problem).collect(),
        damaged: report
            .damaged_rows
            .iter()
            .map(|&(block, first_row, rows)| DamagedRows { block, first_row, rows })
            .collect(),
    })
}
