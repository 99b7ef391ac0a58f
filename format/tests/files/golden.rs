//! Files whose bytes are committed: today's writer gives the same bytes, and today's reader the same rows.
//!
//! `DELTALITE_REGENERATE=1` writes them anew. That is a change of what files look like: files written before must stay readable,
//! so the old ones move to `golden/past`, where only reading is checked.

use std::path::PathBuf;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_buffer::Buffer;
use deltalite_format::reader::ReadAt;
use deltalite_format::verify::verify_file;
use deltalite_format::{FileReader, Profile, WriterOptions};

use crate::tables::{IDENTITY, assert_same, read, small, small_tables, write};

fn dir() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden")
}

/// Every golden file: its name, its table, how it is written.
fn golden() -> Vec<(String, RecordBatch, WriterOptions)> {
    let mut out = Vec::new();
    for (name, table) in small_tables() {
        for profile in [Profile::Default, Profile::Compact, Profile::Plain] {
            let rows = table.num_rows().min(120);
            let options = WriterOptions {
                key_values: vec![("origin".to_owned(), "golden".to_owned())],
                bloom_columns: if name == "texts" { vec!["c0".to_owned()] } else { Vec::new() },
                sketches: name == "texts",
                identity: Some(IDENTITY),
                ..small(profile, 80, 64)
            };
            out.push((
                format!("{name}-{}.dlb", format!("{profile:?}").to_lowercase()),
                table.slice(0, rows),
                options,
            ));
        }
    }
    out
}

#[test]
fn bytes_and_rows_stay_the_same() {
    let regenerate = std::env::var_os("DELTALITE_REGENERATE").is_some();
    for (name, table, options) in golden() {
        let path = dir().join(&name);
        let written = write(&table, options, 0);
        if regenerate {
            std::fs::create_dir_all(dir()).unwrap();
            std::fs::write(&path, &written).unwrap();
        }
        let stored = std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        assert_same(&read(&stored).unwrap(), &table);
        let source: Arc<dyn ReadAt> = Arc::new(Buffer::from(stored.as_slice()));
        let reader = FileReader::open(source.clone(), &name).unwrap();
        let report = verify_file(&source, reader.meta(), &mut |_| ()).unwrap();
        assert!(report.is_intact(), "{name}: {:?}", report.problems);
        let first = stored.iter().zip(&written).position(|(a, b)| a != b);
        assert!(
            first.is_none() && stored.len() == written.len(),
            "{name} is written differently, first at byte {first:?} ({} bytes, before {}). If that is meant, keep the old file in \
             golden/past and run with DELTALITE_REGENERATE=1",
            written.len(),
            stored.len()
        );
    }
}

#[test]
fn files_of_the_past_are_read() {
    let Ok(past) = std::fs::read_dir(dir().join("past")) else { return };
    for entry in past {
        let path = entry.unwrap().path();
        let stored = std::fs::read(&path).unwrap();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let (_, table, _) = golden()
            .into_iter()
            .find(|(golden, ..)| name.ends_with(golden.as_str()))
            .unwrap_or_else(|| panic!("{name} names no golden file"));
        assert_same(&read(&stored).unwrap(), &table);
    }
}
