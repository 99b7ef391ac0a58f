//! Corrects every checksum of a damaged file, so that what the checksums protect is reached by damaged bytes.

use bytemuck::{Pod, bytes_of, pod_read_unaligned};
use deltalite_format::checksum::crc32c;
use deltalite_format::layout::{
    BlockEntry, BlockHeader, ColumnEntry, FileHeader, MAGIC, NAME_PAGE_BYTES, SectionEntry, SectionKind,
    TAIL_BYTES, Tail, VERSION,
};
use deltalite_format::meta::access;
use deltalite_format::meta::v1::{ArchivedBlockV1, ArchivedChunkV1, ArchivedColumnV1, ArchivedPageV1};

/// Blocks and columns looked at: directories may claim any number.
const PARTS_MAX: usize = 64;
/// Position of `crc` in an archived page.
const PAGE_CRC_AT: usize = 8;

fn get<T: Pod>(bytes: &[u8], at: u64) -> Option<T> {
    let at = usize::try_from(at).ok()?;
    bytes.get(at..at.checked_add(size_of::<T>())?).map(pod_read_unaligned)
}

fn put<T: Pod>(bytes: &mut [u8], at: u64, value: &T) {
    let at = at as usize;
    bytes[at..at + size_of::<T>()].copy_from_slice(bytes_of(value));
}

fn range(bytes: &[u8], at: u64, len: u64) -> Option<std::ops::Range<usize>> {
    let start = usize::try_from(at).ok()?;
    let end = start.checked_add(usize::try_from(len).ok()?)?;
    (end <= bytes.len()).then_some(start..end)
}

fn crc_at(bytes: &[u8], at: u64, len: u64) -> Option<u32> {
    Some(crc32c(&bytes[range(bytes, at, len)?]))
}

/// Corrects what can be found; whatever can't be is left as it is.
pub(crate) fn reseal(bytes: &mut [u8]) {
    let _ = seal_header(bytes);
    let blocks = seal_footer(bytes).unwrap_or_default();
    for block in &blocks {
        let _ = seal_block(bytes, block);
    }
    // Without a footer, blocks are where their markers are.
    if blocks.is_empty()
        && let Some(header) = get::<FileHeader>(bytes, 0)
    {
        for at in (4096..bytes.len() as u64).step_by(4096).take(PARTS_MAX) {
            if let Some(h) = get::<BlockHeader>(bytes, at)
                && h.sync == header.sync
            {
                let entry = BlockEntry {
                    offset: at,
                    length: h.length,
                    first_row: h.first_row,
                    rows: h.rows as u32,
                    unit_rows: h.unit_rows,
                    data_start: h.data_start,
                    header_crc: h.crc,
                };
                let _ = seal_block(bytes, &entry);
            }
        }
    }
}

fn seal_header(bytes: &mut [u8]) -> Option<()> {
    let mut header: FileHeader = get(bytes, 0)?;
    header.magic = MAGIC;
    header.version = VERSION;
    if let Some(crc) = crc_at(bytes, size_of::<FileHeader>() as u64, header.schema_len.into()) {
        header.schema_crc = crc;
    }
    header.crc = crc32c(&bytes_of(&header)[..124]);
    put(bytes, 0, &header);
    Some(())
}

