//! The binary from outside: round trips, errors, exit codes, damage.
#![allow(clippy::unwrap_used, missing_docs)]

mod config;
mod serve;
mod shell;
mod sql;
mod traces;

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;

use arrow_array::types::Int32Type;
use arrow_array::{
    Array, ArrayRef, BooleanArray, Date32Array, Decimal128Array, Float64Array, Int32Array, Int64Array,
    ListArray, RecordBatch, StringArray, TimestampMicrosecondArray,
};
use deltalite::convert::{SourceOptions, cast_batch, open_source};
use serde_json::Value;

fn deltalite(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = command(folder);
    command.args(arguments).output().unwrap()
}

fn command(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_deltalite"));
    command.current_dir(folder).env("XDG_CONFIG_HOME", folder).env_remove("NO_COLOR").stdin(Stdio::null());
    command
}

/// Runs a command that must succeed; what it printed.
fn ok(folder: &Path, arguments: &[&str]) -> String {
    let output = deltalite(folder, arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Runs a command that must end with an exit code; what it said on standard error.
fn fails(folder: &Path, code: i32, arguments: &[&str]) -> String {
    let output = deltalite(folder, arguments);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
    assert!(!said.contains('\x1b'), "no colour when piped: {said}");
    said
}

fn with_stdin(folder: &Path, arguments: &[&str], input: &[u8]) -> Output {
    let mut child = command(folder)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    child.wait_with_output().unwrap()
}

/// Rows of every kind of column that all formats can hold.
fn rows(n: usize) -> RecordBatch {
    let optional = |i: usize| !i.is_multiple_of(7);
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("id", Arc::new(Int64Array::from_iter_values((0..n as i64).map(|i| i * 3)))),
        (
            "small",
            Arc::new((0..n).map(|i| optional(i).then_some(i as i32 % 100 - 50)).collect::<Int32Array>()),
        ),
        (
            "price",
            Arc::new(
                (0..n as i128)
                    .map(|i| Some(i * 125))
                    .collect::<Decimal128Array>()
                    .with_precision_and_scale(15, 2)
                    .unwrap(),
            ),
        ),
        ("ratio", Arc::new((0..n).map(|i| optional(i).then_some(i as f64 / 8.0)).collect::<Float64Array>())),
        (
            "name",
            Arc::new(
                (0..n)
                    .map(|i| optional(i).then(|| format!("name, \"{}\"", i % 1000)))
                    .collect::<StringArray>(),
            ),
        ),
        ("day", Arc::new((0..n).map(|i| Some(19_000 + i as i32 / 50)).collect::<Date32Array>())),
        (
            "at",
            Arc::new(
                (0..n)
                    .map(|i| optional(i).then_some(1_700_000_000_000_000 + i as i64))
                    .collect::<TimestampMicrosecondArray>(),
            ),
        ),
        ("flag", Arc::new((0..n).map(|i| optional(i).then_some(i % 3 == 0)).collect::<BooleanArray>())),
    ];
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, c)| (name, c, name != "id")))
        .unwrap()
}

fn write(path: &Path, batch: &RecordBatch) {
    let (output, writer) = deltalite::convert::Output::create(path).unwrap();
    let format = deltalite::convert::FileFormat::of(path).unwrap();
    let mut sink = deltalite::convert::open_sink("test", format, batch.schema_ref(), writer).unwrap();
    sink.write(batch).unwrap();
    sink.finish().unwrap();
    output.commit().unwrap();
}

fn read(path: &Path, expected: &RecordBatch) -> RecordBatch {
    let options = SourceOptions { schema: Some(expected.schema()), ..SourceOptions::default() };
    let source = open_source(path, &options).unwrap();
    let batches: Vec<RecordBatch> =
        source.batches.map(|b| cast_batch(&b.unwrap(), &expected.schema()).unwrap()).collect();
    arrow_select::concat::concat_batches(&expected.schema(), &batches).unwrap()
}

