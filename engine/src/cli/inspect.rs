//! `deltalite inspect`

use std::fmt::Write;
use std::path::PathBuf;

use clap::Args;
use deltalite::Result;
use deltalite::inspect::{ColumnReport, FileReport, inspect};

use super::report::Outcome;
use super::select::open_files;
use super::ui;

/// Width that a value or a type is cut to.
const CELL_WIDTH: usize = 28;

/// Show what is in a file: columns, encodings, sizes, statistics, blocks. Reads metadata only.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  deltalite inspect lineitem.dlb
  deltalite inspect lineitem.dlb --blocks
  deltalite inspect lineitem.dlb --json | jq '.columns[] | {name, bytes}'
  deltalite inspect 'tables/*.dlb' --summary")]
pub(super) struct Arguments {
    /// Files, globs or folders.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Only these columns.
    #[arg(long, short, value_name = "COLUMN,…", value_delimiter = ',')]
    columns: Option<Vec<String>>,
    /// Show each block, and the footer's sections.
    #[arg(long)]
    blocks: bool,
    /// Only the first lines, without columns.
    #[arg(long, conflicts_with_all = ["blocks", "columns"])]
    summary: bool,
    /// All of it as JSON: an object, or an array of them for several files.
    #[arg(long)]
    json: bool,
}

impl Arguments {
    pub(super) fn run(self) -> Result<Outcome> {
        let mut reports = Vec::new();
        for file in open_files(&self.files)? {
            let mut report = inspect(&file)?;
            if let Some(columns) = &self.columns {
                for name in columns {
                    // An unknown name is an error with the nearest one there is.
                    file.meta().column_by_name(name)?;
                }
                report.columns.retain(|c| columns.contains(&c.name));
            }
            reports.push(report);
        }
        match reports.as_slice() {
            [only] if self.json => ui::print_json(only)?,
            all if self.json => ui::print_json(&all)?,
            all => {
                for (i, report) in all.iter().enumerate() {
                    let gap = if i > 0 && !self.summary { "\n" } else { "" };
                    ui::print(&format!("{gap}{}", self.text(report)))?;
                }
            }
        }
        Ok(Outcome::Done)
    }

    fn text(&self, report: &FileReport) -> String {
        let style = ui::Style::of_stdout();
        let mut out = String::new();
        // Writing to a string can't fail.
        let _ = writeln!(
            out,
            "{}: {}, {}, {} in {}, {} of metadata{}",
            style.bold(&report.file),
            ui::plural(report.rows, "row"),
            ui::plural(report.columns.len() as u64, "column"),
            ui::bytes(report.bytes),
            ui::plural(report.blocks.len() as u64, "block"),
            ui::bytes(report.metadata_bytes),
            report
                .ratio
                .filter(|r| *r >= 1.0)
                .map_or_else(String::new, |r| format!(", {r:.2}× smaller than Arrow")),
        );
        if self.summary {
            return out;
        }
        for (key, value) in &report.key_values {
            let _ = writeln!(out, "  {key} = {}", ui::cut(value, 80));
        }
        out.push('\n');
        let heading = ["column", "type", "size", "B/row", "ratio", "encodings", "nulls", "min", "max"];
        let rows = report.columns.iter().map(|c| row(c, report.rows));
        out.push_str(&ui::table(&heading, &["size", "B/row", "ratio", "nulls"], rows));
        if self.blocks {
            out.push('\n');
            let rows = report.blocks.iter().enumerate().map(|(i, b)| {
                vec![
                    i.to_string(),
                    ui::count(b.offset),
                    ui::bytes(b.bytes),
                    ui::count(b.first_row),
                    ui::count(b.rows.into()),
                    ui::count(b.unit_rows.into()),
                ]
            });
            let heading = ["block", "offset", "size", "first row", "rows", "rows of a unit"];
            out.push_str(&ui::table(&heading, &heading, rows));
            out.push('\n');
            let rows =
                report.sections.iter().map(|s| vec![s.kind.clone(), ui::count(s.offset), ui::bytes(s.bytes)]);
            out.push_str(&ui::table(&["section", "offset", "size"], &["offset", "size"], rows));
        }
        out
    }
}

fn row(c: &ColumnReport, rows: u64) -> Vec<String> {
    let share = |bytes: u64| (bytes * 100).checked_div(c.bytes).unwrap_or(0);
    let mut encodings: Vec<String> = match c.encodings.as_slice() {
        [only] => vec![only.name.clone()],
        all => all.iter().map(|e| format!("{} {}%", e.name, share(e.bytes))).collect(),
    };
    if c.dictionary_bytes > 0 {
        encodings.push(format!("values {}%", share(c.dictionary_bytes)));
    }
    let mut nulls = if c.nulls == 0 { String::new() } else { ui::count(c.nulls) };
    if c.nans > 0 {
        let _ = write!(nulls, " +{} NaN", ui::count(c.nans));
    }
    let value = |v: &Option<String>| v.as_ref().map_or_else(String::new, |v| ui::cut(v, CELL_WIDTH));
    vec![
        ui::cut(&c.name, CELL_WIDTH),
        ui::cut(&c.data_type, CELL_WIDTH),
        ui::bytes(c.bytes),
        if rows == 0 { String::new() } else { format!("{:.2}", c.bytes as f64 / rows as f64) },
        c.ratio.map_or_else(String::new, |r| format!("{r:.1}×")),
        encodings.join(", "),
        nulls,
        value(&c.min),
        value(&c.max),
    ]
}
