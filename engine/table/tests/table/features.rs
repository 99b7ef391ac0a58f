//! Columns, constraints, keys, partitions, history, clones.

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray, TimestampSecondArray};
use arrow_schema::{DataType, Field, Schema};
use deltalite_format::predicate::col;
use deltalite_table::partition::Partitioning;
use deltalite_table::schema::change::Position;
use deltalite_table::table::alter::Change;
use deltalite_table::{DeltaLiteTable, Version};
use std::sync::Arc;

use crate::common::{batch, context, create, ids, open, read, row, rows, schema};

#[test]
fn columns_change_and_files_stay() {
    let folder = tempfile::tempdir().unwrap();
    let table = create(folder.path());
    table.append([rows(0..3)]).execute().unwrap();
    let default = [("CURRENT_DEFAULT".to_owned(), "7".to_owned())];
    let added = Field::new("score", DataType::Int32, true).with_metadata(default.into());
    table
        .alter(&[
            Change::AddColumn { path: "score".into(), column: added, position: Position::First },
            Change::RenameColumn("amount".into(), "price".into()),
            Change::DropColumn("name".into()),
        ])
        .unwrap();
    table.alter(&[Change::WidenColumn("score".into(), DataType::Int64)]).unwrap();
    let found = table.scan().execute().unwrap().collect_batch().unwrap();
    let names: Vec<_> = found.schema().fields().iter().map(|f| f.name().clone()).collect();
    assert_eq!(names, ["score", "id", "price"]);
    assert_eq!(found.column(0).as_primitive::<Int64Type>().values(), &[7, 7, 7]);
    assert_eq!(found.column(2).as_primitive::<Int64Type>().values(), &[0, 10, 20]);
    // A column of the old name is another one.
    let again = Field::new("name", DataType::Utf8, true);
    table
        .alter(&[Change::AddColumn { path: "name".into(), column: again, position: Position::Last }])
        .unwrap();
    let found = table.scan().columns(["name"]).execute().unwrap().collect_batch().unwrap();
    assert_eq!(found.column(0).null_count(), 3);
    // Versions of the past have the columns that they had.
    assert_eq!(read(&table.at_version(Version(1)).unwrap()), (0..3).map(row).collect::<Vec<_>>());
    assert_eq!(table.delete().filter(col("price").gt(5)).execute().unwrap().metric("numDeletedRows"), 2);
}

#[test]
fn writing_can_widen_and_add_columns() {
    let folder = tempfile::tempdir().unwrap();
    let small: ArrayRef = Arc::new(arrow_array::Int32Array::from(vec![1, 2]));
    let first = RecordBatch::try_from_iter([("n", small)]).unwrap();
    let table = DeltaLiteTable::create(folder.path(), &first.schema()).context(&context()).execute().unwrap();
    table.append([first]).execute().unwrap();
    let wide: ArrayRef = Arc::new(Int64Array::from(vec![1 << 40]));
    let text: ArrayRef = Arc::new(StringArray::from(vec!["x"]));
    let second = RecordBatch::try_from_iter([("n", wide), ("t", text)]).unwrap();
    let refused = table.append([second.clone()]).execute().unwrap_err().to_string();
    assert!(refused.contains("\"t\""), "{refused}");
    table.append([second]).merge_schema().execute().unwrap();
    let found = table.scan().execute().unwrap().collect_batch().unwrap();
    let mut values = found.column(0).as_primitive::<Int64Type>().values().to_vec();
    values.sort_unstable();
    assert_eq!(values, [1, 2, 1 << 40]);
    assert_eq!(found.column(1).null_count(), 2);
}