#[test]
fn every_format_goes_round() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let expected = rows(70_000);
    write(&at.join("in.parquet"), &expected);
    ok(
        at,
        &[
            "import",
            "in.parquet",
            "in.dlb",
            "--quiet",
            "--block-rows",
            "30000",
            "--bloom",
            "name",
            "--sketches",
        ],
    );
    for ending in ["parquet", "arrow", "csv", "ndjson"] {
        let (there, back, again) =
            (format!("out.{ending}"), format!("back-{ending}.dlb"), format!("again-{ending}.parquet"));
        ok(at, &["export", "in.dlb", &there, "--quiet"]);
        assert_eq!(read(&at.join(&there), &expected), expected, "{ending}");
        let types = [
            "--type",
            "small=int",
            "--type",
            "price=decimal(15,2)",
            "--type",
            "day=date",
            "--type",
            "at=timestamp",
        ];
        let text = ending == "csv" || ending == "ndjson";
        ok(
            at,
            &[&["import", &there, &back, "--quiet"][..], if text { &types[..] } else { &[][..] }].concat(),
        );
        ok(at, &["export", &back, &again, "--quiet"]);
        assert_eq!(read(&at.join(&again), &expected), expected, "{ending}, back");
    }
    for entry in std::fs::read_dir(at).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(!name.starts_with('.'), "{name} stays behind");
    }
}

#[test]
fn nested_rows_go_through_ndjson() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let lines = "{\"a\":1,\"l\":[1,2,null],\"s\":{\"x\":1.5,\"y\":\"ü\\n\"}}\n{\"a\":2,\"l\":[],\"s\":{\"x\":null,\"y\":\"z\"}}\n{\"a\":3}\n";
    std::fs::write(at.join("in.ndjson"), lines).unwrap();
    ok(at, &["import", "in.ndjson", "n.dlb"]);
    let out = ok(at, &["scan", "n.dlb", "-o", "ndjson"]);
    let parsed = |text: &str| -> Vec<Value> {
        let without_nulls = |mut v: Value| {
            v.as_object_mut().unwrap().retain(|_, v| !v.is_null());
            if let Some(Value::Object(s)) = v.get_mut("s") {
                s.retain(|_, v| !v.is_null());
            }
            v
        };
        text.lines().map(|l| without_nulls(serde_json::from_str(l).unwrap())).collect()
    };
    assert_eq!(parsed(&out), parsed(lines));
    ok(at, &["export", "n.dlb", "n.parquet"]);
    let batch = open_source(&at.join("n.parquet"), &SourceOptions::default())
        .unwrap()
        .batches
        .next()
        .unwrap()
        .unwrap();
    let lists = batch.column_by_name("l").unwrap();
    let lists = lists.as_any().downcast_ref::<ListArray>().unwrap();
    assert_eq!((lists.len(), lists.is_null(2), lists.value(0).len()), (3, true, 3));
    assert!(fails(at, 2, &["export", "n.dlb", "n.csv"]).contains("CSV can't hold"));
    assert!(!at.join("n.csv").exists());
}

#[test]
fn sources_are_files_globs_folders_and_stdin() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    std::fs::create_dir(at.join("d")).unwrap();
    std::fs::write(at.join("d/1.csv"), "id,v\n1,10\n2,20\n").unwrap();
    // Other order of columns, a wider type: files of text are read under the schema that holds them all.
    std::fs::write(at.join("d/2.csv"), "v,id\n2.5,3\n").unwrap();
    for source in ["d", "d/*.csv", "d/?.csv"] {
        ok(at, &["import", source, "t.dlb"]);
        assert_eq!(ok(at, &["scan", "t.dlb", "-o", "csv"]), "id,v\n1,10.0\n2,20.0\n3,2.5\n", "{source}");
    }
    let piped = with_stdin(at, &["import", "-", "p.dlb"], b"{\"id\":1}\n{\"id\":2}\n");
    assert!(piped.status.success(), "{}", String::from_utf8_lossy(&piped.stderr));
    assert_eq!(ok(at, &["scan", "p.dlb", "--count"]), "2\n");
    let arrow = deltalite(at, &["export", "t.dlb", "-", "--format", "arrow"]).stdout;
    let piped = with_stdin(at, &["import", "-", "q.dlb"], &arrow);
    assert!(piped.status.success(), "{}", String::from_utf8_lossy(&piped.stderr));
    assert_eq!(ok(at, &["scan", "q.dlb", "t.dlb", "--count"]), "6\n");

    ok(at, &["import", "d", "files/"]);
    assert_eq!(ok(at, &["scan", "files/1.dlb", "--count"]), "2\n");
    std::fs::write(at.join("d/3.csv"), "id,other\n1,2\n").unwrap();
    assert!(fails(at, 1, &["import", "d", "t.dlb"]).starts_with("error[DL-0405]"));
    assert!(fails(at, 1, &["import", "nothing*", "t.dlb"]).starts_with("error[DL-0402]"));
    assert_eq!(ok(at, &["scan", "t.dlb", "--count"]), "3\n", "a failed import leaves what was there");
}

