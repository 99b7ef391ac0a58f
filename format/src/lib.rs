//! The DeltaLite block file format: encodings, statistics, blocks, footer, splits and salvage.
//!
//! Sans-IO: nothing here opens a file or waits; writers are given a sink, readers say which bytes they need and are given them.
//!
//! From the bottom up:
//!
//! * [`limits`] – every size and limit; [`error`] – what can go wrong; [`phys`] – physical types; [`mask`] – selection masks;
//! * [`page`] – a page as a tree of nodes over buffers; [`encoding`] – values to pages and back;
//! * [`predicate`] – conditions over columns, pruned by statistics and evaluated on encoded data.

pub mod encoding;
pub mod error;
pub mod limits;
pub mod mask;
pub mod page;
pub mod phys;
pub mod predicate;

pub use encoding::{EncodeOptions, Profile};
pub use error::{FormatError, Place, Result};
