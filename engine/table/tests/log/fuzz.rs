//! The bodies of the fuzz targets ([`deltalite_testkit::fuzz`]), of logs of today's writer.

use deltalite_table::deletion_vector::{VectorFile, inline};
use deltalite_table::log::action::DeletionVector;
use deltalite_table::log::store::sim::SimDisk;
use deltalite_table::log::{LogFile, LogStore};
use deltalite_table::schema::delta_schema_string;
use deltalite_table::txn::Rows;
use deltalite_testkit::fuzz::Corpora;

use arrow_schema::{DataType, Field, Schema, TimeUnit};

use crate::bodies::TARGETS;
use crate::common::{Writer, sim_store};

deltalite_testkit::fuzz_tests!(commit, log, checkpoint, vector, schema);

/// Writes the corpus anew.
#[test]
fn regenerate() {
    let corpora = Corpora::of_crate(env!("CARGO_MANIFEST_DIR"));
    if !corpora.begin_anew(TARGETS.map(|(target, _)| target)) {
        return;
    }
    for seed in 0..6 {
        let store = sim_store(&SimDisk::new());
        let mut writer = Writer::new(seed);
        for versions in [1, 2, 1] {
            writer.commit(&store, versions, 5);
        }
        let sections: Vec<_> =
            (0..4).map(|n| store.read(deltalite_table::Version(n)).unwrap().unwrap()).collect();
        let whole: Vec<&[u8]> = sections.iter().map(deltalite_table::log::Section::bytes).collect();
        corpora.put("log", &seed.to_string(), &whole);
        corpora.put("commit", &seed.to_string(), &[sections[3].lines()]);
        let at = writer.now().checkpoint(&store).unwrap().version();
        let files = store.list_files().unwrap();
        let read = |file: LogFile| store.read_file(file).unwrap().unwrap().to_vec();
        let is_checkpoint =
            |file: &&LogFile| matches!(file, LogFile::Checkpoint(version, _) if *version == at);
        let text = read(*files.iter().find(is_checkpoint).unwrap());
        let mut parts = vec![at.0.to_le_bytes().to_vec(), (text.len() as u32).to_le_bytes().to_vec(), text];
        for file in &files {
            if let LogFile::Sidecar(id) = file {
                let bytes = read(*file);
                parts.extend([id.as_bytes().to_vec(), (bytes.len() as u32).to_le_bytes().to_vec(), bytes]);
            }
        }
        let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
        corpora.put("checkpoint", &seed.to_string(), &parts);
    }
    let vectors: [(&str, Rows); 4] = [
        ("few", [1, 5, 1 << 33].into_iter().collect()),
        ("run", (0..100_000).collect()),
        ("many", (0..3000).map(|n| n * n).collect()),
        ("none", Rows::new()),
    ];
    let head = |kind: u8, vector: &DeletionVector| {
        let numbers = [vector.size_in_bytes, vector.cardinality as u32, vector.offset.unwrap_or(0)];
        [vec![kind], numbers.map(u32::to_le_bytes).concat()].concat()
    };
    let mut file = VectorFile::default();
    let pushed: Vec<_> = vectors.iter().map(|(name, rows)| (*name, file.push(rows).unwrap())).collect();
    let (_, bytes) = file.finish();
    for ((name, vector), (_, rows)) in pushed.iter().zip(&vectors) {
        corpora.put("vector", &format!("file-{name}"), &[&head(1, vector), &bytes]);
        if let Some(vector) = inline(rows).unwrap() {
            let text = vector.path_or_inline_dv.as_bytes();
            corpora.put("vector", &format!("inline-{name}"), &[&head(0, &vector), text]);
        }
    }
    let inner = Field::new("n", DataType::Int64, true)
        .with_metadata([("PARQUET:field_id".to_owned(), "7".to_owned())].into());
    let structure = DataType::Struct(vec![inner, Field::new("t", DataType::Utf8, false)].into());
    let columns = [
        vec![
            Field::new("id", DataType::Int32, false),
            Field::new("at", DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into())), true),
        ],
        vec![
            Field::new("s", structure.clone(), true),
            Field::new_list("l", Field::new("element", structure, true), true),
        ],
        vec![
            Field::new("d", DataType::Decimal128(38, 10), true)
                .with_metadata([("comment".to_owned(), "a \"price\"".to_owned())].into()),
            Field::new_map(
                "m",
                "entries",
                Field::new("key", DataType::Utf8, false),
                Field::new("value", DataType::Date32, true),
                false,
                true,
            ),
        ],
    ];
    for (n, fields) in columns.into_iter().enumerate() {
        corpora.put("schema", &n.to_string(), &[delta_schema_string(&Schema::new(fields)).as_bytes()]);
    }
}