#[test]
fn schemas_can_be_given() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    std::fs::write(at.join("a.csv"), "id;name;x\n1;A;7\n2;B;8\n").unwrap();
    ok(at, &["import", "a.csv", "a.dlb", "--delimiter", ";", "--schema", "x:decimal(9,2),id:text"]);
    assert_eq!(ok(at, &["scan", "a.dlb", "-o", "csv"]), "x,id\n7.00,1\n8.00,2\n");
    // Three numbers take more room with a file around them; that is no gain to tell of.
    std::fs::write(at.join("few.csv"), "n\n1\n2\n3\n").unwrap();
    ok(at, &["import", "few.csv", "few.dlb"]);
    assert!(!ok(at, &["inspect", "few.dlb"]).contains("smaller"));
    let said = fails(at, 2, &["import", "a.csv", "b.dlb", "--delimiter", ";", "--type", "nmae=text"]);
    assert!(said.contains("did you mean \"name\"?"), "{said}");
    let said = fails(at, 2, &["import", "a.csv", "b.dlb", "--type", "id=number"]);
    assert!(said.contains("decimal(p,s)"), "{said}");

    let mut lines = "{\"a\":1}\n".repeat(10);
    lines.push_str("{\"a\":2,\"b\":true}\n");
    std::fs::write(at.join("l.ndjson"), &lines).unwrap();
    let said = fails(at, 1, &["import", "l.ndjson", "l.dlb", "--infer-rows", "5"]);
    assert!(
        said.starts_with("error[DL-0404]") && said.contains("l.ndjson:11") && said.contains("--infer-rows"),
        "{said}"
    );
    ok(at, &["import", "l.ndjson", "l.dlb"]);
    ok(at, &["import", "l.ndjson", "l.dlb", "--schema", "a:text"]);
    assert_eq!(ok(at, &["scan", "l.dlb", "--count"]), "11\n");
    std::fs::write(at.join("bad.ndjson"), "{\"a\":1}\n{\"a\":\n").unwrap();
    let said = fails(at, 1, &["import", "bad.ndjson", "l.dlb"]);
    assert!(said.contains("--> bad.ndjson:2"), "{said}");
    std::fs::write(at.join("bad.csv"), "a,b\n1,2\n1,x\n").unwrap();
    let said = fails(at, 1, &["import", "bad.csv", "l.dlb", "--type", "b=int"]);
    assert!(said.starts_with("error[DL-0404]") && said.contains("bad.csv:"), "{said}");
}

#[test]
fn rows_and_columns_are_chosen() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write(&at.join("in.parquet"), &rows(1000));
    ok(at, &["import", "in.parquet", "t.dlb"]);
    assert_eq!(ok(at, &["scan", "t.dlb", "-c", "small,id", "-n", "2", "-o", "csv"]), "small,id\n,0\n-49,3\n");
    let table = ok(at, &["scan", "t.dlb", "--columns", "id"]);
    assert_eq!(table.lines().count(), 104, "100 rows and the table's frame");
    let said = fails(at, 2, &["scan", "t.dlb", "-c", "pirce"]);
    assert!(said.starts_with("error[DL-0206]") && said.contains("help: did you mean \"price\"?"), "{said}");
    let said = fails(at, 1, &["scan", "gone.dlb"]);
    assert!(
        said.starts_with("error[DL-0402]") && said.contains("--> gone.dlb") && said.contains("help: "),
        "{said}"
    );
    assert!(fails(at, 2, &["export", "t.dlb", "t.xls"]).contains("--format"));
    assert!(fails(at, 2, &["sacn", "t.dlb"]).contains("scan"), "clap suggests the command");
    let chosen = ["scan", "t.dlb", "-c", "id", "-o", "csv", "--where"];
    let rows_where = |condition: &str| ok(at, &[&chosen[..], &[condition]].concat());
    assert_eq!(rows_where("id BETWEEN 6 AND 9 OR id = 30"), "id\n6\n9\n30\n");
    assert_eq!(rows_where("name LIKE '%\"99%' AND small IS NOT NULL AND id < 2000").lines().count(), 2);
    assert_eq!(rows_where("price = 6.25"), "id\n15\n");
    assert_eq!(rows_where("id < 0"), "id\n");
    ok(at, &["export", "t.dlb", "few.parquet", "--where", "id < 30"]);
    assert_eq!(read(&at.join("few.parquet"), &rows(1000)), rows(10));
    let said = fails(at, 2, &["scan", "t.dlb", "--where", "id < 5 AND pirce > 3"]);
    assert!(
        said.starts_with("error[DL-0410]")
            && said.contains("did you mean \"price\"?")
            && said.contains("^^^^^"),
        "{said}"
    );
    let metrics = deltalite(at, &["scan", "t.dlb", "--count", "--metrics"]);
    let metrics: Value = serde_json::from_slice(&metrics.stderr).unwrap();
    assert_eq!(metrics["rows"], 1000);
}

