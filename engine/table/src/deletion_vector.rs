//! Deletion vectors: which rows of a file are deleted, as Delta Lake writes them (PROTOCOL.md, "Deletion Vectors").
//!
//! ```text
//! vector   u32 1681511377, then a 64-bit Roaring bitmap in its portable form; all little-endian
//! inline   the vector in Z85, filled up with zeros to a multiple of four bytes
//! file     byte 1 (the version), then for each vector: its length as u32, the vector, its CRC-32 (IEEE), both numbers big-endian
//! ```
//!
//! A file's name is made of a UUID: the descriptor has it in Z85, after an optional folder.

use crc_fast::{CrcAlgorithm, checksum};
use uuid::Uuid;

use crate::error::{Result, TableError};
use crate::log::action::{DeletionVector, DvStorage};
use crate::txn::Rows;

const MAGIC: u32 = 1_681_511_377;
const FILE_VERSION: u8 = 1;
/// Characters of a UUID in Z85.
const UUID_CHARS: usize = 20;
/// A vector of at most this many bytes is kept in its descriptor: a file of its own would cost a sync and an open.
pub const INLINE_BYTES_MAX: usize = 1024;
/// Most bytes of a vector: a bitmap of four billion rows.
pub const VECTOR_BYTES_MAX: usize = 512 << 20;

fn encode(rows: &Rows) -> Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(4 + rows.serialized_size());
    bytes.extend_from_slice(&MAGIC.to_le_bytes());
    rows.serialize_into(&mut bytes)
        .map_err(|e| TableError::invalid("writing a deletion vector", e.to_string()))?;
    if bytes.len() > VECTOR_BYTES_MAX {
        return Err(TableError::TooLarge {
            what: "a deletion vector".to_owned(),
            found: bytes.len() as u64,
            max: VECTOR_BYTES_MAX as u64,
            advice: "write the file anew without the rows instead",
        });
    }
    Ok(bytes)
}

fn decode(of: &DeletionVector, bytes: &[u8]) -> Result<Rows> {
    let wrong = |detail: String| TableError::corrupt(format!("deletion vector {}", of.unique_id()), detail);
    let mut bitmap = bytes
        .strip_prefix(&MAGIC.to_le_bytes())
        .ok_or_else(|| wrong("it does not begin like one".to_owned()))?;
    let rows = Rows::deserialize_from(&mut bitmap).map_err(|e| wrong(e.to_string()))?;
    if !bitmap.is_empty() {
        return Err(wrong(format!("{} bytes follow its bitmap", bitmap.len())));
    }
    if rows.len() != of.cardinality {
        return Err(wrong(format!("it has {} rows, {} were recorded", rows.len(), of.cardinality)));
    }
    Ok(rows)
}

/// The descriptor that holds a vector itself; `None` when it is too large for that.
///
/// ```
/// use deltalite_table::deletion_vector::{inline, read_inline};
/// let rows = [3, 5, 8].into_iter().collect();
/// let vector = inline(&rows)?.unwrap();
/// assert_eq!(vector.cardinality, 3);
/// assert_eq!(read_inline(&vector)?, rows);
/// # Ok::<(), deltalite_table::TableError>(())
/// ```
///
/// # Errors
/// When there are more rows than a vector can have.
pub fn inline(rows: &Rows) -> Result<Option<DeletionVector>> {
    let mut bytes = encode(rows)?;
    if bytes.len() > INLINE_BYTES_MAX {
        return Ok(None);
    }
    let size_in_bytes = bytes.len() as u32;
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    Ok(Some(DeletionVector {
        storage_type: DvStorage::Inline,
        path_or_inline_dv: z85::encode(&bytes).into(),
        offset: None,
        size_in_bytes,
        cardinality: rows.len(),
    }))
}

