//! What is known of a file once it is open: tail and block directory at once, each column when it is first asked for.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use arrow_buffer::Buffer;
use arrow_schema::{DataType, FieldRef, Schema};
use bytemuck::pod_read_unaligned;

use super::open::OpenDecoder;
use super::source::ReadAt;
use crate::checksum::verify;
use crate::encoding::dictionary::ChunkDictionary;
use crate::error::{FormatError, Result};
use crate::layout::{
    BlockEntry, ColumnEntry, NAME_PAGE_BYTES, NAME_PAGE_HEADER, NameEntry, SectionEntry, SectionKind,
    name_hash,
};
use crate::limits::{PAGE_BYTES_MAX, PAGE_VALUES_MAX, ZONE_ROWS};
use crate::meta::access;
use crate::meta::v1::{
    ArchivedColumnV1, ArchivedKeyValuesV1, ArchivedPageV1, ArchivedSchemaV1, ArchivedStreamV1,
};
use crate::salvage::{FoundBlock, Header};
use crate::schema::SchemaDefinition;
use crate::schema::shape::{ColumnShape, StreamSpec};
use crate::schema::types::pull_field;
use crate::stats::{ExactBounds, ZoneStats};

/// Bytes of decoded dictionaries an open file keeps; beyond them it starts afresh.
const DICTIONARY_CACHE_BYTES: usize = 64 << 20;

/// A page in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PageRef {
    /// Offset in the file, in bytes, a multiple of 64.
    pub offset: u64,
    /// Length in bytes.
    pub len: u32,
    /// CRC-32C of the page.
    pub crc: u32,
    /// Number of values.
    pub values: u32,
    /// Number of nulls.
    pub nulls: u32,
    /// Unit of the block it belongs to.
    pub unit: u32,
    /// Encoding of its root node, as [`crate::page::EncodingKind`] numbers it.
    pub encoding: u8,
}

/// A stream's pages in one block.
#[derive(Debug, Clone)]
pub struct ChunkMeta {
    /// Pages in order of rows.
    pub pages: Vec<PageRef>,
    /// Position in `pages` of each unit's first page, and at the end their number.
    pub unit_pages: Vec<u32>,
    /// The shared dictionary's page.
    pub dictionary: Option<PageRef>,
    zones: Vec<ZoneStats>,
    zones_per_unit: u32,
}

impl ChunkMeta {
    /// Pages of a unit.
    pub fn unit(&self, unit: u32) -> &[PageRef] {
        match (self.unit_pages.get(unit as usize), self.unit_pages.get(unit as usize + 1)) {
            (Some(&a), Some(&b)) => &self.pages[a as usize..b as usize],
            _ => &[],
        }
    }

    /// Statistics of a zone of a unit; `None` for streams without.
    pub fn zone(&self, unit: u32, zone: u32) -> Option<&ZoneStats> {
        self.zones.get((unit * self.zones_per_unit + zone) as usize).filter(|_| zone < self.zones_per_unit)
    }

    /// Statistics of a unit, merged from its zones; `None` for streams without.
    pub fn unit_stats(&self, unit: u32) -> Option<ZoneStats> {
        let first = (unit * self.zones_per_unit) as usize;
        let zones = self.zones.get(first..(first + self.zones_per_unit as usize).min(self.zones.len()))?;
        (!zones.is_empty()).then(|| ZoneStats::merged(zones))
    }

    /// Statistics of the whole chunk; `None` for streams without.
    pub fn stats(&self) -> Option<ZoneStats> {
        (!self.zones.is_empty()).then(|| ZoneStats::merged(&self.zones))
    }

    /// Zones of a full unit.
    pub fn zones_per_unit(&self) -> u32 {
        self.zones_per_unit
    }

    /// Encoded bytes.
    pub fn bytes(&self) -> u64 {
        self.pages.iter().chain(&self.dictionary).map(|p| u64::from(p.len)).sum()
    }
}