fn seal_footer(bytes: &mut [u8]) -> Option<Vec<BlockEntry>> {
    let tail_at = (bytes.len() as u64).checked_sub(TAIL_BYTES as u64)?;
    let mut tail: Tail = get(bytes, tail_at)?;
    (tail.magic, tail.version, tail.file_len) = (MAGIC, VERSION, bytes.len() as u64);
    let mut blocks = Vec::new();
    let count = u64::from(tail.table_count).min(PARTS_MAX as u64);
    let entry_at = |i: u64| tail.table_offset.checked_add(i * size_of::<SectionEntry>() as u64);
    for i in 0..count {
        let Some(section) = entry_at(i).and_then(|at| get::<SectionEntry>(bytes, at)) else { break };
        if section.kind == SectionKind::Blocks as u32 {
            let n = (section.len / size_of::<BlockEntry>() as u64).min(PARTS_MAX as u64);
            blocks = (0..n)
                .filter_map(|i| get(bytes, section.offset.checked_add(i * size_of::<BlockEntry>() as u64)?))
                .collect();
        }
    }
    for i in 0..count {
        let Some(at) = entry_at(i) else { break };
        let Some(mut section) = get::<SectionEntry>(bytes, at) else { break };
        if section.kind == SectionKind::Columns as u32 {
            let n = (section.len / size_of::<ColumnEntry>() as u64).min(PARTS_MAX as u64);
            for i in 0..n {
                if let Some(at) = section.offset.checked_add(i * size_of::<ColumnEntry>() as u64) {
                    let _ = seal_column(bytes, at, &blocks);
                }
            }
        } else if section.kind == SectionKind::NameIndex as u32 {
            for i in 0..(section.len / NAME_PAGE_BYTES as u64).min(PARTS_MAX as u64) {
                let Some(page) = section.offset.checked_add(i * NAME_PAGE_BYTES as u64) else { break };
                if let Some(range) = range(bytes, page, NAME_PAGE_BYTES as u64) {
                    let crc = crc32c(&bytes[range.start + 4..range.end]);
                    put(bytes, page, &crc);
                }
            }
        } else if let Some(crc) = crc_at(bytes, section.offset, section.len) {
            section.crc = crc;
            put(bytes, at, &section);
        }
    }
    if let Some(crc) =
        crc_at(bytes, tail.table_offset, u64::from(tail.table_count) * size_of::<SectionEntry>() as u64)
    {
        tail.table_crc = crc;
    }
    tail.crc = crc32c(&bytes_of(&tail)[..52]);
    put(bytes, tail_at, &tail);
    Some(blocks)
}

fn seal_column(bytes: &mut [u8], at: u64, blocks: &[BlockEntry]) -> Option<()> {
    let mut entry: ColumnEntry = get(bytes, at)?;
    if let Some(meta) = range(bytes, entry.meta_offset, entry.meta_len.into()) {
        let mut patches = Vec::new();
        // The archive must be aligned to be read at all, as the reader's own copy is.
        let archive = bytes[meta.clone()].to_vec();
        if let Ok(column) = access::<ArchivedColumnV1>("column", &archive) {
            for stream in column.streams.iter() {
                for (chunk, block) in stream.blocks.iter().zip(blocks) {
                    collect_pages(&chunk.chunk, block, bytes, &archive, &mut patches);
                }
            }
        }
        for (position, crc) in patches {
            put(bytes, (meta.start + position) as u64, &crc);
        }
        entry.meta_crc = crc32c(&bytes[meta]);
    }
    if let Some(crc) = crc_at(bytes, entry.bloom_offset, entry.bloom_len.into()) {
        entry.bloom_crc = crc;
    }
    entry.crc = crc32c(&bytes_of(&entry)[..60]);
    put(bytes, at, &entry);
    Some(())
}

fn seal_block(bytes: &mut [u8], block: &BlockEntry) -> Option<()> {
    let mut header: BlockHeader = get(bytes, block.offset)?;
    let section =
        range(bytes, block.offset.checked_add(size_of::<BlockHeader>() as u64)?, header.section_len.into())?;
    let mut patches = Vec::new();
    let archive = bytes[section.clone()].to_vec();
    if let Ok(directory) = access::<ArchivedBlockV1>("block", &archive) {
        for chunk in directory.chunks.iter() {
            collect_pages(chunk, block, bytes, &archive, &mut patches);
        }
    }
    for (position, crc) in patches {
        put(bytes, (section.start + position) as u64, &crc);
    }
    header.section_crc = crc32c(&bytes[section]);
    header.crc = crc32c(&bytes_of(&header)[..124]);
    put(bytes, block.offset, &header);
    Some(())
}

/// Positions of pages' checksums in their archive, with what they must be.
fn collect_pages(
    chunk: &ArchivedChunkV1,
    block: &BlockEntry,
    bytes: &[u8],
    archive: &[u8],
    patches: &mut Vec<(usize, u32)>,
) {
    let mut add = |page: &ArchivedPageV1| {
        let at = block
            .offset
            .checked_add(u64::from(block.data_start))?
            .checked_add(page.offset.to_native().into())?;
        let crc = crc_at(bytes, at, page.len.to_native().into())?;
        let position = std::ptr::from_ref(page).addr() - archive.as_ptr().addr();
        patches.push((position + PAGE_CRC_AT, crc));
        Some(())
    };
    chunk.pages.iter().for_each(|p| {
        add(p);
    });
    chunk.dictionary.iter().for_each(|p| {
        add(p);
    });
}
