//! The bodies of the fuzz targets, over the committed corpus and over seeded mutations of it.
//!
//! `DELTALITE_REGENERATE=1` writes the corpus anew from today's writer; what it held before stays readable in `golden`.

use std::collections::BTreeSet;
use std::path::PathBuf;

use deltalite_format::reader::{FileMeta, ReadAt, ScanPlan};
use deltalite_format::{FileReader, Profile, ScanOptions, WriterOptions};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::bodies::TARGETS;
use crate::tables::{IDENTITY, small, small_tables, write};

/// Mutated inputs for each target.
const MUTATIONS: usize = 4000;
/// Largest seed that is kept, in bytes.
const SEED_BYTES_MAX: usize = 24 << 10;

fn corpus_dir(target: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target)
}

fn corpus(target: &str) -> Vec<(String, Vec<u8>)> {
    let mut seeds: Vec<(String, Vec<u8>)> = std::fs::read_dir(corpus_dir(target))
        .unwrap_or_else(|e| panic!("corpus of {target}: {e}; write it with DELTALITE_REGENERATE=1"))
        .map(|entry| {
            let path = entry.unwrap().path();
            (path.file_name().unwrap().to_string_lossy().into_owned(), std::fs::read(path).unwrap())
        })
        .collect();
    seeds.sort();
    seeds
}

/// Changes bytes the way files go wrong and the way attackers make them go wrong.
fn mutate(bytes: &mut Vec<u8>, other: &[u8], rng: &mut StdRng) {
    const NUMBERS: [u64; 12] =
        [0, 1, 2, 7, 127, 255, 1024, 65_535, 65_536, u32::MAX as u64, i64::MAX as u64, u64::MAX];
    for _ in 0..rng.random_range(1..5) {
        if bytes.is_empty() {
            return;
        }
        let at = rng.random_range(0..bytes.len());
        match rng.random_range(0..12) {
            0..=2 => bytes[at] ^= 1 << rng.random_range(0..8),
            3 => bytes[at] = rng.random(),
            4..=7 => {
                // Numbers stand at multiples of their width, mostly.
                let width = [1, 2, 4, 8][rng.random_range(0..4)];
                let at = if rng.random_bool(0.8) { at / width * width } else { at };
                let mut number = NUMBERS[rng.random_range(0..NUMBERS.len())];
                if rng.random_bool(0.3) {
                    number = number.wrapping_sub(rng.random_range(0..3));
                }
                let end = (at + width).min(bytes.len());
                bytes[at..end].copy_from_slice(&number.to_le_bytes()[..end - at]);
            }
            8 => {
                let end = (at + rng.random_range(1..64)).min(bytes.len());
                bytes[at..end].fill([0, 0xff][rng.random_range(0..2)]);
            }
            9 => bytes.truncate(at),
            10 => {
                let end = (at + rng.random_range(1..200)).min(bytes.len());
                let to = rng.random_range(0..=bytes.len() - (end - at));
                bytes.copy_within(at..end, to);
            }
            _ if !other.is_empty() => {
                let from = rng.random_range(0..other.len());
                let n = rng.random_range(1..200).min(other.len() - from).min(bytes.len() - at);
                bytes[at..at + n].copy_from_slice(&other[from..from + n]);
            }
            _ => {}
        }
    }
}

fn run(name: &str) {
    let (_, body) = TARGETS.into_iter().find(|(n, _)| *n == name).unwrap();
    let seeds = corpus(name);
    assert!(!seeds.is_empty(), "{name} has no corpus");
    for (file, bytes) in &seeds {
        body(bytes).unwrap_or_else(|e| panic!("{name}/{file} is no longer read: {e}"));
    }
    body(b"").ok();
    for n in 0..MUTATIONS {
        let mut rng = StdRng::seed_from_u64(n as u64);
        let (file, seed) = &seeds[rng.random_range(0..seeds.len())];
        let mut bytes = seed.clone();
        mutate(&mut bytes, &seeds[rng.random_range(0..seeds.len())].1, &mut rng);
        if std::panic::catch_unwind(|| body(&bytes).ok()).is_err() {
            let path = std::env::temp_dir().join(format!("deltalite-{name}-{n}"));
            std::fs::write(&path, &bytes).unwrap();
            panic!("{name} panics on mutation {n} of {file}; the input is in {}", path.display());
        }
    }
}

macro_rules! targets {
    ($($name:ident),*) => {
        $(#[test] fn $name() { run(stringify!($name)); })*

        #[test]
        fn every_target_is_tested() {
            assert_eq!(TARGETS.map(|(name, _)| name), [$(stringify!($name)),*]);
        }
    };
}
targets!(open, blocks, page, dictionary, schema, column, statistics, scan);

/// Writes the corpus anew. Only on request: a corpus that follows the code tests nothing of what was written before.
#[test]
fn regenerate() {
    if std::env::var_os("DELTALITE_REGENERATE").is_none() {
        return;
    }
    for (target, _) in TARGETS {
        drop(std::fs::remove_dir_all(corpus_dir(target)));
        std::fs::create_dir_all(corpus_dir(target)).unwrap();
    }
    let put = |target: &str, name: &str, bytes: &[u8]| {
        if bytes.len() <= SEED_BYTES_MAX {
            std::fs::write(corpus_dir(target).join(name), bytes).unwrap();
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