/// A column of an open file.
#[derive(Debug)]
pub struct ColumnMeta {
    /// Position in the file's schema.
    pub index: u32,
    /// Its field, as written.
    pub field: FieldRef,
    /// Its tree of streams.
    pub shape: ColumnShape,
    /// Chunks of each stream, a chunk a block.
    pub streams: Vec<Vec<ChunkMeta>>,
    /// Number of nulls.
    pub nulls: u64,
    /// Number of NaNs.
    pub nans: u64,
    /// Smallest and largest value, where kept.
    pub bounds: Option<ExactBounds>,
    /// Distinct-value sketch, where kept.
    pub sketch: Vec<u8>,
    /// Its entry in the directory.
    pub entry: ColumnEntry,
}

impl ColumnMeta {
    /// Chunk of a stream in a block.
    pub fn chunk(&self, stream: usize, block: u32) -> Option<&ChunkMeta> {
        self.streams.get(stream)?.get(block as usize)
    }
}

#[derive(Debug, Default)]
struct Cache {
    columns: HashMap<u32, Arc<ColumnMeta>>,
    dictionaries: HashMap<u64, Arc<ChunkDictionary>>,
    dictionary_bytes: usize,
}

/// An open file: its tail and block directory, and its columns as they are asked for.
///
/// Opening reads the last 16 KiB and nothing else, however many columns there are.
pub struct FileMeta {
    source: Arc<dyn ReadAt>,
    file: Arc<str>,
    len: u64,
    rows: u64,
    uuid: [u8; 16],
    table: Range<u64>,
    sections: Vec<SectionEntry>,
    blocks: Vec<BlockEntry>,
    schema: OnceLock<SchemaDefinition>,
    /// Columns of a file opened without its footer.
    salvaged: Option<HashMap<u32, Arc<ColumnMeta>>>,
    cache: Mutex<Cache>,
}

impl std::fmt::Debug for FileMeta {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FileMeta")
            .field("file", &self.file)
            .field("rows", &self.rows)
            .field("blocks", &self.blocks.len())
            .finish_non_exhaustive()
    }
}

impl FileMeta {
    /// Opens a file; `file` names it in errors.
    ///
    /// # Errors
    /// [`FormatError::NotDeltaLite`] for other files, [`FormatError::Corrupt`] or [`FormatError::Checksum`] when the footer is
    /// damaged (then [`crate::salvage`] reads every complete block).
    pub fn open(source: Arc<dyn ReadAt>, file: &str) -> Result<Self> {
        let name: Arc<str> = Arc::from(file);
        Self::open_inner(source, &name).map_err(|e| e.with_place(Some(&name), 0))
    }

    fn open_inner(source: Arc<dyn ReadAt>, file: &Arc<str>) -> Result<Self> {
        let mut decoder = OpenDecoder::new(source.len());
        let footer = loop {
            match decoder.step()? {
                super::open::OpenStep::NeedsData(range) => {
                    let bytes = source.read_at(range.start, (range.end - range.start) as usize)?;
                    decoder.provide(range.start, bytes);
                }
                super::open::OpenStep::Done(footer) => break footer,
            }
        };
        Ok(Self {
            len: source.len(),
            source,
            file: file.clone(),
            rows: footer.rows,
            uuid: footer.uuid,
            table: footer.table,
            sections: footer.sections,
            blocks: footer.blocks,
            schema: OnceLock::new(),
            salvaged: None,
            cache: Mutex::default(),
        })
    }

