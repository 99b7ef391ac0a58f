//! What the tests of whole files share: schemas and data of every type, files in memory, and what reading them must give.
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{
    Array, ArrayRef, FixedSizeListArray, GenericListArray, GenericListViewArray, Int32Array, MapArray,
    OffsetSizeTrait, RecordBatch, RecordBatchOptions, StructArray,
};
use arrow_buffer::{NullBuffer, OffsetBuffer};
use arrow_schema::{DataType, Field, FieldRef, Fields, Schema};
use deltalite_format::reader::read_type;
use deltalite_format::{FileReader, FileWriter, Profile, ScanOptions, WriterOptions};
use proptest::prelude::*;

/// Identity of every file of the tests: equal input must give equal bytes.
pub(crate) const IDENTITY: ([u8; 16], [u8; 16]) = (*b"0123456789abcdef", *b"fedcba9876543210");

/// A column type: mostly a leaf, else nested up to `depth` levels.
pub(crate) fn any_type(depth: u32) -> BoxedStrategy<DataType> {
    let leaf = prop_oneof![40 => crate::arrays::any_leaf(), 1 => Just(DataType::Null)];
    leaf.prop_recursive(depth, 8, 3, |inner| {
        let field = |name: &'static str| inner.clone().prop_map(move |t| Arc::new(Field::new(name, t, true)));
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(|types| {
                let fields = types.into_iter().enumerate();
                DataType::Struct(fields.map(|(i, t)| Field::new(format!("f{i}"), t, true)).collect())
            }),
            field("item").prop_map(DataType::List),
            field("item").prop_map(DataType::LargeList),
            field("item").prop_map(DataType::ListView),
            field("item").prop_map(DataType::LargeListView),
            (field("item"), 1..4).prop_map(|(f, n)| DataType::FixedSizeList(f, n)),
            field("value").prop_map(|value| {
                let key = Field::new("key", DataType::Utf8, false);
                let entries = Fields::from(vec![Arc::new(key), value]);
                DataType::Map(Arc::new(Field::new("entries", DataType::Struct(entries), false)), false)
            }),
        ]
    })
    .boxed()
}

/// How the values of a column follow each other: every encoding has something to find.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Pattern {
    Random,
    Constant,
    Ascending,
    Runs,
    FewDistinct,
    MostlyOne,
    AllNull,
}

/// Seeds of `rows` rows in a pattern, `nulls` of 16 null.
pub(crate) fn seeds(pattern: Pattern, rows: usize, nulls: u64, salt: u64) -> Vec<Option<u64>> {
    (0..rows as u64)
        .map(|i| {
            let mixed = mix(i ^ salt.rotate_left(20));
            let seed = match pattern {
                Pattern::AllNull => return None,
                Pattern::Random => mixed,
                Pattern::Constant => salt,
                Pattern::Ascending => 7 + (i << 46),
                Pattern::Runs => mix((i / 37) ^ salt),
                Pattern::FewDistinct => mix((mixed % 5) ^ salt),
                Pattern::MostlyOne => {
                    if mixed.is_multiple_of(50) {
                        mixed
                    } else {
                        salt
                    }
                }
            };
            (mix(mixed) % 16 >= nulls).then_some(seed)
        })
        .collect()
}

