//! Delta Lake tables: nested columns under other names in files, and import version by version.

#![allow(clippy::needless_pass_by_value, reason = "what is passed is written where it is passed")]

use std::fs;
use std::path::Path;

use std::sync::Arc;

use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray, StructArray};
use arrow_schema::{DataType, Field, Schema};
use deltalite_query::Session;
use deltalite_table::deletion_vector::inline;
use deltalite_table::txn::Rows;
use parquet::arrow::ArrowWriter;
use serde_json::{Value, json};

use crate::{lines, session, try_lines};

fn commit(root: &Path, version: u64, actions: &[Value]) {
    let log = root.join("_delta_log");
    fs::create_dir_all(&log).unwrap();
    let text: String = actions.iter().map(|action| format!("{action}\n")).collect();
    fs::write(log.join(format!("{version:020}.json")), text).unwrap();
}

fn field(name: &str, kind: impl Into<Value>, metadata: Value) -> Value {
    json!({"name": name, "type": kind.into(), "nullable": true, "metadata": metadata})
}

fn metadata(fields: &[Value], configuration: Value) -> Value {
    let schema = json!({"type": "struct", "fields": fields}).to_string();
    json!({"metaData": {
        "id": "5f1b3b52-0000-4000-8000-000000000000", "format": {"provider": "parquet", "options": {}}, "schemaString": schema,
        "partitionColumns": [], "configuration": configuration, "createdTime": 0, "name": "lake",
    }})
}

fn add(root: &Path, file: &str, deleted: Option<&Rows>) -> Value {
    let size = fs::metadata(root.join(file)).unwrap().len();
    let mut add =
        json!({"path": file, "partitionValues": {}, "size": size, "modificationTime": 0, "dataChange": true});
    if let Some(deleted) = deleted {
        add["deletionVector"] = serde_json::to_value(inline(deleted).unwrap().unwrap()).unwrap();
    }
    json!({"add": add})
}

fn remove(file: &str, deleted: Option<&Rows>) -> Value {
    let mut remove = json!({"path": file, "deletionTimestamp": 0, "dataChange": true});
    if let Some(deleted) = deleted {
        remove["deletionVector"] = serde_json::to_value(inline(deleted).unwrap().unwrap()).unwrap();
    }
    json!({"remove": remove})
}

fn protocol(features: &[&str]) -> Value {
    json!({"protocol": {"minReaderVersion": 3, "minWriterVersion": 7, "readerFeatures": features, "writerFeatures": features}})
}

async fn file(s: &Session, root: &Path, name: &str, select: &str) {
    fs::create_dir_all(root).unwrap();
    lines(s, &format!("COPY ({select}) TO '{}'", root.join(name).display())).await;
}