    /// A file made of blocks found without its footer: no statistics, rows numbered anew.
    pub(crate) fn from_blocks(
        source: Arc<dyn ReadAt>,
        file: &Arc<str>,
        header: &Header,
        found: Vec<FoundBlock>,
    ) -> Result<Self> {
        let mut rows = 0;
        let mut blocks = Vec::with_capacity(found.len());
        for block in &found {
            blocks.push(BlockEntry { first_row: rows, ..block.entry });
            rows += u64::from(block.entry.rows);
        }
        let mut chunks: Vec<std::vec::IntoIter<ChunkMeta>> =
            found.into_iter().map(|b| b.chunks.into_iter()).collect();
        let mut columns = HashMap::new();
        for (i, field) in header.schema.arrow().fields().iter().enumerate() {
            let shape = ColumnShape::of(field.data_type())?;
            let streams: Vec<Vec<ChunkMeta>> = shape
                .streams
                .iter()
                .map(|_| chunks.iter_mut().filter_map(Iterator::next).collect())
                .collect();
            let encoded_bytes = streams.iter().flatten().map(ChunkMeta::bytes).sum();
            let entry = ColumnEntry {
                name_hash: name_hash(field.name()),
                encoded_bytes,
                field_id: crate::schema::field_id(field).unwrap_or(0),
                ..bytemuck::Zeroable::zeroed()
            };
            let column = ColumnMeta {
                index: i as u32,
                field: field.clone(),
                shape,
                streams,
                nulls: 0,
                nans: 0,
                bounds: None,
                sketch: Vec::new(),
                entry,
            };
            columns.insert(i as u32, Arc::new(column));
        }
        Ok(Self {
            len: source.len(),
            source,
            file: file.clone(),
            rows,
            uuid: header.fixed.uuid,
            table: 0..0,
            sections: Vec::new(),
            blocks,
            schema: OnceLock::from(header.schema.clone()),
            salvaged: Some(columns),
            cache: Mutex::default(),
        })
    }

    /// Name of the file in errors.
    pub fn file(&self) -> &Arc<str> {
        &self.file
    }

    /// Length of the file in bytes.
    pub fn file_len(&self) -> u64 {
        self.len
    }

    /// Number of rows.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Random identity of the file.
    pub fn uuid(&self) -> [u8; 16] {
        self.uuid
    }

    /// The block directory.
    pub fn blocks(&self) -> &[BlockEntry] {
        &self.blocks
    }

    /// Where the section table lies; nowhere in a file opened without its footer.
    pub(crate) fn table_range(&self) -> Range<u64> {
        self.table.clone()
    }

    /// The footer's sections.
    pub fn sections(&self) -> &[SectionEntry] {
        &self.sections
    }

    /// Number of columns.
    pub fn column_count(&self) -> u32 {
        match &self.salvaged {
            Some(columns) => columns.len() as u32,
            None => self.section(SectionKind::Columns).map_or(0, |s| s.count),
        }
    }

    fn section(&self, kind: SectionKind) -> Option<&SectionEntry> {
        self.sections.iter().find(|s| s.kind == kind as u32)
    }

    fn checked_section(&self, kind: SectionKind, what: &'static str) -> Result<Option<Buffer>> {
        let Some(s) = self.section(kind) else { return Ok(None) };
        let bytes = self.source.read_at(s.offset, s.len as usize)?;
        verify(what, s.offset, &bytes, s.crc).map_err(|e| e.with_place(Some(&self.file), s.offset))?;
        Ok(Some(bytes))
    }

    /// The whole schema. Reads and decodes every field, so a scan of few columns of many does not call it.
    ///
    /// # Errors
    /// When the section is damaged.
    pub fn schema(&self) -> Result<&SchemaDefinition> {
        if let Some(schema) = self.schema.get() {
            return Ok(schema);
        }
        let bytes = self.checked_section(SectionKind::Schema, "schema section")?.ok_or_else(|| {
            FormatError::corrupt("footer", "it has no schema section").with_place(Some(&self.file), 0)
        })?;
        let schema = parse_schema(&bytes).map_err(|e| e.with_place(Some(&self.file), self.len))?;
        if schema.arrow().fields().len() != self.column_count() as usize {
            return Err(FormatError::corrupt(
                "schema section",
                "its number of columns differs from the directory's",
            )
            .with_place(Some(&self.file), 0));
        }
        Ok(self.schema.get_or_init(|| schema))
    }

