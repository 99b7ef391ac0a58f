//! Sections: the lines of one version.
//!
//! ```text
//! {"commitInfo":{"deltalite.version":7,…}}            first line, beginning with exactly these characters
//! {"add":…}                                           the version's other actions, and bytes of small files
//! {"deltaliteSeal":{"blake3":"<64 hex digits>"}}      last line: hash of all bytes of the section before it
//! ```
//!
//! Each line ends with a line feed. A file holds the sections of one or more consecutive versions, one after the other, and is
//! linked under the name of each; who reads version *n* takes the section that says so, and does not look at what is behind it: that may
//! just be written. A checkpoint is sealed likewise.

use arrow_buffer::Buffer;
use memchr::{memchr, memmem};
use serde::Serialize;

use super::action::{Action, CommitInfo};
use super::hash::ContentHash;
use super::inline::DataLine;
use super::name::LogFile;
use crate::error::{Result, TableError};
use crate::version::Version;

const HEAD: &[u8] = b"{\"commitInfo\":{\"deltalite.version\":";
const SEAL_HEAD: &[u8] = b"{\"deltaliteSeal\":{\"blake3\":\"";
const SEAL_TAIL: &[u8] = b"\"}}\n";
const SEAL_BYTES: usize = SEAL_HEAD.len() + 64 + SEAL_TAIL.len();

/// The lines of one version, whole and checked against their seal.
#[derive(Debug, Clone, PartialEq)]
pub struct Section {
    version: Version,
    hash: ContentHash,
    /// With the seal.
    bytes: Buffer,
}

impl Section {
    /// Writes a section: the commit's facts first, then its actions, then the bytes of small files by their paths.
    pub(crate) fn write<'a>(
        info: &CommitInfo,
        actions: &[Action],
        data: impl IntoIterator<Item = (&'a str, &'a [u8])>,
    ) -> Result<Self> {
        let mut out = Vec::with_capacity(1024 + 512 * actions.len());
        push_line(&mut out, &CommitInfoLine { commit_info: info })?;
        for action in actions {
            push_line(&mut out, action)?;
        }
        for (path, bytes) in data {
            push_line(&mut out, &DataLine::new(path, bytes))?;
        }
        let hash = push_seal(&mut out);
        Ok(Self { version: info.version, hash, bytes: Buffer::from_vec(out) })
    }

    /// The section of a version in a file's bytes; `None` if the file has none for it.
    ///
    /// # Errors
    /// When a section before it, or it, is not whole or does not match its seal.
    pub fn find(file: LogFile, bytes: &Buffer, version: Version) -> Result<Option<Self>> {
        Ok(Self::find_from(file, bytes, 0, version)?.map(|(section, _)| section))
    }

    /// As [`Section::find`], in sections from a byte on; and the byte after it.
    pub(crate) fn find_from(
        file: LogFile,
        bytes: &Buffer,
        from: usize,
        version: Version,
    ) -> Result<Option<(Self, usize)>> {
        let mut at = from;
        while at < bytes.len() {
            let rest = &bytes[at..];
            let found = head_version(rest)
                .ok_or_else(|| TableError::corrupt(file, format!("no version begins at byte {at}")))?;
            let len = sealed_len(rest).ok_or_else(|| {
                TableError::corrupt(
                    file,
                    format!("version {found}, which begins at byte {at}, does not end with a seal"),
                )
            })?;
            if found == version {
                let hash = check_seal(file, found, &rest[..len])?;
                let bytes = bytes.slice_with_length(at, len);
                return Ok(Some((Self { version, hash, bytes }, at + len)));
            }
            at += len;
        }
        Ok(None)
    }

    /// The sections of a file from its front to the first that is not whole.
    pub(crate) fn whole(file: LogFile, bytes: &Buffer) -> impl Iterator<Item = Self> {
        let mut at = 0;
        std::iter::from_fn(move || {
            let version = head_version(bytes.get(at..)?)?;
            let (section, end) = Self::find_from(file, bytes, at, version).ok()??;
            at = end;
            Some(section)
        })
    }

    /// Which version it is.
    pub fn version(&self) -> Version {
        self.version
    }

    /// The hash that the next version's `deltalite.prev` names.
    pub fn hash(&self) -> ContentHash {
        self.hash
    }

    /// All its bytes, the seal included.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Its lines without the seal.
    pub fn lines(&self) -> &[u8] {
        &self.bytes[..self.bytes.len() - SEAL_BYTES]
    }

    /// The first line: the commit's facts.
    pub fn first_line(&self) -> &[u8] {
        let lines = self.lines();
        &lines[..memchr(b'\n', lines).unwrap_or(lines.len())]
    }
}

/// As [`Action::CommitInfo`], without owning it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct CommitInfoLine<'a> {
    commit_info: &'a CommitInfo,
}

/// Appends a value as one line.
pub(crate) fn push_line(out: &mut Vec<u8>, value: &impl Serialize) -> Result<()> {
    serde_json::to_writer(&mut *out, value)
        .map_err(|e| TableError::invalid("writing a line of the log", e.to_string()))?;
    out.push(b'\n');
    Ok(())
}

/// Appends the seal of everything before it.
pub(crate) fn push_seal(out: &mut Vec<u8>) -> ContentHash {
    let hash = ContentHash::of(out);
    out.extend_from_slice(SEAL_HEAD);
    out.extend_from_slice(hash.to_string().as_bytes());
    out.extend_from_slice(SEAL_TAIL);
    hash
}

/// Checks that bytes end with the seal of what comes before; returns those.
pub(crate) fn unsealed(file: LogFile, version: Version, bytes: &[u8]) -> Result<&[u8]> {
    if sealed_len(bytes) != Some(bytes.len()) {
        return Err(TableError::corrupt(file, "it does not end with its one seal"));
    }
    check_seal(file, version, bytes)?;
    Ok(&bytes[..bytes.len() - SEAL_BYTES])
}

fn head_version(bytes: &[u8]) -> Option<Version> {
    let rest = bytes.strip_prefix(HEAD)?;
    let digits = rest.iter().take_while(|b| b.is_ascii_digit()).count();
    let number = std::str::from_utf8(&rest[..digits]).ok()?.parse().ok()?;
    (rest.get(digits) == Some(&b',')).then_some(Version(number))
}

/// Bytes up to the end of the first seal.
fn sealed_len(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        at += memmem::find(&bytes[at..], SEAL_HEAD)?;
        // Text within a line can look like a seal, but no text holds a line feed.
        if at > 0 && bytes[at - 1] == b'\n' {
            let seal = bytes.get(at..at + SEAL_BYTES)?;
            return seal.ends_with(SEAL_TAIL).then_some(at + SEAL_BYTES);
        }
        at += SEAL_HEAD.len();
    }
}

fn check_seal(file: LogFile, version: Version, sealed: &[u8]) -> Result<ContentHash> {
    let (lines, seal) = sealed.split_at(sealed.len() - SEAL_BYTES);
    let stored = &seal[SEAL_HEAD.len()..SEAL_HEAD.len() + 64];
    let computed = ContentHash::of(lines);
    if stored != computed.to_string().as_bytes() {
        return Err(TableError::Mismatch {
            version,
            file: file.to_string(),
            what: "the hash of its lines",
            found: computed.to_string(),
            expected: String::from_utf8_lossy(stored).into_owned(),
        });
    }
    Ok(computed)
}
