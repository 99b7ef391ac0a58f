//! Lines to actions and back.

use deltalite_table::log::action::{
    Action, CheckpointMetadata, CommitInfo, FileFormat, FileStats, Metadata, Protocol, Sidecar, StatValue,
    decode_path, encode_path, parse_commit,
};
use deltalite_table::log::{ContentHash, StateHash};
use deltalite_table::{TableError, Version};
use proptest::prelude::*;
use rand::Rng;

use crate::common::{Model, map, random_actions, random_add, rng, text};

fn lines(actions: &[Action]) -> Vec<u8> {
    let mut out = Vec::new();
    for action in actions {
        serde_json::to_writer(&mut out, action).unwrap();
        out.push(b'\n');
    }
    out
}

fn every_kind(seed: u64) -> Vec<Action> {
    let rng = &mut rng(seed);
    let mut model = Model::default();
    let mut actions = random_actions(rng, &model, 8);
    model.apply(0, &actions);
    actions.extend(random_actions(rng, &model, 8));
    actions.push(Action::Add(random_add(rng, "x")));
    actions.push(Action::Protocol(Protocol {
        min_reader_version: rng.random_range(0..9),
        min_writer_version: rng.random_range(0..9),
        reader_features: rng.random_bool(0.5).then(|| vec![text(rng), text(rng)]),
        writer_features: None,
    }));
    actions.push(Action::Metadata(Box::new(Metadata {
        id: text(rng),
        name: Some(text(rng)),
        description: None,
        format: FileFormat { provider: text(rng), options: map(rng) },
        schema_string: text(rng),
        partition_columns: vec![text(rng)],
        created_time: Some(rng.random()),
        configuration: map(rng),
    })));
    actions.push(Action::CommitInfo(Box::new(CommitInfo {
        version: Version(rng.random_range(0..=Version::MAX.0)),
        prev: ContentHash::of(&[rng.random()]),
        state: StateHash::from_bytes(rng.random()),
        num_files: rng.random_range(0..1 << 62),
        size_in_bytes: rng.random_range(0..1 << 62),
        in_commit_timestamp: rng.random(),
        operation_parameters: map(rng),
        operation_metrics: Some(map(rng)),
        read_version: Some(Version(4)),
        is_blind_append: Some(rng.random()),
        user_metadata: Some(text(rng)),
        ..CommitInfo::new(&text(rng))
    })));
    actions.push(Action::Sidecar(Sidecar {
        path: text(rng),
        size_in_bytes: 5,
        modification_time: rng.random(),
        tags: Some(map(rng)),
    }));
    actions
        .push(Action::CheckpointMetadata(CheckpointMetadata { version: Version(3), tags: Some(map(rng)) }));
    actions
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn actions_round_trip_and_serde_agrees(seed: u64) {
        let actions = every_kind(seed);
        let bytes = lines(&actions);
        let by_serde: Vec<Action> = serde_json::Deserializer::from_slice(&bytes).into_iter().map(Result::unwrap).collect();
        prop_assert_eq!(&by_serde, &actions);
        prop_assert_eq!(parse_commit(&bytes).unwrap(), actions);
    }

    #[test]
    fn what_is_not_known_is_passed_over(seed: u64) {
        let actions = every_kind(seed);
        let mut out = b"{\"somethingNew\":{\"deep\":[{\"a\":1}]}}\n".to_vec();
        for action in &actions {
            let mut value = serde_json::to_value(action).unwrap();
            for inner in value.as_object_mut().unwrap().values_mut() {
                let fields = inner.as_object_mut().unwrap();
                fields.insert("zzz".to_owned(), serde_json::json!({"a": [1, {"b": null}]}));
                fields.insert("aaa".to_owned(), serde_json::json!([[], {}, 1.5]));
            }
            serde_json::to_writer(&mut out, &value).unwrap();
            out.push(b'\n');
        }
        prop_assert_eq!(parse_commit(&out).unwrap(), actions);
    }

    #[test]
    fn paths_round_trip(path in ".{0,30}") {
        let encoded = encode_path(&path);
        prop_assert!(encoded.is_ascii());
        prop_assert_eq!(decode_path(&encoded).unwrap(), path);
    }

    #[test]
    fn any_cut_or_flip_is_an_error_or_actions(seed: u64, at: prop::sample::Index, flip: u8, cut: bool) {
        let mut bytes = lines(&every_kind(seed));
        let at = at.index(bytes.len());
        if cut { bytes.truncate(at) } else { bytes[at] ^= flip }
        match parse_commit(&bytes) {
            Ok(_) | Err(TableError::Malformed { .. }) => {}
            Err(other) => panic!("{other}"),
        }
    }
}

#[test]
fn commit_parameters_that_are_no_strings_are_kept_as_json() {
    let info = CommitInfo::new("WRITE");
    let mut value = serde_json::to_value(Action::CommitInfo(Box::new(info))).unwrap();
    value["commitInfo"]["operationParameters"] =
        serde_json::json!({"mode": "Append", "by": ["a\"", 1.5], "n": 3, "none": null, "o": {"k": true}});
    let line = serde_json::to_vec(&value).unwrap();
    let Action::CommitInfo(info) = &parse_commit(&line).unwrap()[0] else { panic!() };
    let parameters = &info.operation_parameters;
    assert_eq!(parameters.value("mode"), Some("Append"));
    assert_eq!(parameters.value("by"), Some(r#"["a\"",1.5]"#));
    assert_eq!(parameters.value("n"), Some("3"));
    assert_eq!(parameters.get("none"), Some(None));
    assert_eq!(parameters.value("o"), Some(r#"{"k":true}"#));
}

#[test]
fn statistics_are_understood() {
    let text = r#"{"numRecords":7,"tightBounds":false,
        "minValues":{"i":-3,"u":18446744073709551615,"f":1.5,"s":"a","n":{"x":true,"y":null}},
        "maxValues":{"i":4,"n":{"x":true}},"nullCount":{"i":0,"n":{"x":1,"y":7}},"later":[1]}"#;
    let stats = FileStats::parse("f", text).unwrap();
    assert_eq!((stats.num_records, stats.tight_bounds), (Some(7), false));
    assert_eq!(stats.column(&["i"]).unwrap().min, Some(StatValue::Int(-3)));
    assert_eq!(stats.column(&["i"]).unwrap().max, Some(StatValue::Int(4)));
    assert_eq!(stats.column(&["u"]).unwrap().min, Some(StatValue::Uint(u64::MAX)));
    assert_eq!(stats.column(&["s"]).unwrap().min, Some(StatValue::Text("a".to_owned())));
    assert_eq!(stats.column(&["n", "x"]).unwrap().null_count, Some(1));
    assert_eq!(stats.column(&["n", "y"]).unwrap().min, None);
    assert_eq!(stats.column(&["n"]), None);
    assert_eq!(stats.columns().len(), 6);
    for (bad, field) in [
        ("", "stats"),
        ("[]", "stats"),
        (r#"{"numRecords":-1}"#, "stats.numRecords"),
        (r#"{"numRecords":1,"numRecords":1}"#, "stats.numRecords"),
        (r#"{"minValues":{"a":[1]}}"#, "stats.minValues.a"),
        (r#"{"nullCount":{"a":{"b":"x"}}}"#, "stats.nullCount.a.b"),
    ] {
        match FileStats::parse("f", bad) {
            Err(TableError::Malformed { file, field: found, .. }) => {
                assert_eq!((&*file, &*found), ("f", field));
            }
            other => panic!("{bad}: {other:?}"),
        }
    }
}