pub(crate) fn mix(v: u64) -> u64 {
    let v = (v ^ (v >> 31)).wrapping_add(0x9e37_79b9_7f4a_7c15).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (v ^ (v >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb) ^ (v >> 30)
}

/// An array of any type, nested ones too, one row a seed.
pub(crate) fn array(data_type: &DataType, rows: &[Option<u64>]) -> ArrayRef {
    let nulls = NullBuffer::new(rows.iter().map(Option::is_some).collect());
    let nulls = Some(nulls).filter(|n| n.null_count() > 0);
    // Null lists have children too: they must vanish.
    let lengths: Vec<usize> =
        rows.iter().enumerate().map(|(i, r)| (mix(r.unwrap_or(i as u64)) % 4) as usize).collect();
    let children = |per_row: &dyn Fn(usize) -> usize, non_null: bool| -> Vec<Option<u64>> {
        rows.iter()
            .enumerate()
            .flat_map(|(i, row)| (0..per_row(i)).map(move |j| (i, j, *row)))
            .map(|(i, j, row)| {
                let seed = mix(row.unwrap_or(i as u64) ^ (j as u64) << 7);
                (non_null || !seed.is_multiple_of(9)).then_some(seed / 9)
            })
            .collect()
    };
    let by_length = |i: usize| lengths[i];
    match data_type {
        DataType::Struct(fields) => {
            let seeds = children(&|_| 1, false);
            let arrays = fields.iter().map(|f| array(f.data_type(), &seeds)).collect();
            Arc::new(StructArray::try_new_with_length(fields.clone(), arrays, nulls, rows.len()).unwrap())
        }
        DataType::List(f) => {
            let values = array(f.data_type(), &children(&by_length, false));
            Arc::new(list::<i32>(f, &lengths, values, nulls))
        }
        DataType::LargeList(f) => {
            let values = array(f.data_type(), &children(&by_length, false));
            Arc::new(list::<i64>(f, &lengths, values, nulls))
        }
        DataType::ListView(f) => {
            let values = array(f.data_type(), &children(&by_length, false));
            Arc::new(GenericListViewArray::from(list::<i32>(f, &lengths, values, nulls)))
        }
        DataType::LargeListView(f) => {
            let values = array(f.data_type(), &children(&by_length, false));
            Arc::new(GenericListViewArray::from(list::<i64>(f, &lengths, values, nulls)))
        }
        DataType::FixedSizeList(f, n) => {
            let values = array(f.data_type(), &children(&|_| *n as usize, false));
            let list = FixedSizeListArray::try_new_with_length(f.clone(), *n, values, nulls, rows.len());
            Arc::new(list.unwrap())
        }
        DataType::Map(f, sorted) => {
            let DataType::Struct(fields) = f.data_type() else { panic!("a map of {f}") };
            let key = array(fields[0].data_type(), &children(&by_length, true));
            let value = array(fields[1].data_type(), &children(&by_length, false));
            let entries = StructArray::new(fields.clone(), vec![key, value], None);
            let offsets = OffsetBuffer::from_lengths(lengths);
            Arc::new(MapArray::try_new(f.clone(), offsets, entries, nulls, *sorted).unwrap())
        }
        leaf => crate::arrays::array_of(leaf, rows),
    }
}

fn list<O: OffsetSizeTrait>(
    field: &FieldRef,
    lengths: &[usize],
    values: ArrayRef,
    nulls: Option<NullBuffer>,
) -> GenericListArray<O> {
    let offsets = OffsetBuffer::from_lengths(lengths.iter().copied());
    GenericListArray::try_new(field.clone(), offsets, values, nulls).unwrap()
}

/// The array as reading gives it: strings as views, dictionaries as their values, also inside nested types.
pub(crate) fn as_read(array: &ArrayRef) -> ArrayRef {
    let data_type = read_type(array.data_type());
    if data_type == *array.data_type() {
        return array.clone();
    }
    macro_rules! list {
        ($f:ident, $o:ty) => {{
            let a = array.as_list::<$o>();
            let values = as_read(a.values());
            Arc::new(
                GenericListArray::<$o>::try_new($f.clone(), a.offsets().clone(), values, a.nulls().cloned())
                    .unwrap(),
            )
        }};
    }
    macro_rules! view {
        ($f:ident, $o:ty) => {{
            let a = array.as_list_view::<$o>();
            let (offsets, sizes) = (a.offsets().clone(), a.sizes().clone());
            let values = as_read(a.values());
            Arc::new(
                GenericListViewArray::<$o>::try_new($f.clone(), offsets, sizes, values, a.nulls().cloned())
                    .unwrap(),
            )
        }};
    }
    match &data_type {
        DataType::Struct(fields) => {
            let a = array.as_struct();
            let columns = a.columns().iter().map(as_read).collect();
            Arc::new(
                StructArray::try_new_with_length(fields.clone(), columns, a.nulls().cloned(), a.len())
                    .unwrap(),
            )
        }
        DataType::List(f) => list!(f, i32),
        DataType::LargeList(f) => list!(f, i64),
        DataType::ListView(f) => view!(f, i32),
        DataType::LargeListView(f) => view!(f, i64),
        DataType::FixedSizeList(f, n) => {
            let a = array.as_fixed_size_list();
            let values = as_read(a.values());
            let list =
                FixedSizeListArray::try_new_with_length(f.clone(), *n, values, a.nulls().cloned(), a.len());
            Arc::new(list.unwrap())
        }
        DataType::Map(f, sorted) => {
            let a = array.as_map();
            let entries: ArrayRef = Arc::new(a.entries().clone());
            let entries = as_read(&entries).as_struct().clone();
            let (offsets, nulls) = (a.offsets().clone(), a.nulls().cloned());
            Arc::new(MapArray::try_new(f.clone(), offsets, entries, nulls, *sorted).unwrap())
        }
        // Arrow's cast of a dictionary to views gives "" for a null entry; by way of the values' own type it is null.
        leaf => match array.data_type() {
            DataType::Dictionary(_, values) => {
                arrow_cast::cast(&arrow_cast::cast(array, values).unwrap(), leaf).unwrap()
            }
            _ => arrow_cast::cast(array, leaf).unwrap(),
        },
    }
}

/// A batch with the columns `c0`, `c1`, …
pub(crate) fn batch_of(columns: Vec<ArrayRef>, rows: usize) -> RecordBatch {
    let fields = columns.iter().enumerate();
    let fields: Fields =
        fields.map(|(i, c)| Field::new(format!("c{i}"), c.data_type().clone(), true)).collect();
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options).unwrap()
}

