//! The log's two hashes: of a version's bytes, and of the set of live files.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Separates hashes of set elements from all other uses of BLAKE3.
const ELEMENT_CONTEXT: &[u8; 24] = b"deltalite live file v1\0\0";

fn write_hex(bytes: &[u8; 32], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    bytes.iter().try_for_each(|b| write!(f, "{b:02x}"))
}

fn hex(bytes: &[u8; 32]) -> [u8; 64] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut out = [0; 64];
    for (pair, b) in out.chunks_exact_mut(2).zip(bytes) {
        pair[0] = DIGITS[usize::from(b >> 4)];
        pair[1] = DIGITS[usize::from(b & 15)];
    }
    out
}

fn parse_hex(text: &str) -> Option<[u8; 32]> {
    let digit = |c: u8| match c {
        b'0'..=b'9' => Some(c - b'0'),
        b'a'..=b'f' => Some(c - b'a' + 10),
        _ => None,
    };
    let text: &[u8; 64] = text.as_bytes().try_into().ok()?;
    let mut out = [0; 32];
    for (b, pair) in out.iter_mut().zip(text.chunks_exact(2)) {
        *b = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(out)
}

macro_rules! hex_hash {
    ($name:ident) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write_hex(&self.to_bytes(), f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }

        impl FromStr for $name {
            type Err = NotAHash;

            fn from_str(text: &str) -> Result<Self, NotAHash> {
                parse_hex(text).map(Self::from_bytes).ok_or(NotAHash)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let digits = hex(&self.to_bytes());
                serializer.serialize_str(std::str::from_utf8(&digits).unwrap_or_default())
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

/// A text is not 64 lower-case hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a hash of 64 hexadecimal digits in lower case")]
pub struct NotAHash;

/// BLAKE3 of a section of the log (all its lines but the seal), or of a sidecar's bytes. Written as 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct ContentHash([u8; 32]);

hex_hash!(ContentHash);

impl ContentHash {
    /// What stands before the first version: all zeros.
    pub const ZERO: ContentHash = ContentHash([0; 32]);

    /// Of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }

    /// The 32 bytes.
    pub fn to_bytes(self) -> [u8; 32] {
        self.0
    }

    /// The hash with these 32 bytes.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

/// A hash of a set of files that does not depend on their order and is updated by one addition or subtraction a file.
///
/// It is the sum modulo 2²⁵⁶ of BLAKE3 over each `(path, deletion vector)`, written as 64 hexadecimal digits, most
/// significant first. It finds faults; it is no proof against somebody who computes collisions on purpose.
///
/// ```
/// use deltalite_table::log::StateHash;
/// let mut state = StateHash::EMPTY;
/// state.add("a.dlb", None);
/// state.add("b.dlb", Some("ix"));
/// state.remove("a.dlb", None);
/// state.remove("b.dlb", Some("ix"));
/// assert_eq!(state, StateHash::EMPTY);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct StateHash([u64; 4]);

hex_hash!(StateHash);

impl StateHash {
    /// Of no files.
    pub const EMPTY: StateHash = StateHash([0; 4]);

    fn element(path: &str, dv: Option<&str>) -> StateHash {
        let mut hasher = blake3::Hasher::new();
        hasher.update(ELEMENT_CONTEXT);
        hasher.update(&(path.len() as u64).to_le_bytes());
        hasher.update(path.as_bytes());
        if let Some(dv) = dv {
            hasher.update(dv.as_bytes());
        }
        Self::from_bytes(*hasher.finalize().as_bytes())
    }

    /// Takes a file into the set. `dv` is the unique id of its deletion vector.
    pub fn add(&mut self, path: &str, dv: Option<&str>) {
        self.join(&Self::element(path, dv));
    }

    /// Takes a file out of the set.
    pub fn remove(&mut self, path: &str, dv: Option<&str>) {
        self.part(&Self::element(path, dv));
    }

    /// Takes all files of another set in.
    pub fn join(&mut self, other: &StateHash) {
        let mut carry = false;
        for (limb, more) in self.0.iter_mut().zip(other.0) {
            let (sum, c1) = limb.overflowing_add(more);
            let (sum, c2) = sum.overflowing_add(u64::from(carry));
            (*limb, carry) = (sum, c1 || c2);
        }
    }

    /// Takes all files of another set out.
    pub fn part(&mut self, other: &StateHash) {
        let mut borrow = false;
        for (limb, less) in self.0.iter_mut().zip(other.0) {
            let (rest, b1) = limb.overflowing_sub(less);
            let (rest, b2) = rest.overflowing_sub(u64::from(borrow));
            (*limb, borrow) = (rest, b1 || b2);
        }
    }

    /// The number, most significant byte first.
    pub fn to_bytes(self) -> [u8; 32] {
        let mut out = [0; 32];
        for (bytes, limb) in out.chunks_exact_mut(8).zip(self.0.iter().rev()) {
            bytes.copy_from_slice(&limb.to_be_bytes());
        }
        out
    }

    /// The number with these bytes, most significant first.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        let mut limbs = [0; 4];
        for (limb, chunk) in limbs.iter_mut().rev().zip(bytes.chunks_exact(8)) {
            *limb = chunk.iter().fold(0, |n, b| n << 8 | u64::from(*b));
        }
        Self(limbs)
    }
}

/// The 64-bit hash that places a path in a bucket and orders files within it: XXH64 with seed 0 of the path as it is written in the log.
pub fn path_hash(path: &str) -> u64 {
    twox_hash::XxHash64::oneshot(0, path.as_bytes())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn sums_do_not_depend_on_order_and_undo_themselves(
            files in proptest::collection::vec(("[a-z]{0,9}", proptest::option::of("[a-z]{0,3}")), 0..20), cut: prop::sample::Index
        ) {
            let of = |files: &mut dyn Iterator<Item = &(String, Option<String>)>| {
                let mut state = StateHash::EMPTY;
                files.for_each(|(p, d)| state.add(p, d.as_deref()));
                state
            };
            let whole = of(&mut files.iter());
            prop_assert_eq!(whole, of(&mut files.iter().rev()));
            let at = cut.index(files.len() + 1);
            let (mut a, b) = (of(&mut files[..at].iter()), of(&mut files[at..].iter()));
            a.join(&b);
            prop_assert_eq!(a, whole);
            a.part(&b);
            prop_assert_eq!(a, of(&mut files[..at].iter()));
        }

        #[test]
        fn text_round_trips(bytes: [u8; 32]) {
            let (content, state) = (ContentHash::from_bytes(bytes), StateHash::from_bytes(bytes));
            prop_assert_eq!(content.to_string().parse(), Ok(content));
            prop_assert_eq!(state.to_string().parse(), Ok(state));
            prop_assert_eq!(content.to_string(), state.to_string());
        }
    }

    #[test]
    fn a_path_and_its_vector_do_not_run_together() {
        let mut one = StateHash::EMPTY;
        one.add("ab", Some("c"));
        let mut other = StateHash::EMPTY;
        other.add("a", Some("bc"));
        assert_ne!(one, other);
    }

    #[test]
    fn other_texts_are_refused() {
        assert_eq!("".parse::<ContentHash>(), Err(NotAHash));
        assert_eq!("A".repeat(64).parse::<ContentHash>(), Err(NotAHash));
        assert_eq!("0".repeat(63).parse::<StateHash>(), Err(NotAHash));
    }
}
