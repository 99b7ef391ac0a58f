//! The DeltaLite block file format: encodings, statistics, blocks, footer, splits and salvage.
//!
//! Sans-IO: nothing here opens a file or waits; writers are given a sink, readers say which bytes they need and are given them.
//!
//! From the bottom up:
//!
//! * [`limits`] – every size and limit; [`error`] – what can go wrong; [`phys`] – physical types; [`mask`] – selection masks;
//! * [`page`] – a page as a tree of nodes over buffers; [`encoding`] – values to pages and back;
//! * [`key`] – order-preserving keys of values; [`stats`] – statistics over them; [`bloom`] – filters that know what is absent;
//! * [`predicate`] – conditions over columns, pruned by statistics and evaluated on encoded data.

pub mod bloom;
pub mod encoding;
pub mod error;
mod hash;
pub mod key;
pub mod limits;
pub mod mask;
mod native;
pub mod page;
pub mod phys;
pub mod predicate;
pub mod stats;
#[cfg(test)]
mod test_arrays;

pub use encoding::{EncodeOptions, Profile};
pub use error::{FormatError, Place, Result};
