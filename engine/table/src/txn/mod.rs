//! Transactions: whether what one has read and is about to write still holds after others have committed.
//!
//! Everything here is a pure function of what a transaction did ([`ReadSet`], [`WriteSet`]) and of what others committed since
//! ([`WinnerSummary`]): no I/O, no clock, so that every history can be tried out. `docs/transactions.md` tells the rules.
//!
//! * [`isolation`] – what a table or a transaction asks for;
//! * [`sets`] – what a transaction read and wrote; [`winner`] – what a version that won did; [`row_map`] – where compaction put rows;
//! * [`schema`] – which changes of metadata another transaction can live with;
//! * [`rules`] – [`check`]: the rules R0 to R15, one after the other; [`conflict`] – what it says when one of them ends it;
//! * [`actions`] – from a write set that has passed to the actions of a version.

pub mod actions;
pub mod conflict;
pub mod isolation;
pub mod row_map;
pub mod rules;
pub mod schema;
pub mod sets;
pub mod winner;

pub use conflict::{Conflict, Remedy, Rule};
pub use isolation::Isolation;
pub use row_map::{MappedRun, RowMap, RowMapBuilder};
pub use rules::{Checked, check};
pub use sets::{
    Changed, Columns, DomainWrite, FilePredicate, ReadSet, Removal, RowDelete, Rows, Transaction, WriteSet,
};
pub use winner::{RowChange, WinnerSummary};