/// A table: types, patterns, data.
pub(crate) fn any_table(max_rows: usize, depth: u32) -> impl Strategy<Value = RecordBatch> {
    let pattern = prop_oneof![
        4 => Just(Pattern::Random),
        1 => Just(Pattern::Constant),
        1 => Just(Pattern::Ascending),
        1 => Just(Pattern::Runs),
        2 => Just(Pattern::FewDistinct),
        1 => Just(Pattern::MostlyOne),
        1 => Just(Pattern::AllNull),
    ];
    let nulls = prop_oneof![2 => Just(0u64), 1 => 1..16u64];
    let column = (any_type(depth), pattern, nulls, any::<u64>());
    let rows = prop_oneof![1 => 0..3usize, 2 => 0..max_rows.min(200), 3 => 0..max_rows];
    (rows, prop::collection::vec(column, 0..5)).prop_map(|(rows, columns)| {
        let columns = columns
            .into_iter()
            // Sliced arrays have offsets, which code forgets.
            .map(|(t, pattern, nulls, salt)| array(&t, &seeds(pattern, rows + 3, nulls, salt)).slice(3, rows))
            .collect();
        batch_of(columns, rows)
    })
}

/// Writer options: every profile, small blocks and units.
pub(crate) fn any_options() -> impl Strategy<Value = WriterOptions> {
    let profile =
        prop_oneof![3 => Just(Profile::Default), 1 => Just(Profile::Compact), 1 => Just(Profile::Plain)];
    let block_rows = prop_oneof![Just(1u64 << 20), 1..5000u64];
    let unit_rows = prop_oneof![Just(65_536usize), (0..13u32).prop_map(|b| 1usize << b)];
    let block_bytes = prop_oneof![Just(64u64 << 20), 1..100_000u64];
    (profile, block_rows, unit_rows, block_bytes, 1..3usize).prop_map(
        |(profile, block_rows, unit_rows, block_bytes, threads)| WriterOptions {
            profile,
            block_rows,
            unit_rows,
            block_bytes,
            threads,
            identity: Some(IDENTITY),
            ..WriterOptions::default()
        },
    )
}

/// Options with small blocks and units.
pub(crate) fn small(profile: Profile, block_rows: u64, unit_rows: usize) -> WriterOptions {
    WriterOptions { profile, block_rows, unit_rows, identity: Some(IDENTITY), ..WriterOptions::default() }
}

/// The file of a table, given to the writer in batches of `step` rows (0: all at once).
pub(crate) fn write(table: &RecordBatch, options: WriterOptions, step: usize) -> Vec<u8> {
    let mut writer = FileWriter::new(Vec::new(), &table.schema(), options).unwrap();
    let step = if step == 0 { table.num_rows().max(1) } else { step };
    // A batch without rows must change nothing.
    writer.write(&table.slice(0, 0)).unwrap();
    for start in (0..table.num_rows()).step_by(step) {
        writer.write(&table.slice(start, step.min(table.num_rows() - start))).unwrap();
    }
    writer.finish_into().unwrap().1
}

/// All rows of a scan as one batch.
pub(crate) fn collect(
    scan: deltalite_format::reader::file::FileScan,
) -> deltalite_format::Result<RecordBatch> {
    let schema = scan.schema().clone();
    let batches = scan.collect::<deltalite_format::Result<Vec<_>>>()?;
    concat(&schema, &batches)
}

/// Batches as one.
pub(crate) fn concat(schema: &Arc<Schema>, batches: &[RecordBatch]) -> deltalite_format::Result<RecordBatch> {
    if schema.fields().is_empty() {
        let rows = batches.iter().map(RecordBatch::num_rows).sum();
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        return Ok(RecordBatch::try_new_with_options(schema.clone(), Vec::new(), &options)?);
    }
    Ok(arrow_select::concat::concat_batches(schema, batches)?)
}

/// Opens a file in memory and reads all of it.
pub(crate) fn read(file: &[u8]) -> deltalite_format::Result<RecordBatch> {
    collect(FileReader::open_bytes(file.to_vec())?.scan(ScanOptions::default())?)
}