/// The rows of a vector that is in its descriptor.
///
/// # Errors
/// When it is somewhere else, or damaged.
pub fn read_inline(vector: &DeletionVector) -> Result<Rows> {
    let wrong =
        |detail: String| TableError::corrupt(format!("deletion vector {}", vector.unique_id()), detail);
    if vector.storage_type != DvStorage::Inline {
        return Err(TableError::invalid("reading a deletion vector", "it is in a file; read that"));
    }
    let mut bytes = z85::decode(&*vector.path_or_inline_dv).map_err(|e| wrong(e.to_string()))?;
    let len = vector.size_in_bytes as usize;
    if bytes.len() != len.next_multiple_of(4) {
        return Err(wrong(format!("{} bytes, {len} were recorded", bytes.len())));
    }
    bytes.truncate(len);
    decode(vector, &bytes)
}

/// Collects the vectors of one commit into a file beside the data.
#[derive(Debug)]
pub struct VectorFile {
    id: Uuid,
    bytes: Vec<u8>,
}

impl Default for VectorFile {
    fn default() -> Self {
        Self { id: Uuid::new_v4(), bytes: vec![FILE_VERSION] }
    }
}

impl VectorFile {
    /// Appends a vector; returns its descriptor.
    ///
    /// # Errors
    /// When the vector or the file becomes too large.
    pub fn push(&mut self, rows: &Rows) -> Result<DeletionVector> {
        let vector = encode(rows)?;
        let offset = u32::try_from(self.bytes.len()).map_err(|_| TableError::TooLarge {
            what: "a file of deletion vectors".to_owned(),
            found: self.bytes.len() as u64,
            max: u64::from(u32::MAX),
            advice: "begin another file",
        })?;
        self.bytes.extend_from_slice(&(vector.len() as u32).to_be_bytes());
        self.bytes.extend_from_slice(&vector);
        self.bytes.extend_from_slice(&crc32(&vector).to_be_bytes());
        Ok(DeletionVector {
            storage_type: DvStorage::Relative,
            path_or_inline_dv: z85::encode(self.id.as_bytes()).into(),
            offset: Some(offset),
            size_in_bytes: vector.len() as u32,
            cardinality: rows.len(),
        })
    }

    /// Whether nothing was appended.
    pub fn is_empty(&self) -> bool {
        self.bytes.len() == 1
    }

    /// The file's name, relative to the table's folder, and its bytes.
    pub fn finish(self) -> (String, Vec<u8>) {
        (name_of(self.id), self.bytes)
    }
}

fn name_of(id: Uuid) -> String {
    format!("deletion_vector_{id}.bin")
}

fn crc32(bytes: &[u8]) -> u32 {
    checksum(CrcAlgorithm::Crc32IsoHdlc, bytes) as u32
}

/// Where the file of a vector is: relative to the table's folder, or absolute; `None` for one that is in its descriptor.
///
/// # Errors
/// When the descriptor has no valid UUID.
pub fn file_of(vector: &DeletionVector) -> Result<Option<String>> {
    let text = &*vector.path_or_inline_dv;
    let wrong = || {
        TableError::corrupt(format!("deletion vector {}", vector.unique_id()), "its file has no valid name")
    };
    match vector.storage_type {
        DvStorage::Inline => Ok(None),
        DvStorage::Absolute => Ok(Some(text.to_owned())),
        DvStorage::Relative => {
            let at = text
                .len()
                .checked_sub(UUID_CHARS)
                .filter(|at| text.is_char_boundary(*at))
                .ok_or_else(wrong)?;
            let (folder, id) = text.split_at(at);
            let id =
                z85::decode(id).ok().and_then(|bytes| Uuid::from_slice(&bytes).ok()).ok_or_else(wrong)?;
            Ok(Some(if folder.is_empty() { name_of(id) } else { format!("{folder}/{}", name_of(id)) }))
        }
    }
}

