//! `deltalite query`

use std::io::{IsTerminal, Read};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use arrow_array::RecordBatch;
use clap::{Args, ValueEnum};
use deltalite::convert::{FileFormat, Output, open_sink};
use deltalite::query::{Session, SessionOptions};
use deltalite::{EngineError, Result};
use futures::StreamExt;

use super::args::size;
use super::print::{Printer, Text};
use super::report::Outcome;
use super::ui;

/// Run SQL statements and print their rows.
///
/// A name in FROM is a table of the catalog's folder; a path in quotes is a table's folder, a .dlb file, or a file (or files, by *) of Parquet, CSV,
/// JSON or Arrow. Statements are separated by semicolons; the first that fails ends the run.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  deltalite query \"SELECT count(*) FROM 'trips.dlb' WHERE fare > 100\"
  deltalite query --catalog tables \"CREATE TABLE trips AS SELECT * FROM 'trips.parquet'\"
  deltalite query -c tables \"DELETE FROM trips WHERE fare < 0\" \"SELECT avg(fare) FROM trips VERSION AS OF 1\"
  deltalite query -c tables -f report.sql --output markdown
  deltalite query -c tables --output parquet \"FROM trips\" > trips.parquet")]
pub(super) struct Arguments {
    /// Statements.
    #[arg(value_name = "SQL", required_unless_present = "file")]
    statements: Vec<String>,
    /// A file of statements; `-` is standard input.
    #[arg(long, short, value_name = "FILE", conflicts_with = "statements")]
    file: Option<PathBuf>,
    /// The folder whose folders are tables.
    #[arg(long, short, value_name = "FOLDER", default_value = ".")]
    catalog: PathBuf,
    /// How to print rows. Default: a table on a terminal, CSV elsewhere.
    #[arg(long, short, value_enum)]
    output: Option<Shape>,
    /// Most rows that a table shows; 0 shows all.
    #[arg(long, value_name = "N", default_value_t = 100)]
    max_rows: usize,
    /// Memory for operators, such as 4GiB; what is more is spilled. Without: no limit.
    #[arg(long, value_name = "BYTES", value_parser = size)]
    memory: Option<u64>,
    /// Where operators spill to.
    #[arg(long, value_name = "FOLDER")]
    temp_dir: Option<PathBuf>,
    /// Shards that read, and parts of a query that run at once. Without: one a core.
    #[arg(long, value_name = "N")]
    threads: Option<u32>,
    /// Seconds that a statement may take.
    #[arg(long, value_name = "SECONDS")]
    timeout: Option<u64>,
    /// Say on standard error how long each statement took.
    #[arg(long)]
    timer: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Shape {
    Table,
    Vertical,
    Csv,
    Tsv,
    Json,
    Ndjson,
    Markdown,
    Html,
    Arrow,
    Parquet,
}

impl Shape {
    /// Printed here, or by a writer of files.
    fn text(self) -> Result<Text, FileFormat> {
        Ok(match self {
            Shape::Table => Text::Table,
            Shape::Vertical => Text::Vertical,
            Shape::Tsv => Text::Tsv,
            Shape::Json => Text::Json,
            Shape::Markdown => Text::Markdown,
            Shape::Html => Text::Html,
            Shape::Csv => return Err(FileFormat::Csv),
            Shape::Ndjson => return Err(FileFormat::Ndjson),
            Shape::Arrow => return Err(FileFormat::Arrow),
            Shape::Parquet => return Err(FileFormat::Parquet),
        })
    }
}

impl Arguments {
    pub(super) fn run(self) -> Result<Outcome> {
        let script = match &self.file {
            Some(path) if path == Path::new("-") => {
                let mut text = String::new();
                std::io::stdin().read_to_string(&mut text).map_err(EngineError::io("-"))?;
                text
            }
            Some(path) => std::fs::read_to_string(path).map_err(EngineError::io(path))?,
            None => self.statements.join(";\n"),
        };
        let terminal = std::io::stdout().is_terminal();
        let shape = self.output.unwrap_or(if terminal { Shape::Table } else { Shape::Csv });
        if terminal && matches!(shape, Shape::Arrow | Shape::Parquet) {
            let detail = "it is binary and a terminal can't show it; send it to a file: > rows.parquet";
            return Err(EngineError::usage("--output", detail));
        }
        let statements = Session::statements(&script).map_err(|e| EngineError::statement(&e, &script))?;
        let shards = deltalite::shards(self.threads.unwrap_or(0))?;
        let mut options =
            SessionOptions::default().partitions(shards.len()).shards(shards).catalog(&self.catalog);
        if let Some(bytes) = self.memory {
            options = options.memory_bytes(bytes);
        }
        if let Some(folder) = &self.temp_dir {
            options = options.temp_dir(folder);
        }
        if let Some(seconds) = self.timeout {
            options = options.timeout(Duration::from_secs(seconds));
        }
        let session = Session::new(options).map_err(|e| EngineError::statement(&e, ""))?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .map_err(EngineError::io("starting threads"))?;
        for range in statements.ranges {
            let statement = &script[range];
            let started = Instant::now();
            runtime.block_on(self.statement(&session, statement, shape))?;
            if self.timer {
                eprintln!("{:.3} s", started.elapsed().as_secs_f64());
            }
        }
        Ok(Outcome::Done)
    }

    async fn statement(&self, session: &Session, statement: &str, shape: Shape) -> Result<()> {
        let explain = |e| EngineError::statement(&e, statement);
        let query = session.sql(statement).await.map_err(explain)?;
        let schema = query.schema().clone();
        let mut rows = query.into_stream().map_err(explain)?;
        match shape.text() {
            Ok(text) => {
                let mut printer = Printer::new(text, &schema, self.max_rows);
                while let Some(batch) = rows.next().await {
                    printer.add(&batch.map_err(explain)?, &mut |text| ui::print(text))?;
                }
                printer.finish(&mut |text| ui::print(text))
            }
            Err(format) => {
                let (output, writer) = Output::create(Path::new("-"))?;
                let mut sink = open_sink("standard output", format, &schema, writer)?;
                while let Some(batch) = rows.next().await {
                    let batch: RecordBatch = batch.map_err(explain)?;
                    sink.write(&batch)?;
                }
                sink.finish()?;
                output.commit().map(drop)
            }
        }
    }
}
