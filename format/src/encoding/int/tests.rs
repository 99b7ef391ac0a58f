//! Round trips, ranges, rows and tests of every integer encoding.

use arrow_buffer::Buffer;
use deltalite_alloc::BufferPool;
use proptest::prelude::*;

use super::*;
use crate::encoding::dictionary::ChunkDictionary;
use crate::encoding::{DecodeContext, EncodeOptions, Profile};
use crate::kernels::Level;
use crate::mask::{BitMask, Selection, counts_of_vectors};
use crate::page::{EncodingKind, PageBuilder, PageView};
use crate::predicate::IntPred;

/// A page as it would be read: in memory aligned to 64 bytes.
pub(crate) fn aligned(bytes: &[u8]) -> Buffer {
    let mut buffer = arrow_buffer::MutableBuffer::with_capacity(bytes.len());
    buffer.extend_from_slice(bytes);
    buffer.into()
}

fn context() -> DecodeContext<'static> {
    DecodeContext { dictionary: None, pool: BufferPool::global(), utf8: false }
}

fn options(compact: bool) -> EncodeOptions {
    EncodeOptions { profile: if compact { Profile::Compact } else { Profile::Default } }
}

fn page<T: Lane>(values: &[T], ptype: PhysType, compact: bool) -> Buffer {
    let mut out = PageBuilder::new();
    IntEncoder::new(ptype, options(compact)).encode(values, &mut out).unwrap();
    aligned(&out.finish(values.len()).unwrap())
}

fn wide<T: Lane>(v: T, ptype: PhysType) -> i128 {
    i128::from_canonical(canonical(v, ptype.is_signed_int()), ptype.is_signed_int())
}

/// Everything a reader may ask of a page, compared with the values it was made of.
fn check<T: Lane + OutInt>(values: &[T], ptype: PhysType, page: &Buffer, preds: &[IntPred]) {
    let view = PageView::parse(page).unwrap();
    let decoder = IntDecoder::open(view.root(), context()).unwrap();
    let n = values.len();
    assert_eq!(decoder.len(), n);
    let mut same = vec![T::from_u64(0); n];
    decoder.decode(0, &mut same).unwrap();
    assert_eq!(same, values, "{:?}", view.kinds());
    for (start, end) in
        [(0, n / 2), (n / 3, n), (n / 2, n / 2), (1023.min(n), 1025.min(n)), (n.saturating_sub(1), n)]
    {
        let mut out = vec![0i128; end - start];
        decoder.decode(start, &mut out).unwrap();
        assert!(
            out.iter().zip(&values[start..end]).all(|(a, b)| *a == wide(*b, ptype)),
            "{start}..{end} {:?}",
            view.kinds()
        );
        let mut out = vec![0u64; end - start];
        decoder.decode(start, &mut out).unwrap();
        assert!(out.iter().zip(&values[start..end]).all(|(a, b)| *a == canonical(*b, ptype.is_signed_int())));
    }
    for step in [1, 7, 100, 2000] {
        let rows: Vec<u32> = (0..n as u32).step_by(step).collect();
        let mut out = vec![0i128; rows.len()];
        decoder.take(&rows, &mut out).unwrap();
        assert!(
            rows.iter().zip(&out).all(|(r, v)| *v == wide(values[*r as usize], ptype)),
            "{:?}",
            view.kinds()
        );
    }
    for (start, end, long, apart, before) in [
        (0, n, 1, 1, 0),
        (0, n, 100, 1, 64),
        (n / 3, n, 30, 7, 128),
        (1, n / 2, 1100, 900, 0),
        (0, n, n, 1, 0),
        (0, n, 63, 2, 1),
    ] {
        let (start, end) = (start.min(n), end.max(start.min(n)));
        let rows: Vec<usize> = (start..end).filter(|row| row % (long + apart) < long).collect();
        let mut mask = BitMask::ones(before + n + 100);
        (start..end).for_each(|row| mask.fill(before + row, before + row + 1, row % (long + apart) < long));
        // Counted for all pages, or for each.
        let counts = if apart % 2 == 1 { counts_of_vectors(&mask) } else { Vec::new() };
        let selection = Selection::new(&mask, &counts, before);
        let mut out = vec![0i128; rows.len()];
        if decoder.decode_selected(&(start..end), selection, &mut out).unwrap() {
            assert_eq!(before % 64, 0);
            assert!(
                rows.iter().zip(&out).all(|(r, v)| *v == wide(values[*r], ptype)),
                "{start}..{end} {long} {apart} {:?}",
                view.kinds()
            );
            let mut out = vec![T::from_u64(0); rows.len()];
            decoder.decode_selected(&(start..end), selection, &mut out).unwrap();
            assert!(rows.iter().zip(&out).all(|(r, v)| *v == values[*r]));
            let mut more = vec![0i128; rows.len() + 1];
            assert!(decoder.decode_selected(&(start..end), selection, &mut more).is_err());
            assert!(
                rows.is_empty() || decoder.decode_selected(&(start..end), selection, &mut out[1..]).is_err()
            );
            assert!(decoder.decode_selected(&(0..n + 1), selection, &mut vec![0i128; n + 1]).is_err());
        }
    }
    for pred in preds {
        for start in (0..n).step_by(1024).chain([64, 960, 1088]).filter(|s| *s < n) {
            for len in [n - start, (n - start).min(1024), (n - start).min(100)] {
                let mut out = vec![u64::MAX; len.div_ceil(64)];
                decoder.filter(pred, start, &mut out, len).unwrap();
                for i in 0..out.len() * 64 {
                    let want = i < len && pred.matches(wide(values[start + i], ptype));
                    assert_eq!(
                        out[i / 64] >> (i % 64) & 1 == 1,
                        want,
                        "row {} of {pred:?} {:?}",
                        start + i,
                        view.kinds()
                    );
                }
            }
            if n > 3000 {
                break;
            }
        }
    }
    assert!(decoder.decode::<i128>(n, &mut [0]).is_err());
    assert!(decoder.take::<i128>(&[n as u32], &mut [0]).is_err());
}

