//! SQL over DeltaLite files and tables, on DataFusion.
//!
//! From the top down:
//!
//! * [`session`] – a [`Session`] takes statements; [`query`] – what becomes of one: batches, progress; [`error`] – what can go wrong;
//! * [`statement`] – statements that are ours, and time travel, found in the text;
//! * [`dml`], [`ddl`] – running statements that change rows, and tables; `cancel` – ending them; [`expressions`] – SQL in constraints and defaults;
//! * [`catalog`] – what a name or a path in FROM is; [`provider`] – a version of a table, or a file, as a relation;
//! * `pattern` – files by `*`; `foreign` – those of other formats; `copy` – writing files; `delta` – Delta Lake tables, read and written; `remote` – tables of servers; [`scan`] – reading it, in as many partitions as are wanted, from one queue; [`pushdown`], `condition` – conditions that the scan takes over;
//! * `changes` – what versions changed, as a function in FROM; `transaction` – what is between BEGIN and COMMIT; `yielding` – joins that can be ended; `filters` – conditions that are
//!   handed down to scans; `joins` – joins that would not fit; `order` – their order;
//!   `decimals` – arithmetic of small ones; `few` – aggregates of few groups; `equalities` – what is not concluded from conditions; `plain` – nested types; `maps` – their keys;
//!   `schemas` – folders of tables; `understood` – parts of statements that are refused.

mod cancel;
pub mod catalog;
mod changes;
mod condition;
mod copy;
mod ddl;
mod decimals;
mod delta;
mod dml;
mod equalities;
pub mod error;
pub mod expressions;
mod few;
mod filters;
mod foreign;
mod joins;
mod maps;
mod order;
mod pattern;
mod plain;
pub mod provider;
pub mod pushdown;
pub mod query;
mod remote;
pub mod scan;
mod schemas;
pub mod session;
pub mod statement;
mod transaction;
mod understood;
mod yielding;

pub use error::QueryError;
pub use query::{Query, QueryStream};
pub use remote::Connecting;
pub use session::{Session, SessionOptions};
pub use statement::Statements;
