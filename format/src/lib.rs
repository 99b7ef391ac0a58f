//! The DeltaLite block file format: encodings, statistics, blocks, footer, splits and salvage.
//!
//! Sans-IO: nothing here opens a file or waits; writers are given a sink, readers say which bytes they need and are given them.
//!
//! From the bottom up:
//!
//! * [`limits`] – every size and limit; [`error`] – what can go wrong; [`checksum`] – CRC-32C; [`mask`] – selection masks;
//! * [`phys`] – physical types; [`page`] – a page as a tree of nodes over buffers; [`kernels`] – inner loops for several
//!   instruction sets; [`encoding`] – values to pages and back;
//! * [`key`], [`stats`], [`bloom`] – what is known of values without reading them; [`predicate`] – which rows are wanted;
//! * [`schema`] – Arrow types, field ids, columns as streams; [`layout`] and [`meta`] – the structures on disk;
//! * [`writer`] – batches to a file; [`reader`] – a file to batches;
//! * [`split`], [`salvage`], [`mod@verify`] – reading parts, reading what is left, checking the whole.

pub mod bloom;
pub mod checksum;
pub mod encoding;
pub mod error;
mod hash;
pub mod kernels;
pub mod key;
pub mod layout;
pub mod limits;
pub mod mask;
pub mod meta;
mod native;
pub mod page;
pub mod phys;
pub mod predicate;
pub mod reader;
pub mod salvage;
pub mod schema;
pub mod split;
pub mod stats;
#[cfg(test)]
mod test_arrays;
pub mod verify;
pub mod writer;

pub use encoding::{EncodeOptions, Profile};
pub use error::{FormatError, Place, Result};
pub use reader::{FileMeta, FileReader, ScanOptions};
pub use schema::SchemaDefinition;
pub use split::SplitSpec;
pub use writer::{FileWriter, WriteSummary, WriterOptions};