/// A table of eight versions.
async fn lake(s: &Session, root: &Path) {
    let ids = |from: u64, to: u64| {
        format!("SELECT value AS id, concat('n', value) AS name FROM generate_series({from}, {to})")
    };
    file(s, root, "f0.parquet", &ids(0, 9)).await;
    file(s, root, "f1.parquet", &ids(10, 19)).await;
    file(s, root, "f2.parquet", &format!("SELECT * FROM ({}) WHERE id NOT IN (2, 5, 7)", ids(0, 19))).await;
    file(s, root, "f3.parquet", "SELECT 100 AS id, 'x' AS name, 0.5 AS x").await;
    file(
        s,
        root,
        "f4.parquet",
        "SELECT value AS id, 'y' AS name, value / 2.0 AS x FROM generate_series(1, 5)",
    )
    .await;
    file(s, root, "f5.parquet", "SELECT concat('t', value) AS id, 1 AS other FROM generate_series(1, 3)")
        .await;
    let (id, name) =
        (field("id", "long", json!({})), field("name", "string", json!({"comment": "what it is called"})));
    let x = field("x", "double", json!({}));
    let (some, more): (Rows, Rows) = ([2, 5].into_iter().collect(), [2, 5, 7].into_iter().collect());
    let begun = [
        json!({"commitInfo": {"timestamp": 1_700_000_000_000_i64, "operation": "CREATE TABLE AS SELECT"}}),
        protocol(&["deletionVectors"]),
        metadata(&[id.clone(), name.clone()], json!({})),
        add(root, "f0.parquet", None),
    ];
    commit(root, 0, &begun);
    commit(root, 1, &[add(root, "f1.parquet", None)]);
    commit(root, 2, &[add(root, "f0.parquet", Some(&some)), remove("f0.parquet", None)]);
    commit(root, 3, &[remove("f0.parquet", Some(&some)), add(root, "f0.parquet", Some(&more))]);
    let compacted =
        [remove("f0.parquet", Some(&more)), remove("f1.parquet", None), add(root, "f2.parquet", None)];
    commit(root, 4, &compacted);
    commit(root, 5, &[metadata(&[id, name.clone(), x], json!({})), add(root, "f3.parquet", None)]);
    // Back to before a deletion: rows of the same file are there again.
    commit(
        root,
        6,
        &[remove("f2.parquet", None), add(root, "f2.parquet", Some(&some)), add(root, "f4.parquet", None)],
    );
    let replaced = [field("id", "string", json!({})), field("other", "long", json!({}))];
    let gone = [
        metadata(&replaced, json!({})),
        remove("f2.parquet", Some(&some)),
        remove("f3.parquet", None),
        remove("f4.parquet", None),
        add(root, "f5.parquet", None),
    ];
    commit(root, 7, &gone);
}

async fn sorted(s: &Session, sql: &str) -> Vec<String> {
    let mut rows = lines(s, sql).await;
    rows.sort();
    rows
}

