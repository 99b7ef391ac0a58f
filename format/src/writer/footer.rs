//! Everything after the last block: column metadata, directories, indexes, the section table and the tail.

use std::io::Write;

use bytemuck::{bytes_of, cast_slice};

use super::{FileWriter, archive, schema_section};
use crate::checksum::crc32c;
use crate::error::Result;
use crate::layout::{
    ColumnEntry, MAGIC, NAME_PAGE_BYTES, NAME_PAGE_ENTRIES, NAME_PAGE_HEADER, NameEntry, SectionEntry,
    SectionKind, Tail, VERSION, crc_of, name_hash,
};
use crate::limits::{EXTENT_ALIGN, PAGE_ALIGN};
use crate::meta::v1::{BoundsV1, ColumnV1, KeyValueV1, KeyValuesV1, StreamV1};
use crate::schema::types::push_field;
use crate::stats::DistinctSketch;

/// Writes the footer. Sections that an opening reader touches come last, so that one short read from the end has them.
pub(super) fn write<W: Write>(file: &mut FileWriter<W>) -> Result<()> {
    file.pad_to(EXTENT_ALIGN)?;
    let columns = write_columns(file)?;
    let mut table = Vec::new();
    let schema = schema_section(file.schema.arrow())?;
    section(file, &mut table, SectionKind::Schema, columns.len(), &schema, true)?;
    if !file.options.key_values.is_empty() {
        let mut pairs: Vec<KeyValueV1> = file
            .options
            .key_values
            .iter()
            .map(|(key, value)| KeyValueV1 { key: key.clone(), value: value.clone() })
            .collect();
        pairs.sort_by(|a, b| a.key.cmp(&b.key));
        let count = pairs.len();
        let bytes = archive(&KeyValuesV1 { pairs })?;
        section(file, &mut table, SectionKind::KeyValues, count, &bytes, true)?;
    }
    section(file, &mut table, SectionKind::Columns, columns.len(), cast_slice(&columns), false)?;
    let names = name_index(&columns);
    section(file, &mut table, SectionKind::NameIndex, names.len().div_ceil(NAME_PAGE_BYTES), &names, false)?;
    let blocks = std::mem::take(&mut file.blocks);
    section(file, &mut table, SectionKind::Blocks, blocks.len(), cast_slice(&blocks), true)?;
    file.blocks = blocks;

    file.pad_to(PAGE_ALIGN as u64)?;
    let table_offset = file.position;
    let table_bytes: &[u8] = cast_slice(&table);
    file.put(table_bytes)?;
    let mut tail = Tail {
        table_offset,
        table_count: table.len() as u32,
        table_crc: crc32c(table_bytes),
        rows: file.rows,
        uuid: file.uuid,
        file_len: file.position + size_of::<Tail>() as u64,
        version: VERSION,
        crc: 0,
        magic: MAGIC,
    };
    tail.crc = crc_of(&tail, 52);
    file.put(bytes_of(&tail))
}

fn section<W: Write>(
    file: &mut FileWriter<W>,
    table: &mut Vec<SectionEntry>,
    kind: SectionKind,
    count: usize,
    bytes: &[u8],
    checked_whole: bool,
) -> Result<()> {
    file.pad_to(PAGE_ALIGN as u64)?;
    let crc = if checked_whole { crc32c(bytes) } else { 0 };
    table.push(SectionEntry {
        kind: kind as u32,
        version: VERSION,
        offset: file.position,
        len: bytes.len() as u64,
        crc,
        count: count as u32,
    });
    file.put(bytes)
}

fn write_columns<W: Write>(file: &mut FileWriter<W>) -> Result<Vec<ColumnEntry>> {
    let fields = file.schema.arrow().fields().clone();
    let mut entries = Vec::with_capacity(fields.len());
    for (i, field) in fields.iter().enumerate() {
        let column = &mut file.columns[i];
        let mut definition = Vec::new();
        push_field(field, &mut definition)?;
        let meta = archive(&ColumnV1 {
            fields: definition,
            streams: std::mem::take(&mut column.done).into_iter().map(|blocks| StreamV1 { blocks }).collect(),
            nulls: column.nulls,
            nans: column.nans,
            bounds: column.bounds.finish().map(|b| BoundsV1 {
                min: b.min,
                max: b.max,
                min_exact: b.min_exact,
                max_exact: b.max_exact,
            }),
            sketch: column.sketch.as_ref().map(DistinctSketch::to_bytes).unwrap_or_default(),
        })?;
        let blooms = if column.blooms.is_empty() { Vec::new() } else { bloom_section(&column.blooms) };
        let (encoded_bytes, nulls) = (column.encoded_bytes, column.nulls);
        file.pad_to(PAGE_ALIGN as u64)?;
        let meta_offset = file.position;
        file.put(&meta)?;
        let mut bloom_offset = 0;
        if !blooms.is_empty() {
            file.pad_to(PAGE_ALIGN as u64)?;
            bloom_offset = file.position;
            file.put(&blooms)?;
        }
        let mut entry = ColumnEntry {
            name_hash: name_hash(field.name()),
            meta_offset,
            bloom_offset,
            encoded_bytes,
            nulls,
            meta_len: meta.len() as u32,
            meta_crc: crc32c(&meta),
            bloom_len: blooms.len() as u32,
            bloom_crc: crc32c(&blooms),
            field_id: crate::schema::field_id(field).unwrap_or(0),
            crc: 0,
        };
        entry.crc = crc_of(&entry, 60);
        entries.push(entry);
    }
    Ok(entries)
}

/// `u32` count, `u32` length of each, then the filters of all blocks.
fn bloom_section(blooms: &[Vec<u8>]) -> Vec<u8> {
    let mut out = (blooms.len() as u32).to_le_bytes().to_vec();
    out.extend(blooms.iter().flat_map(|b| (b.len() as u32).to_le_bytes()));
    out.extend(blooms.iter().flatten());
    out
}

fn name_index(columns: &[ColumnEntry]) -> Vec<u8> {
    let mut entries: Vec<NameEntry> = columns
        .iter()
        .enumerate()
        .map(|(i, c)| NameEntry { hash: c.name_hash, column: i as u32, reserved: 0 })
        .collect();
    entries.sort_by_key(|e| (e.hash, e.column));
    let mut out = Vec::with_capacity(entries.len().div_ceil(NAME_PAGE_ENTRIES) * NAME_PAGE_BYTES);
    for page in entries.chunks(NAME_PAGE_ENTRIES) {
        let start = out.len();
        out.resize(start + NAME_PAGE_HEADER, 0);
        // All pages but the last are full.
        out.extend_from_slice(cast_slice(page));
        out[start + 4..start + 8].copy_from_slice(&(page.len() as u32).to_le_bytes());
        let crc = crc32c(&out[start + 4..]);
        out[start..start + 4].copy_from_slice(&crc.to_le_bytes());
    }
    out
}
