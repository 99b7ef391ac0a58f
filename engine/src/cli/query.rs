//! `deltalite query`

use std::io::{IsTerminal, Read};
use std::path::{Path, PathBuf};

use clap::Args;
use deltalite::query::Session;
use deltalite::{EngineError, Result};

use super::config::{self, Layers};
use super::report::Outcome;
use super::statement::{self, Printing, Shape};
use super::telemetry::{self, Telemetry};

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
    #[command(flatten)]
    pub(super) session: config::settings::Session,
    #[command(flatten)]
    pub(super) client: config::settings::Client,
    #[command(flatten)]
    pub(super) log: config::settings::Log,
    /// How to print rows. Default: a table on a terminal, CSV elsewhere.
    #[arg(long, short, value_enum)]
    output: Option<Shape>,
    /// Say on standard error how long each statement took.
    #[arg(long)]
    timer: bool,
}

impl Arguments {
    pub(super) fn run(self, layers: &Layers) -> Result<Outcome> {
        let _telemetry = Telemetry::begin(&layers.section(&self.log)?, telemetry::QUIET)?;
        let settings = layers.section(&self.session)?;
        let client = layers.section(&self.client)?.check()?;
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
        if terminal && shape.is_binary() {
            let detail = "it is binary and a terminal can't show it; send it to a file: > rows.parquet";
            return Err(EngineError::usage("--output", detail));
        }
        let statements = Session::statements(&script).map_err(|e| EngineError::statement(&e, &script))?;
        let (session, runtime) = statement::open(&settings, &client)?;
        let printing =
            Printing { shape, max_rows: statement::max_rows(&settings), file: None, progress: true };
        for range in statements.ranges {
            let took = runtime.block_on(statement::run(&session, &script[range], &printing))?;
            if self.timer {
                eprintln!("{took}");
            }
        }
        Ok(Outcome::Done)
    }
}