#[test]
fn json_outputs_are_json() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write(&at.join("in.parquet"), &rows(5000));
    let json = |arguments: &[&str]| -> Value { serde_json::from_str(&ok(at, arguments)).unwrap() };
    assert_eq!(
        json(&["import", "in.parquet", "t.dlb", "--json", "--sketches", "--block-rows", "2000"])["rows"],
        5000
    );
    let inspected = json(&["inspect", "t.dlb", "--json"]);
    assert_eq!((&inspected["rows"], inspected["blocks"].as_array().unwrap().len()), (&Value::from(5000), 3));
    let id = &inspected["columns"][0];
    assert_eq!((&id["name"], &id["min"], &id["max"]), (&"id".into(), &"0".into(), &"14997".into()));
    assert!(id["encodings"][0]["name"].is_string() && id["distinct"].as_u64().unwrap() > 4500);
    assert_eq!(inspected["columns"][2]["max"], "6248.75");
    assert_eq!(inspected["columns"][5]["min"], "2022-01-08");
    let splits = json(&["splits", "t.dlb", "--json", "--size", "1"]);
    let rows: u64 = splits.as_array().unwrap().iter().map(|s| s["row_count"].as_u64().unwrap()).sum();
    assert_eq!(rows, 5000);
    assert_eq!(json(&["verify", "t.dlb", "--json"])[0]["intact"], true);
    assert!(json(&["doctor", "--json"]).as_array().unwrap().iter().any(|f| f["what"] == "io_uring"));
    assert!(ok(at, &["inspect", "t.dlb", "--blocks"]).contains("rows of a unit"));
    assert!(ok(at, &["doctor"]).contains("topology"));
}

#[test]
fn damage_is_found_and_the_rest_is_saved() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write(&at.join("in.parquet"), &rows(20_000));
    ok(at, &["import", "in.parquet", "t.dlb", "--block-rows", "5000"]);
    assert!(ok(at, &["verify", "t.dlb"]).contains("intact"));
    ok(at, &["salvage", "t.dlb", "same.dlb"]);
    assert_eq!(ok(at, &["scan", "same.dlb", "-o", "csv"]), ok(at, &["scan", "t.dlb", "-o", "csv"]));

    let whole = std::fs::read(at.join("t.dlb")).unwrap();
    let inspected: Value = serde_json::from_str(&ok(at, &["inspect", "t.dlb", "--json"])).unwrap();
    let block = |i: usize, key: &str| inspected["blocks"][i][key].as_u64().unwrap() as usize;

    let mut flipped = whole.clone();
    flipped[block(1, "offset") + block(1, "bytes") / 2] ^= 0x10;
    std::fs::write(at.join("flipped.dlb"), &flipped).unwrap();
    let verified = deltalite(at, &["verify", "flipped.dlb"]);
    let said = String::from_utf8(verified.stdout).unwrap();
    assert_eq!(verified.status.code(), Some(3), "{said}");
    assert!(said.contains("DL-0202") && said.contains("block 1"), "{said}");
    assert!(fails(at, 3, &["scan", "flipped.dlb", "-o", "csv"]).contains("error[DL-0202]"));
    let skipped = deltalite(at, &["scan", "flipped.dlb", "--count", "--skip-damaged"]);
    assert_eq!((skipped.status.code(), skipped.stdout.as_slice()), (Some(3), b"15000\n".as_slice()));
    fails(at, 4, &["salvage", "flipped.dlb", "saved.dlb"]);
    assert_eq!(ok(at, &["scan", "saved.dlb", "--count"]), "15000\n");

    std::fs::write(at.join("cut.dlb"), &whole[..block(2, "offset") + block(2, "bytes")]).unwrap();
    assert!(fails(at, 1, &["scan", "cut.dlb"]).contains("salvage"));
    let said = fails(at, 4, &["salvage", "cut.dlb", "saved.dlb"]);
    assert!(said.contains("footer is lost"), "{said}");
    assert_eq!(ok(at, &["scan", "saved.dlb", "--count"]), "15000\n");
    ok(at, &["verify", "saved.dlb"]);
    fails(at, 2, &["salvage", "cut.dlb", "cut.dlb"]);
    std::fs::write(at.join("noise.dlb"), vec![7; 10_000]).unwrap();
    assert_eq!(deltalite(at, &["verify", "noise.dlb"]).status.code(), Some(3));
    fails(at, 1, &["salvage", "noise.dlb", "saved.dlb"]);
}

