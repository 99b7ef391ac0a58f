//! Reading a file: open → plan → scan units, or take single rows.
//!
//! * [`source`] – where metadata comes from; [`open`] – the end of a file; [`meta`] – the open file and its columns;
//! * [`plan`] – columns, predicate, units left after pruning; [`mod@unit`] – one unit to batches;
//! * [`take`] – single rows by number;
//! * `stream`, `leaf`, `nested` – pages to arrays; `evolution` – a file seen through a newer schema;
//! * [`mod@file`] – all of it over one [`ReadAt`], blocking.

pub(crate) mod evolution;
pub mod file;
mod leaf;
pub mod meta;
mod nested;
pub mod open;
pub mod plan;
pub mod source;
mod stream;
pub mod take;
pub mod unit;

use std::sync::Arc;

use arrow_schema::DataType;

pub use file::FileReader;
pub use meta::{ChunkMeta, ColumnMeta, FileMeta, PageRef};
pub use open::{Footer, OpenDecoder, OpenStep};
pub use plan::{BATCH_ROWS_DEFAULT, PruneCounts, ScanOptions, ScanPlan, UnitTask};
pub use source::ReadAt;
pub use take::{TakePlan, TakeScan};
pub use unit::{Step, UnitCounts, UnitScan};

/// The type that values of a written type are read as: strings and binaries as views, dictionaries as their values, nested types
/// with children read likewise.
pub fn read_type(written: &DataType) -> DataType {
    match written {
        DataType::Utf8 | DataType::LargeUtf8 => DataType::Utf8View,
        DataType::Binary | DataType::LargeBinary => DataType::BinaryView,
        DataType::Dictionary(_, value) => read_type(value),
        other => crate::schema::map_children(other, &mut |f| {
            Arc::new(f.as_ref().clone().with_data_type(read_type(f.data_type())))
        }),
    }
}
