//! `deltalite config`

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use deltalite::{EngineError, Result};
use serde::Serialize;

use super::settings::{Client, Log, Serve, Session};
use super::{Holds, Layers, reference};
use crate::cli::report::Outcome;
use crate::cli::{Cli, Command, ui};

/// Show what is set and where; print a reference, an example, a schema.
///
/// A setting is, from weakest to strongest, its default, the configuration file's, the environment's, the flag's.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  deltalite config show
  deltalite config show serve --threads 2 --memory 4GiB
  deltalite config example > ~/.config/deltalite/config.toml
  DELTALITE_SERVE_SCANS=16 deltalite --config /etc/deltalite.toml config show --json")]
pub(in crate::cli) struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Every setting, its value, and where that is from.
    Show {
        /// As JSON.
        #[arg(long)]
        json: bool,
        /// A command with its flags, for what would hold for it.
        #[arg(value_name = "COMMAND", trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<String>,
    },
    /// All settings with their flags, variables, types and defaults, as Markdown.
    Reference,
    /// A configuration file to begin with.
    Example,
    /// A JSON Schema of the file, for editors.
    Schema,
}

#[derive(Serialize)]
struct Shown {
    setting: String,
    value: Option<String>,
    origin: String,
}

impl From<Holds> for Shown {
    fn from(holds: Holds) -> Self {
        Self { setting: holds.key.path(), value: holds.value, origin: holds.origin }
    }
}

impl Arguments {
    /// # Errors
    /// Where the file or the environment sets what it can't.
    pub(in crate::cli) fn run(self, layers: impl FnOnce() -> Result<Layers>) -> Result<Outcome> {
        match self.what {
            What::Show { json, command } => show(&layers()?, json, command)?,
            What::Reference => ui::print(&reference::markdown())?,
            What::Example => ui::print(&reference::example())?,
            What::Schema => ui::print_json(&reference::schema())?,
        }
        Ok(Outcome::Done)
    }
}

/// The flags of a command, by section.
#[derive(Default)]
struct Flags {
    serve: Serve,
    client: Client,
    session: Session,
    log: Log,
}

fn flags(command: Vec<String>) -> Result<Flags> {
    if command.is_empty() {
        return Ok(Flags::default());
    }
    let name = command[0].clone();
    let words = std::iter::once("deltalite".to_owned()).chain(command);
    let parsed = Cli::try_parse_from(words).map_err(|e| {
        let text = e.to_string();
        let said = text.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned();
        EngineError::usage("config show", said)
    })?;
    Ok(match parsed.command {
        Command::Serve(a) => Flags { serve: a.serve, log: a.log, ..Flags::default() },
        Command::Scan(a) => Flags { client: a.client, log: a.log, ..Flags::default() },
        Command::Query(a) => Flags { client: a.client, session: a.session, log: a.log, ..Flags::default() },
        Command::Shell(a) => Flags { client: a.client, session: a.session, log: a.log, ..Flags::default() },
        _ => {
            let detail = format!("{name} has no settings; serve, scan, query and shell have");
            return Err(EngineError::usage("config show", detail));
        }
    })
}

fn show(layers: &Layers, json: bool, command: Vec<String>) -> Result<()> {
    let flags = flags(command)?;
    let all = [
        layers.show(&flags.serve)?,
        layers.show(&flags.client)?,
        layers.show(&flags.session)?,
        layers.show(&flags.log)?,
    ];
    let all: Vec<Shown> = all.into_iter().flatten().map(Shown::from).collect();
    if json {
        return ui::print_json(&all);
    }
    let rows = all.into_iter().map(|s| vec![s.setting, s.value.unwrap_or_else(|| "-".to_owned()), s.origin]);
    ui::print(&ui::table(&["setting", "value", "from"], &[], rows))?;
    let file = match (layers.file(), super::usual_file()) {
        (Some(file), _) => format!("configuration file: {}\n", file.display()),
        (None, Some(usual)) => format!("no configuration file; {} would be one\n", usual.display()),
        (None, None) => "no configuration file\n".to_owned(),
    };
    ui::print(&file)
}

/// As `Cli::parse`, with what settings default to in the help.
pub(in crate::cli) fn parse() -> Cli {
    let matches = reference::described(Cli::command()).get_matches();
    Cli::from_arg_matches(&matches).unwrap_or_else(|e| e.exit())
}
