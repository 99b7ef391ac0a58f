//! Small data files whose bytes are in the log.
//!
//! A commit that adds a few rows would wait for the disk twice and more: for the file, for its name, for the log. So the bytes of small files go
//! into the log, in lines of their own, and only the log is synced. The file itself is written too, where its path says, but nobody
//! waits for it: who reads it checks its length and hash, and where a crash has taken or torn it, takes the bytes from the log and
//! writes it again. The `add` says by its tag [`INLINE_TAG`] that this is so.
//!
//! ```text
//! {"deltaliteData":{"path":"…","z85":"…"}}     after the actions; the bytes filled up with zeros to a multiple of four
//! ```

use std::borrow::Cow;
use std::collections::BTreeMap;

use arrow_buffer::Buffer;
use memchr::memchr_iter;
use serde::{Deserialize, Serialize};

use super::action::{Add, StringMap};
use super::hash::ContentHash;
use super::name::LogFile;
use super::section::Section;
use super::store::LogStore;
use crate::error::{Result, TableError};
use crate::version::Version;

/// The tag of an `add` whose file is in the log: `<version>:<BLAKE3 of the file>`.
pub const INLINE_TAG: &str = "deltalite.inline";

/// How a line with a file's bytes begins.
pub(crate) const LINE_HEAD: &[u8] = b"{\"deltaliteData\":";

#[derive(Serialize, Deserialize)]
pub(crate) struct DataLine<'a> {
    #[serde(rename = "deltaliteData", borrow)]
    data: Data<'a>,
}

#[derive(Serialize, Deserialize)]
struct Data<'a> {
    #[serde(borrow)]
    path: Cow<'a, str>,
    #[serde(borrow)]
    z85: Cow<'a, str>,
}

impl<'a> DataLine<'a> {
    pub(crate) fn new(path: &'a str, bytes: &[u8]) -> Self {
        let mut padded = bytes.to_vec();
        padded.resize(bytes.len().next_multiple_of(4), 0);
        Self { data: Data { path: path.into(), z85: z85::encode(&padded).into() } }
    }
}

/// Where in the log a file's bytes are, and what they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Inlined {
    /// The version whose section has them.
    pub version: Version,
    /// Their hash.
    pub hash: ContentHash,
}

impl Inlined {
    /// What a file's tags say; `None` if it is not in the log.
    ///
    /// # Errors
    /// When the tag is not understood.
    pub fn of(add: &Add) -> Result<Option<Self>> {
        let Some(text) = add.tags.as_ref().and_then(|tags| tags.value(INLINE_TAG)) else { return Ok(None) };
        let wrong = || {
            TableError::corrupt(&add.path, format!("its tag {INLINE_TAG} is {text:?}, not <version>:<hash>"))
        };
        let (version, hash) = text.split_once(':').ok_or_else(wrong)?;
        let version = version.parse().map(Version).ok().filter(|v| *v <= Version::MAX).ok_or_else(wrong)?;
        let hash = hash.parse().map_err(|_| wrong())?;
        Ok(Some(Self { version, hash }))
    }

    /// Says so in a file's tags.
    pub(crate) fn note(self, add: &mut Add) {
        let text = format!("{}:{}", self.version, self.hash);
        let known = add.tags.take().unwrap_or_default();
        let others = known.iter().filter(|(key, _)| *key != INLINE_TAG);
        add.tags =
            Some(others.chain([(INLINE_TAG, Some(text.as_str()))]).collect::<Vec<_>>().into_iter().collect());
    }

    /// Takes the tag away: of a file that is durable, or a copy of one.
    pub(crate) fn forget(add: &mut Add) {
        if let Some(tags) = add.tags.take() {
            let others: StringMap =
                tags.iter().filter(|(key, _)| *key != INLINE_TAG).collect::<Vec<_>>().into_iter().collect();
            add.tags = Some(others).filter(|tags| !tags.is_empty());
        }
    }

    /// Whether these are the file's bytes.
    pub(crate) fn is(&self, bytes: &[u8], size: u64) -> bool {
        bytes.len() as u64 == size && ContentHash::of(bytes) == self.hash
    }