#[test]
fn the_schema_can_be_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let table = create(folder.path());
    table.append([rows(0..3)]).execute().unwrap();
    let ids: ArrayRef = Arc::new(StringArray::from(vec!["a", "b"]));
    let other = RecordBatch::try_from_iter([("id", ids)]).unwrap();
    table.overwrite([other]).overwrite_schema().execute().unwrap();
    let found = table.scan().execute().unwrap().collect_batch().unwrap();
    assert_eq!(found.num_columns(), 1);
    assert_eq!(found.column(0).as_string_view().value(1), "b");
    table.restore(Version(1)).unwrap();
    assert_eq!(read(&table), (0..3).map(row).collect::<Vec<_>>());
}

#[test]
fn nulls_and_duplicates_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let table =
        DeltaLiteTable::create(folder.path(), &schema()).context(&context()).key(["id"]).execute().unwrap();
    table.append([rows(0..5)]).execute().unwrap();
    let twice = table.append([rows([9, 4])]).execute().unwrap_err();
    assert_eq!(twice.code(), "DL-0619");
    assert!(twice.to_string().contains("id = 4"), "{twice}");
    assert_eq!(table.append([rows([7, 7])]).execute().unwrap_err().code(), "DL-0619");
    // A row that is changed keeps its key, and a deleted one gives it back.
    table.update().filter(col("id").eq(4)).set("amount", 1).execute().unwrap();
    table.delete().filter(col("id").eq(3)).execute().unwrap();
    table.append([rows([3])]).execute().unwrap();
    assert_eq!(ids(&table), [0, 1, 2, 3, 4]);
    let optional = Schema::new(vec![Field::new("id", DataType::Int64, true)]);
    let none: ArrayRef = Arc::new(Int64Array::from(vec![None, Some(1)]));
    let missing = RecordBatch::try_new(Arc::new(optional), vec![none]);
    let names: ArrayRef = Arc::new(Int64Array::from(vec![1, 1]));
    let missing = RecordBatch::try_from_iter_with_nullable([
        ("id", missing.unwrap().column(0).clone(), true),
        ("amount", names, true),
    ])
    .unwrap();
    let error = table.append([missing]).execute().unwrap_err();
    assert_eq!(error.code(), "DL-0618");
    assert!(error.to_string().contains("row 0 has a null in column id"), "{error}");
}

#[test]
fn identity_columns_count() {
    let folder = tempfile::tempdir().unwrap();
    let start = [
        ("json:delta.identity.start".to_owned(), "100".to_owned()),
        ("json:delta.identity.step".to_owned(), "10".to_owned()),
    ];
    let fields = vec![
        Field::new("key", DataType::Int64, false).with_metadata(start.into()),
        Field::new("text", DataType::Utf8, true),
    ];
    let table =
        DeltaLiteTable::create(folder.path(), &Schema::new(fields)).context(&context()).execute().unwrap();
    let texts = |n: usize| {
        let array: ArrayRef = Arc::new(StringArray::from(vec!["t"; n]));
        RecordBatch::try_from_iter([("text", array)]).unwrap()
    };
    table.append([texts(2), texts(1)]).execute().unwrap();
    table.append([texts(1)]).execute().unwrap();
    table.update().set("text", "u").execute().unwrap();
    let found = table.scan().columns(["key"]).execute().unwrap().collect_batch().unwrap();
    let mut keys = found.column(0).as_primitive::<Int64Type>().values().to_vec();
    keys.sort_unstable();
    assert_eq!(keys, [100, 110, 120, 130]);
}

#[test]
fn partitions_are_folders_and_prune() {
    let folder = tempfile::tempdir().unwrap();
    let table = DeltaLiteTable::create(folder.path(), &schema())
        .context(&context())
        .partition_by(["name"])
        .execute()
        .unwrap();
    let all = [
        (1, Some("a/b".to_owned()), 1),
        (2, None, 2),
        (3, Some("c".to_owned()), 3),
        (4, Some("c".to_owned()), 4),
    ];
    table.append([batch(&all)]).execute().unwrap();
    assert_eq!(table.snapshot().files(None).unwrap().len(), 3);
    assert_eq!(table.snapshot().files(Some(&col("name").eq("c"))).unwrap().len(), 1);
    assert_eq!(table.snapshot().files(Some(&col("name").is_null())).unwrap().len(), 1);
    assert!(folder.path().join("name=a%2Fb").is_dir());
    assert_eq!(read(&table), all);
    // Only partitions with new rows are replaced.
    table.overwrite([batch(&[(9, Some("c".to_owned()), 9)])]).dynamic_partitions().execute().unwrap();
    assert_eq!(ids(&table), [1, 2, 9]);
}

