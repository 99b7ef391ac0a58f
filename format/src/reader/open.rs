//! Opening: which bytes of the end of a file are needed, and what they say.

use std::ops::Range;

use arrow_buffer::Buffer;
use bytemuck::pod_read_unaligned;

use crate::checksum::verify;
use crate::error::{FormatError, Place, Result};
use crate::layout::{BlockEntry, MAGIC, SectionEntry, SectionKind, TAIL_BYTES, Tail, VERSION};
use crate::limits::{BLOCK_ROWS_MAX, UNIT_ROWS_MAX};

/// Bytes asked for first: the tail, the section table and, for up to some 300 blocks, the block directory.
const FIRST_READ_BYTES: u64 = 16 << 10;
/// Most sections a footer may list.
const SECTIONS_MAX: u32 = 1024;

/// What an [`OpenDecoder`] wants or has.
#[derive(Debug)]
pub enum OpenStep {
    /// These bytes of the file, through [`OpenDecoder::provide`].
    NeedsData(Range<u64>),
    /// The footer.
    Done(Footer),
}

/// What the end of a file says.
#[derive(Debug, Clone)]
pub struct Footer {
    /// Number of rows.
    pub rows: u64,
    /// Identity of the file.
    pub uuid: [u8; 16],
    /// Where the section table lies.
    pub table: Range<u64>,
    /// The sections, each inside the file.
    pub sections: Vec<SectionEntry>,
    /// The block directory, checked for order and bounds.
    pub blocks: Vec<BlockEntry>,
}

/// Decodes the end of a file without reading it: it says which bytes it needs and is given them.
///
/// ```
/// # use std::sync::Arc;
/// # use arrow_array::{ArrayRef, Int64Array, RecordBatch};
/// # use deltalite_format::{FileWriter, WriterOptions};
/// use deltalite_format::reader::{OpenDecoder, OpenStep};
/// # let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(0..10));
/// # let batch = RecordBatch::try_from_iter([("id", ids)])?;
/// # let mut writer = FileWriter::new(Vec::new(), &batch.schema(), WriterOptions::default())?;
/// # writer.write(&batch)?;
/// # let (_, file) = writer.finish_into()?;
///
/// let mut decoder = OpenDecoder::new(file.len() as u64);
/// let footer = loop {
///     match decoder.step()? {
///         OpenStep::NeedsData(range) => {
///             let bytes = &file[range.start as usize..range.end as usize];
///             decoder.provide(range.start, bytes.into());
///         }
///         OpenStep::Done(footer) => break footer,
///     }
/// };
/// assert_eq!((footer.rows, footer.blocks.len()), (10, 1));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct OpenDecoder {
    file_len: u64,
    start: u64,
    bytes: Buffer,
}

impl OpenDecoder {
    /// A decoder for a file of this length.
    pub fn new(file_len: u64) -> Self {
        Self { file_len, start: file_len, bytes: Buffer::from(&[0u8; 0]) }
    }

    /// Gives bytes asked for: the file's bytes from `start` to its end.
    pub fn provide(&mut self, start: u64, bytes: Buffer) {
        self.start = start;
        self.bytes = bytes;
    }

    fn slice(&self, offset: u64, len: usize) -> Option<&[u8]> {
        let at = usize::try_from(offset.checked_sub(self.start)?).ok()?;
        self.bytes.as_slice().get(at..at.checked_add(len)?)
    }