    /// The file's bytes, from the log.
    ///
    /// # Errors
    /// When they are not there, or not those that the tag says.
    pub(crate) fn read(&self, store: &dyn LogStore, path: &str, size: u64) -> Result<Vec<u8>> {
        let file = LogFile::Commit(self.version);
        let section = store.read(self.version)?.ok_or_else(|| TableError::Missing {
            file: file.to_string(),
            detail: format!(
                "{path} is damaged or gone, and its bytes were in this version, which is gone from {}",
                store.place()
            ),
        })?;
        let bytes = find(&section, path)?
            .filter(|bytes| self.is(bytes.get(..size as usize).unwrap_or_default(), size));
        let mut bytes = bytes.ok_or_else(|| {
            TableError::corrupt(
                file,
                format!("it does not have the bytes of {path}, which is damaged or gone"),
            )
        })?;
        bytes.truncate(size as usize);
        Ok(bytes)
    }
}

/// The bytes of a file in a section, and the zeros behind them.
fn find(section: &Section, path: &str) -> Result<Option<Vec<u8>>> {
    let lines = section.lines();
    let mut start = 0;
    for end in memchr_iter(b'\n', lines) {
        let line = &lines[start..end];
        start = end + 1;
        if !line.starts_with(LINE_HEAD) {
            continue;
        }
        let file = LogFile::Commit(section.version());
        let line: DataLine<'_> = serde_json::from_slice(line).map_err(|e| {
            TableError::corrupt(file, format!("a line with the bytes of a file is not understood: {e}"))
        })?;
        if line.data.path == path {
            let bytes = z85::decode(line.data.z85.as_bytes()).map_err(|e| {
                TableError::corrupt(file, format!("the bytes of {path} are not understood: {e}"))
            })?;
            return Ok(Some(bytes));
        }
    }
    Ok(None)
}

/// A file that goes into the log with the version that adds it.
#[derive(Debug, Clone)]
pub struct SmallFile {
    /// Its bytes.
    pub bytes: Buffer,
    /// Their hash.
    pub hash: ContentHash,
}

/// Files that go into the log with the version that adds them, by path.
pub type SmallFiles = BTreeMap<Box<str>, SmallFile>;

impl SmallFile {
    /// A file of these bytes.
    pub fn new(bytes: Buffer) -> Self {
        let hash = ContentHash::of(&bytes);
        Self { bytes, hash }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that can't set up its data has failed")]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::log::action::CommitInfo;
    use crate::log::action::parse_commit;

    proptest! {
        #[test]
        fn bytes_come_back(files in prop::collection::btree_map(".{1,20}", prop::collection::vec(any::<u8>(), 1..400), 1..4)) {
            let small: Vec<(&str, SmallFile)> = files.iter().map(|(p, b)| (p.as_str(), SmallFile::new(Buffer::from(b.as_slice())))).collect();
            let section = Section::write(&CommitInfo::new("WRITE"), &[], small.iter().map(|(p, f)| (*p, f.bytes.as_slice()))).unwrap();
            // Who does not know of them passes over them.
            prop_assert_eq!(parse_commit(section.lines()).unwrap().len(), 1);
            for (path, bytes) in &files {
                let mut add = Add { path: path.as_str().into(), size: bytes.len() as u64, ..Add::default() };
                Inlined { version: Version(3), hash: ContentHash::of(bytes) }.note(&mut add);
                let inlined = Inlined::of(&add).unwrap().unwrap();
                let mut found = find(&section, path).unwrap().unwrap();
                prop_assert!(found.len() - bytes.len() < 4);
                found.truncate(bytes.len());
                prop_assert!(inlined.is(&found, add.size));
                Inlined::forget(&mut add);
                prop_assert_eq!(add.tags, None);
            }
            prop_assert_eq!(find(&section, "another that is longer than all").unwrap(), None);
        }
    }

    #[test]
    fn nonsense_is_an_error() {
        for text in ["", "7", "7:", ":", "x:y", "-1:00", "7:zz"] {
            let add = Add { tags: Some([(INLINE_TAG, Some(text))].into_iter().collect()), ..Add::default() };
            assert!(Inlined::of(&add).unwrap_err().is_damage(), "{text:?}");
        }
    }
}
