//! Lines nobody should write.

use deltalite_table::TableError;
use deltalite_table::log::action::parse_commit;
use deltalite_table::log::limits::DEPTH_MAX;
use deltalite_table::schema::{delta_schema, delta_schema_string};

fn fault(line: impl AsRef<[u8]>) -> (usize, String, String) {
    match parse_commit(line.as_ref()) {
        Err(TableError::Malformed { file, line, field, detail }) => {
            assert_eq!(file, "commit");
            (line, field, detail)
        }
        other => panic!("{other:?}"),
    }
}

const ADD: &str =
    r#"{"add":{"path":"a","partitionValues":{},"size":1,"modificationTime":1,"dataChange":true"#;

#[test]
fn errors_name_line_and_field() {
    let cases = [
        (r#"{"add":{}}"#.to_owned(), "add.path", "is missing"),
        (r#"{"add":[]}"#.to_owned(), "add", "no object"),
        (r#"{"add":{"path":""}}"#.to_owned(), "add.path", "empty"),
        (r#"{"add":{"path":7}}"#.to_owned(), "add.path", "string is expected"),
        (format!(r#"{ADD},"size":1}}}}"#), "add.size", "twice"),
        (format!(r#"{ADD},"stats":null,"stats":"x"}}}}"#), "add.stats", "twice"),
        (format!(r#"{ADD},"baseRowId":-1}}}}"#), "add.baseRowId", "negative"),
        (format!(r#"{ADD},"baseRowId":1.5}}}}"#), "add.baseRowId", "whole number"),
        (format!(r#"{ADD},"baseRowId":9223372036854775808}}}}"#), "add.baseRowId", "63 bits"),
        (format!(r#"{ADD},"tags":{{"a":{{"b":"c"}}}}}}}}"#), "add.tags", "strings or null"),
        (format!(r#"{ADD},"tags":{{"a":1}}}}}}"#), "add.tags.a", "string or null"),
        (format!(r#"{ADD},"tags":{{"a":"1","a":"2"}}}}}}"#), "add.tags", "twice"),
        (
            format!(r#"{ADD},"deletionVector":{{"storageType":"q"}}}}}}"#),
            "add.deletionVector.storageType",
            "must be",
        ),
        (
            format!(r#"{ADD},"deletionVector":{{"offset":2147483648}}}}}}"#),
            "add.deletionVector.offset",
            "31 bits",
        ),
        (format!(r#"{ADD}}},"remove":{{"path":"a","dataChange":true}}}}"#), "remove", "holds one"),
        (r#"{"remove":{"path":"a","dataChange":"yes"}}"#.to_owned(), "remove.dataChange", "true or false"),
        (r#"{"txn":{"appId":"a","version":1e400}}"#.to_owned(), "(the line)", "no JSON"),
        (r#"{"txn":{"appId":"a","version":99999999999999999999999}}"#.to_owned(), "(the line)", "no JSON"),
        (r#"{"protocol":{"minReaderVersion":1}}"#.to_owned(), "protocol.minWriterVersion", "missing"),
        (
            r#"{"protocol":{"minReaderVersion":1,"minWriterVersion":1,"readerFeatures":["a",1]}}"#.to_owned(),
            "protocol.readerFeatures",
            "string is expected",
        ),
        ("[1]".to_owned(), "(the line)", "no object"),
        ("{".to_owned(), "(the line)", "no JSON"),
        ("nonsense".to_owned(), "(the line)", "no JSON"),
        (r#"{"txn":{"appId":"a","version":1}} {}"#.to_owned(), "(the line)", "no JSON"),
    ];
    for (text, field, detail) in cases {
        let found = fault(format!("{{}}\n\n{text}\n"));
        assert_eq!((found.0, found.1.as_str()), (3, field), "{text}: {}", found.2);
        assert!(found.2.contains(detail), "{text}: {}", found.2);
    }
}

#[test]
fn nesting_is_bounded() {
    for depth in [DEPTH_MAX + 1, 1000, 1_000_000] {
        let line = format!("{{\"x\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
        assert!(fault(line).2.contains("no JSON"));
    }
    let fine = format!("{{\"x\":{}{}}}", "[".repeat(DEPTH_MAX / 2), "]".repeat(DEPTH_MAX / 2));
    assert_eq!(parse_commit(fine.as_bytes()).unwrap(), []);
}

#[test]
fn text_must_be_utf8_and_without_control_characters() {
    let mut line = br#"{"txn":{"appId":"a?","version":1}}"#.to_vec();
    for byte in [0xff, 0x80, 0xc0, 0x01, 0x00] {
        line[18] = byte;
        assert!(fault(line.clone()).2.contains("no JSON"));
    }
}

#[test]
fn an_empty_commit_has_no_actions() {
    for empty in ["", "\n", "\n\n\n", "{}", "{\"add\":null}\n"] {
        assert_eq!(parse_commit(empty.as_bytes()).unwrap(), [], "{empty:?}");
    }
}

/// Found by the fuzz target `schema`.
#[test]
fn ids_of_columns_are_whole_numbers_of_32_bits() {
    let schema = |metadata: &str| {
        delta_schema(&format!(
            r#"{{"type":"struct","fields":[{{"name":"a","type":"long","nullable":true,"metadata":{metadata}}}]}}"#
        ))
    };
    for id in ["7e111", "79999999999999999999999999", "4294967296", "-1", "1.5", "null", "\"7\"", "{}"] {
        for metadata in [
            format!(r#"{{"delta.columnMapping.id":{id}}}"#),
            format!(r#"{{"delta.columnMapping.nested.ids":{{"a.element":{id}}}}}"#),
        ] {
            let error = schema(&metadata).unwrap_err().to_string();
            assert!(error.contains("32 bits") && error.contains('a'), "{error}");
        }
    }
    let good = schema(r#"{"delta.columnMapping.id":4294967295}"#).unwrap();
    assert_eq!(delta_schema(&delta_schema_string(&good)).unwrap(), good);
}
