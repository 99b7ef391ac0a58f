//! Metadata archives: schema, blocks and columns, as rkyv lays them out.
//!
//! rkyv has no schema evolution, so archived types are frozen in versioned modules ([`v1`]); a change is a new module and a
//! new section version. Every access validates ([`access`]).

pub mod v1;

use rkyv::Portable;
use rkyv::api::high::HighValidator;
use rkyv::bytecheck::CheckBytes;
use rkyv::rancor::Error;

use crate::error::{FormatError, Result};

/// Validates an archive and gives access to it in place.
///
/// # Errors
/// [`FormatError::Corrupt`] when the bytes are not an archive of the type.
pub fn access<'a, T>(what: &'static str, bytes: &'a [u8]) -> Result<&'a T>
where
    T: Portable + for<'b> CheckBytes<HighValidator<'b, Error>>,
{
    rkyv::access::<T, Error>(bytes).map_err(|e| FormatError::corrupt(what, e.to_string()))
}