/// Data of the shapes that encodings are made for.
fn shaped() -> impl Strategy<Value = Vec<i64>> {
    let len = prop_oneof![1usize..80, 900usize..1100, 2000usize..4500];
    (len, 0u8..12, any::<u64>(), any::<i64>(), 0u32..64).prop_map(|(len, shape, seed, base, bits)| {
        let mut state = seed | 1;
        let mut next = move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        };
        let small = |v: u64| (v >> (63 - bits)) as i64;
        let mut last = base;
        let mut run = 0u64;
        (0..len as i64)
            .map(|i| match shape {
                0 => base,
                1 => base.wrapping_add(small(next() >> 1)),
                2 => base.wrapping_add(i.wrapping_mul(small(next() | 1) & 1 | 4)),
                3 => base.wrapping_add(i.wrapping_mul(i64::from(bits) - 20)),
                4 => {
                    if next().is_multiple_of(50) {
                        next() as i64
                    } else {
                        base.wrapping_add((next() % 30) as i64)
                    }
                }
                5 => {
                    if run == 0 {
                        run = next() % 40;
                        last = last.wrapping_add((next() % 9) as i64);
                    } else {
                        run -= 1;
                    }
                    last
                }
                6 => ((next() % 50) as i64 + 1) * 100,
                7 => base.wrapping_mul((next() % 7) as i64),
                8 => {
                    if next().is_multiple_of(30) {
                        next() as i64
                    } else {
                        base
                    }
                }
                9 => {
                    last = last.wrapping_add((next() % 3) as i64);
                    last
                }
                10 => next() as i64,
                _ => [i64::MIN, i64::MAX, 0, -1, 1][(next() % 5) as usize],
            })
            .collect()
    })
}

