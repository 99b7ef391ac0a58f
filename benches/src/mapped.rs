//! Arrow IPC files as zero-copy batches over a memory map: how generated tables are cached, and the `arrow_ipc` peer.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::ptr::NonNull;
use std::sync::Arc;

use arrow::buffer::Buffer;
use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use arrow_ipc::convert::fb_to_schema;
use arrow_ipc::reader::{FileDecoder, read_footer_length};
use arrow_ipc::{Block, root_as_footer};
use bytes::Bytes;

use crate::error::{BenchError, Result};

/// A read-only private map of a whole file.
struct Mapping {
    start: NonNull<u8>,
    bytes: usize,
}

// SAFETY: the mapping is read-only and lives until drop; nothing in it is tied to a thread.
unsafe impl Send for Mapping {}
// SAFETY: as above; shared reads of read-only memory don't race.
unsafe impl Sync for Mapping {}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: `start` and `bytes` are what mmap returned, and no buffer refers to it any more.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.bytes) };
    }
}

impl AsRef<[u8]> for Mapping {
    fn as_ref(&self) -> &[u8] {
        // SAFETY: the mapping holds `bytes` readable bytes from `start` while it lives, and nobody writes to them.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.bytes) }
    }
}

/// Maps a file whole and touches its pages. The benchmark owns its files: nobody truncates them while they are mapped.
fn mapping(path: &Path) -> Result<Option<Mapping>> {
    let file = File::open(path).map_err(BenchError::io("opening", path))?;
    let bytes = file.metadata().map_err(BenchError::io("reading the size of", path))?.len() as usize;
    if bytes == 0 {
        return Ok(None);
    }
    let flags = libc::MAP_PRIVATE | libc::MAP_POPULATE;
    // SAFETY: a fresh read-only mapping of an open descriptor; the result is checked before use.
    let start =
        unsafe { libc::mmap(std::ptr::null_mut(), bytes, libc::PROT_READ, flags, file.as_raw_fd(), 0) };
    let start = (start != libc::MAP_FAILED)
        .then_some(start)
        .and_then(|start| NonNull::new(start.cast::<u8>()))
        .ok_or_else(std::io::Error::last_os_error)
        .map_err(BenchError::io("mapping", path))?;
    Ok(Some(Mapping { start, bytes }))
}

/// A file's bytes, mapped, as an Arrow buffer.
pub fn map(path: &Path) -> Result<Buffer> {
    let Some(mapping) = mapping(path)? else { return Ok(Buffer::from(Vec::<u8>::new())) };
    let (start, bytes) = (mapping.start, mapping.bytes);
    // SAFETY: the mapping holds `bytes` readable bytes from `start` for as long as its owner, given here, lives.
    Ok(unsafe { Buffer::from_custom_allocation(start, bytes, Arc::new(mapping)) })
}

/// A file's bytes, mapped, as shared bytes.
pub fn map_bytes(path: &Path) -> Result<Bytes> {
    Ok(mapping(path)?.map_or_else(Bytes::new, Bytes::from_owner))
}

/// An opened Arrow IPC file over bytes in memory.
pub struct IpcFile {
    bytes: Buffer,
    schema: SchemaRef,
    version: arrow_ipc::MetadataVersion,
    dictionaries: Vec<Block>,
    batches: Vec<Block>,
}

impl IpcFile {
    /// Reads the footer of the file in `bytes`.
    pub fn open(bytes: Buffer, path: &Path) -> Result<Self> {
        let fail = |what: &str| BenchError::Format {
            format: "arrow_ipc".into(),
            doing: format!("opening {}", path.display()),
            message: what.to_owned(),
        };
        let tail = bytes.len().checked_sub(10).ok_or_else(|| fail("shorter than a footer"))?;
        let trailer: [u8; 10] = bytes[tail..].try_into().map_err(|_| fail("no trailer"))?;
        let length = read_footer_length(trailer).map_err(|error| fail(&error.to_string()))?;
        let start = tail.checked_sub(length).ok_or_else(|| fail("footer longer than the file"))?;
        let footer = root_as_footer(&bytes[start..tail]).map_err(|error| fail(&error.to_string()))?;
        let schema = footer.schema().ok_or_else(|| fail("no schema"))?;
        Ok(Self {
            schema: Arc::new(fb_to_schema(schema)),
            version: footer.version(),
            dictionaries: footer.dictionaries().map(|d| d.iter().copied().collect()).unwrap_or_default(),
            batches: footer.recordBatches().map(|b| b.iter().copied().collect()).unwrap_or_default(),
            bytes,
        })
    }

    /// The schema of the file.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Number of record batches.
    pub fn batch_count(&self) -> usize {
        self.batches.len()
    }

    /// A decoder for some columns (by position) or all; it can be used for every batch. It trusts the file: checking
    /// offsets and UTF-8 would cost more than all else that reading this format takes.
    pub fn decoder(
        &self,
        columns: Option<Vec<usize>>,
    ) -> std::result::Result<FileDecoder, arrow::error::ArrowError> {
        let decoder = FileDecoder::new(self.schema.clone(), self.version);
        // SAFETY: only files that the harness wrote itself, under names that appear when they are whole, are opened here.
        let mut decoder = unsafe { decoder.with_skip_validation(true) };
        for block in &self.dictionaries {
            decoder.read_dictionary(block, &self.slice(block))?;
        }
        Ok(match columns {
            Some(columns) => decoder.with_projection(columns),
            None => decoder,
        })
    }

    /// Decodes a batch, by position.
    pub fn batch(
        &self,
        decoder: &FileDecoder,
        position: usize,
    ) -> std::result::Result<RecordBatch, arrow::error::ArrowError> {
        let block = &self.batches[position];
        decoder
            .read_record_batch(block, &self.slice(block))?
            .ok_or_else(|| arrow::error::ArrowError::IpcError(format!("record batch {position} is empty")))
    }

    fn slice(&self, block: &Block) -> Buffer {
        let bytes = block.bodyLength() as usize + block.metaDataLength() as usize;
        self.bytes.slice_with_length(block.offset() as usize, bytes)
    }
}
