//! Why a transaction can't commit.

use std::fmt;

use crate::version::Version;

/// A rule of `docs/transactions.md`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Rule {
    /// R1: the protocol changed.
    Protocol,
    /// R2: the metadata changed.
    Metadata,
    /// R3: a domain changed.
    Domain,
    /// R4: an application's progress changed.
    AppTransaction,
    /// R6: rows were added that it would have seen.
    PhantomAdd,
    /// R7: what it read was deleted.
    DeleteRead,
    /// R8: what it removes was removed.
    DeleteDelete,
    /// R9: the same rows were deleted.
    RowLevel,
    /// R10: a key is taken.
    Keys,
    /// R13: the version it read is too old to be compared with.
    Horizon,
    /// R14: a lock or lease was lost.
    Fence,
    /// R15: its actions contradict each other.
    Shape,
}

impl Rule {
    /// Its name in the documentation.
    pub fn name(self) -> &'static str {
        match self {
            Rule::Protocol => "R1 protocol",
            Rule::Metadata => "R2 metadata",
            Rule::Domain => "R3 domains",
            Rule::AppTransaction => "R4 app transactions",
            Rule::PhantomAdd => "R6 phantom adds",
            Rule::DeleteRead => "R7 delete/read",
            Rule::DeleteDelete => "R8 delete/delete",
            Rule::RowLevel => "R9 row level",
            Rule::Keys => "R10 keys",
            Rule::Horizon => "R13 horizon",
            Rule::Fence => "R14 fences",
            Rule::Shape => "R15 shape",
        }
    }
}

/// What helps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remedy {
    /// Running the statement again on the new version: it may well succeed.
    RunAgain,
    /// Nothing as long as the data or the program is the same.
    Change,
}

/// A transaction met a version that it can't be put on top of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    /// The rule that ended it.
    pub rule: Rule,
    /// The version that won.
    pub version: Version,
    /// What that version was, for example `DELETE`.
    pub operation: String,
    /// The file in question.
    pub path: Option<Box<str>>,
    /// Rows of it that both changed: some of them, and how many.
    pub rows: Option<(Vec<u64>, u64)>,
    /// The condition in question.
    pub predicate: Option<String>,
    /// What happened, in words.
    pub detail: String,
    /// Whether it was tried to put the transaction on top of that version.
    pub rebase_tried: bool,
    /// What helps.
    pub remedy: Remedy,
}

impl fmt::Display for Conflict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "version {} ({}) won: {}", self.version, self.operation, self.detail)?;
        if let Some(path) = &self.path {
            write!(f, "; file {path}")?;
        }
        if let Some((some, count)) = &self.rows {
            let list: Vec<String> = some.iter().map(u64::to_string).collect();
            let more = if *count > some.len() as u64 { ", …" } else { "" };
            write!(f, ", {count} row(s): {}{more}", list.join(", "))?;
        }
        if let Some(predicate) = &self.predicate {
            write!(f, "; condition {predicate}")?;
        }
        let tried = if self.rebase_tried { "; a rebase was tried" } else { "" };
        let advice = match self.remedy {
            Remedy::RunAgain => "run the statement again",
            Remedy::Change => "running it again as it is would not help",
        };
        write!(f, " [{}{tried}]; {advice}", self.rule.name())
    }
}

impl std::error::Error for Conflict {}
