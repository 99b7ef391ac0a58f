//! Lines that begin with a dot.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use clap::ValueEnum;
use deltalite::{EngineError, Result};

use super::{Shape, Shell};
use crate::cli::ui;

/// Scripts that scripts may read, one within the other.
const DEPTH_MAX: usize = 16;

/// Whether to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    Go,
    Leave,
}

/// Names of commands, their arguments, and what they do.
pub(super) const COMMANDS: [(&str, &str, &str); 10] = [
    (".exit", "", "leave"),
    (".functions", "[PART]", "list functions whose name has the part"),
    (".help", "", "list these commands"),
    (".maxrows", "N", "show at most so many rows of a table; 0 shows all"),
    (
        ".mode",
        "[SHAPE]",
        "print rows as table, vertical, csv, tsv, json, ndjson, markdown, html, arrow or parquet",
    ),
    (
        ".output",
        "[FILE]",
        "write rows of each further statement to the file, over those before; without: to the terminal",
    ),
    (".quit", "", "leave"),
    (".read", "FILE", "run the statements and commands of a file"),
    (".schema", "TABLE", "list a table's columns"),
    (".tables", "", "list tables"),
];
/// Said apart, since its argument is a choice.
const TIMER: (&str, &str, &str) = (".timer", "on|off", "say how long each statement took");

/// All commands.
pub(super) fn all() -> impl Iterator<Item = (&'static str, &'static str, &'static str)> {
    COMMANDS.into_iter().chain([TIMER])
}

fn usage<T>(command: &str, detail: impl Into<String>) -> Result<T> {
    Err(EngineError::usage(command, detail.into()))
}

impl Shell {
    /// Runs a command.
    pub(super) fn command(&mut self, line: &str) -> Result<Next> {
        let (name, argument) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
        let argument = argument.trim().trim_end_matches(';').trim_matches(['\'', '"']);
        let name = name.trim_end_matches(';');
        let needs = |what: &str| usage(name, format!("{what} is missing; .help lists commands"));
        match name {
            ".exit" | ".quit" => return Ok(Next::Leave),
            ".help" => ui::print(&ui::table(
                &["command", "does"],
                &[],
                all().map(|(name, arguments, does)| vec![format!("{name} {arguments}"), does.to_owned()]),
            ))?,
            ".tables" => {
                let names = self.session.table_names();
                ui::print(&names.iter().map(|name| format!("{name}\n")).collect::<String>())?;
            }
            ".functions" => {
                let found = self.session.functions();
                let part = argument.to_ascii_lowercase();
                ui::print(
                    &found.iter().filter(|f| f.contains(&part)).map(|f| format!("{f}\n")).collect::<String>(),
                )?;
            }
            ".schema" if argument.is_empty() => return needs("a table"),
            ".schema" => return self.statement(&format!("DESCRIBE \"{}\"", argument.replace('"', "\"\""))),
            ".mode" if argument.is_empty() => {
                let shown = self.printing.shape.to_possible_value();
                ui::print(&format!("{}\n", shown.as_ref().map_or("", |v| v.get_name())))?;
            }
            ".mode" => match Shape::from_str(argument, true) {
                Ok(shape) => self.printing.shape = shape,
                Err(_) => {
                    let shapes: Vec<String> = Shape::value_variants()
                        .iter()
                        .filter_map(ValueEnum::to_possible_value)
                        .map(|v| v.get_name().to_owned())
                        .collect();
                    return usage(name, format!("no {argument:?}; there is {}", shapes.join(", ")));
                }
            },
            ".maxrows" => match argument.parse() {
                Ok(rows) => self.printing.max_rows = rows,
                Err(_) => return usage(name, format!("{argument:?} is no number of rows; 0 shows all")),
            },
            ".output" => self.printing.file = (!argument.is_empty()).then(|| argument.into()),
            ".timer" => match argument {
                "on" => self.timer = true,
                "off" => self.timer = false,
                _ => {
                    return usage(
                        name,
                        format!("{argument:?} is neither on nor off; write .timer on or .timer off"),
                    );
                }
            },
            ".read" if argument.is_empty() => return needs("a file"),
            ".read" => {
                if self.depth == DEPTH_MAX {
                    return usage(
                        name,
                        format!(
                            "{argument} is the {DEPTH_MAX}th script within a script; does one read itself?"
                        ),
                    );
                }
                let file = File::open(argument).map_err(EngineError::io(Path::new(argument)))?;
                self.depth += 1;
                let done = self.script(BufReader::new(file));
                self.depth -= 1;
                done?;
            }
            _ => {
                let near = all()
                    .map(|(n, _, _)| n)
                    .find(|n| n.starts_with(name) || strsim::levenshtein(n, name) <= 2);
                let hint = near.map_or(".help lists commands".to_owned(), |n| format!("did you mean {n}?"));
                return usage(name, format!("no such command; {hint}"));
            }
        }
        Ok(Next::Go)
    }
}