/// Fails unless the columns have the values that reading `written` must give.
#[track_caller]
pub(crate) fn assert_same(found: &RecordBatch, written: &RecordBatch) {
    assert_eq!(found.num_rows(), written.num_rows(), "rows");
    assert_eq!(found.num_columns(), written.num_columns(), "columns");
    for ((found, written), field) in
        found.columns().iter().zip(written.columns()).zip(written.schema().fields())
    {
        let expected = as_read(written);
        assert!(
            same_values(found, &expected),
            "column {} of type {}:\n{}",
            field.name(),
            field.data_type(),
            first_difference(found, &expected)
        );
    }
}

/// Whether two arrays have equal values, whatever the metadata of nested fields says.
pub(crate) fn same_values(a: &ArrayRef, b: &ArrayRef) -> bool {
    plain(a).to_data() == plain(b).to_data()
}

/// The array with fields that carry no metadata.
fn plain(array: &ArrayRef) -> ArrayRef {
    fn strip(t: &DataType) -> DataType {
        let field = |f: &FieldRef| Arc::new(Field::new(f.name(), strip(f.data_type()), f.is_nullable()));
        match t {
            DataType::Struct(fields) => DataType::Struct(fields.iter().map(field).collect()),
            DataType::List(f) => DataType::List(field(f)),
            DataType::LargeList(f) => DataType::LargeList(field(f)),
            DataType::ListView(f) => DataType::ListView(field(f)),
            DataType::LargeListView(f) => DataType::LargeListView(field(f)),
            DataType::FixedSizeList(f, n) => DataType::FixedSizeList(field(f), *n),
            DataType::Map(f, sorted) => DataType::Map(field(f), *sorted),
            other => other.clone(),
        }
    }
    fn retype(data: arrow_data::ArrayData) -> arrow_data::ArrayData {
        let children = data.child_data().iter().cloned().map(retype).collect();
        let t = strip(data.data_type());
        data.into_builder().data_type(t).child_data(children).build().unwrap()
    }
    // View lists keep the children that null rows had; rows taken one by one have none.
    let array = match array.data_type() {
        DataType::ListView(_) | DataType::LargeListView(_) => {
            let all = Int32Array::from_iter_values(0..array.len() as i32);
            arrow_select::take::take(array, &all, None).unwrap()
        }
        _ => array.clone(),
    };
    arrow_array::make_array(retype(array.to_data()))
}

fn first_difference(found: &ArrayRef, expected: &ArrayRef) -> String {
    if found.len() != expected.len() {
        return format!("{} rows, expected {}", found.len(), expected.len());
    }
    let row = (0..found.len()).find(|&i| !same_values(&found.slice(i, 1), &expected.slice(i, 1)));
    match row {
        Some(i) => {
            format!("row {i}: {:?}\nexpected {:?}", found.slice(i, 1), expected.slice(i, 1))
        }
        None => format!("types {} and {}", found.data_type(), expected.data_type()),
    }
}

/// Types the tests of damage and pruning go through: one of each encoding family, and a nested one of each kind.
pub(crate) fn small_tables() -> Vec<(&'static str, RecordBatch)> {
    let item = |t| Arc::new(Field::new("item", t, true));
    let table = |types: &[DataType], rows: usize, pattern| {
        let columns = types
            .iter()
            .enumerate()
            .map(|(i, t)| array(t, &seeds(pattern, rows, [0, 3][i % 2], i as u64 + 5)))
            .collect();
        batch_of(columns, rows)
    };
    let numbers = [
        DataType::Int64,
        DataType::UInt16,
        DataType::Float64,
        DataType::Float32,
        DataType::Boolean,
        DataType::Decimal128(38, 4),
        DataType::Decimal256(76, 3),
        DataType::Date32,
    ];
    let texts = [
        DataType::Utf8,
        DataType::BinaryView,
        DataType::FixedSizeBinary(7),
        DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8)),
    ];
    let nested = [
        DataType::List(item(DataType::Int32)),
        DataType::Struct(Fields::from(vec![
            Field::new("x", DataType::Int16, true),
            Field::new("y", DataType::Utf8, true),
        ])),
        DataType::FixedSizeList(item(DataType::Float32), 2),
        DataType::Null,
    ];
    vec![
        ("numbers", table(&numbers, 700, Pattern::Random)),
        ("runs", table(&numbers, 900, Pattern::Runs)),
        ("texts", table(&texts, 500, Pattern::FewDistinct)),
        ("random-texts", table(&texts, 300, Pattern::Random)),
        ("nested", table(&nested, 150, Pattern::Random)),
        ("no-rows", table(&texts, 0, Pattern::Random)),
    ]
}