    /// What is needed next, or the footer.
    ///
    /// # Errors
    /// When the end of the file is not a DeltaLite file's or is damaged.
    pub fn step(&mut self) -> Result<OpenStep> {
        let len = self.file_len;
        if len < TAIL_BYTES as u64 {
            return Err(FormatError::NotDeltaLite {
                at: Place::at(0),
                detail: format!("{len} bytes are shorter than a tail"),
            });
        }
        let tail_at = len - TAIL_BYTES as u64;
        let Some(tail_bytes) = self.slice(tail_at, TAIL_BYTES) else {
            return Ok(OpenStep::NeedsData(len.saturating_sub(FIRST_READ_BYTES)..len));
        };
        let tail: Tail = pod_read_unaligned(tail_bytes);
        if tail.magic != MAGIC {
            return Err(FormatError::NotDeltaLite {
                at: Place::at(tail_at),
                detail: "its last 8 bytes are not DLTALITE; if the file was cut off, `salvage` reads its complete blocks".to_owned(),
            });
        }
        verify("tail", tail_at, &tail_bytes[..52], tail.crc)?;
        if tail.version != VERSION {
            return Err(FormatError::Unsupported {
                at: Place::at(tail_at),
                detail: format!("format version {}", tail.version),
            });
        }
        let bad = |what, detail: String| FormatError::corrupt(what, detail).with_place(None, tail_at);
        let table_len = tail.table_count as usize * size_of::<SectionEntry>();
        if tail.file_len != len
            || tail.table_count > SECTIONS_MAX
            || tail.table_offset.checked_add(table_len as u64).is_none_or(|e| e > tail_at)
        {
            return Err(bad(
                "tail",
                format!("it is of a file of {} bytes, this one has {len}", tail.file_len),
            ));
        }
        let Some(table) = self.slice(tail.table_offset, table_len) else {
            return Ok(OpenStep::NeedsData(tail.table_offset..len));
        };
        verify("section table", tail.table_offset, table, tail.table_crc)?;
        let sections: Vec<SectionEntry> =
            table.chunks_exact(size_of::<SectionEntry>()).map(pod_read_unaligned).collect();
        if let Some(s) =
            sections.iter().find(|s| s.offset.checked_add(s.len).is_none_or(|e| e > tail.table_offset))
        {
            return Err(bad(
                "section table",
                format!("section {} of {} bytes at {} is outside the footer", s.kind, s.len, s.offset),
            ));
        }
        let Some(blocks_section) = sections.iter().find(|s| s.kind == SectionKind::Blocks as u32).copied()
        else {
            return Err(bad("section table", "it lists no block directory".to_owned()));
        };
        let Some(block_bytes) = self.slice(blocks_section.offset, blocks_section.len as usize) else {
            return Ok(OpenStep::NeedsData(blocks_section.offset..len));
        };
        verify("block directory", blocks_section.offset, block_bytes, blocks_section.crc)?;
        let blocks: Vec<BlockEntry> =
            block_bytes.chunks_exact(size_of::<BlockEntry>()).map(pod_read_unaligned).collect();
        check_blocks(&blocks, blocks_section.offset, tail.rows)?;
        Ok(OpenStep::Done(Footer {
            rows: tail.rows,
            uuid: tail.uuid,
            table: tail.table_offset..tail.table_offset + table_len as u64,
            sections,
            blocks,
        }))
    }
}

fn check_blocks(blocks: &[BlockEntry], end: u64, rows: u64) -> Result<()> {
    let (mut at, mut row) = (0, 0);
    for (i, b) in blocks.iter().enumerate() {
        if b.offset < at
            || !b.offset.is_multiple_of(4096)
            || b.offset.checked_add(b.length).is_none_or(|e| e > end)
            || b.first_row != row
            || b.rows == 0
            || u64::from(b.rows) > BLOCK_ROWS_MAX
            || !b.unit_rows.is_power_of_two()
            || b.unit_rows as usize > UNIT_ROWS_MAX
            || u64::from(b.data_start) > b.length
        {
            return Err(FormatError::corrupt(
                "block directory",
                format!("block {i} contradicts its neighbours or the file's length"),
            )
            .with_place(None, b.offset));
        }
        at = b.offset + b.length;
        row += u64::from(b.rows);
    }
    if row == rows {
        Ok(())
    } else {
        Err(FormatError::corrupt(
            "block directory",
            format!("its blocks have {row} rows, the tail says {rows}"),
        ))
    }
}
