//! Running statements and showing their rows: what `query` and `shell` share.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use arrow_array::RecordBatch;
use clap::ValueEnum;
use deltalite::convert::{FileFormat, Output, open_sink};
use deltalite::query::query::Progress;
use deltalite::query::{Session, SessionOptions};
use deltalite::{EngineError, Result};
use futures::StreamExt;
use tokio::runtime::Runtime;

use super::config;
use super::config::settings::Client;
use super::config::values::Size;
use super::print::{Printer, Text};
use super::ui;

/// How often progress is drawn.
const REDRAW: Duration = Duration::from_millis(100);

/// The session, and the threads that it plans and runs on.
///
/// # Errors
/// When shards or threads can't be started.
pub(super) fn open(settings: &config::settings::Session, client: &Client) -> Result<(Session, Runtime)> {
    let threads = settings.threads.unwrap_or(0);
    let mut options = SessionOptions::default().connecting(client.credentials().for_sessions());
    if let Some(folder) = &settings.catalog {
        options = options.catalog(folder);
    }
    let shards = match settings.memory {
        None => deltalite::shards(threads)?,
        Some(Size(bytes)) => {
            let (shards, operators) = deltalite::shards_within(threads, bytes)?;
            options = options.memory_bytes(operators);
            shards
        }
    };
    options = options.partitions(shards.len()).shards(shards);
    if let Some(folder) = &settings.temp_dir {
        options = options.temp_dir(folder);
    }
    if let Some(seconds) = settings.timeout {
        options = options.timeout(Duration::from_secs(seconds));
    }
    let session = Session::new(options).map_err(|e| EngineError::statement(&e, ""))?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(EngineError::io("starting threads"))?;
    Ok((session, runtime))
}

/// Most rows that a table shows; 0 shows all.
pub(super) fn max_rows(settings: &config::settings::Session) -> usize {
    settings.max_rows.map_or(usize::MAX, |rows| usize::try_from(rows).unwrap_or(usize::MAX))
}

/// What rows are printed as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Shape {
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

    /// Whether a terminal can't show it.
    pub(super) fn is_binary(self) -> bool {
        matches!(self, Shape::Arrow | Shape::Parquet)
    }
}

/// Where rows go to and how.
#[derive(Debug, Clone)]
pub(super) struct Printing {
    pub(super) shape: Shape,
    pub(super) max_rows: usize,
    /// A file instead of standard output.
    pub(super) file: Option<PathBuf>,
    /// Whether progress is drawn, on standard error.
    pub(super) progress: bool,
}

/// What a statement took.
#[derive(Debug, Clone, Copy)]
pub(super) struct Took {
    pub(super) rows: u64,
    pub(super) seconds: f64,
    read: u64,
    bytes: u64,
}

impl std::fmt::Display for Took {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} in {:.3} s", ui::plural(self.rows, "row"), self.seconds)?;
        if self.read > 0 {
            write!(f, ", {}", speed(self.read, self.bytes, self.seconds))?;
        }
        Ok(())
    }
}

fn speed(rows: u64, bytes: u64, seconds: f64) -> String {
    let a_second = |n: u64| n as f64 / seconds.max(1e-9);
    let read = format!("{} read, {:.1} M rows/s", ui::plural(rows, "row"), a_second(rows) / 1e6);
    if bytes == 0 {
        return read;
    }
    format!("{read}, {} at {:.2} GB/s", ui::bytes(bytes), a_second(bytes) / 1e9)
}

/// Runs one statement and shows its rows.
///
/// # Errors
/// When it is no statement, running it fails, or its rows can't be written.
pub(super) async fn run(session: &Session, statement: &str, printing: &Printing) -> Result<Took> {
    let explain = |e| EngineError::statement(&e, statement);
    let started = Instant::now();
    let mut bar = ui::Ticker::new(printing.progress);
    let mut ticks = tokio::time::interval(REDRAW);
    let planning = session.sql(statement);
    futures::pin_mut!(planning);
    let query = loop {
        tokio::select! {
            query = &mut planning => break query.map_err(explain)?,
            _ = ticks.tick() => bar.show("working"),
        }
    };
    let (schema, progress) = (query.schema().clone(), query.progress());
    let rows = query.into_stream().map_err(explain)?;
    let draw = |bar: &mut ui::Ticker, progress: &Progress| {
        let seconds = started.elapsed().as_secs_f64();
        bar.show(&speed(progress.rows_read(), progress.bytes_read(), seconds));
    };
    let shown = async {
        futures::pin_mut!(rows);
        let mut next = async || loop {
            tokio::select! {
                batch = rows.next() => break batch,
                _ = ticks.tick() => draw(&mut bar, &progress),
            }
        };
        let mut count = 0u64;
        let to = printing.file.as_deref().unwrap_or(Path::new("-"));
        match printing.shape.text() {
            Ok(text) => {
                let file = printing.file.is_some().then(|| Output::create(to)).transpose()?;
                let (output, mut writer) = file.unzip();
                let mut out = |text: &str| match &mut writer {
                    Some(writer) => writer.write_all(text.as_bytes()).map_err(EngineError::io(to)),
                    None => ui::print(text),
                };
                let mut printer = Printer::new(text, &schema, printing.max_rows);
                while let Some(batch) = next().await {
                    let batch = batch.map_err(explain)?;
                    count += batch.num_rows() as u64;
                    printer.add(&batch, &mut out)?;
                }
                bar.clear();
                printer.finish(&mut out)?;
                if let Some(mut writer) = writer.take() {
                    writer.flush().map_err(EngineError::io(to))?;
                }
                output.map(Output::commit).transpose()?;
            }
            Err(format) => {
                let (output, writer) = Output::create(to)?;
                let mut sink = open_sink(&to.display().to_string(), format, &schema, writer)?;
                while let Some(batch) = next().await {
                    let batch: RecordBatch = batch.map_err(explain)?;
                    count += batch.num_rows() as u64;
                    sink.write(&batch)?;
                }
                sink.finish()?;
                output.commit()?;
            }
        }
        Ok::<u64, EngineError>(count)
    };
    let rows = shown.await?;
    Ok(Took {
        rows,
        seconds: started.elapsed().as_secs_f64(),
        read: progress.rows_read(),
        bytes: progress.bytes_read(),
    })
}