#[test]
fn a_reader_that_has_seen_enough_ends_a_scan_quietly() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write(&at.join("in.parquet"), &rows(50_000));
    ok(at, &["import", "in.parquet", "t.dlb"]);
    let mut child = command(at)
        .args(["scan", "t.dlb", "-o", "csv"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn every_command_has_help_with_examples_and_codes_are_explained() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    for command in [
        "import",
        "export",
        "inspect",
        "scan",
        "splits",
        "verify",
        "salvage",
        "iotune",
        "doctor",
        "explain-error",
        "completions",
    ] {
        let help = ok(at, &[command, "--help"]);
        assert!(
            help.contains("Examples:") && help.contains(&format!("deltalite {command}")),
            "{command}: {help}"
        );
    }
    assert!(ok(at, &["explain-error", "dl-0202"]).contains("bit rot"));
    assert!(ok(at, &["explain-error", "206"]).starts_with("DL-0206"));
    fails(at, 2, &["explain-error", "DL-9999"]);
    for shell in ["bash", "zsh", "fish"] {
        assert!(ok(at, &["completions", shell]).contains("salvage"));
    }
}

#[test]
fn lists_keep_their_type() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let lists = ListArray::from_iter_primitive::<Int32Type, _, _>(
        (0..500).map(|i| (i % 5 != 0).then(|| (0..i % 4).map(Some))),
    );
    let batch = RecordBatch::try_from_iter([("l", Arc::new(lists) as ArrayRef)]).unwrap();
    write(&at.join("in.arrow"), &batch);
    ok(at, &["import", "in.arrow", "t.dlb"]);
    ok(at, &["export", "t.dlb", "out.arrow"]);
    assert_eq!(read(&at.join("out.arrow"), &batch), batch);
}

#[test]
fn long_conditions_come_from_files() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write(&at.join("in.parquet"), &rows(1000));
    ok(at, &["import", "in.parquet", "t.dlb"]);
    let terms: Vec<String> = (0..20_000).map(|i| format!("id = {}", i * 30)).collect();
    std::fs::write(at.join("any.sql"), terms.join("\n  OR ")).unwrap();
    assert_eq!(ok(at, &["scan", "t.dlb", "--count", "--where", "@any.sql"]), "100\n");
    let list: Vec<String> = (0..20_000).map(|i| format!("'name, \"{i}\"'")).collect();
    std::fs::write(at.join("list.sql"), format!("name IN ({})", list.join(","))).unwrap();
    assert_eq!(ok(at, &["scan", "t.dlb", "--count", "--where", "@list.sql"]), "857\n");
    std::fs::write(at.join("none.sql"), terms.join(" AND ")).unwrap();
    assert_eq!(ok(at, &["scan", "t.dlb", "--count", "--where", "@none.sql"]), "0\n");
    let mixed: Vec<String> = (0..5000).map(|i| format!("(id < {i} AND ratio > {i})")).collect();
    std::fs::write(at.join("mixed.sql"), mixed.join(" OR ")).unwrap();
    assert_eq!(ok(at, &["scan", "t.dlb", "--count", "--where", "@mixed.sql"]), "0\n");
    let deep = format!("{}id = 1{}", "(".repeat(5000), ")".repeat(5000));
    let said = fails(at, 2, &["scan", "t.dlb", "--where", &deep]);
    assert!(said.contains("nested deeper than") && said.len() < 1000, "{said}");
    let said = fails(at, 1, &["scan", "t.dlb", "--where", "@gone.sql"]);
    assert!(said.contains("--> gone.sql"), "{said}");
}

