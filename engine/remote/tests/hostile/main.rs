//! Requests and answers of peers that are not to be trusted: the bodies of the fuzz targets ([`deltalite_testkit::fuzz`]).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

#[path = "../../fuzz/bodies.rs"]
mod bodies;

use deltalite_format::predicate::{Literal, Predicate, col, lit};
use deltalite_remote::batch;
use deltalite_remote::predicate::WirePredicate;
use deltalite_remote::protocol::{self, At, Health, ListSplits, ReadSplit, Split, Splits, Stat, Target};
use deltalite_testkit::fuzz::Corpora;

use bodies::TARGETS;

deltalite_testkit::fuzz_tests!(request, answer, condition, batch);

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
    let corpora = Corpora::of_crate(env!("CARGO_MANIFEST_DIR"));
    if !corpora.begin_anew(TARGETS.map(|(target, _)| target)) {
        return;
    }
    let put = |target: &str, name: &str, head: &[u8], bytes: &[u8]| corpora.put(target, name, &[head, bytes]);
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