/// Years of five digits and before the first have a sign, which is not one of the year's digits.
#[test]
fn partitions_of_far_years() {
    let at: ArrayRef =
        Arc::new(TimestampSecondArray::from(vec![0, 317_277_648_000, 317_372_256_000, -70_000_000_000]));
    let schema = Arc::new(Schema::new(vec![Field::new("at", at.data_type().clone(), true)]));
    let batch = RecordBatch::try_new(schema.clone(), vec![at]).unwrap();
    let folders = |by: &str| -> Vec<String> {
        let by = Partitioning::parse([by], &schema).unwrap();
        by.split(&batch).unwrap().iter().map(|(values, _)| by.folder(values)).collect()
    };
    assert_eq!(
        folders("year(at)"),
        ["at_year=1970", "at_year=%2B12024", "at_year=%2B12027", "at_year=-0249"]
    );
    assert_eq!(folders("month(at)")[1], "at_month=%2B12024-02");
    assert_eq!(folders("day(at)")[1], "at_day=%2B12024-02-17");
    assert_eq!(folders("hour(at)")[1], "at_hour=%2B12024-02-17T00");
    // Beyond what a text shows, a row is refused with its column named.
    let far: ArrayRef = Arc::new(TimestampSecondArray::from(vec![i64::MAX / 1000]));
    let far = RecordBatch::try_new(schema.clone(), vec![far]).unwrap();
    let refused = Partitioning::parse(["at"], &schema).unwrap().split(&far).unwrap_err().to_string();
    assert!(refused.contains("column \"at\" has a value that no text shows"), "{refused}");
}

#[test]
fn history_tags_and_changes() {
    let folder = tempfile::tempdir().unwrap();
    let table = create(folder.path());
    table.append([rows(0..4)]).user_metadata("first load").execute().unwrap();
    table.update().filter(col("id").eq(2)).set("amount", -1).execute().unwrap();
    table.delete().filter(col("id").eq(0)).execute().unwrap();
    table.optimize().execute().unwrap();
    let history = table.history(10).unwrap();
    let operations: Vec<&str> = history.iter().map(|h| h.info.operation.as_str()).collect();
    assert_eq!(operations, ["OPTIMIZE", "DELETE", "UPDATE", "WRITE", "CREATE TABLE"]);
    assert_eq!(history[3].info.user_metadata.as_deref(), Some("first load"));
    table.set_tag("before", Some(Version(1))).unwrap();
    assert_eq!(ids(&table.at_tag("before").unwrap()), [0, 1, 2, 3]);
    assert!(table.set_tag("missing", None).is_err());
    let then = table.at_timestamp(history[2].timestamp).unwrap();
    assert_eq!(then.version(), Version(2));
    let told = told(&table, 2, 4);
    assert_eq!(
        told,
        [
            ("delete".to_owned(), 0, 0),
            ("update_postimage".to_owned(), 2, -1),
            ("update_preimage".to_owned(), 2, 20)
        ]
    );
}

/// Changes as readers are told of them: what happened to which row.
fn told(table: &DeltaLiteTable, from: u64, to: u64) -> Vec<(String, i64, i64)> {
    let mut told: Vec<(String, i64, i64)> = Vec::new();
    for batch in &table.changes(Version(from), Version(to)).unwrap() {
        let kinds: &StringArray = batch.column_by_name("_change_type").unwrap().as_string();
        let ids = batch.column_by_name("id").unwrap().as_primitive::<Int64Type>();
        let amounts = batch.column_by_name("amount").unwrap().as_primitive::<Int64Type>();
        told.extend(
            (0..batch.num_rows()).map(|r| (kinds.value(r).to_owned(), ids.value(r), amounts.value(r))),
        );
    }
    told.sort();
    told
}