    /// The footer's key-value pairs, by key.
    ///
    /// # Errors
    /// When the section is damaged.
    pub fn key_values(&self) -> Result<Vec<(String, String)>> {
        let Some(bytes) = self.checked_section(SectionKind::KeyValues, "key-value section")? else {
            return Ok(Vec::new());
        };
        let pairs = access::<ArchivedKeyValuesV1>("key-value section", &bytes)?;
        Ok(pairs.pairs.iter().map(|kv| (kv.key.as_str().to_owned(), kv.value.as_str().to_owned())).collect())
    }

    /// The column with this name, found through the name index.
    ///
    /// # Errors
    /// [`FormatError::NoSuchColumn`], with the nearest name; or damage in the index, the directory or the column's metadata.
    pub fn column_by_name(&self, name: &str) -> Result<Arc<ColumnMeta>> {
        let candidates = match &self.salvaged {
            Some(columns) => columns.values().filter(|c| c.field.name() == name).map(|c| c.index).collect(),
            None => self.candidates(name_hash(name))?,
        };
        for candidate in candidates {
            let column = self.column(candidate)?;
            if column.field.name() == name {
                return Ok(column);
            }
        }
        let nearest = self.schema().ok().and_then(|s| {
            let names = s.arrow().fields().iter().map(|f| f.name().as_str());
            crate::predicate::nearest_name(name, names).map(ToOwned::to_owned)
        });
        Err(FormatError::NoSuchColumn { name: name.to_owned(), nearest })
    }

    /// Ordinals of the columns whose names have this hash.
    fn candidates(&self, hash: u64) -> Result<Vec<u32>> {
        let Some(s) = self.section(SectionKind::NameIndex).copied() else {
            return Err(
                FormatError::corrupt("footer", "it has no name index").with_place(Some(&self.file), 0)
            );
        };
        let pages = s.len.div_ceil(NAME_PAGE_BYTES as u64);
        if pages == 0 {
            return Ok(Vec::new());
        }
        // Hashes are uniform, so the page is where interpolation says, or next to it.
        let mut low = 0;
        let mut high = pages - 1;
        let mut at = ((u128::from(hash) * u128::from(pages)) >> 64) as u64;
        loop {
            let offset = s.offset + at * NAME_PAGE_BYTES as u64;
            let entries = self.name_page(&s, at)?;
            let (Some(first), Some(last)) = (entries.first(), entries.last()) else {
                return Err(FormatError::corrupt("name index", "a page without entries")
                    .with_place(Some(&self.file), offset));
            };
            if hash < first.hash && at > low {
                high = at - 1;
                at = high;
            } else if hash > last.hash && at < high {
                low = at + 1;
                at = low;
            } else {
                let mut found: Vec<u32> =
                    entries.iter().filter(|e| e.hash == hash).map(|e| e.column).collect();
                // Equal hashes may straddle pages.
                let mut next = at;
                while next + 1 < pages && entries.last().is_some_and(|e| e.hash == hash) && next == at {
                    next += 1;
                    let more = self.name_page(&s, next)?;
                    found.extend(more.iter().filter(|e| e.hash == hash).map(|e| e.column));
                }
                if at > 0 && first.hash == hash {
                    let more = self.name_page(&s, at - 1)?;
                    found.extend(more.iter().filter(|e| e.hash == hash).map(|e| e.column));
                }
                return Ok(found);
            }
        }
    }

