//! Properties of every encoding of byte strings: what comes out is what went in, whole, in part or row by row; tests on encoded values
//! are tests on values; and bytes that no encoder wrote are refused.

use std::ops::Bound;

use arrow_array::{
    Array, ArrayRef, BinaryArray, BinaryViewArray, LargeBinaryArray, StringArray, StringViewArray,
};
use arrow_buffer::{Buffer, ScalarBuffer};
use deltalite_alloc::BufferPool;
use proptest::prelude::*;

use super::concat::{encode_fsst, encode_plain, encode_zstd};
use super::*;
use crate::encoding::dictionary::{ChunkDictionary, FLAG_SHARED, encode_codes};
use crate::encoding::fuzz::{aligned, any_tree};
use crate::encoding::{DecodeContext, EncodeOptions, Profile};
use crate::limits::{CASCADE_DEPTH_MAX, VECTOR_ROWS};
use crate::page::{EncodingKind, NodeSpec, PageBuilder, PageView};
use crate::phys::PhysType;
use crate::predicate::leaf::BytesPred;
use crate::predicate::like::LikePattern;

fn context(dictionary: Option<&ChunkDictionary>, utf8: bool) -> DecodeContext<'_> {
    DecodeContext { dictionary, pool: BufferPool::global(), utf8 }
}

fn array(values: &[Vec<u8>]) -> BinaryViewArray {
    BinaryViewArray::from_iter_values(values)
}

fn strings(views: Vec<u128>, data: Vec<Buffer>) -> Vec<Vec<u8>> {
    // Arrow checks every view: where it points, its prefix, its padding.
    let array = BinaryViewArray::try_new(ScalarBuffer::from(views), data, None).unwrap();
    array.iter().map(|v| v.unwrap().to_vec()).collect()
}

/// How a page is written: by the encoder's choice, or by force.
#[derive(Debug, Clone, Copy)]
enum Way {
    Chosen(Profile),
    Plain,
    Fsst,
    Zstd,
    Shared,
    InPage,
}

const WAYS: [Way; 8] = [
    Way::Chosen(Profile::Default),
    Way::Chosen(Profile::Compact),
    Way::Chosen(Profile::Plain),
    Way::Plain,
    Way::Fsst,
    Way::Zstd,
    Way::Shared,
    Way::InPage,
];

/// A page, and the page of its chunk's dictionary.
fn encoded(values: &[Vec<u8>], way: Way) -> (Buffer, Option<Buffer>) {
    let array = array(values);
    let input = BytesInput::new(&array).unwrap();
    let o = EncodeOptions::default();
    let mut out = PageBuilder::new();
    let flat = input.flatten().unwrap();
    let mut dictionary = None;
    match way {
        Way::Chosen(profile) => {
            let mut encoder = BytesEncoder::new(EncodeOptions { profile });
            encoder.encode(&input, &mut out).unwrap();
            dictionary = encoder.finish_chunk().unwrap();
        }
        Way::Plain => encode_plain(&flat, o, &mut out).unwrap(),
        Way::Fsst => encode_fsst(&flat, &fsst::train(&flat.bytes), o, &mut out).unwrap(),
        Way::Zstd => {
            if !encode_zstd(&flat, VECTOR_ROWS, 1, o, &mut out).unwrap() {
                encode_plain(&flat, o, &mut out).unwrap();
            }
        }
        Way::Shared | Way::InPage => {
            let mut builder = DictionaryBuilder::default();
            let codes = builder.encode(&input, usize::MAX, usize::MAX).unwrap();
            let (flags, children) = if matches!(way, Way::Shared) { (FLAG_SHARED, 1) } else { (0, 2) };
            out.node(NodeSpec {
                flags,
                children,
                ..NodeSpec::new(EncodingKind::Dictionary, PhysType::Bytes, values.len())
            });
            encode_codes(&codes, builder.len(), CASCADE_DEPTH_MAX - 1, o, &mut out).unwrap();
            let mut page = PageBuilder::new();
            if flags == FLAG_SHARED {
                encode::encode_alone(&builder.values(), o, &mut page).unwrap();
                dictionary = Some(page.finish(builder.len()).unwrap());
            } else {
                encode::encode_alone(&builder.values(), o, &mut out).unwrap();
            }
        }
    }
    (aligned(&out.finish(values.len()).unwrap()), dictionary.map(|d| aligned(&d)))
}

