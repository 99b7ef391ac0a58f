//! A block: header, block section, then every stream's pages.

use std::io::Write;

use bytemuck::bytes_of;

use super::stream::EncodedPage;
use super::{FileWriter, archive};
use crate::checksum::crc32c;
use crate::encoding::Profile;
use crate::error::{FormatError, Result};
use crate::layout::{BlockEntry, BlockHeader, crc_of};
use crate::limits::{EXTENT_ALIGN, PAGE_ALIGN};
use crate::meta::v1::{BlockV1, ChunkStatsV1, ChunkV1};

/// A chunk of at least this many bytes starts at a multiple of 4 KiB, so that reading it alone reads nothing twice; smaller ones
/// are packed, because padding them would cost more than it saves.
const ALIGN_CHUNKS_FROM: usize = 64 << 10;

/// What a block's header says of it.
pub(super) struct BlockBuilder {
    pub(super) sync: [u8; 16],
    pub(super) uuid: [u8; 16],
    pub(super) offset: u64,
    pub(super) previous: u64,
    pub(super) first_row: u64,
    pub(super) rows: u64,
    pub(super) ordinal: u32,
    pub(super) unit_rows: u32,
}

impl BlockBuilder {
    /// Writes the block from the columns' pages and leaves the columns ready for the next one.
    pub(super) fn write<W: Write>(self, file: &mut FileWriter<W>) -> Result<BlockEntry> {
        let mut chunks: Vec<(Vec<EncodedPage>, Option<EncodedPage>)> = Vec::new();
        for column in &mut file.columns {
            for (pages, encoder) in column.pages.iter_mut().zip(&mut column.encoders) {
                chunks.push((std::mem::take(pages), encoder.finish_chunk()?));
            }
        }
        // The section's size does not depend on the offsets in it, so it is laid out twice: once to learn where pages start.
        let draft = archive(&BlockV1 { chunks: chunks.iter().map(chunk_meta).collect() })?;
        let data_start = (size_of::<BlockHeader>() + draft.len()).next_multiple_of(PAGE_ALIGN);
        // Small files are worth more than single reads to whoever asks for small files.
        let aligned = file.options.profile != Profile::Compact;
        let end = place(&mut chunks, data_start as u64, aligned)?;
        let section = archive(&BlockV1 { chunks: chunks.iter().map(chunk_meta).collect() })?;
        if section.len() != draft.len() {
            return Err(FormatError::invalid(
                "writing a block",
                "its directory changed size with its offsets".to_owned(),
            ));
        }
        let length = end.next_multiple_of(EXTENT_ALIGN);
        let mut header = BlockHeader {
            sync: self.sync,
            uuid: self.uuid,
            offset: self.offset,
            previous: self.previous,
            first_row: self.first_row,
            rows: self.rows,
            length,
            ordinal: self.ordinal,
            unit_rows: self.unit_rows,
            section_len: section.len() as u32,
            data_start: data_start as u32,
            reserved: [0; 32],
            section_crc: crc32c(&section),
            crc: 0,
        };
        header.crc = crc_of(&header, 124);
        file.put(bytes_of(&header))?;
        file.put(&section)?;
        for (pages, dictionary) in &chunks {
            for page in dictionary.iter().chain(pages) {
                let at = self.offset + data_start as u64 + u64::from(page.entry.offset);
                file.pad_to_offset(at)?;
                file.put(&page.bytes)?;
            }
        }
        file.pad_to(EXTENT_ALIGN)?;
        debug_assert_eq!(file.position, self.offset + length);
        let mut chunks = chunks.into_iter();
        let fpp = file.options.bloom_fpp;
        for column in &mut file.columns {
            for (zones, done) in column.zones.iter_mut().zip(&mut column.done) {
                if let Some(chunk) = chunks.next() {
                    done.push(ChunkStatsV1 { chunk: chunk_meta(&chunk), zones: std::mem::take(zones) });
                }
            }
            if let Some(bloom) = &mut column.bloom {
                column.blooms.push(bloom.finish(fpp));
            }
        }
        Ok(BlockEntry {
            offset: self.offset,
            length,
            first_row: self.first_row,
            rows: self.rows as u32,
            unit_rows: self.unit_rows,
            data_start: data_start as u32,
            header_crc: header.crc,
        })
    }
}

fn chunk_meta((pages, dictionary): &(Vec<EncodedPage>, Option<EncodedPage>)) -> ChunkV1 {
    ChunkV1 {
        pages: pages.iter().map(|p| p.entry).collect(),
        dictionary: dictionary.as_ref().map(|p| p.entry),
    }
}

/// Gives every page its offset from the first one, large chunks `aligned` or not; returns where the last one ends, from the block's
/// start.
fn place(
    chunks: &mut [(Vec<EncodedPage>, Option<EncodedPage>)],
    data_start: u64,
    aligned: bool,
) -> Result<u64> {
    let mut at = data_start;
    for (pages, dictionary) in chunks {
        let bytes: usize = pages.iter().map(|p| p.bytes.len()).sum();
        if aligned && bytes >= ALIGN_CHUNKS_FROM {
            at = at.next_multiple_of(EXTENT_ALIGN);
        }
        for page in dictionary.iter_mut().chain(pages) {
            at = at.next_multiple_of(PAGE_ALIGN as u64);
            page.entry.offset = u32::try_from(at - data_start).map_err(|_| {
                FormatError::invalid(
                    "writing a block",
                    "it is longer than 4 GiB; set a smaller block_bytes or write shorter values".to_owned(),
                )
            })?;
            at += page.bytes.len() as u64;
        }
    }
    Ok(at)
}

impl<W: Write> FileWriter<W> {
    fn pad_to_offset(&mut self, offset: u64) -> Result<()> {
        const ZEROS: [u8; EXTENT_ALIGN as usize] = [0; EXTENT_ALIGN as usize];
        let pad = offset.saturating_sub(self.position);
        self.put(&ZEROS[..(pad as usize).min(ZEROS.len())])
    }
}
