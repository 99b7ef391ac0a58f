//! The crate's one error type.

use std::ops::Range;

use datafusion::common::SchemaError;
use datafusion::error::DataFusionError;
use deltalite_remote::RpcError;
use deltalite_table::TableError;

/// Shorthand for results of this crate.
pub type Result<T, E = QueryError> = std::result::Result<T, E>;

/// What went wrong with a statement.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum QueryError {
    /// The text is no statement.
    #[error("{message}")]
    Syntax {
        /// What was found and what was expected.
        message: String,
        /// Bytes of the statement that it is about.
        place: Option<Range<usize>>,
    },
    /// A name that stands for nothing.
    #[error("{message}")]
    Name {
        /// Which, and where it was looked for.
        message: String,
        /// A name that is near.
        suggestion: Option<String>,
        /// Bytes of the statement that it is about.
        place: Option<Range<usize>>,
    },
    /// A statement that is understood and not supported.
    #[error("{0}")]
    NotSupported(String),
    /// A table refuses.
    #[error(transparent)]
    Table(#[from] TableError),
    /// A server could not be asked, or refuses.
    #[error(transparent)]
    Remote(#[from] RpcError),
    /// A transaction could not be committed, and nothing of it was.
    #[error("the transaction was rolled back: {0}")]
    RolledBack(TableError),
    /// More memory is needed than the session has.
    #[error("{0}")]
    Memory(String),
    /// The statement took longer than it may.
    #[error(
        "the statement was cancelled after {seconds} s, the session's limit; set a longer timeout, or none"
    )]
    Timeout {
        /// The limit, in seconds.
        seconds: f64,
    },
    /// Nobody waits for it any more.
    #[error("the statement was cancelled before it committed; nothing was changed")]
    Cancelled,
    /// Planning or running failed.
    #[error("{0}")]
    Engine(String),
}

impl QueryError {
    /// The stable code of this error, for `explain-error` and for scripts.
    pub fn code(&self) -> &str {
        match self {
            QueryError::Syntax { .. } => "DL-0701",
            QueryError::Name { .. } => "DL-0702",
            QueryError::NotSupported(_) => "DL-0703",
            QueryError::Memory(_) => "DL-0704",
            QueryError::Timeout { .. } => "DL-0705",
            QueryError::Engine(_) => "DL-0706",
            QueryError::Cancelled => "DL-0707",
            QueryError::Table(error) | QueryError::RolledBack(error) => error.code(),
            QueryError::Remote(error) => error.code(),
        }
    }

    /// Which bytes of the statement it is about, as far as that is known.
    pub fn place(&self) -> Option<Range<usize>> {
        match self {
            QueryError::Syntax { place, .. } | QueryError::Name { place, .. } => place.clone(),
            _ => None,
        }
    }

    /// A name that is near the one that stands for nothing.
    pub fn suggestion(&self) -> Option<&str> {
        match self {
            QueryError::Name { suggestion, .. } => suggestion.as_deref(),
            _ => None,
        }
    }

    /// The error with the line of the statement that it is about, and a caret below the place.
    ///
    /// ```
    /// use deltalite_query::QueryError;
    /// let error = QueryError::Name { message: "no column \"nme\"".into(), suggestion: Some("name".into()), place: Some(7..10) };
    /// assert_eq!(error.render("SELECT nme FROM t"), "no column \"nme\"; did you mean \"name\"? [DL-0702]\n  | SELECT nme FROM t\n  |        ^^^");
    /// ```
    pub fn render(&self, statement: &str) -> String {
        let suggestion = self.suggestion().map_or(String::new(), |s| format!("; did you mean {s:?}?"));
        let head = format!("{self}{suggestion} [{}]", self.code());
        let Some(place) = self.place().filter(|p| p.end <= statement.len() && p.start <= p.end) else {
            return head;
        };
        let start = statement[..place.start].rfind('\n').map_or(0, |at| at + 1);
        let end = statement[place.start..].find('\n').map_or(statement.len(), |at| place.start + at);
        let line = &statement[start..end];
        let before = statement[start..place.start].chars().map(|c| if c == '\t' { '\t' } else { ' ' });
        let indent: String = before.collect();
        let width = statement[place.start..place.end.min(end)].chars().count().max(1);
        format!("{head}\n  | {line}\n  | {indent}{}", "^".repeat(width))
    }