/// Rows that a MERGE updates and rows that it deletes are told apart, of a file that stays and of one that goes as a whole, and where the rows
/// were moved meanwhile.
#[test]
fn changes_tell_what_merges_did() {
    let told_of = |kinds: &[(&str, i64, i64)]| -> Vec<(String, i64, i64)> {
        kinds.iter().map(|(kind, id, amount)| ((*kind).to_owned(), *id, *amount)).collect()
    };
    let source = || {
        RecordBatch::try_from_iter([
            ("id", Arc::new(Int64Array::from(vec![1, 2, 9])) as ArrayRef),
            ("amount", Arc::new(Int64Array::from(vec![-1, -2, -9])) as ArrayRef),
        ])
        .unwrap()
    };
    let folder = tempfile::tempdir().unwrap();
    // A file that stays, one that goes as a whole, both of two rows that change and one that goes.
    for (name, rows_there) in [("stays", 0..6), ("goes", 1..4)] {
        let table = create(&folder.path().join(name));
        table.append([rows(rows_there)]).execute().unwrap();
        let merged = table
            .merge([source()], ["id"])
            .when_matched_update(["amount"])
            .when_not_matched_insert_all()
            .when_not_matched_by_source_delete(Some(col("id").eq(3)))
            .execute()
            .unwrap();
        let expected = told_of(&[
            ("delete", 3, 30),
            ("insert", 9, -9),
            ("update_postimage", 1, -1),
            ("update_postimage", 2, -2),
            ("update_preimage", 1, 10),
            ("update_preimage", 2, 20),
        ]);
        assert_eq!(told(&table, merged.version.0, merged.version.0), expected, "{name}");
        // What brings the file back is no update, and what is done to the new file later is none either.
        let restored = table.restore(Version(1)).unwrap().version.0;
        let kinds: Vec<String> = told(&table, restored, restored).into_iter().map(|t| t.0).collect();
        assert!(kinds.iter().all(|kind| kind == "insert" || kind == "delete"), "{name}: {kinds:?}");
    }
    // Compacted by another between reading and committing.
    let table = create(&folder.path().join("moved"));
    table.append([rows(0..4)]).execute().unwrap();
    table.append([rows(4..8)]).execute().unwrap();
    let mut txn = table.begin().unwrap();
    let mut writer = txn.writer().unwrap();
    writer.write_changed(&rows(5..6)).unwrap();
    for file in txn.snapshot().clone().files(Some(&col("id").gt_eq(4))).unwrap() {
        txn.take_rows(&file, &[1, 2].into_iter().collect(), &[1].into_iter().collect()).unwrap();
    }
    txn.add(writer).unwrap();
    assert!(table.optimize().execute().unwrap().committed);
    let version = txn.commit("MERGE", []).unwrap().version.0;
    assert_eq!(
        told(&table, version, version),
        told_of(&[("delete", 6, 60), ("update_postimage", 5, 50), ("update_preimage", 5, 50)])
    );
}

