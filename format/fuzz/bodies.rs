//! What each fuzz target does with its input. No input may make it panic, loop, or allocate out of proportion.
//!
//! The fuzz targets run these under libFuzzer (`format/fuzz/fuzz_targets/`); the tests of the crate run them over the committed
//! corpus and over seeded mutations of it. Each returns what the parser said, so that the tests know the corpus is still valid.

use std::sync::Arc;

use arrow_array::Array;
use arrow_buffer::{Buffer, MutableBuffer, i256};
use arrow_schema::{DataType, TimeUnit};
use deltalite_alloc::BufferPool;
use deltalite_format::bloom::BloomView;
use deltalite_format::encoding::DecodeContext;
use deltalite_format::encoding::boolean::BoolDecoder;
use deltalite_format::encoding::bytes::BytesDecoder;
use deltalite_format::encoding::dictionary::ChunkDictionary;
use deltalite_format::encoding::fixed::FixedDecoder;
use deltalite_format::encoding::float::FloatDecoder;
use deltalite_format::encoding::int::IntDecoder;
use deltalite_format::encoding::wide::WideDecoder;
use deltalite_format::layout::BlockEntry;
use deltalite_format::page::PageView;
use deltalite_format::phys::PhysType;
use deltalite_format::predicate::{BytesPred, FloatPred, IntPred, LikePattern, Literal, Predicate};
use deltalite_format::reader::meta::{parse_column, parse_schema};
use deltalite_format::reader::{FileMeta, ReadAt};
use deltalite_format::salvage::open_salvaged;
use deltalite_format::stats::{DistinctSketch, ZoneStats};
use deltalite_format::verify::verify_file;
use deltalite_format::{FileReader, FormatError, Result, ScanOptions};

use crate::reseal::reseal;

/// Batches looked at in one file: a few bytes may stand for millions of rows.
const BATCHES_MAX: usize = 32;

