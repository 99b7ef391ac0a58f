//! The bodies of the fuzz targets ([`deltalite_testkit::fuzz`]), of files of today's writer; what corpora held before stays readable in `golden`.

use std::collections::BTreeSet;

use deltalite_format::reader::{FileMeta, ReadAt, ScanPlan};
use deltalite_format::{FileReader, Profile, ScanOptions, WriterOptions};
use deltalite_testkit::fuzz::Corpora;

use crate::bodies::TARGETS;
use crate::tables::{IDENTITY, small, small_tables, write};

/// Largest seed that is kept, in bytes.
const SEED_BYTES_MAX: usize = 24 << 10;

deltalite_testkit::fuzz_tests!(open, blocks, page, dictionary, schema, column, statistics, scan);

/// Writes the corpus anew. Only on request: a corpus that follows the code tests nothing of what was written before.
#[test]
fn regenerate() {
    let corpora = Corpora::of_crate(env!("CARGO_MANIFEST_DIR"));
    if !corpora.begin_anew(TARGETS.map(|(target, _)| target)) {
        return;
    }
    let put = |target: &str, name: &str, bytes: &[u8]| {
        if bytes.len() <= SEED_BYTES_MAX {
            corpora.put(target, name, &[bytes]);
        }
    };
    let mut pages_seen = BTreeSet::new();
    for (name, table) in small_tables() {
        for profile in [Profile::Default, Profile::Compact, Profile::Plain] {
            let rows = table.num_rows();
            let options = WriterOptions {
                key_values: vec![("origin".to_owned(), "test".to_owned())],
                bloom_columns: if name == "texts" { vec!["c0".to_owned()] } else { Vec::new() },
                sketches: true,
                identity: Some(IDENTITY),
                ..small(profile, (rows as u64 / 2).max(1), 256)
            };
            let file = write(&table, options, 0);
            let reader = FileReader::open_bytes(file.clone()).unwrap();
            let meta = reader.meta();
            let label = format!("{name}-{profile:?}").to_lowercase();
            if profile == Profile::Default {
                let few = WriterOptions { identity: Some(IDENTITY), ..small(profile, 40, 16) };
                let few = write(&table.slice(0, rows.min(60)), few, 0);
                for target in ["open", "blocks", "scan"] {
                    put(target, &label, &few);
                }
                put("schema", &label, &section_of(&file, meta, 4));
            }
            let plan = ScanPlan::new(meta.clone(), ScanOptions::default()).unwrap();
            for column in plan.columns() {
                let at = column.entry.meta_offset as usize;
                let archive = &file[at..at + column.entry.meta_len as usize];
                let (first, unit) = meta.blocks().first().map_or((1, 1), |b| (b.rows, b.unit_rows));
                if profile == Profile::Default && meta.blocks().iter().all(|b| b.rows == first) {
                    let mut seed = (first as u16).to_le_bytes().to_vec();
                    seed.extend([unit.trailing_zeros() as u8, meta.blocks().len() as u8]);
                    seed.extend_from_slice(archive);
                    put("column", &format!("{label}-{}", column.index), &seed);
                }
                if let Some(filter) = meta.bloom(column, 0).ok().flatten() {
                    put("statistics", &format!("{label}-bloom"), &[&[8][..], &filter].concat());
                }
                if profile == Profile::Default && column.index == 0 && !column.sketch.is_empty() {
                    put("statistics", &format!("{label}-sketch"), &[&[9][..], &column.sketch].concat());
                }
                for (stream, spec) in column.shape.streams.iter().enumerate() {
                    for block in 0..meta.blocks().len() as u32 {
                        let chunk = column.chunk(stream, block).unwrap();
                        let bytes = |p: &deltalite_format::reader::PageRef| {
                            file[p.offset as usize..p.offset as usize + p.len as usize].to_vec()
                        };
                        if let Some(d) = &chunk.dictionary {
                            let seed = [&[spec.ptype as u8, u8::from(spec.utf8)][..], &bytes(d)].concat();
                            put("dictionary", &format!("{label}-{}-{block}", column.index), &seed);
                            continue;
                        }
                        for page in &chunk.pages {
                            let key = (spec.ptype as u8, page.encoding, spec.utf8, page.nulls > 0);
                            if pages_seen.insert(key) {
                                let head = [spec.ptype as u8, u8::from(spec.utf8), spec.width as u8];
                                let kind = format!("{:?}-{}", spec.ptype, page.encoding).to_lowercase();
                                let nulls = if page.nulls > 0 { "-nulls" } else { "" };
                                put("page", &format!("{kind}{nulls}"), &[&head[..], &bytes(page)].concat());
                            }
                        }
                    }
                }
            }
        }
    }
    use deltalite_format::stats::{ZoneStats, zone_stats};
    let (_, numbers) = small_tables().swap_remove(0);
    let mut zones = vec![0];
    ZoneStats::write_all(&zone_stats(numbers.column(0), 100), numbers.column(0).data_type(), &mut zones);
    put("statistics", "int64-zones", &zones);
    let mut zones = vec![3];
    ZoneStats::write_all(&zone_stats(numbers.column(3), 100), numbers.column(3).data_type(), &mut zones);
    put("statistics", "float32-zones", &zones);
}

fn section_of(file: &[u8], meta: &FileMeta, kind: u32) -> Vec<u8> {
    let section = meta.sections().iter().find(|s| s.kind == kind).unwrap();
    let source = arrow_buffer::Buffer::from(file);
    source.read_at(section.offset, section.len as usize).unwrap().to_vec()
}