    /// The entries of a page of the section, which is below its number of pages. The last one is as long as its entries.
    fn name_page(&self, section: &SectionEntry, page: u64) -> Result<Vec<NameEntry>> {
        let start = page * NAME_PAGE_BYTES as u64;
        let offset = section.offset + start;
        let len = (section.len - start).min(NAME_PAGE_BYTES as u64) as usize;
        let bad =
            |detail| FormatError::corrupt("name index page", detail).with_place(Some(&self.file), offset);
        if len < NAME_PAGE_HEADER {
            return Err(bad(format!("it has {len} bytes")));
        }
        let page = self.source.read_at(offset, len)?;
        let stored = u32::from_le_bytes([page[0], page[1], page[2], page[3]]);
        let count = u32::from_le_bytes([page[4], page[5], page[6], page[7]]) as usize;
        verify("name index page", offset, &page[4..], stored)
            .map_err(|e| e.with_place(Some(&self.file), offset))?;
        let (entries, _) = page[NAME_PAGE_HEADER..].as_chunks::<{ size_of::<NameEntry>() }>();
        let Some(entries) = entries.get(..count) else {
            return Err(bad(format!("it claims {count} entries in {len} bytes")));
        };
        Ok(entries.iter().map(|e| pod_read_unaligned(e)).collect())
    }

    /// The directory's entry of a column.
    ///
    /// # Errors
    /// When there is none or it is damaged.
    pub fn column_entry(&self, index: u32) -> Result<ColumnEntry> {
        let s = self
            .section(SectionKind::Columns)
            .copied()
            .filter(|s| index < s.count && (u64::from(index) + 1) * 64 <= s.len);
        let Some(s) = s else {
            return Err(FormatError::corrupt("column directory", format!("it has no column {index}"))
                .with_place(Some(&self.file), 0));
        };
        let offset = s.offset + u64::from(index) * size_of::<ColumnEntry>() as u64;
        let bytes = self.source.read_at(offset, size_of::<ColumnEntry>())?;
        let entry: ColumnEntry = pod_read_unaligned(&bytes);
        verify("column directory entry", offset, &bytes[..60], entry.crc)
            .map_err(|e| e.with_place(Some(&self.file), offset))?;
        Ok(entry)
    }

    fn cache(&self) -> std::sync::MutexGuard<'_, Cache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The `index`-th column. Its metadata is read, checked and kept when it is first asked for.
    ///
    /// # Errors
    /// When there is none or its metadata is damaged.
    pub fn column(&self, index: u32) -> Result<Arc<ColumnMeta>> {
        if let Some(column) = self.salvaged.as_ref().and_then(|c| c.get(&index)) {
            return Ok(column.clone());
        }
        if let Some(column) = self.cache().columns.get(&index) {
            return Ok(column.clone());
        }
        let entry = self.column_entry(index)?;
        let place = |e: FormatError| e.with_place(Some(&self.file), entry.meta_offset);
        if entry.meta_offset.saturating_add(u64::from(entry.meta_len)) > self.len {
            return Err(place(FormatError::corrupt(
                "column directory entry",
                "the column's metadata lies beyond the file's end",
            )));
        }
        let bytes = self.source.read_at(entry.meta_offset, entry.meta_len as usize)?;
        verify("column metadata", entry.meta_offset, &bytes, entry.meta_crc).map_err(place)?;
        let column = Arc::new(parse_column(index, entry, &bytes, &self.blocks).map_err(place)?);
        self.cache().columns.insert(index, column.clone());
        Ok(column)
    }

