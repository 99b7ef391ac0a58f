//! The live files of a table: many, mostly unchanged from version to version.
//!
//! * [`set`] – [`FileSet`]: buckets by hash of path, shared between versions until touched;
//! * `bucket` – one bucket: columns, which of their rows are gone, and what was added since;
//! * `columns` – files as Arrow arrays, in memory and as sidecars; [`view`] – one file, wherever it lies;
//! * `removed` – removals as rows of sidecars; [`tombstones`] – files that are gone but still on disk.

mod bucket;
mod columns;
mod removed;
pub mod set;
pub mod tombstones;
pub mod view;

pub(crate) use bucket::Bucket;
pub(crate) use columns::{Columns, ColumnsBuilder, open_columns, read_columns, write_columns};
pub(crate) use removed::{read_removed, write_removed};
pub use set::FileSet;
pub use tombstones::{Tombstone, Tombstones};
pub use view::FileView;