fn preds(values: &[i64], pick: &[u16]) -> Vec<IntPred> {
    let at = |i: usize| i128::from(values[pick[i] as usize % values.len()]);
    let mut set: Vec<i128> = pick.iter().enumerate().map(|(i, p)| at(i) + i128::from(p % 2)).collect();
    set.sort_unstable();
    set.dedup();
    vec![
        IntPred::Range { lo: at(0).min(at(1)), hi: at(0).max(at(1)), negated: false },
        IntPred::Range { lo: at(2), hi: i128::MAX, negated: true },
        IntPred::Range { lo: 5, hi: 4, negated: false },
        IntPred::Range { lo: at(3), hi: at(3), negated: false },
        IntPred::Set { values: set[..set.len().min(3)].to_vec(), negated: false },
        IntPred::Set { values: set, negated: pick[0].is_multiple_of(2) },
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn any_data_of_any_type_comes_back(values in shaped(), compact: bool, pick in prop::collection::vec(any::<u16>(), 12)) {
        let preds = preds(&values, &pick);
        macro_rules! each {
            ($($t:ty, $p:expr);*) => {$({
                let lanes: Vec<$t> = values.iter().map(|v| *v as $t).collect();
                check(&lanes, $p, &page(&lanes, $p, compact), &preds);
            })*};
        }
        each!(u64, PhysType::I64; u64, PhysType::U64; u32, PhysType::I32; u32, PhysType::U32; u16, PhysType::I16; u16, PhysType::U16; u8, PhysType::I8; u8, PhysType::U8);
    }

    #[test]
    fn broken_pages_never_panic(values in shaped(), compact: bool, edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6), head: bool) {
        let lanes: Vec<u64> = values.iter().map(|v| *v as u64).collect();
        let mut bytes = page(&lanes, PhysType::I64, compact).to_vec();
        for (at, byte) in edits {
            let end = if head { 200.min(bytes.len()) } else { bytes.len() };
            let at = at.index(end);
            bytes[at] = byte;
        }
        torture(&bytes);
    }

    #[test]
    fn random_nodes_never_panic(kind in 0u8..16, ptype in 1u8..9, flags: u8, len in 0u32..5000, width in 0u32..80, p0: u64, p1 in prop_oneof![0u64..5, any::<u64>()],
                                children in 0u8..3, buffers in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..600), 0..5), child in prop::collection::vec(any::<u16>(), 0..2000)) {
        let spec = crate::page::NodeSpec {
            kind: EncodingKind::from_code(kind).unwrap(), ptype: PhysType::from_code(ptype).unwrap(), flags: flags & 15, children,
            len: len as usize, width, p0, p1,
        };
        let mut out = PageBuilder::new();
        out.node(spec);
        for b in &buffers { out.buffer(b); }
        for i in 0..children {
            encode_ints(&child, PhysType::from_code(1 + (ptype + i) % 8).filter(|p| p.width() == Some(2)).unwrap_or(PhysType::U16), 1, EncodeOptions::default(), &mut out).unwrap();
        }
        torture(&out.finish(len as usize).unwrap());
    }
}

/// Decodes whatever it is; any result but a panic will do.
fn torture(bytes: &[u8]) {
    let page = aligned(bytes);
    let Ok(view) = PageView::parse(&page) else { return };
    let Ok(decoder) = IntDecoder::open(view.root(), context()) else { return };
    let n = decoder.len();
    let _ = decoder.decode(0, &mut vec![0u64; n]);
    let _ = decoder.decode(n / 2, &mut vec![0i128; n - n / 2]);
    let rows: Vec<u32> = (0..n as u32).step_by(5).collect();
    let _ = decoder.take(&rows, &mut vec![0u64; rows.len()]);
    let rows: Vec<u32> = (0..n as u32).collect();
    let _ = decoder.take(&rows, &mut vec![0i128; rows.len()]);
    let _ = decoder.filter(
        &IntPred::Range { lo: -5, hi: 500, negated: false },
        0,
        &mut vec![0; n.div_ceil(64)],
        n,
    );
    let _ = decoder.filter(
        &IntPred::Set { values: (0..40).map(|i| i * 3).collect(), negated: true },
        0,
        &mut vec![0; n.div_ceil(64)],
        n,
    );
}

#[test]
fn empty_pages_come_back() {
    let bytes = page::<u32>(&[], PhysType::I32, false);
    check::<u32>(&[], PhysType::I32, &bytes, &[]);
}

#[test]
fn portable_code_reads_and_writes_the_same_pages() {
    let values: Vec<u64> =
        (0..5000u64).map(|i| i * i % 7919 * if i % 97 == 0 { 1 << 30 } else { 1 }).collect();
    let fast = page(&values, PhysType::I64, false);
    Level::force_portable(true);
    let slow = page(&values, PhysType::I64, false);
    check(&values, PhysType::I64, &fast, &[IntPred::Range { lo: 100, hi: 5000, negated: false }]);
    Level::force_portable(false);
    assert_eq!(fast.as_slice(), slow.as_slice());
    check(&values, PhysType::I64, &slow, &[IntPred::Range { lo: 100, hi: 5000, negated: false }]);
}