    /// The bloom filter of a column in a block, if it has one.
    ///
    /// # Errors
    /// When it can't be read or is damaged.
    pub fn bloom(&self, column: &ColumnMeta, block: u32) -> Result<Option<Buffer>> {
        let entry = &column.entry;
        if entry.bloom_len == 0 {
            return Ok(None);
        }
        let place = |e: FormatError| e.with_place(Some(&self.file), entry.bloom_offset);
        let bad = || place(FormatError::corrupt("bloom filters", "their lengths contradict each other"));
        let bytes = self.source.read_at(entry.bloom_offset, entry.bloom_len as usize)?;
        verify("bloom filters", entry.bloom_offset, &bytes, entry.bloom_crc).map_err(place)?;
        let word = |i: usize| {
            bytes.get(4 * i..4 * i + 4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]) as usize)
        };
        let count = word(0).filter(|&n| n == self.blocks.len()).ok_or_else(bad)?;
        let mut start = 4 + 4 * count;
        for i in 0..block as usize {
            start = start.checked_add(word(1 + i).ok_or_else(bad)?).ok_or_else(bad)?;
        }
        let len = word(1 + block as usize).ok_or_else(bad)?;
        if start.checked_add(len).is_none_or(|end| end > bytes.len()) {
            return Err(bad());
        }
        Ok(Some(bytes.slice_with_length(start, len)))
    }

    /// A dictionary decoded before from the page at this offset.
    pub(crate) fn cached_dictionary(&self, offset: u64) -> Option<Arc<ChunkDictionary>> {
        self.cache().dictionaries.get(&offset).cloned()
    }

    /// Keeps a decoded dictionary for later pages of its chunk.
    pub(crate) fn cache_dictionary(&self, offset: u64, dictionary: &Arc<ChunkDictionary>, bytes: usize) {
        let mut cache = self.cache();
        if cache.dictionary_bytes + bytes > DICTIONARY_CACHE_BYTES {
            cache.dictionaries.clear();
            cache.dictionary_bytes = 0;
        }
        cache.dictionary_bytes += bytes;
        cache.dictionaries.insert(offset, dictionary.clone());
    }

    /// The file's rows that a block holds.
    pub fn block_rows(&self, block: u32) -> Range<u64> {
        self.blocks.get(block as usize).map_or(0..0, |b| b.first_row..b.first_row + u64::from(b.rows))
    }
}

/// Decodes a schema section.
///
/// # Errors
/// [`FormatError::Corrupt`] when it is not one.
pub fn parse_schema(bytes: &[u8]) -> Result<SchemaDefinition> {
    let archived = access::<ArchivedSchemaV1>("schema section", bytes)?;
    let mut fields = Vec::new();
    let mut next = 0;
    while next < archived.fields.len() {
        fields.push(pull_field(&archived.fields, &mut next, 0)?);
    }
    let metadata = archived
        .metadata
        .iter()
        .map(|kv| (kv.key.as_str().to_owned(), kv.value.as_str().to_owned()))
        .collect();
    SchemaDefinition::assign_ids(&Schema::new_with_metadata(fields, metadata))
        .map_err(|e| FormatError::corrupt("schema section", e.to_string()))
}

/// Decodes a column's metadata and checks it against the blocks of its file.
///
/// # Errors
/// [`FormatError::Corrupt`] when it is not one, or contradicts the blocks.
pub fn parse_column(
    index: u32,
    entry: ColumnEntry,
    bytes: &[u8],
    blocks: &[BlockEntry],
) -> Result<ColumnMeta> {
    let bad = |detail: String| FormatError::corrupt("column metadata", detail);
    let archived = access::<ArchivedColumnV1>("column metadata", bytes)?;
    let mut next = 0;
    let field = pull_field(&archived.fields, &mut next, 0)?;
    let shape = ColumnShape::of(field.data_type())?;
    if next != archived.fields.len() || archived.streams.len() != shape.streams.len() {
        return Err(bad(format!(
            "{} streams where its type has {}",
            archived.streams.len(),
            shape.streams.len()
        )));
    }
    let streams = archived
        .streams
        .iter()
        .zip(shape.streams.iter().zip(&shape.types))
        .map(|(stream, (spec, data_type))| parse_stream(stream, spec, data_type, blocks))
        .collect::<Result<Vec<_>>>()?;
    let bounds = archived.bounds.as_ref().map(|b| ExactBounds {
        min: b.min.to_vec(),
        max: b.max.to_vec(),
        min_exact: b.min_exact,
        max_exact: b.max_exact,
    });
    Ok(ColumnMeta {
        index,
        field,
        shape,
        streams,
        nulls: archived.nulls.to_native(),
        nans: archived.nans.to_native(),
        bounds,
        sketch: archived.sketch.to_vec(),
        entry,
    })
}

