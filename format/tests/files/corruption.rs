//! Flipped bits and bytes: an error, or the identical result; never another one.

use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_buffer::Buffer;
use deltalite_format::reader::ReadAt;
use deltalite_format::salvage::open_salvaged;
use deltalite_format::verify::verify_file;
use deltalite_format::{FileReader, Profile, Result, ScanOptions, WriterOptions};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::tables::{IDENTITY, collect, small, small_tables, write};

/// Everything a reader can be asked of a file.
#[derive(Debug, PartialEq)]
struct Answers {
    rows: RecordBatch,
    taken: RecordBatch,
    key_values: Vec<(String, String)>,
    schema: arrow_schema::SchemaRef,
}

fn ask(file: &[u8]) -> Result<Answers> {
    let reader = FileReader::open_bytes(file.to_vec())?;
    let rows = collect(reader.scan(ScanOptions::default())?)?;
    let picks: Vec<u64> = (0..reader.meta().rows()).step_by(41).collect();
    Ok(Answers {
        rows,
        taken: reader.take(&picks, ScanOptions::default())?,
        key_values: reader.meta().key_values()?,
        schema: reader.meta().schema()?.arrow().clone(),
    })
}

fn ask_salvaged(file: &[u8]) -> Result<RecordBatch> {
    let source: Arc<dyn ReadAt> = Arc::new(Buffer::from(file));
    let meta = Arc::new(open_salvaged(source.clone(), "memory")?);
    collect(FileReader::with_meta(meta, source).scan(ScanOptions::default())?)
}

fn files() -> Vec<(String, Vec<u8>)> {
    let mut files = Vec::new();
    for (name, table) in small_tables() {
        for profile in [Profile::Default, Profile::Compact, Profile::Plain] {
            let options = WriterOptions {
                key_values: vec![("origin".to_owned(), "test".to_owned())],
                bloom_columns: if name == "texts" { vec!["c0".to_owned()] } else { Vec::new() },
                sketches: true,
                identity: Some(IDENTITY),
                ..small(profile, 400, 256)
            };
            files.push((format!("{name} {profile:?}"), write(&table, options, 0)));
        }
    }
    files
}

/// Damages a file, asks, and undoes the damage. Returns whether the damage was noticed.
fn check(name: &str, what: &str, file: &[u8], damaged: &[u8], expected: &Answers) -> bool {
    debug_assert_eq!(file.len(), damaged.len());
    match ask(damaged) {
        Err(_) => true,
        Ok(answers) => {
            assert_eq!(&answers, expected, "{name}, {what}: another result");
            false
        }
    }
}

#[test]
fn flips_end_in_an_error_or_the_identical_result() {
    const FLIPS: usize = 12_000;
    let files = files();
    let mut noticed = 0;
    for (i, (name, file)) in files.iter().enumerate() {
        let expected = ask(file).unwrap();
        let mut rng = StdRng::seed_from_u64(i as u64);
        let mut damaged = file.clone();
        for n in 0..FLIPS.div_ceil(files.len()) {
            let at = rng.random_range(0..file.len());
            // Bits mostly; whole bytes, and short runs of bytes, as disks lose them.
            let (len, mask) = match n % 4 {
                0 => (1, rng.random_range(1..=255u8)),
                1 => (rng.random_range(1..600usize).min(file.len() - at), rng.random_range(1..=255u8)),
                _ => (1, 1 << rng.random_range(0..8)),
            };
            damaged[at..at + len].iter_mut().for_each(|b| *b ^= mask);
            noticed += usize::from(check(
                name,
                &format!("{len} bytes at {at} ^ {mask:#x}"),
                file,
                &damaged,
                &expected,
            ));
            damaged[at..at + len].copy_from_slice(&file[at..at + len]);
        }
    }
    assert!(noticed > FLIPS / 20, "only {noticed} of {FLIPS} flips hit anything that is read");
}

#[test]
fn every_bit_of_a_small_file_may_flip() {
    let (_, table) = small_tables().swap_remove(0);
    let file = write(&table.slice(0, 40).project(&[0, 2, 4]).unwrap(), small(Profile::Default, 40, 32), 0);
    let expected = ask(&file).unwrap();
    let mut damaged = file.clone();
    for at in 0..file.len() {
        // All bits of everything that is not padding; one bit of a byte in a run of zeros.
        let in_zeros = file[at.saturating_sub(8)..(at + 8).min(file.len())].iter().all(|&b| b == 0);
        for bit in 0..if in_zeros { 1 } else { 8 } {
            damaged[at] ^= 1 << ((bit + at % 8) % 8);
            check("small", &format!("bit {bit} of byte {at}"), &file, &damaged, &expected);
            damaged[at] = file[at];
        }
    }
}

#[test]
fn verify_finds_every_flip_and_salvage_never_invents_rows() {
    let (_, table) = small_tables().swap_remove(2);
    let file = write(&table, small(Profile::Default, 200, 64), 0);
    let whole = ask_salvaged(&file).unwrap();
    let mut rng = StdRng::seed_from_u64(9);
    let mut damaged = file.clone();
    for _ in 0..1500 {
        let at = rng.random_range(0..file.len());
        damaged[at] ^= 1 << rng.random_range(0..8);
        let source: Arc<dyn ReadAt> = Arc::new(Buffer::from(damaged.as_slice()));
        let intact = match FileReader::open(source.clone(), "memory") {
            Ok(reader) => verify_file(&source, reader.meta(), &mut |_| ()).unwrap().is_intact(),
            Err(_) => false,
        };
        assert!(!intact, "the flip at byte {at} passes for intact");
        // Salvage leaves out what is damaged; what it yields was written.
        if let Ok(found) = ask_salvaged(&damaged) {
            let mut start = 0;
            for block in 0..found.num_rows().div_ceil(200) {
                let n = 200.min(found.num_rows() - block * 200);
                let part = found.slice(block * 200, n);
                let at = (start..=whole.num_rows() - n).find(|&s| whole.slice(s, n) == part);
                start = at.expect("rows that were never written") + n;
            }
        }
        damaged[at] = file[at];
    }
}