fn with_decoder<R>(
    page: &Buffer,
    dictionary: Option<&Buffer>,
    utf8: bool,
    f: impl FnOnce(&BytesDecoder<'_>) -> crate::Result<R>,
) -> crate::Result<R> {
    let pool = BufferPool::global();
    let dictionary = dictionary.map(|d| ChunkDictionary::open(d, PhysType::Bytes, utf8, pool)).transpose()?;
    let view = PageView::parse(page)?;
    f(&BytesDecoder::open(view.root(), context(dictionary.as_ref(), utf8))?)
}

fn decode(decoder: &BytesDecoder<'_>, start: usize, len: usize) -> crate::Result<Vec<Vec<u8>>> {
    let (mut views, mut data) = (vec![0; len], vec![Buffer::from(b"someone else's")]);
    decoder.decode(start, &mut views, &mut data)?;
    Ok(strings(views, data))
}

fn take(decoder: &BytesDecoder<'_>, rows: &[u32]) -> crate::Result<Vec<Vec<u8>>> {
    let (mut views, mut data) = (vec![0; rows.len()], vec![Buffer::from(b"someone else's")]);
    decoder.take(rows, &mut views, &mut data)?;
    Ok(strings(views, data))
}

fn filter(
    decoder: &BytesDecoder<'_>,
    pred: &BytesPred,
    start: usize,
    len: usize,
) -> crate::Result<Vec<bool>> {
    let mut words = vec![u64::MAX; len.div_ceil(64)];
    decoder.filter(pred, start, &mut words, len)?;
    assert!(len.is_multiple_of(64) || words[len / 64] >> (len % 64) == 0, "bits past the last row");
    Ok((0..len).map(|i| words[i / 64] >> (i % 64) & 1 != 0).collect())
}

/// Words that repeat, so that every encoding has something to do, and lengths around 12, where views change shape.
fn value() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => prop::sample::select(vec!["", "a", "AIR", "REG AIR", "twelve bytes", "thirteen byte", "deliver in person", "ünïcödé", "日本語のテキスト"])
            .prop_map(|s| s.as_bytes().to_vec()),
        2 => "[a-c ]{0,40}".prop_map(String::into_bytes),
        1 => "\\PC{0,20}".prop_map(String::into_bytes),
    ]
}

fn text() -> impl Strategy<Value = Vec<Vec<u8>>> {
    prop_oneof![
        prop::collection::vec(value(), 0..400),
        // A few distinct values over several vectors, also in runs.
        (
            prop::collection::vec(value(), 1..20),
            prop::collection::vec((any::<prop::sample::Index>(), 1..60usize), 1..120)
        )
            .prop_map(|(distinct, runs)| {
                runs.iter()
                    .flat_map(|(i, n)| std::iter::repeat_n(i.get(&distinct).clone(), *n))
                    .take(4000)
                    .collect()
            }),
        // Mostly empty.
        prop::collection::vec(prop_oneof![9 => Just(Vec::new()), 1 => value()], 0..3000),
    ]
}

fn any_bytes() -> impl Strategy<Value = Vec<Vec<u8>>> {
    prop_oneof![
        3 => text(),
        1 => prop::collection::vec(prop::collection::vec(any::<u8>(), 0..30), 0..2500),
        1 => (prop::collection::vec(any::<u8>(), 1..300), 0..4usize).prop_map(|(unit, n)| {
            let long: Vec<u8> = unit.iter().copied().cycle().take(100_000).collect();
            std::iter::repeat_n(long, n).chain([vec![], unit]).collect()
        }),
    ]
}