#[tokio::test(flavor = "multi_thread")]
async fn every_version_is_imported() {
    let folder = tempfile::tempdir().unwrap();
    let s = session(folder.path());
    let root = folder.path().join("out/lake");
    lake(&s, &root).await;
    let from = root.display();
    assert_eq!(lines(&s, &format!("IMPORT '{from}' TO t")).await, ["0|7|8|3"]);
    for version in 0..8 {
        let theirs = sorted(&s, &format!("SELECT * FROM '{from}' VERSION AS OF {version}")).await;
        let ours = sorted(&s, &format!("SELECT * FROM t VERSION AS OF {}", version + 1)).await;
        assert!(!theirs.is_empty());
        assert_eq!(ours, theirs, "version {version}");
    }
    assert_eq!(sorted(&s, "SELECT * FROM t").await, ["t1|1", "t2|1", "t3|1"]);
    let history = lines(&s, "DESCRIBE HISTORY t").await;
    assert!(
        history[7].contains("CREATE TABLE AS SELECT") && history[7].contains("1700000000000"),
        "{history:?}"
    );
    assert!(lines(&s, "VERIFY t ROWS").await[0].starts_with("intact"));
    lines(&s, "INSERT INTO t VALUES ('mine', 2)").await;
    assert!(try_lines(&s, &format!("IMPORT '{from}' TO t")).await.is_err(), "there is one already");
    assert_eq!(lines(&s, "SELECT count(*) FROM t").await, ["4"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_not_be_read_any_more_is_left_out() {
    let folder = tempfile::tempdir().unwrap();
    let s = session(folder.path());
    let root = folder.path().join("out/lake");
    lake(&s, &root).await;
    let from = root.display();
    fs::remove_file(root.join("f1.parquet")).unwrap();
    assert_eq!(lines(&s, &format!("IMPORT '{from}' TO t")).await, ["4|7|4|3"]);
    assert_eq!(lines(&s, "SELECT count(*), sum(id) FROM t VERSION AS OF 1").await, ["17|176"]);
    // Commits before the third are gone, and nothing stands for them.
    fs::remove_file(root.join("_delta_log/00000000000000000002.json")).unwrap();
    assert!(try_lines(&s, &format!("IMPORT '{from}' TO u")).await.is_err());
    assert!(try_lines(&s, "IMPORT 'nothing/here' TO u").await.is_err());
    lines(&s, "BEGIN").await;
    assert!(try_lines(&s, &format!("IMPORT '{from}' TO u")).await.is_err());
    lines(&s, "ROLLBACK").await;
    // What fails on the way leaves nothing.
    let other = folder.path().join("out/other");
    lake(&s, &other).await;
    fs::write(other.join("f4.parquet"), "no Parquet").unwrap();
    assert!(try_lines(&s, &format!("IMPORT '{}' TO u", other.display())).await.is_err());
    assert!(!s.table_names().contains(&"u".to_owned()), "{:?}", s.table_names());
    fs::remove_file(other.join("f5.parquet")).unwrap();
    let error = try_lines(&s, &format!("IMPORT '{}' TO u", other.display())).await.unwrap_err();
    assert!(error.to_string().contains("f5.parquet"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn nested_columns_have_other_names_in_files() {
    let folder = tempfile::tempdir().unwrap();
    let s = session(folder.path());
    let root = folder.path().join("out/nested");
    let select = "SELECT value AS \"col-1\", named_struct('col-2', value * 2, 'col-3', named_struct('col-4', concat('x', value))) AS \"col-5\", \
                  [named_struct('col-6', value)] AS \"col-7\", map(['k'], [named_struct('col-8', value)]) AS \"col-9\" FROM generate_series(1, 3)";
    file(&s, &root, "f.parquet", select).await;
    let named = |id: u64| json!({"delta.columnMapping.id": id, "delta.columnMapping.physicalName": format!("col-{id}")});
    let structure = |fields: &[Value]| json!({"type": "struct", "fields": fields});
    let inner = structure(&[field("text", "string", named(4))]);
    let columns = [
        field("id", "long", named(1)),
        field("s", structure(&[field("twice", "long", named(2)), field("inner", inner, named(3))]), named(5)),
        field(
            "l",
            json!({"type": "array", "elementType": structure(&[field("n", "long", named(6))]), "containsNull": true}),
            named(7),
        ),
        field(
            "m",
            json!({"type": "map", "keyType": "string", "valueType": structure(&[field("v", "long", named(8))]), "valueContainsNull": true}),
            named(9),
        ),
    ];
    let mode = json!({"delta.columnMapping.mode": "name", "delta.columnMapping.maxColumnId": "9"});
    let begun = [protocol(&["columnMapping"]), metadata(&columns, mode), add(&root, "f.parquet", None)];
    commit(&root, 0, &begun);
    let from = root.display();
    let select = "SELECT id, s['twice'], s['inner']['text'], l[1]['n'], m['k']['v']";
    let expected = ["1|2|x1|1|1", "2|4|x2|2|2", "3|6|x3|3|3"];
    assert_eq!(lines(&s, &format!("{select} FROM '{from}' ORDER BY id")).await, expected);
    assert_eq!(
        lines(&s, &format!("SELECT id FROM '{from}' WHERE s['inner']['text'] = 'x2' AND l[1]['n'] = 2"))
            .await,
        ["2"]
    );
    assert_eq!(lines(&s, &format!("SELECT l[1]['n'] FROM '{from}' WHERE id = 3")).await, ["3"]);
    assert_eq!(lines(&s, &format!("IMPORT '{from}' TO t")).await, ["0|0|1|3"]);
    assert_eq!(lines(&s, &format!("{select} FROM t ORDER BY id")).await, expected);
}

/// A Parquet file whose columns have numbers, and names that the table does not know.
fn numbered(root: &Path, name: &str, columns: Vec<(Field, ArrayRef)>) {
    fs::create_dir_all(root).unwrap();
    let (fields, arrays): (Vec<Field>, Vec<ArrayRef>) = columns.into_iter().unzip();
    let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).unwrap();
    let file = fs::File::create(root.join(name)).unwrap();
    let mut writer = ArrowWriter::try_new(file, batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn columns_are_found_by_number() {
    let folder = tempfile::tempdir().unwrap();
    let s = session(folder.path());
    let root = folder.path().join("numbered");
    let with_id = |name: &str, data_type: DataType, id: u32| {
        Field::new(name, data_type, true)
            .with_metadata([("PARQUET:field_id".to_owned(), id.to_string())].into())
    };
    let numbers = |values: [i64; 2]| -> ArrayRef { Arc::new(Int64Array::from(values.to_vec())) };
    let texts = |values: [&str; 2]| -> ArrayRef { Arc::new(StringArray::from(values.to_vec())) };
    let pair = |id: u32, name: &str, values: [i64; 2]| -> (Field, ArrayRef) {
        let inner = Arc::new(with_id(name, DataType::Int64, 4));
        let array = StructArray::from(vec![(inner.clone(), numbers(values))]);
        (with_id(&format!("s of {name}"), DataType::Struct(vec![inner].into()), id), Arc::new(array))
    };
    // Names that mislead: "b" has the number of `id`, "id" one that the table has no more.
    let first = vec![
        (with_id("id", DataType::Int64, 9), numbers([-1, -1])),
        (with_id("b", DataType::Int64, 1), numbers([1, 2])),
        (with_id("any", DataType::Utf8, 2), texts(["x", "y"])),
        pair(3, "deep", [10, 20]),
    ];
    numbered(&root, "f1.parquet", first);
    // Other names, another order, one column less.
    numbered(
        &root,
        "f2.parquet",
        vec![pair(3, "n", [30, 40]), (with_id("c", DataType::Int64, 1), numbers([3, 4]))],
    );
    // No numbers at all: names are all there is.
    let plain = vec![
        (Field::new("p1", DataType::Int64, true), numbers([5, 6])),
        (Field::new("p2", DataType::Utf8, true), texts(["v", "w"])),
    ];
    numbered(&root, "f3.parquet", plain);
    let named =
        |id: u64| json!({"delta.columnMapping.id": id, "delta.columnMapping.physicalName": format!("p{id}")});
    let inner = json!({"type": "struct", "fields": [field("n", "long", named(4))]});
    let columns =
        [field("id", "long", named(1)), field("text", "string", named(2)), field("s", inner, named(3))];
    let mode = json!({"delta.columnMapping.mode": "id", "delta.columnMapping.maxColumnId": "9"});
    let files = ["f1.parquet", "f2.parquet", "f3.parquet"].map(|file| add(&root, file, None));
    let mut actions = vec![protocol(&["columnMapping"]), metadata(&columns, mode)];
    actions.extend(files);
    commit(&root, 0, &actions);
    let from = root.display();
    let all = ["1|x|10", "2|y|20", "3||30", "4||40", "5|v|", "6|w|"];
    let select = "SELECT id, text, s['n']";
    assert_eq!(lines(&s, &format!("{select} FROM '{from}' ORDER BY id")).await, all);
    assert_eq!(lines(&s, &format!("SELECT text FROM '{from}' WHERE id = 2 AND s['n'] > 10")).await, ["y"]);
    assert_eq!(
        lines(&s, &format!("SELECT id FROM '{from}' WHERE s['n'] >= 30 ORDER BY id")).await,
        ["3", "4"]
    );
    assert_eq!(
        lines(&s, &format!("SELECT count(*), max(id) FROM '{from}' WHERE text IS NULL")).await,
        ["2|4"]
    );
    assert_eq!(lines(&s, &format!("SELECT s FROM '{from}' WHERE id = 3")).await, ["{n: 30}"]);
    assert_eq!(lines(&s, &format!("IMPORT '{from}' TO t")).await, ["0|0|1|6"]);
    assert_eq!(lines(&s, &format!("{select} FROM t ORDER BY id")).await, all);
}