/// The rows of a vector in a file, of which `bytes` is all.
///
/// # Errors
/// When the file is damaged, or does not have the vector.
pub fn read_file(vector: &DeletionVector, bytes: &[u8]) -> Result<Rows> {
    let wrong = |detail: &str| {
        TableError::corrupt(format!("deletion vector {}", vector.unique_id()), detail.to_owned())
    };
    if bytes.first() != Some(&FILE_VERSION) {
        return Err(wrong("its file is of an unknown version"));
    }
    let at = vector.offset.map_or(1, |offset| offset as usize);
    let len = vector.size_in_bytes as usize;
    let rest = bytes.get(at..).ok_or_else(|| wrong("it begins past the end of its file"))?;
    let (stored_len, rest) = rest.split_first_chunk::<4>().ok_or_else(|| wrong("its file is cut off"))?;
    if u32::from_be_bytes(*stored_len) as usize != len {
        return Err(wrong("its file says another length than its descriptor"));
    }
    let (Some(body), Some(crc)) = (rest.get(..len), rest.get(len..).and_then(|r| r.first_chunk::<4>()))
    else {
        return Err(wrong("its file is cut off"));
    };
    if crc32(body) != u32::from_be_bytes(*crc) {
        return Err(wrong("its checksum is wrong"));
    }
    decode(vector, body)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that can't set up its data has failed")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_rows() -> impl Strategy<Value = Rows> {
        let far = prop::collection::btree_set(
            prop_oneof![0u64..5000, any::<u32>().prop_map(u64::from), 0..u64::MAX >> 8],
            0..60,
        );
        let runs =
            (0u64..100_000, 0u64..5000).prop_map(|(start, len)| (start..start + len).collect::<Rows>());
        (far, runs).prop_map(|(far, runs)| runs | far.into_iter().collect::<Rows>())
    }

    proptest! {
        #[test]
        fn rows_come_back(all in prop::collection::vec(any_rows(), 1..5)) {
            let mut file = VectorFile::default();
            let vectors: Vec<_> = all.iter().map(|rows| file.push(rows).unwrap()).collect();
            let (name, bytes) = file.finish();
            for (rows, vector) in all.iter().zip(&vectors) {
                prop_assert_eq!(file_of(vector).unwrap().unwrap(), name.clone());
                prop_assert_eq!(&read_file(vector, &bytes).unwrap(), rows);
                if let Some(inlined) = inline(rows).unwrap() {
                    prop_assert_eq!(&read_inline(&inlined).unwrap(), rows);
                    prop_assert_eq!(file_of(&inlined).unwrap(), None);
                }
            }
        }

        #[test]
        fn a_flip_in_a_file_is_an_error(rows in any_rows(), at in any::<prop::sample::Index>(), bit in 0..8) {
            let mut file = VectorFile::default();
            let vector = file.push(&rows).unwrap();
            let (_, mut bytes) = file.finish();
            let at = at.index(bytes.len());
            bytes[at] ^= 1u8 << bit;
            prop_assert!(read_file(&vector, &bytes).unwrap_err().is_damage());
            prop_assert!(read_file(&vector, &bytes[..at]).is_err());
        }

        #[test]
        fn nonsense_is_an_error(text in "[ -~]{0,60}", size in 0u32..100, bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            for storage_type in [DvStorage::Inline, DvStorage::Relative] {
                let vector = DeletionVector {
                    storage_type,
                    path_or_inline_dv: text.clone().into(),
                    offset: None,
                    size_in_bytes: size,
                    cardinality: 3,
                };
                prop_assert!(read_inline(&vector).is_err());
                prop_assert!(read_file(&vector, &bytes).is_err());
                let _ = file_of(&vector);
            }
        }
    }

    /// The name is an example of Delta's specification, the vector one of delta-kernel-rs (the specification's own is in another,
    /// older form).
    #[test]
    fn what_others_write_is_read() {
        let vector = DeletionVector {
            storage_type: DvStorage::Relative,
            path_or_inline_dv: "ab^-aqEH.-t@S}K{vb[*k^".into(),
            offset: Some(4),
            size_in_bytes: 40,
            cardinality: 6,
        };
        assert_eq!(
            file_of(&vector).unwrap().unwrap(),
            "ab/deletion_vector_d2c639aa-8816-431a-aaf6-d3fe2512ff61.bin"
        );
        let inline = DeletionVector {
            storage_type: DvStorage::Inline,
            path_or_inline_dv: "^Bg9^0rr910000000000iXQKl0rr91000f55c8Xg0@@D72lkbi5=-{L".into(),
            offset: None,
            size_in_bytes: 44,
            cardinality: 6,
        };
        assert_eq!(read_inline(&inline).unwrap().into_iter().collect::<Vec<_>>(), [3, 4, 7, 11, 18, 29]);
    }
}
