//! Checking a whole file: every header, every section, every page, every gap between them.

use std::ops::Range;
use std::sync::Arc;

use crate::checksum::verify;
use crate::error::{FormatError, Result};
use crate::layout::{FileHeader, TAIL_BYTES};
use crate::reader::{FileMeta, PageRef, ReadAt};
use crate::salvage::read_header;
use crate::schema::shape::ColumnShape;

/// What a check found.
#[derive(Debug, Default)]
pub struct VerifyReport {
    /// Blocks looked at.
    pub blocks: u64,
    /// Pages whose checksum was computed.
    pub pages: u64,
    /// Bytes whose checksum was computed.
    pub bytes: u64,
    /// Everything that is wrong, with its place.
    pub problems: Vec<FormatError>,
    /// Rows (of the file) in pages that are damaged, by block: `(block, first row, rows)`.
    pub damaged_rows: Vec<(u32, u64, u64)>,
}

impl VerifyReport {
    /// Whether nothing is wrong.
    pub fn is_intact(&self) -> bool {
        self.problems.is_empty()
    }
}

/// Checks an open file. `progress` is called with the bytes checked so far.
///
/// # Errors
/// Only when the source fails to read; damage is in the report.
pub fn verify_file(
    source: &Arc<dyn ReadAt>,
    meta: &FileMeta,
    progress: &mut dyn FnMut(u64),
) -> Result<VerifyReport> {
    let mut report = VerifyReport::default();
    let header = match read_header(source.as_ref()) {
        Ok(header) => {
            if header.fixed.uuid != meta.uuid() {
                report.problems.push(
                    FormatError::corrupt("file header", "its identity is not the tail's")
                        .with_place(Some(meta.file()), 0),
                );
            }
            Some(header)
        }
        Err(e) => {
            report.problems.push(e.with_place(Some(meta.file()), 0));
            None
        }
    };
    let mut note = |result: Result<()>| match result {
        Ok(()) => Ok(()),
        Err(e @ FormatError::Io { .. }) => Err(e),
        Err(e) => {
            report.problems.push(e);
            Ok(())
        }
    };
    note(meta.schema().map(|_| ()))?;
    note(meta.key_values().map(|_| ()))?;
    let mut used: Vec<Range<u64>> = Vec::new();
    if let Some(header) = &header {
        used.push(0..size_of::<FileHeader>() as u64 + u64::from(header.fixed.schema_len));
    }
    let mut columns = Vec::new();
    for i in 0..meta.column_count() {
        match meta.column(i) {
            Ok(column) => {
                let e = &column.entry;
                used.push(e.meta_offset..e.meta_offset.saturating_add(e.meta_len.into()));
                used.push(e.bloom_offset..e.bloom_offset.saturating_add(e.bloom_len.into()));
                note(if meta.blocks().is_empty() { Ok(()) } else { meta.bloom(&column, 0).map(|_| ()) })?;
                note(meta.column_by_name(column.field.name()).map(|_| ()))?;
                columns.push(column);
            }
            Err(e) => note(Err(e))?,
        }
    }
    for section in meta.sections() {
        used.push(section.offset..section.offset + section.len);
        report.bytes += section.len;
    }
    used.push(meta.table_range());
    used.push(meta.file_len() - TAIL_BYTES as u64..meta.file_len());
    for (i, block) in meta.blocks().iter().enumerate() {
        report.blocks += 1;
        if let Some(header) = &header {
            let mut specs = Vec::new();
            for field in header.schema.arrow().fields() {
                specs.extend(ColumnShape::of(field.data_type())?.streams);
            }
            match crate::salvage::read_block(source.as_ref(), header, &specs, block.offset) {
                Ok(found) => used.push(block.offset..block.offset + found.head_len),
                Err(e) => report.problems.push(e.with_place(Some(meta.file()), block.offset)),
            }
        }
        let mut pages: Vec<(PageRef, u64, u64)> = Vec::new();
        for column in &columns {
            for (stream, spec) in column.shape.streams.iter().enumerate() {
                let Some(chunk) = column.chunk(stream, i as u32) else { continue };
                pages.extend(chunk.dictionary.map(|d| (d, block.first_row, u64::from(block.rows))));
                let mut row = block.first_row;
                for page in &chunk.pages {
                    let (first, rows) = if spec.flat {
                        (row, u64::from(page.values))
                    } else {
                        let first = u64::from(page.unit) * u64::from(block.unit_rows);
                        (
                            block.first_row + first,
                            u64::from(block.unit_rows).min(u64::from(block.rows) - first),
                        )
                    };
                    pages.push((*page, first, rows));
                    row += u64::from(page.values);
                }
            }
        }
        pages.sort_unstable_by_key(|p| p.0.offset);
        for (page, first_row, rows) in pages {
            let bytes = source.read_at(page.offset, page.len as usize)?;
            if let Err(e) = verify("page", page.offset, &bytes, page.crc) {
                report.damaged_rows.push((i as u32, first_row, rows));
                report.problems.push(e.with_place(Some(meta.file()), page.offset));
            }
            used.push(page.offset..page.offset + u64::from(page.len));
            report.pages += 1;
            report.bytes += u64::from(page.len);
            progress(report.bytes);
        }
    }
    // Where a structure is damaged, what it covers is not known.
    if report.is_intact() {
        check_gaps(source.as_ref(), meta, used, &mut report)?;
    }
    Ok(report)
}

/// Bytes read at a time while looking for zeros.
const GAP_READ_BYTES: u64 = 1 << 20;

/// Checks that all that lies between structures is zero: bytes that nothing reads today may mean something tomorrow.
fn check_gaps(
    source: &dyn ReadAt,
    meta: &FileMeta,
    mut used: Vec<Range<u64>>,
    report: &mut VerifyReport,
) -> Result<()> {
    used.sort_unstable_by_key(|r| r.start);
    let mut end = 0;
    for next in used.into_iter().chain(std::iter::once(source.len()..source.len())) {
        while end < next.start {
            let n = (next.start - end).min(GAP_READ_BYTES);
            let bytes = source.read_at(end, n as usize)?;
            if let Some(at) = bytes.iter().position(|&b| b != 0) {
                report.problems.push(
                    FormatError::corrupt("padding", "a byte between structures is not zero")
                        .with_place(Some(meta.file()), end + at as u64),
                );
                end = next.start;
                break;
            }
            end += n;
        }
        end = end.max(next.end);
    }
    Ok(())
}