fn parse_stream(
    stream: &ArchivedStreamV1,
    spec: &StreamSpec,
    data_type: &DataType,
    blocks: &[BlockEntry],
) -> Result<Vec<ChunkMeta>> {
    let bad = |detail: String| FormatError::corrupt("column metadata", detail);
    if stream.blocks.len() != blocks.len() {
        return Err(bad(format!(
            "{} chunks where the file has {} blocks",
            stream.blocks.len(),
            blocks.len()
        )));
    }
    stream
        .blocks
        .iter()
        .zip(blocks)
        .map(|(chunk, block)| {
            let pages = chunk.chunk.pages.iter().map(|p| page_ref(p, block)).collect::<Result<Vec<_>>>()?;
            let dictionary = chunk.chunk.dictionary.as_ref().map(|p| page_ref(p, block)).transpose()?;
            let zones = ZoneStats::read_all(&chunk.zones, data_type)?;
            chunk_meta(pages, dictionary, spec, block, zones)
        })
        .collect()
}

/// Checks a page's place in its block and makes its offset absolute.
pub(crate) fn page_ref(page: &ArchivedPageV1, block: &BlockEntry) -> Result<PageRef> {
    let (offset, len) = (u64::from(page.offset.to_native()), page.len.to_native());
    let start = u64::from(block.data_start) + offset;
    if start + u64::from(len) > block.length || len as usize > PAGE_BYTES_MAX || !start.is_multiple_of(64) {
        return Err(FormatError::corrupt(
            "page directory",
            format!("a page at {start} of {len} bytes is outside its block of {}", block.length),
        ));
    }
    Ok(PageRef {
        offset: block.offset + start,
        len,
        crc: page.crc.to_native(),
        values: page.values.to_native(),
        nulls: page.nulls.to_native(),
        unit: page.unit.to_native(),
        encoding: page.encoding,
    })
}

/// Checks that a stream's pages cover its block's rows unit by unit.
pub(crate) fn chunk_meta(
    pages: Vec<PageRef>,
    dictionary: Option<PageRef>,
    spec: &StreamSpec,
    block: &BlockEntry,
    zones: Vec<ZoneStats>,
) -> Result<ChunkMeta> {
    let bad = |detail: String| FormatError::corrupt("page directory", detail);
    let units = block.rows.div_ceil(block.unit_rows);
    let mut unit_pages = Vec::with_capacity(units as usize + 1);
    let mut i = 0;
    for unit in 0..units {
        unit_pages.push(i as u32);
        let mut values = 0;
        while let Some(page) = pages.get(i).filter(|p| p.unit == unit) {
            values += u64::from(page.values);
            if page.values as usize > PAGE_VALUES_MAX || page.nulls > page.values {
                return Err(bad(format!("a page has {} values, {} of them null", page.values, page.nulls)));
            }
            i += 1;
        }
        let rows = u64::from(block.unit_rows.min(block.rows - unit * block.unit_rows));
        if spec.flat && values != rows || !spec.flat && unit_pages.last() == Some(&(i as u32)) {
            return Err(bad(format!("unit {unit} has {values} values for {rows} rows")));
        }
    }
    if i != pages.len() {
        return Err(bad(format!("{} pages, of which units claim {i}", pages.len())));
    }
    unit_pages.push(i as u32);
    let zones_per_unit = block.unit_rows.div_ceil(ZONE_ROWS as u32);
    if !zones.is_empty() {
        let expected = (0..units).flat_map(|u| {
            let rows = block.unit_rows.min(block.rows - u * block.unit_rows);
            (0..rows.div_ceil(ZONE_ROWS as u32))
                .map(move |z| (ZONE_ROWS as u32).min(rows - z * ZONE_ROWS as u32))
        });
        if !spec.stats || !zones.iter().map(|z| z.rows).eq(expected) {
            return Err(bad(format!("{} zones do not cover the block's {} rows", zones.len(), block.rows)));
        }
    }
    Ok(ChunkMeta { pages, unit_pages, dictionary, zones, zones_per_unit })
}