/// A target: its name (also its corpus folder) and what it does.
pub(crate) type Target = (&'static str, fn(&[u8]) -> Result<()>);

/// All targets.
pub(crate) const TARGETS: [Target; 8] = [
    ("open", open),
    ("blocks", blocks),
    ("page", page),
    ("dictionary", dictionary),
    ("schema", schema),
    ("column", column),
    ("statistics", statistics),
    ("scan", scan),
];

fn aligned(bytes: &[u8]) -> Buffer {
    let mut buffer = MutableBuffer::with_capacity(bytes.len());
    buffer.extend_from_slice(bytes);
    buffer.into()
}

/// The footer: tail, section table, directories, schema, columns, indexes. Checksums as they are and, if those refuse it, corrected.
pub(crate) fn open(bytes: &[u8]) -> Result<()> {
    metadata(bytes).or_else(|_| {
        let mut bytes = bytes.to_vec();
        reseal(&mut bytes);
        metadata(&bytes)
    })
}

fn metadata(bytes: &[u8]) -> Result<()> {
    let source: Arc<dyn ReadAt> = Arc::new(aligned(bytes));
    let meta = FileMeta::open(source.clone(), "fuzz")?;
    meta.key_values()?;
    for i in 0..meta.column_count().min(64) {
        let column = meta.column(i)?;
        for block in 0..meta.blocks().len().min(8) {
            if let Some(filter) = meta.bloom(&column, block as u32)? {
                BloomView::new(&filter)?.may_contain_bytes(b"x");
            }
        }
        meta.column_by_name(column.field.name())?;
    }
    meta.schema()?;
    // Not there, so that the search walks the index.
    drop(meta.column_by_name("no such column"));
    verify_file(&source, &meta, &mut |_| ())?;
    Ok(())
}

/// Header, block headers and sections, without the footer.
pub(crate) fn blocks(bytes: &[u8]) -> Result<()> {
    found_blocks(bytes).or_else(|_| {
        let mut bytes = bytes.to_vec();
        reseal(&mut bytes);
        found_blocks(&bytes)
    })
}

fn found_blocks(bytes: &[u8]) -> Result<()> {
    let source: Arc<dyn ReadAt> = Arc::new(aligned(bytes));
    let meta = Arc::new(open_salvaged(source.clone(), "fuzz")?);
    let scan = FileReader::with_meta(meta, source).scan(ScanOptions::default())?;
    scan.take(BATCHES_MAX).try_for_each(|batch| batch.map(|_| ()))
}

/// One page of any type: `u8` physical type, `u8` whether text, `u8` fixed width, then the page.
pub(crate) fn page(bytes: &[u8]) -> Result<()> {
    let Some((head, page)) = bytes.split_first_chunk::<3>() else { return Ok(()) };
    let Some(ptype) = PhysType::from_code(head[0] % 15) else { return Ok(()) };
    let page = aligned(page);
    let view = PageView::parse(&page)?;
    let pool = BufferPool::global();
    let dictionary = shared_dictionary(ptype);
    let cx = DecodeContext { dictionary: dictionary.as_ref(), pool, utf8: head[1] % 2 == 1 };
    let (root, rows) = (view.root(), view.values());
    if let Some(validity) = view.validity() {
        bools(&BoolDecoder::open(validity)?, rows)?;
    }
    if root.ptype() != ptype {
        return Err(FormatError::corrupt("page", "it is of another type"));
    }
    let some = some_rows(rows);
    let half = rows / 2;
    let mut words = vec![0u64; rows.div_ceil(64)];
    macro_rules! run {
        ($d:expr, $t:ty, $zero:expr, $decode:ident, $take:ident) => {{
            let mut all = vec![$zero; rows];
            $d.$decode(0, &mut all)?;
            let mut part: Vec<$t> = vec![$zero; rows - half];
            $d.$decode(half, &mut part)?;
            assert!(
                part.iter().zip(&all[half..]).all(|(a, b)| bytes_of(a) == bytes_of(b)),
                "a range differs from the whole"
            );
            let mut taken: Vec<$t> = vec![$zero; some.len()];
            $d.$take(&some, &mut taken)?;
            assert!(
                taken.iter().zip(&some).all(|(a, &i)| bytes_of(a) == bytes_of(&all[i as usize])),
                "taking differs from scanning"
            );
        }};
    }
    let ints = [
        IntPred::Range { lo: -3, hi: 1000, negated: false },
        IntPred::Set { values: vec![-1, 0, 7, 1 << 40], negated: true },
    ];
    match ptype {
        PhysType::Bool => bools(&BoolDecoder::open(root)?, rows)?,
        PhysType::F32 => {
            let d = FloatDecoder::open(root, cx)?;
            run!(d, f32, 0f32, decode, take);
            d.filter(&FloatPred::Range { lo: -5, hi: 1 << 30, negated: false }, 0, &mut words, rows)?;
        }
        PhysType::F64 => {
            let d = FloatDecoder::open(root, cx)?;
            run!(d, f64, 0f64, decode, take);
            d.filter(&FloatPred::Set { values: vec![0, 1 << 62], negated: true }, 0, &mut words, rows)?;
        }
        PhysType::I128 => {
            let d = WideDecoder::open(root, cx)?;
            run!(d, i128, 0i128, decode_i128, take_i128);
            ints.iter().try_for_each(|p| d.filter(p, 0, &mut words, rows))?;
        }
        PhysType::I256 => {
            let d = WideDecoder::open(root, cx)?;
            run!(d, i256, i256::ZERO, decode_i256, take_i256);
        }
        PhysType::Fixed => {
            let width = usize::from(head[2]);
            let d = FixedDecoder::open(root, u32::from(head[2]), cx)?;
            let mut all = vec![0; rows * width];
            d.decode(0, &mut all)?;
            let mut taken = vec![0; some.len() * width];
            d.take(&some, &mut taken)?;
            for (i, &row) in some.iter().enumerate() {
                let (at, row) = (i * width, row as usize * width);
                assert_eq!(taken[at..at + width], all[row..row + width], "taking differs from scanning");
            }
        }
        PhysType::Bytes => strings(&BytesDecoder::open(root, cx)?, rows, &some, cx.utf8)?,
        PhysType::I8 | PhysType::U8 => {
            let d = IntDecoder::open(root, cx)?;
            run!(d, u8, 0u8, decode, take);
            ints.iter().try_for_each(|p| d.filter(p, 0, &mut words, rows))?;
        }
        PhysType::I16 | PhysType::U16 => {
            let d = IntDecoder::open(root, cx)?;
            run!(d, u16, 0u16, decode, take);
            ints.iter().try_for_each(|p| d.filter(p, 0, &mut words, rows))?;
        }
        PhysType::I32 | PhysType::U32 => {
            let d = IntDecoder::open(root, cx)?;
            run!(d, u32, 0u32, decode, take);
            run!(d, i128, 0i128, decode, take);
            ints.iter().try_for_each(|p| d.filter(p, 0, &mut words, rows))?;
        }
        PhysType::I64 | PhysType::U64 => {
            let d = IntDecoder::open(root, cx)?;
            run!(d, u64, 0u64, decode, take);
            ints.iter().try_for_each(|p| d.filter(p, 0, &mut words, rows))?;
        }
    }
    Ok(())
}

/// The bytes of a value: floats are compared by them.
fn bytes_of<T: Bits>(value: &T) -> T::Bytes {
    value.bits()
}

trait Bits {
    type Bytes: PartialEq;
    fn bits(&self) -> Self::Bytes;
}

macro_rules! bits {
    ($($t:ty),*) => {$(impl Bits for $t {
        type Bytes = [u8; size_of::<$t>()];
        fn bits(&self) -> Self::Bytes { self.to_le_bytes() }
    })*};
}
bits!(u8, u16, u32, u64, i128, f32, f64, i256);

/// A dictionary for pages that say their chunk has one.
fn shared_dictionary(ptype: PhysType) -> Option<ChunkDictionary> {
    Some(match ptype {
        PhysType::Bytes => {
            ChunkDictionary::Bytes { views: vec![1 | u128::from(b'a') << 32; 3], data: Vec::new() }
        }
        PhysType::I128 => ChunkDictionary::Wide(vec![-1, 0, 1 << 100]),
        PhysType::I256 | PhysType::Fixed | PhysType::Bool => return None,
        _ => ChunkDictionary::Ints(vec![0, 1, u64::MAX]),
    })
}

fn some_rows(rows: usize) -> Vec<u32> {
    let step = (rows / 23).max(1);
    (0..rows as u32).step_by(step).collect()
}

fn bools(d: &BoolDecoder<'_>, rows: usize) -> Result<()> {
    let all = d.decode(0, rows)?;
    let some = some_rows(rows);
    let taken = d.take(&some)?;
    assert!(some.iter().enumerate().all(|(i, &row)| taken.value(i) == all.value(row as usize)));
    let mut words = vec![0; rows.div_ceil(64)];
    d.fill_mask(0, rows, &mut words)?;
    assert!((0..rows).all(|i| (words[i / 64] >> (i % 64) & 1 == 1) == all.value(i)));
    Ok(())
}

fn strings(d: &BytesDecoder<'_>, rows: usize, some: &[u32], utf8: bool) -> Result<()> {
    let (mut views, mut data) = (vec![0u128; rows], Vec::new());
    d.decode(0, &mut views, &mut data)?;
    let (mut taken, mut taken_data) = (vec![0u128; some.len()], Vec::new());
    d.take(some, &mut taken, &mut taken_data)?;
    // Arrow's own checks: every view inside its buffer, its prefix right, text valid.
    let check = |views: Vec<u128>, data: Vec<Buffer>| -> arrow_array::ArrayRef {
        if utf8 {
            Arc::new(arrow_array::StringViewArray::try_new(views.into(), data, None).expect("valid text"))
        } else {
            Arc::new(arrow_array::BinaryViewArray::try_new(views.into(), data, None).expect("valid views"))
        }
    };
    // Offsets that contradict lengths give other bytes to taking than to scanning; both must be whole strings of the page.
    check(views, data);
    check(taken, taken_data);
    let mut words = vec![0; rows.div_ceil(64)];
    for pred in [
        BytesPred::Set { values: vec![b"a".to_vec(), b"zz".to_vec()], negated: false },
        BytesPred::Range {
            lo: std::ops::Bound::Included(b"b".to_vec()),
            hi: std::ops::Bound::Unbounded,
            negated: true,
        },
        BytesPred::Like { pattern: LikePattern::Contains(b"ab".to_vec()), negated: false },
        BytesPred::Like { pattern: LikePattern::Prefix(b"a".to_vec()), negated: false },
    ] {
        d.filter(&pred, 0, &mut words, rows)?;
    }
    Ok(())
}

/// A chunk's dictionary page: `u8` physical type, `u8` whether text, then the page.
pub(crate) fn dictionary(bytes: &[u8]) -> Result<()> {
    let Some((head, page)) = bytes.split_first_chunk::<2>() else { return Ok(()) };
    let Some(ptype) = PhysType::from_code(head[0] % 15) else { return Ok(()) };
    let dictionary = ChunkDictionary::open(&aligned(page), ptype, head[1] % 2 == 1, BufferPool::global())?;
    dictionary.memory_bytes();
    Ok(())
}

/// The schema section.
pub(crate) fn schema(bytes: &[u8]) -> Result<()> {
    let schema = parse_schema(bytes)?;
    // What was read can be written, and is the same.
    let mut writer = deltalite_format::FileWriter::new(
        Vec::new(),
        schema.arrow(),
        deltalite_format::WriterOptions::default(),
    )?;
    assert_eq!(writer.schema(), schema.arrow());
    writer.write(&arrow_array::RecordBatch::new_empty(schema.arrow().clone()))?;
    Ok(())
}

/// A column's metadata: `u16` rows, `u8` log2 of a unit's rows, `u8` blocks, then the archive.
pub(crate) fn column(bytes: &[u8]) -> Result<()> {
    let Some((head, archive)) = bytes.split_first_chunk::<4>() else { return Ok(()) };
    let rows = u32::from(u16::from_le_bytes([head[0], head[1]])).max(1);
    let blocks: Vec<BlockEntry> = (0..u64::from(head[3] % 5))
        .map(|i| BlockEntry {
            offset: 4096 + i * (1 << 20),
            length: 1 << 20,
            first_row: i * u64::from(rows),
            rows,
            unit_rows: 1 << (head[2] % 17),
            data_start: 256,
            header_crc: 0,
        })
        .collect();
    let column = parse_column(0, bytemuck::Zeroable::zeroed(), &aligned(archive), &blocks)?;
    for (stream, _) in column.shape.streams.iter().enumerate() {
        for block in 0..blocks.len() as u32 {
            if let Some(chunk) = column.chunk(stream, block) {
                chunk.stats();
                for unit in 0..rows.div_ceil(blocks[0].unit_rows).min(100) {
                    chunk.unit(unit);
                    chunk.unit_stats(unit);
                }
            }
        }
    }
    if let Some(bounds) = &column.bounds {
        drop(format!("{bounds:?}"));
    }
    Ok(())
}

/// Statistics: `u8` picks a bloom filter (8), a sketch (9) or zones of a type, then the bytes.
pub(crate) fn statistics(bytes: &[u8]) -> Result<()> {
    let Some((&pick, rest)) = bytes.split_first() else { return Ok(()) };
    let types = [
        DataType::Int64,
        DataType::Boolean,
        DataType::UInt8,
        DataType::Float32,
        DataType::Utf8,
        DataType::Decimal256(76, 0),
        DataType::Timestamp(TimeUnit::Second, None),
        DataType::FixedSizeBinary(3),
    ];
    match usize::from(pick) {
        8 => {
            BloomView::new(rest)?.may_contain_bytes(b"value");
        }
        9 => {
            DistinctSketch::from_bytes(rest)?.estimate();
        }
        i => {
            ZoneStats::merged(&ZoneStats::read_all(rest, &types[i % types.len()])?);
        }
    }
    Ok(())
}

/// A whole file with its checksums corrected: scanned, filtered, taken from.
pub(crate) fn scan(bytes: &[u8]) -> Result<()> {
    let mut bytes = bytes.to_vec();
    reseal(&mut bytes);
    let reader = FileReader::open(Arc::new(aligned(&bytes)), "fuzz")?;
    let whole = rows(&reader, ScanOptions::default());
    let picks: Vec<u64> = (0..reader.meta().rows()).step_by(reader.meta().rows() as usize / 13 + 1).collect();
    let taken = reader.take(&picks, ScanOptions::default());
    let found = whole?;
    taken?;
    let columns = reader.meta().schema()?.arrow().fields().clone();
    for field in columns.iter().take(8) {
        let column = field.name().clone();
        let literal = found.iter().find_map(|batch| {
            let values =
                batch.column_by_name(&column).filter(|c| !c.is_empty() && !c.data_type().is_nested())?;
            Some(Literal::of(values.as_ref(), values.len() / 2))
        });
        let predicate = match literal {
            Some(value) if *field.data_type() != DataType::Null => {
                Predicate::Compare { column, op: deltalite_format::predicate::CmpOp::LtEq, value }
            }
            _ => Predicate::IsNull { column },
        };
        rows(&reader, ScanOptions { predicate: Some(predicate), ..ScanOptions::default() })?;
    }
    Ok(())
}

fn rows(reader: &FileReader, options: ScanOptions) -> Result<Vec<arrow_array::RecordBatch>> {
    let batches: Vec<_> = reader.scan(options)?.take(BATCHES_MAX).collect::<Result<_>>()?;
    // What was decoded is sound in Arrow's eyes, down to each offset and each character.
    for column in batches.iter().flat_map(arrow_array::RecordBatch::columns) {
        column.to_data().validate_full().expect("a sound array");
    }
    Ok(batches)
}