fn pred(values: Vec<Vec<u8>>) -> impl Strategy<Value = BytesPred> {
    let one =
        prop_oneof![prop::sample::select(if values.is_empty() { vec![vec![]] } else { values }), value(),];
    let bound = prop_oneof![
        Just(Bound::Unbounded),
        one.clone().prop_map(Bound::Included),
        one.clone().prop_map(Bound::Excluded),
    ];
    let part =
        (one.clone(), any::<prop::sample::Index>(), any::<prop::sample::Index>()).prop_map(|(v, a, b)| {
            let (a, b) = (a.index(v.len() + 1), b.index(v.len() + 1));
            v[a.min(b)..a.max(b)].to_vec()
        });
    let general = ("[ab%_A ]{0,6}").prop_map(|p| LikePattern::parse(&p, None, true));
    let pattern = prop_oneof![
        part.clone().prop_map(LikePattern::Prefix),
        part.clone().prop_map(LikePattern::Suffix),
        part.prop_map(LikePattern::Contains),
        one.clone().prop_map(LikePattern::Exact),
        general,
    ];
    prop_oneof![
        (bound.clone(), bound, any::<bool>()).prop_map(|(lo, hi, negated)| BytesPred::Range {
            lo,
            hi,
            negated
        }),
        (prop::collection::vec(one, 0..4), any::<bool>()).prop_map(|(mut values, negated)| {
            values.sort();
            values.dedup();
            BytesPred::Set { values, negated }
        }),
        (pattern, any::<bool>()).prop_map(|(pattern, negated)| BytesPred::Like { pattern, negated }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn values_come_back(values in any_bytes(), a: prop::sample::Index, b: prop::sample::Index, picks in prop::collection::vec(any::<prop::sample::Index>(), 0..50)) {
        let (a, b) = (a.index(values.len() + 1), b.index(values.len() + 1));
        let (start, end) = (a.min(b), a.max(b));
        let mut rows: Vec<u32> = if values.is_empty() { vec![] } else { picks.iter().map(|i| i.index(values.len()) as u32).collect() };
        rows.sort_unstable();
        for way in WAYS {
            let (page, dictionary) = encoded(&values, way);
            let utf8 = values.iter().all(|v| std::str::from_utf8(v).is_ok());
            with_decoder(&page, dictionary.as_ref(), utf8, |d| {
                assert_eq!(decode(d, 0, values.len())?, values, "{way:?}");
                assert_eq!(decode(d, start, end - start)?, &values[start..end], "{way:?}");
                let picked: Vec<_> = rows.iter().map(|&r| values[r as usize].clone()).collect();
                assert_eq!(take(d, &rows)?, picked, "{way:?}");
                let backwards: Vec<_> = rows.iter().rev().copied().collect();
                assert_eq!(take(d, &backwards)?, picked.into_iter().rev().collect::<Vec<_>>(), "{way:?}");
                assert!(d.decode(values.len(), &mut [0], &mut vec![]).is_err());
                assert!(d.take(&[values.len() as u32], &mut [0], &mut vec![]).is_err());
                Ok(())
            }).unwrap();
        }
    }

    #[test]
    fn tests_on_encoded_values_are_tests_on_values((values, preds) in text().prop_flat_map(|v| (Just(v.clone()), prop::collection::vec(pred(v), 1..6))), at: prop::sample::Index) {
        let start = at.index(values.len() / VECTOR_ROWS + 1) * VECTOR_ROWS;
        let len = values.len() - start;
        for way in WAYS {
            let (page, dictionary) = encoded(&values, way);
            with_decoder(&page, dictionary.as_ref(), true, |d| {
                for pred in &preds {
                    let expected: Vec<_> = values[start..].iter().map(|v| pred.matches(v)).collect();
                    assert_eq!(filter(d, pred, start, len)?, expected, "{way:?} {pred:?}");
                }
                Ok(())
            }).unwrap();
        }
    }

    #[test]
    fn every_layout_is_read(values in text(), nulls in prop::collection::vec(any::<bool>(), 4000), cut: prop::sample::Index) {
        let values: Vec<Option<String>> = values.iter().zip(nulls).map(|(v, null)| (!null).then(|| String::from_utf8(v.clone()).unwrap())).collect();
        let cut = cut.index(values.len() + 1);
        let expected: Vec<Vec<u8>> = values[cut..].iter().map(|v| v.clone().unwrap_or_default().into_bytes()).collect();
        let bytes = || values.iter().map(|v| v.as_ref().map(String::as_bytes));
        let arrays: [ArrayRef; 5] = [
            std::sync::Arc::new(StringArray::from(values.clone())),
            std::sync::Arc::new(values.clone().into_iter().collect::<StringViewArray>()),
            std::sync::Arc::new(bytes().collect::<BinaryArray>()),
            std::sync::Arc::new(bytes().collect::<LargeBinaryArray>()),
            std::sync::Arc::new(bytes().collect::<BinaryViewArray>()),
        ];
        for array in arrays {
            let array = array.slice(cut, array.len() - cut);
            let input = BytesInput::new(array.as_ref()).unwrap();
            prop_assert_eq!((0..input.len()).map(|i| input.get(i).to_vec()).collect::<Vec<_>>(), expected.clone());
            let flat = input.flatten().unwrap();
            prop_assert_eq!(flat.bytes, expected.concat());
        }
    }

    #[test]
    fn pages_of_a_chunk_share_a_dictionary(pages in prop::collection::vec(text(), 1..5)) {
        for profile in [Profile::Default, Profile::Compact] {
            let mut encoder = BytesEncoder::new(EncodeOptions { profile });
            for _chunk in 0..2 {
                let encoded: Vec<_> = pages.iter().map(|values| {
                    let array = array(values);
                    let mut out = PageBuilder::new();
                    encoder.encode(&BytesInput::new(&array).unwrap(), &mut out).unwrap();
                    aligned(&out.finish(values.len()).unwrap())
                }).collect();
                let dictionary = encoder.finish_chunk().unwrap().map(|d| aligned(&d));
                for (page, values) in encoded.iter().zip(&pages) {
                    let back = with_decoder(page, dictionary.as_ref(), true, |d| decode(d, 0, values.len())).unwrap();
                    prop_assert_eq!(&back, values);
                }
            }
        }
    }

    #[test]
    fn changed_bytes_never_panic(values in text(), flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..24)) {
        for way in WAYS {
            let (page, dictionary) = encoded(&values, way);
            let change = |page: &Buffer, n: usize| {
                let mut bytes = page.to_vec();
                flips.iter().take(n).for_each(|(at, v)| { let at = at.index(bytes.len()); bytes[at] ^= v; });
                aligned(&bytes)
            };
            for n in [1, flips.len()] {
                for (page, dictionary) in [(change(&page, n), dictionary.clone()), (page.clone(), dictionary.as_ref().map(|d| change(d, n)))] {
                    let _ = with_decoder(&page, dictionary.as_ref(), true, |d| {
                        let len = d.len();
                        let (mut views, mut data) = (vec![0; len], vec![]);
                        if d.decode(0, &mut views, &mut data).is_ok() {
                            // Whatever passes is text, by Arrow's own check.
                            StringViewArray::try_new(ScalarBuffer::from(views), data, None).unwrap();
                        }
                        let rows: Vec<u32> = (0..len as u32).step_by(97).collect();
                        let (mut views, mut data) = (vec![0; rows.len()], vec![]);
                        if d.take(&rows, &mut views, &mut data).is_ok() {
                            StringViewArray::try_new(ScalarBuffer::from(views), data, None).unwrap();
                        }
                        let pred = BytesPred::Like { pattern: LikePattern::Contains(b"a".to_vec()), negated: false };
                        let _ = filter_any(d, &pred, len);
                        Ok(())
                    });
                }
            }
        }
    }

    #[test]
    fn random_buffers_never_panic(kind in prop::sample::select(vec![EncodingKind::BytesPlain, EncodingKind::Fsst, EncodingKind::Zstd, EncodingKind::Constant, EncodingKind::Dictionary]),
        buffers in prop::collection::vec(prop::collection::vec(prop_oneof![Just(0u32), 0..40u32, any::<u32>()], 0..12), 0..5), lengths in prop::collection::vec(prop_oneof![0..9u32, any::<u32>()], 0..6), p0 in prop_oneof![0..9u64, Just(1024), any::<u64>()]) {
        let mut out = PageBuilder::new();
        out.node(NodeSpec { children: 1, p0, ..NodeSpec::new(kind, PhysType::Bytes, lengths.len()) });
        for b in &buffers {
            out.buffer(b);
        }
        crate::encoding::int::encode_ints(&lengths, PhysType::U32, 1, EncodeOptions::default(), &mut out).unwrap();
        let page = aligned(&out.finish(lengths.len()).unwrap());
        let _ = with_decoder(&page, None, true, |d| decode(d, 0, d.len()));
        let _ = with_decoder(&page, None, false, |d| take(d, &(0..d.len() as u32).collect::<Vec<_>>()));
    }

    #[test]
    fn nothing_panics(page in any_tree(&[PhysType::Bytes, PhysType::U8, PhysType::U16, PhysType::U32])) {
        let all = |d: &BytesDecoder<'_>| {
            let (mut views, mut data) = (vec![0; d.len()], vec![]);
            d.decode(0, &mut views, &mut data)?;
            StringViewArray::try_new(ScalarBuffer::from(views), data, None).unwrap();
            take(d, &(0..d.len() as u32).step_by(500).collect::<Vec<_>>()).map(|_| ())
        };
        let _ = with_decoder(&page, None, true, all);
        // As a dictionary of a sound page, too.
        let (sound, _) = encoded(&[b"two".to_vec(), b"one".to_vec(), b"two".to_vec()], Way::Shared);
        let _ = with_decoder(&sound, Some(&page), true, all);
    }

    #[test]
    fn text_is_checked(values in any_bytes(), cut: prop::sample::Index) {
        // The lengths cut characters in two unless they are ASCII.
        let all = values.concat();
        let cut = cut.index(all.len() + 1);
        let halves = vec![all[..cut].to_vec(), all[cut..].to_vec(), b"x".to_vec()];
        let valid = halves.iter().all(|v| std::str::from_utf8(v).is_ok());
        for way in WAYS {
            let (page, dictionary) = encoded(&halves, way);
            let result = with_decoder(&page, dictionary.as_ref(), true, |d| decode(d, 0, d.len()));
            prop_assert_eq!(result.is_ok(), valid, "{:?}", way);
            let result = with_decoder(&page, dictionary.as_ref(), true, |d| take(d, &[0]).and(take(d, &[1])));
            prop_assert_eq!(result.is_ok(), valid, "{:?}", way);
        }
    }

    #[test]
    fn symbols_decode_as_the_library_does(text in prop::collection::vec(any::<u8>(), 0..3000), words in "[a-d]{1,4}( [a-d]{1,4}){0,300}") {
        for bytes in [text, words.into_bytes()] {
            let compressor = fsst::train(&bytes);
            let codes = compressor.compress(&bytes);
            let mut out = PageBuilder::new();
            out.node(NodeSpec { p0: compressor.n_symbols() as u64, ..NodeSpec::new(EncodingKind::Fsst, PhysType::Bytes, 0) });
            out.buffer(&fsst::table_bytes(&compressor));
            let page = aligned(&out.finish(0).unwrap());
            let view = PageView::parse(&page).unwrap();
            let table = fsst::SymbolTable::open(&view.root(), view.root().p0()).unwrap();
            for room in [bytes.len(), bytes.len() + fsst::SLACK] {
                let mut decoded = vec![0; room];
                prop_assert_eq!(table.decode(&codes, &mut decoded, usize::MAX), Some(bytes.len()));
                prop_assert_eq!(&decoded[..bytes.len()], &bytes);
            }
            if !bytes.is_empty() {
                prop_assert_eq!(table.decode(&codes, &mut vec![0; bytes.len() - 1], usize::MAX), None);
            }
        }
    }
}

