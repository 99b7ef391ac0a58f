//! `deltalite shell`
//!
//! [`commands`] – lines that begin with a dot; [`editor`] – the line that is typed; [`complete`] – what it may become; [`highlight`] – its colours.

mod commands;
mod complete;
mod editor;
mod highlight;

use std::io::{BufRead, IsTerminal};
use std::path::PathBuf;

use clap::Args;
use deltalite::query::Session;
use deltalite::{EngineError, Result};
use tokio::runtime::Runtime;

use self::commands::Next;
use super::config::{self, Layers};
use super::report::{self, Outcome};
use super::statement::{self, Printing, Shape};
use super::telemetry::{self, Telemetry};
use super::ui;

/// Type SQL statements, and see their rows.
///
/// Statements end with a semicolon and may have many lines. Tab completes words of SQL, tables, columns, functions and paths; the arrows and Ctrl-R
/// go through the history; Ctrl-C drops what is typed, or cancels what runs; Ctrl-D leaves. Lines that begin with a dot are commands of the shell:
/// `.help` lists them. What is not typed but sent (`deltalite shell < script.sql`) is run until something fails.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  deltalite shell --catalog tables
  echo '.tables' | deltalite shell --catalog tables
  deltalite shell -c tables --memory 4GiB --output markdown < report.sql")]
pub(super) struct Arguments {
    #[command(flatten)]
    pub(in crate::cli) session: config::settings::Session,
    #[command(flatten)]
    pub(in crate::cli) client: config::settings::Client,
    #[command(flatten)]
    pub(in crate::cli) log: config::settings::Log,
    /// How to print rows. Default: a table on a terminal, CSV elsewhere.
    #[arg(long, short, value_enum)]
    output: Option<Shape>,
    /// The file that what is typed is remembered in. Default: deltalite/history in $XDG_STATE_HOME or ~/.local/state.
    #[arg(long, value_name = "FILE")]
    history: Option<PathBuf>,
}

impl Arguments {
    pub(super) fn run(self, layers: &Layers) -> Result<Outcome> {
        let _telemetry = Telemetry::begin(&layers.section(&self.log)?, telemetry::QUIET)?;
        let settings = layers.section(&self.session)?;
        let client = layers.section(&self.client)?.check()?;
        let terminal = std::io::stdout().is_terminal();
        let (session, runtime) = statement::open(&settings, &client)?;
        let printing = Printing {
            shape: self.output.unwrap_or(if terminal { Shape::Table } else { Shape::Csv }),
            max_rows: statement::max_rows(&settings),
            file: None,
            progress: true,
        };
        let typed = std::io::stdin().is_terminal();
        let mut shell = Shell { session, runtime, printing, timer: typed, depth: 0 };
        if typed { shell.interactive(self.history) } else { shell.script(std::io::stdin().lock()) }
    }
}

/// A session, and how its rows are shown.
struct Shell {
    session: Session,
    runtime: Runtime,
    printing: Printing,
    timer: bool,
    /// Scripts within scripts.
    depth: usize,
}

impl Shell {
    /// Runs what is typed until there is no more.
    fn interactive(&mut self, history: Option<PathBuf>) -> Result<Outcome> {
        let mut editor = editor::Editor::new(&self.session, self.runtime.handle(), history);
        println!(
            "DeltaLite {}. Statements end with a semicolon; .help lists commands, .quit leaves.",
            env!("CARGO_PKG_VERSION")
        );
        loop {
            let next = match editor.read(self.session.in_transaction())? {
                editor::Typed::Text(text) => self.take(&text),
                editor::Typed::Dropped => continue,
                editor::Typed::End => return Ok(Outcome::Done),
            };
            match next {
                Ok(Next::Go) => {}
                Ok(Next::Leave) => return Ok(Outcome::Done),
                Err(error) => {
                    report::report(&error);
                }
            }
        }
    }

    /// Runs lines until one fails.
    fn script(&mut self, lines: impl BufRead) -> Result<Outcome> {
        let mut open = String::new();
        for line in lines.lines() {
            let line = line.map_err(EngineError::io("-"))?;
            if open.trim().is_empty() && line.trim_start().starts_with('.') {
                if self.take(&line)? == Next::Leave {
                    return Ok(Outcome::Done);
                }
                continue;
            }
            open.push_str(&line);
            open.push('\n');
            // A string or a comment may go on in the next line.
            if Session::statements(&open).is_ok_and(|s| s.complete)
                && self.take(&std::mem::take(&mut open))? == Next::Leave
            {
                return Ok(Outcome::Done);
            }
        }
        self.take(&open)?;
        Ok(Outcome::Done)
    }

    /// Runs a command, or statements until one fails.
    fn take(&mut self, text: &str) -> Result<Next> {
        if text.trim_start().starts_with('.') {
            return self.command(text.trim());
        }
        let statements = Session::statements(text).map_err(|e| EngineError::statement(&e, text))?;
        for range in statements.ranges {
            if self.statement(&text[range])? == Next::Leave {
                return Ok(Next::Leave);
            }
        }
        Ok(Next::Go)
    }

    /// Runs a statement; Ctrl-C ends it and keeps the shell.
    fn statement(&self, text: &str) -> Result<Next> {
        if self.printing.shape.is_binary() && self.printing.file.is_none() && std::io::stdout().is_terminal()
        {
            let detail = "rows of this kind are binary; send them to a file with .output FILE";
            return Err(EngineError::usage(".mode", detail));
        }
        if matches!(text.trim().to_ascii_lowercase().as_str(), "quit" | "exit") {
            return Ok(Next::Leave);
        }
        let took = self.runtime.block_on(async {
            tokio::select! {
                took = statement::run(&self.session, text, &self.printing) => took.map(Some),
                _ = tokio::signal::ctrl_c() => Ok(None),
            }
        })?;
        match took {
            None => eprintln!(
                "{}",
                ui::Style::of_stderr().yellow(
                    "cancelled; a change that was being committed may be done: DESCRIBE HISTORY tells"
                )
            ),
            Some(took) if self.timer => eprintln!("{took}"),
            Some(_) => {}
        }
        Ok(Next::Go)
    }
}