#[test]
fn what_is_missing_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write(&at.join("in.parquet"), &rows(10));
    ok(at, &["import", "in.parquet", "t.dlb"]);
    std::fs::create_dir(at.join("void")).unwrap();
    let said = fails(at, 1, &["scan", "void"]);
    assert!(said.contains("no file in this folder ends in .dlb"), "{said}");
    let said = fails(at, 1, &["import", "*.xyz", "x.dlb"]);
    assert!(said.contains("no file matches this pattern"), "{said}");
    for arguments in [
        &["import", "in.parquet", "gone/x.dlb"][..],
        &["export", "t.dlb", "gone/x.csv"],
        &["salvage", "t.dlb", "gone/x.dlb"],
    ] {
        let said = fails(at, 2, arguments);
        assert!(said.contains("there is no folder gone") && said.contains("help: make it"), "{said}");
    }
    let _socket = std::os::unix::net::UnixListener::bind(at.join("socket")).unwrap();
    for place in ["-", "socket"] {
        assert!(fails(at, 2, &["import", "in.parquet", place]).contains("give the path of a file"));
        assert!(fails(at, 2, &["salvage", "t.dlb", place]).contains("give the path of a file"));
    }
    assert!(!at.join("-").exists());
    assert!(fails(at, 2, &["iotune", "gone"]).contains("it is no folder"));
    assert!(fails(at, 1, &["salvage", "gone.dlb", "x.dlb"]).contains("help: check the path"));
    fails(at, 2, &["scan", "t.dlb", "--threads", "9999"]);
    let said = fails(at, 2, &["import", "in.parquet", "x.dlb", "--bloom", "pirce"]);
    assert!(said.contains("did you mean \"price\"?"), "{said}");
    let said = fails(at, 2, &["export", "t.dlb", "-"]);
    assert!(said.contains("standard output: ") && said.contains("--format"), "{said}");
    assert!(fails(at, 2, &["scan", "t.dlb", "--limit", "-1"]).contains("--limit"));
    let said = fails(at, 2, &["import", "in.parquet", "x.dlb", "--type", "id=bigitn"]);
    assert!(said.contains("did you mean \"bigint\"?"), "{said}");
    assert!(ok(at, &["help"]).contains("Usage: deltalite "));
}

#[test]
fn sources_without_content_and_lines_of_other_lengths_are_errors() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    for name in ["empty.csv", "empty.ndjson"] {
        std::fs::write(at.join(name), "\n").unwrap();
        let said = fails(at, 1, &["import", name, "x.dlb"]);
        assert!(said.contains("it is empty") && said.contains("--schema"), "{said}");
    }
    assert_eq!(with_stdin(at, &["import", "-", "x.dlb"], b"").status.code(), Some(1));
    ok(at, &["import", "empty.ndjson", "x.dlb", "--schema", "a:int"]);
    assert_eq!(ok(at, &["scan", "x.dlb", "-o", "csv"]), "a\n");
    std::fs::write(at.join("uneven.csv"), "a,b\n1,2\n3,4,5\n").unwrap();
    let said = fails(at, 1, &["import", "uneven.csv", "y.dlb"]);
    assert!(
        said.contains("the line has 3 fields, the first line 2")
            && said.contains("--> uneven.csv:3")
            && said.contains("help: quote fields"),
        "{said}"
    );
    assert!(!at.join("y.dlb").exists());
}

#[test]
fn reports_read_well() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    std::fs::write(at.join("in.ndjson"), "{\"tags\":[\"a\"],\"o\":{\"x\":1}}\n").unwrap();
    let output = deltalite(at, &["import", "in.ndjson", "t.dlb"]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.starts_with("t.dlb: 1 row, ") && said.contains(" in 1 block, "), "{said}");
    let inspected: Value = serde_json::from_str(&ok(at, &["inspect", "t.dlb", "--json"])).unwrap();
    let types: Vec<&str> =
        inspected["columns"].as_array().unwrap().iter().map(|c| c["type"].as_str().unwrap()).collect();
    assert_eq!(types, ["List(Utf8)", "Struct(\"x\": Int64)"]);
    assert!(fails(at, 2, &["export", "t.dlb", "t.csv"]).contains("CSV can't hold List(Utf8)\n"));
    assert!(ok(at, &["inspect", "t.dlb"]).starts_with("t.dlb: 1 row, 2 columns, "));
    assert!(ok(at, &["verify", "t.dlb"]).contains("intact (1 row, "));
}

#[test]
fn a_file_without_a_whole_block_is_not_salvaged() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    write(&at.join("in.parquet"), &rows(20_000));
    ok(at, &["import", "in.parquet", "t.dlb"]);
    let whole = std::fs::read(at.join("t.dlb")).unwrap();
    std::fs::write(at.join("cut.dlb"), &whole[..whole.len() / 2]).unwrap();
    let said = fails(at, 1, &["salvage", "cut.dlb", "saved.dlb"]);
    assert!(said.contains("no complete block is left") && said.contains("--> cut.dlb"), "{said}");
    assert!(!at.join("saved.dlb").exists());
}
