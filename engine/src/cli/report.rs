//! Errors on the terminal, and exit codes.

use std::process::ExitCode;

use deltalite::EngineError;
use deltalite::format::FormatError;
use deltalite::shard::ShardError;

use super::ui;

/// How a command ended that did not fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// All is well.
    Done,
    /// The check found damage.
    Damaged,
    /// The work is done, but rows were lost.
    RowsLost,
}

impl From<Outcome> for ExitCode {
    fn from(outcome: Outcome) -> Self {
        Self::from(match outcome {
            Outcome::Done => 0,
            Outcome::Damaged => 3,
            Outcome::RowsLost => 4,
        })
    }
}

/// What to say of an error.
struct Parts {
    what: String,
    place: Option<String>,
    help: Option<String>,
}

fn parts(error: &EngineError) -> Parts {
    let (what, place, help) = match error {
        EngineError::Format(e) | EngineError::Shard(ShardError::Format(e)) => return format_parts(e),
        EngineError::Foreign { path, detail } => (detail.clone(), Some(path.clone()), None),
        EngineError::Io { path, source } => {
            (source.to_string(), Some(path.display().to_string()), help_for(source))
        }
        EngineError::Usage { what, detail } => (format!("{what}: {detail}"), None, None),
        EngineError::Statement { rendered, .. } => {
            return Parts { what: rendered.clone(), place: None, help: None };
        }
        EngineError::Row { path, line, detail } => (detail.clone(), Some(format!("{path}:{line}")), None),
        other => (other.to_string(), None, None),
    };
    split_help(Parts { what, place, help })
}

fn help_for(error: &std::io::Error) -> Option<String> {
    let help = match error.kind() {
        std::io::ErrorKind::NotFound => "check the path",
        std::io::ErrorKind::PermissionDenied => "check the permissions of the file and its folders",
        std::io::ErrorKind::StorageFull => "make room, or write to another disk",
        _ => return None,
    };
    Some(help.to_owned())
}

fn format_parts(error: &FormatError) -> Parts {
    let damaged = || {
        Some(
            "`deltalite verify` lists all damage, `deltalite salvage SRC DEST` keeps what is intact"
                .to_owned(),
        )
    };
    let place =
        |at: &deltalite::format::Place| (at.file.is_some() || at.offset.is_some()).then(|| at.to_string());
    match error {
        FormatError::Corrupt { what, at, detail } => {
            Parts { what: format!("corrupt {what}: {detail}"), place: place(at), help: damaged() }
        }
        FormatError::Checksum { what, at, stored, computed } => Parts {
            what: format!("checksum of {what} does not match (stored {stored:#010x}, computed {computed:#010x})"),
            place: place(at),
            help: damaged(),
        },
        FormatError::NotDeltaLite { at, detail } => Parts {
            what: format!("not a DeltaLite file: {detail}"),
            place: place(at),
            help: Some(
                "import other formats with `deltalite import`; a DeltaLite file that was cut off can be salvaged".to_owned(),
            ),
        },
        FormatError::Unsupported { at, detail } => Parts {
            what: format!("the file needs {detail}, which this version does not have"),
            place: place(at),
            help: Some("read it with a newer version".to_owned()),
        },
        FormatError::NoSuchColumn { name, nearest } => Parts {
            what: format!("no column named {name:?}"),
            place: None,
            help: Some(nearest.as_ref().map_or_else(
                || "`deltalite inspect FILE` lists the columns".to_owned(),
                |n| format!("did you mean {n:?}?"),
            )),
        },
        FormatError::Io { at, source } => {
            split_help(Parts { what: source.to_string(), place: place(at), help: help_for(source) })
        }
        other => split_help(Parts { what: other.to_string(), place: None, help: None }),
    }
}

/// Errors end in what to do, after the last semicolon of their first line.
fn split_help(mut parts: Parts) -> Parts {
    if parts.help.is_none()
        && !parts.what.contains('\n')
        && let Some((what, help)) = parts.what.rsplit_once("; ")
    {
        (parts.help, parts.what) = (Some(help.to_owned()), what.to_owned());
    }
    parts
}

/// Says on standard error what went wrong, where, and what to do; the exit code of it.
pub(super) fn report(error: &EngineError) -> ExitCode {
    let code = error.code();
    let parts = parts(error);
    let style = ui::Style::of_stderr();
    eprintln!("{}: {}", style.red(&format!("error[{code}]")), parts.what);
    if let Some(place) = parts.place {
        eprintln!("  {} {place}", style.dim("-->"));
    }
    let help = parts.help.unwrap_or_else(|| format!("`deltalite explain-error {code}` says more"));
    eprintln!("{}: {help}", style.bold("help"));
    ExitCode::from(match code {
        "DL-0201" | "DL-0202" => 3,
        "DL-0121" | "DL-0205" | "DL-0206" | "DL-0324" | "DL-0403" | "DL-0410" | "DL-0508" => 2,
        _ => 1,
    })
}