#[test]
fn pages_of_a_chunk_share_a_dictionary() {
    let mut state = 1u64;
    let values: Vec<u64> = (0..100_000u64)
        .map(|i| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            // Each value occurs; after the first round in no order.
            (if i < 9973 { i } else { (state >> 33) % 9973 }).wrapping_mul(0x9E37_79B9_7F4A_7C15)
        })
        .collect();
    for ptype in [PhysType::I64, PhysType::U64] {
        let mut encoder = IntEncoder::new(ptype, options(false));
        // The choice stays from chunk to chunk, the values do not.
        for _ in 0..2 {
            let pages: Vec<Buffer> = values
                .chunks(50_000)
                .map(|values| {
                    let mut out = PageBuilder::new();
                    encoder.encode(values, &mut out).unwrap();
                    aligned(&out.finish(values.len()).unwrap())
                })
                .collect();
            let dictionary = aligned(&encoder.finish_chunk().unwrap().unwrap());
            let dictionary = ChunkDictionary::open(&dictionary, ptype, false, BufferPool::global()).unwrap();
            assert_eq!(dictionary.len(), 9973);
            for (page, values) in pages.iter().zip(values.chunks(50_000)) {
                let view = PageView::parse(page).unwrap();
                assert_eq!(view.root().kind(), EncodingKind::Dictionary);
                assert!(page.len() < values.len() * 2);
                assert!(IntDecoder::open(view.root(), context()).is_err());
                let cx = DecodeContext { dictionary: Some(&dictionary), ..context() };
                let decoder = IntDecoder::open(view.root(), cx).unwrap();
                let mut out = vec![0u64; values.len()];
                decoder.decode(0, &mut out).unwrap();
                assert_eq!(out, values);
                let pred = IntPred::Range { lo: wide(values[7], ptype), hi: i128::MAX, negated: false };
                let mut bits = vec![0; values.len().div_ceil(64)];
                decoder.filter(&pred, 0, &mut bits, values.len()).unwrap();
                let want = values.iter().map(|v| pred.matches(wide(*v, ptype)));
                assert!(want.enumerate().all(|(i, w)| w == (bits[i / 64] >> (i % 64) & 1 == 1)));
            }
        }
        assert!(encoder.finish_chunk().unwrap().is_none());
    }
}

#[test]
fn choices_suit_the_data() {
    let kinds = |values: &[u64]| PageView::parse(&page(values, PhysType::I64, false)).unwrap().kinds();
    let mut state = 1u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state >> 33
    };
    let n = 65_536;
    let sorted: Vec<u64> = (0..n as u64).map(|i| i / 4 + i / 32 * 24).collect();
    assert_eq!(kinds(&sorted), [EncodingKind::Delta, EncodingKind::BitPack]);
    let random: Vec<u64> = (0..n).map(|_| 1000 + next() % 4096).collect();
    assert_eq!(kinds(&random), [EncodingKind::BitPack]);
    let hundreds: Vec<u64> = (0..n).map(|_| (next() % 50 + 1) * 100).collect();
    assert_eq!(kinds(&hundreds), [EncodingKind::BitPack]);
    assert!(page(&hundreds, PhysType::I64, false).len() < n * 6 / 8 + 1000);
    let runs: Vec<u64> = (0..n as u64).map(|i| (i / 700).wrapping_mul(0x9E37_79B9)).collect();
    assert_eq!(kinds(&runs)[0], EncodingKind::RunEnd);
    let rare: Vec<u64> = (0..n).map(|_| if next() % 1000 == 0 { next() } else { 1 << 40 }).collect();
    assert_eq!(kinds(&rare)[0], EncodingKind::Sparse);
    let few: Vec<u64> = (0..n).map(|_| (next() % 20).wrapping_mul(0x9E37_79B9_7F4A_7C15)).collect();
    assert_eq!(kinds(&few)[0], EncodingKind::Dictionary);
    assert_eq!(kinds(&(0..n as u64).map(|i| i * 12).collect::<Vec<_>>()), [EncodingKind::Sequence]);
    assert_eq!(kinds(&vec![7; n]), [EncodingKind::Constant]);
}