    /// An error of DataFusion's about a statement.
    pub(crate) fn of(error: DataFusionError, statement: &str) -> Self {
        match error {
            DataFusionError::Context(_, inner) | DataFusionError::Diagnostic(_, inner) => {
                Self::of(*inner, statement)
            }
            DataFusionError::Shared(inner) => match inner.as_ref() {
                DataFusionError::External(e) => Self::Engine(e.to_string()),
                other => Self::Engine(plain(&other.to_string())),
            },
            DataFusionError::External(inner) => match inner.downcast::<QueryError>() {
                Ok(ours) => *ours,
                Err(inner) => match inner.downcast::<TableError>() {
                    Ok(table) => Self::Table(*table),
                    Err(other) => Self::Engine(other.to_string()),
                },
            },
            DataFusionError::SQL(error, _) => {
                let message = plain(&error.to_string());
                let place = place_of(&message, statement);
                Self::Syntax { message, place }
            }
            DataFusionError::SchemaError(error, _) => match *error {
                SchemaError::FieldNotFound { field, valid_fields } => {
                    let names: Vec<String> = valid_fields.iter().map(|c| c.name.clone()).collect();
                    let message = format!("no column {:?}", field.name);
                    Self::name(message, &field.name, &names, statement)
                }
                other => Self::Engine(plain(&other.to_string())),
            },
            DataFusionError::ResourcesExhausted(message) => {
                Self::Memory(format!("{}; give the session more memory, or let it spill", plain(&message)))
            }
            DataFusionError::NotImplemented(message) => Self::NotSupported(plain(&message)),
            other => Self::Engine(plain(&other.to_string())),
        }
    }

    /// A name that stands for nothing, with the nearest of those that do, if one is near.
    pub(crate) fn name(message: String, name: &str, known: &[String], statement: &str) -> Self {
        let nearest = known
            .iter()
            .map(|k| (strsim::damerau_levenshtein(&k.to_lowercase(), &name.to_lowercase()), k))
            .min_by_key(|(distance, _)| *distance)
            .filter(|(distance, _)| *distance * 3 <= name.chars().count().max(3));
        let at = statement.to_lowercase().find(&name.to_lowercase());
        Self::Name {
            message,
            suggestion: nearest.map(|(_, k)| k.clone()),
            place: at.map(|at| at..at + name.len()),
        }
    }
}

/// A message without the prefixes that tell DataFusion's kinds of errors apart.
fn plain(message: &str) -> String {
    let mut text = message;
    for prefix in [
        "Error during planning: ",
        "This feature is not implemented: ",
        "Execution error: ",
        "SQL error: ",
        "Schema error: ",
        "Arrow error: ",
        "External error: ",
        "sql parser error: ",
        "Optimizer rule ",
    ] {
        text = text.strip_prefix(prefix).unwrap_or(text);
    }
    text.split("\n\nbacktrace").next().unwrap_or(text).to_owned()
}

/// The place that a parser's message names: `Line: 1, Column: 8`.
fn place_of(message: &str, statement: &str) -> Option<Range<usize>> {
    let (_, rest) = message.split_once("Line: ")?;
    let (line, rest) = rest.split_once(", Column: ")?;
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    let (line, column): (usize, usize) = (line.parse().ok()?, digits.parse().ok()?);
    let start: usize = statement.split_inclusive('\n').take(line.checked_sub(1)?).map(str::len).sum();
    let within = statement.get(start..)?;
    let at = within.char_indices().nth(column.checked_sub(1)?).map_or(within.len(), |(at, _)| at);
    let width: usize =
        within[at..].chars().take_while(|c| c.is_alphanumeric() || *c == '_').map(char::len_utf8).sum();
    Some(start + at..start + at + width)
}