/// Rows by the thousand that change beside rows that go: which is which stands in a file, which vacuum keeps as long as the version.
#[test]
fn changed_rows_in_a_file_of_their_own_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let table = create(&folder.path().join("t"));
    table.append([rows(0..60_000)]).execute().unwrap();
    let mut txn = table.begin().unwrap();
    let mut writer = txn.writer().unwrap();
    // No runs: a bitmap of them is larger than what a descriptor holds.
    let gone: Vec<u64> = (0..60_000).filter(|n| n * n % 7 < 3).collect();
    let changed: Vec<u64> = gone.iter().copied().filter(|n| n * n % 5 < 2).collect();
    for row in &changed {
        writer.write_changed(&rows([*row as i64])).unwrap();
    }
    for file in txn.snapshot().clone().files(None).unwrap() {
        txn.take_rows(&file, &gone.iter().copied().collect(), &changed.iter().copied().collect()).unwrap();
    }
    txn.add(writer).unwrap();
    let version = txn.commit("MERGE", []).unwrap().version.0;
    let check = || {
        let told = told(&table, version, version);
        let of = |kind: &str| told.iter().filter(|t| t.0 == kind).count();
        assert_eq!(
            (of("delete"), of("update_preimage"), of("update_postimage"), of("insert")),
            (gone.len() - changed.len(), changed.len(), changed.len(), 0)
        );
    };
    check();
    table.vacuum().retain_for(std::time::Duration::ZERO).retain_versions(2).execute().unwrap();
    drop(table);
    let table = open(&folder.path().join("t"));
    let told_again = told(&table, version, version);
    assert_eq!(told_again.iter().filter(|t| t.0 == "update_preimage").count(), changed.len());
    // Once the version is gone, so is the file.
    let vectors = || {
        std::fs::read_dir(folder.path().join("t"))
            .unwrap()
            .filter(|e| e.as_ref().unwrap().file_name().to_string_lossy().starts_with("deletion_vector_"))
            .count()
    };
    assert!(vectors() > 0);
    table.truncate().unwrap();
    table.vacuum().retain_for(std::time::Duration::ZERO).execute().unwrap();
    assert_eq!(vectors(), 0);
}

#[test]
fn clones_stand_alone() {
    let folder = tempfile::tempdir().unwrap();
    let source = create(&folder.path().join("source"));
    source.append([rows(0..100)]).execute().unwrap();
    source.delete().filter(col("id").lt(50)).execute().unwrap();
    let shallow = source.shallow_clone(folder.path().join("shallow")).unwrap();
    let deep = source.deep_clone(folder.path().join("deep")).unwrap();
    source.truncate().unwrap();
    source.vacuum().retain_for(std::time::Duration::ZERO).execute().unwrap();
    for clone in [&shallow, &deep] {
        assert_eq!(ids(clone), (50..100).collect::<Vec<_>>());
        clone.delete().filter(col("id").lt(60)).execute().unwrap();
        assert_eq!(ids(clone), (60..100).collect::<Vec<_>>());
    }
    assert!(open(&folder.path().join("deep")).verify(true).unwrap().is_clean());
    assert!(ids(&source).is_empty());
}

#[test]
fn mistakes_are_explained() {
    let folder = tempfile::tempdir().unwrap();
    let table = create(folder.path());
    let text = |error: deltalite_table::TableError| error.to_string();
    let missing = DeltaLiteTable::open(folder.path().join("nothing")).context(&context()).execute();
    assert!(text(missing.unwrap_err()).contains("there is no such folder"));
    let again = DeltaLiteTable::create(folder.path(), &schema()).context(&context()).execute();
    assert!(text(again.unwrap_err()).contains("there is one"));
    assert!(text(table.update().set("amuont", 1).execute().unwrap_err()).contains("did you mean \"amount\""));
    assert!(text(table.delete().filter(col("idd").eq(1)).execute().unwrap_err()).contains("idd"));
    let past = table.at_version(Version(0)).unwrap();
    assert!(text(past.append([rows([1])]).execute().unwrap_err()).contains("reads version 0"));
    assert!(text(table.at_version(Version(9)).unwrap_err()).contains("version 9 is not available"));
    let only_appends = [Change::SetProperty("delta.appendOnly".into(), Some("true".into()))];
    table.alter(&only_appends).unwrap();
    table.append([rows([1])]).execute().unwrap();
    assert!(text(table.delete().execute().unwrap_err()).contains("only takes appends"));
}
