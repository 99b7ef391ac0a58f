//! Byte strings of any length: strings and binaries.
//!
//! * [`input`] – values on their way in, from any Arrow layout; [`encode`] – [`BytesEncoder`], which chooses an encoding;
//! * [`decode`] – [`BytesDecoder`]: ranges and rows as Arrow views; [`filter`] – tests on encoded values;
//! * [`concat`] – values one after another with their lengths beside them: as they are, in [`fsst`] codes or in [`zstd`] frames;
//! * [`dictionary`] – distinct values and codes;
//! * [`view`] – Arrow's views; [`utf8`] – the check that keeps text text.
//!
//! A value's slot costs nothing but its length when it is empty, and lengths compress as integers do, so strings that are mostly
//! empty need no encoding of their own; neither do runs, which are runs of codes into a dictionary.

mod concat;
mod decode;
mod dictionary;
mod encode;
mod filter;
mod fsst;
mod input;
#[cfg(test)]
mod tests;
mod utf8;
mod view;
mod zstd;

pub use decode::BytesDecoder;
pub(crate) use decode::decode_all;
pub(crate) use dictionary::DictionaryBuilder;
pub use encode::BytesEncoder;
pub use input::BytesInput;
pub(crate) use zstd::{compress, decompress};