/// As `filter`, for pages that may be corrupt.
fn filter_any(d: &BytesDecoder<'_>, pred: &BytesPred, len: usize) -> crate::Result<()> {
    d.filter(pred, 0, &mut vec![0; len.div_ceil(64)], len)
}

#[test]
fn plain_values_are_not_copied() {
    let values: Vec<Vec<u8>> =
        (0..3000).map(|i| format!("a value that is not inline, number {i}").into_bytes()).collect();
    let (page, _) = encoded(&values, Way::Chosen(Profile::Plain));
    let memory = page.as_ptr_range();
    with_decoder(&page, None, true, |d| {
        let (mut views, mut data) = (vec![0; 3000], vec![]);
        d.decode(0, &mut views, &mut data)?;
        assert!(data.len() == 1 && memory.contains(&data[0].as_ptr()));
        Ok(())
    })
    .unwrap();
}

#[test]
fn encodings_are_chosen_for_what_they_suit() {
    let kind = |profile, values: &[Vec<u8>]| {
        let array = array(values);
        let mut out = PageBuilder::new();
        BytesEncoder::new(EncodeOptions { profile })
            .encode(&BytesInput::new(&array).unwrap(), &mut out)
            .unwrap();
        out.kinds()[0]
    };
    let modes = ["AIR", "RAIL", "TRUCK", "MAIL", "FOB", "SHIP", "REG AIR"];
    let few: Vec<Vec<u8>> = (0..20_000).map(|i| modes[i * 7919 % 101 % 7].as_bytes().to_vec()).collect();
    assert_eq!(kind(Profile::Default, &few), EncodingKind::Dictionary);
    let hash = |i: usize| {
        let h = (i as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (h ^ h >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 7
    };
    let words: Vec<Vec<u8>> = (0..20_000)
        .map(|i| {
            (0..8).map(|k| modes[hash(i * 8 + k) as usize % 7]).collect::<Vec<_>>().join(" ").into_bytes()
        })
        .collect();
    assert_eq!(kind(Profile::Default, &words), EncodingKind::Fsst);
    let noise: Vec<Vec<u8>> = (0..20_000)
        .map(|i| (0..3).flat_map(|k| hash(hash(i * 3 + k) as usize).to_be_bytes()).collect())
        .collect();
    assert_eq!(kind(Profile::Default, &noise), EncodingKind::BytesPlain);
    assert_eq!(kind(Profile::Default, &vec![b"same".to_vec(); 500]), EncodingKind::Constant);
    assert_eq!(kind(Profile::Plain, &vec![b"same".to_vec(); 500]), EncodingKind::BytesPlain);
}

#[test]
fn a_choice_is_made_again_when_values_change() {
    let mut encoder = BytesEncoder::new(EncodeOptions::default());
    let mut kinds = Vec::new();
    for page in 0..6 {
        let values: Vec<Vec<u8>> = (0..20_000usize)
            .map(|i| {
                if page < 2 {
                    format!("{}", i % 5)
                } else {
                    format!("order number {} of page {page}", i * 7919)
                }
            })
            .map(String::into_bytes)
            .collect();
        let array = array(&values);
        let mut out = PageBuilder::new();
        encoder.encode(&BytesInput::new(&array).unwrap(), &mut out).unwrap();
        kinds.push(out.kinds()[0]);
    }
    assert_eq!(kinds[0], EncodingKind::Dictionary);
    assert_ne!(kinds[5], EncodingKind::Dictionary);
}
