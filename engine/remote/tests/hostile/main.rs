//! Requests and answers of peers that are not to be trusted: the bodies of the fuzz targets, over the committed corpus and over seeded mutations.
//!
//! `DELTALITE_MUTATIONS=1000000` runs more of them, `DELTALITE_REGENERATE=1` writes the corpus anew.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

#[path = "../../fuzz/bodies.rs"]
mod bodies;
#[path = "../../../../net/fuzz/mutate.rs"]
mod mutate;

use std::path::PathBuf;

use deltalite_format::predicate::{Literal, Predicate, col, lit};
use deltalite_remote::batch;
use deltalite_remote::predicate::WirePredicate;
use deltalite_remote::protocol::{self, At, Health, ListSplits, ReadSplit, Split, Splits, Stat, Target};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use bodies::TARGETS;
use mutate::mutate;

/// Mutated inputs for each target.
const MUTATIONS: u64 = 4000;
/// Largest input that mutations may grow to, in bytes.
const INPUT_BYTES_MAX: usize = 64 << 10;

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

fn run(name: &str) {
    let (_, body) = TARGETS.into_iter().find(|(n, _)| *n == name).unwrap();
    let seeds = corpus(name);
    assert!(!seeds.is_empty(), "{name} has no corpus");
    for (file, bytes) in &seeds {
        body(bytes).unwrap_or_else(|e| panic!("{name}/{file} is no longer read: {e}"));
    }
    body(b"").ok();
    let mutations =
        std::env::var("DELTALITE_MUTATIONS").ok().and_then(|n| n.parse().ok()).unwrap_or(MUTATIONS);
    let mut refused = 0;
    for n in 0..mutations {
        let mut rng = StdRng::seed_from_u64(n);
        let (file, seed) = &seeds[rng.random_range(0..seeds.len())];
        let mut bytes = seed.clone();
        mutate(&mut bytes, &seeds[rng.random_range(0..seeds.len())].1, &mut rng);
        bytes.truncate(INPUT_BYTES_MAX);
        match std::panic::catch_unwind(|| body(&bytes)) {
            Ok(read) => refused += u64::from(read.is_err()),
            Err(_) => {
                let path = std::env::temp_dir().join(format!("deltalite-{name}-{n}"));
                std::fs::write(&path, &bytes).unwrap();
                panic!("{name} panics on mutation {n} of {file}; the input is in {}", path.display());
            }
        }
    }
    eprintln!("{name}: {mutations} mutations, {refused} refused");
    // Mutations of which all or none get through would test little.
    assert!(refused > mutations / 100 && refused < mutations * 199 / 200, "{name}: {refused} of {mutations}");
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
targets!(request, answer, condition, batch);

fn conditions() -> Vec<Predicate> {
    let date = Literal::date("1970-01-20").unwrap();
    vec![
        col("a").lt(10).and(col("b").like("text 1%").or(!col("c").is_null())),
        col("c").between(date.clone(), date),
        col("b").is_in(["text 1", "y"]).and(col("a").not_in([1i64, 2])),
        col("f").gt_eq(lit(Literal::Bytes(vec![0, 255]))).or(Predicate::Literal(None)),
        col("b").ilike("T\\%_").and(col("d").is_not_null()).and(col("d").gt(2.5)),
        Predicate::And(Vec::new()),
    ]
}

/// Writes the corpus anew. Only on request: a corpus that follows the code tests nothing of what was said before.
#[test]
fn regenerate() {
    if std::env::var_os("DELTALITE_REGENERATE").is_none() {
        return;
    }
    for (target, _) in TARGETS {
        drop(std::fs::remove_dir_all(corpus_dir(target)));
        std::fs::create_dir_all(corpus_dir(target)).unwrap();
    }
    let put = |target: &str, name: &str, head: &[u8], bytes: &[u8]| {
        std::fs::write(corpus_dir(target).join(name), [head, bytes].concat()).unwrap();
    };
    let target = Target { path: "sales/trips".to_owned(), at: At::Version(7) };
    let split = Split { file: 3, start: 100, end: 9000, rows: Some((5, 60)), shard: 1 };
    put("request", "target", &[0], &protocol::encode(&target).unwrap());
    for (n, condition) in conditions().iter().enumerate() {
        let predicate = WirePredicate::encode(condition).unwrap();
        put("condition", &n.to_string(), &[], &protocol::encode(&predicate).unwrap());
        let list =
            ListSplits { target: target.clone(), predicate: Some(predicate.clone()), target_bytes: 1 << 20 };
        put("request", &format!("list-{n}"), &[1], &protocol::encode(&list).unwrap());
        let read = ReadSplit {
            target: target.clone(),
            identity: 99,
            split: split.clone(),
            columns: Some(vec!["a".to_owned(), "b".to_owned()]),
            predicate: Some(predicate),
            limit: Some(10),
            resume_at: Some(4),
        };
        put("request", &format!("read-{n}"), &[2], &protocol::encode(&read).unwrap());
    }
    let table = bodies::table();
    let columns = protocol::encode_schema(&table.schema()).unwrap();
    let stat = Stat {
        version: Some(7),
        identity: 99,
        schema: columns.clone(),
        rows: Some(40),
        bytes: 5000,
        ports: vec![7433, 7434],
    };
    put("answer", "stat", &[0], &protocol::encode(&stat).unwrap());
    put("answer", "splits", &[1], &protocol::encode(&Splits { splits: vec![split; 4] }).unwrap());
    let health = Health { ready: true, shards: 2, scans: 1, software: "deltalite".to_owned() };
    put("answer", "health", &[2], &protocol::encode(&health).unwrap());
    for n in 0..table.num_columns() {
        let part = table.project(&[n, (n + 1) % table.num_columns()]).unwrap();
        let columns = protocol::encode_schema(&part.schema()).unwrap();
        let (meta, payload) = batch::encode(&part, 40).unwrap();
        let head = [(columns.len() as u16).to_le_bytes(), (meta.len() as u16).to_le_bytes()].concat();
        put("batch", &n.to_string(), &head, &[columns, meta, payload.concat()].concat());
    }
}
