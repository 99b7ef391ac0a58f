//! The command line.
//!
//! | module | job |
//! |---|---|
//! | `import`, `export`, `inspect`, `scan`, `query`, `shell`, `serve`, `splits`, `verify`, `salvage`, `iotune`, `doctor`, `explain` | a command each |
//! | `config` | settings in layers: defaults, file, environment, flags; the command that shows them |
//! | `telemetry` | logs and traces |
//! | `select` | which files, columns and rows: what `scan` and `export` share |
//! | `statement` | a session, and a statement with its rows shown: what `query` and `shell` share |
//! | `remote` | what a server has, for `scan` |
//! | `args` | sizes, formats and types as people write them |
//! | `print` | rows as text |
//! | `report` | errors on the terminal, exit codes |
//! | `ui` | progress, tables, numbers for people |

mod args;
mod config;
mod doctor;
mod explain;
mod export;
mod import;
mod inspect;
mod iotune;
mod print;
mod query;
mod remote;
mod report;
mod salvage;
mod scan;
mod select;
mod serve;
mod shell;
mod splits;
mod statement;
mod telemetry;
mod ui;
mod verify;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};
use deltalite::Result;

use config::Layers;
use report::Outcome;

/// DeltaLite: columnar files for machines whose disks and cores you own.
#[derive(Debug, Parser)]
#[command(name = "deltalite", bin_name = "deltalite", version, max_term_width = 110, after_help = EXAMPLES, arg_required_else_help = true)]
struct Cli {
    /// Configuration file; see `deltalite config`.
    #[arg(long, global = true, value_name = "FILE", env = config::FILE_VARIABLE, hide_env_values = true)]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  deltalite import trips/*.parquet trips.dlb
  deltalite inspect trips.dlb
  deltalite scan trips.dlb --columns id,fare --where 'fare > 100' --limit 20
  deltalite export trips.dlb trips.csv
  deltalite query \"SELECT avg(fare) FROM 'trips.dlb'\"
  deltalite shell --catalog tables
  deltalite serve --data tables

Exit codes: 0 done; 1 failed; 2 wrong usage; 3 damaged data found; 4 done, but rows were lost (salvage).
Errors have a code: `deltalite explain-error DL-0202` says what it means and what to do.";

#[derive(Debug, Subcommand)]
enum Command {
    Import(import::Arguments),
    Export(export::Arguments),
    Inspect(inspect::Arguments),
    Scan(scan::Arguments),
    Query(query::Arguments),
    Shell(shell::Arguments),
    Serve(serve::Arguments),
    Splits(splits::Arguments),
    Verify(verify::Arguments),
    Salvage(salvage::Arguments),
    Iotune(iotune::Arguments),
    Doctor(doctor::Arguments),
    Config(config::command::Arguments),
    ExplainError(explain::Arguments),
    Completions(Completions),
}

/// Print a script that completes commands and options in a shell.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  deltalite completions bash > ~/.local/share/bash-completion/completions/deltalite
  deltalite completions zsh > ~/.zfunc/_deltalite
  deltalite completions fish > ~/.config/fish/completions/deltalite.fish")]
struct Completions {
    /// The shell.
    shell: clap_complete::Shell,
}

impl Completions {
    fn run(&self) -> Result<Outcome> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "deltalite", &mut script);
        ui::print(&String::from_utf8_lossy(&script))?;
        Ok(Outcome::Done)
    }
}

/// Runs the command line.
pub(crate) fn main() -> ExitCode {
    // A reader that has seen enough (`| head`) ends the program without a word, as people expect.
    // SAFETY: called once at the start, before any thread; the default action needs no handler.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
    let Cli { config, command } = config::command::parse();
    // Only commands that have settings read them: a file that is wrong stops none of the others.
    let layers = || Layers::load(config.as_deref());
    let outcome = match command {
        Command::Import(a) => a.run(),
        Command::Export(a) => a.run(),
        Command::Inspect(a) => a.run(),
        Command::Scan(a) => layers().and_then(|layers| a.run(&layers)),
        Command::Query(a) => layers().and_then(|layers| a.run(&layers)),
        Command::Shell(a) => layers().and_then(|layers| a.run(&layers)),
        Command::Serve(a) => layers().and_then(|layers| a.run(&layers)),
        Command::Splits(a) => a.run(),
        Command::Verify(a) => a.run(),
        Command::Salvage(a) => a.run(),
        Command::Iotune(a) => a.run(),
        Command::Doctor(a) => a.run(),
        Command::Config(a) => a.run(layers),
        Command::ExplainError(a) => a.run(),
        Command::Completions(a) => a.run(),
    };
    match outcome {
        Ok(outcome) => outcome.into(),
        Err(error) => report::report(&error),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn arguments_are_consistent() {
        <super::Cli as clap::CommandFactory>::command().debug_assert();
    }
}
