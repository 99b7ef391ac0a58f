use arrow_buffer::Buffer;
use deltalite_alloc::BufferPool;
use proptest::prelude::*;

use super::pcodec::Compressed;
use super::*;
use crate::encoding::fuzz::{aligned, any_tree, damaged};
use crate::encoding::{DecodeContext, EncodeOptions, Profile};
use crate::kernels::Level;
use crate::page::{EncodingKind, PageBuilder, PageView};
use crate::phys::{Lane, PhysType};
use crate::predicate::leaf::FloatPred;

fn cx() -> DecodeContext<'static> {
    DecodeContext { dictionary: None, pool: BufferPool::global(), utf8: false }
}

trait Tested: Float {
    fn encode(encoder: &mut FloatEncoder, values: &[Self], out: &mut PageBuilder);
}
impl Tested for f32 {
    fn encode(encoder: &mut FloatEncoder, values: &[Self], out: &mut PageBuilder) {
        encoder.encode_f32(values, out).unwrap();
    }
}
impl Tested for f64 {
    fn encode(encoder: &mut FloatEncoder, values: &[Self], out: &mut PageBuilder) {
        encoder.encode_f64(values, out).unwrap();
    }
}

fn page<F: Tested>(values: &[F], profile: Profile) -> Buffer {
    let mut out = PageBuilder::new();
    F::encode(&mut FloatEncoder::new(F::PTYPE, EncodeOptions { profile }), values, &mut out);
    aligned(&out.finish(values.len()).unwrap())
}

fn preds<F: Float>(values: &[F]) -> Vec<FloatPred> {
    let mut keys: Vec<i64> = values.iter().take(5).map(|v| v.key()).collect();
    keys.sort_unstable();
    keys.dedup();
    let (lo, hi) = (*keys.first().unwrap_or(&0), *keys.last().unwrap_or(&3));
    vec![
        FloatPred::Range { lo, hi, negated: false },
        FloatPred::Range { lo: hi, hi: i64::MAX, negated: true },
        FloatPred::Range { lo: i64::MIN, hi: lo + (hi.wrapping_sub(lo) / 2).max(0), negated: false },
        FloatPred::Range { lo: 1, hi: 0, negated: true },
        FloatPred::Set { values: keys.clone(), negated: false },
        FloatPred::Set { values: keys, negated: true },
        FloatPred::Set { values: vec![hi], negated: false },
        FloatPred::Set { values: vec![], negated: false },
    ]
}

/// Everything read from `page` must be what `values` says.
fn check_page<F: Float>(values: &[F], page: &Buffer) -> EncodingKind {
    let n = values.len();
    let view = PageView::parse(page).unwrap();
    let decoder = FloatDecoder::open(view.root(), cx()).unwrap();
    let bits = |v: &[F]| v.iter().map(|v| v.bits().to_u64()).collect::<Vec<_>>();
    let mut all = vec![F::zeroed(); n];
    decoder.decode(0, &mut all).unwrap();
    assert_eq!(bits(&all), bits(values));
    for (start, len) in [(n / 3, n / 2), (n / 7, n.min(1)), (1030.min(n), n - n.min(1030)), (n, 0)] {
        let len = len.min(n - start);
        let mut part = vec![F::zeroed(); len];
        decoder.decode(start, &mut part).unwrap();
        assert_eq!(bits(&part), bits(&values[start..start + len]), "{start}+{len}");
    }
    for step in [1, 3, 500, 1024, 3000] {
        let rows: Vec<u32> = (n as u32 / 5..n as u32).step_by(step).collect();
        let mut some = vec![F::zeroed(); rows.len()];
        decoder.take(&rows, &mut some).unwrap();
        let expected: Vec<F> = rows.iter().map(|&r| values[r as usize]).collect();
        assert_eq!(bits(&some), bits(&expected));
    }
    for pred in preds(values) {
        for start in (0..=n).step_by(1024).take(3) {
            let len = n - start;
            let mut mask = vec![u64::MAX; len.div_ceil(64)];
            decoder.filter(&pred, start, &mut mask, len).unwrap();
            for i in 0..mask.len() * 64 {
                let expected = i < len && pred.matches(values[start + i].key());
                assert_eq!(mask[i / 64] >> (i % 64) & 1 == 1, expected, "row {} {pred:?}", start + i);
            }
        }
    }
    if let Some(buffer) = decoder.plain_buffer() {
        assert_eq!(bits(bytemuck::cast_slice(&buffer)), bits(values));
    }
    assert!(decoder.decode(1, &mut vec![F::zeroed(); n]).is_err());
    assert!(decoder.take(&[n as u32], &mut [F::zeroed()]).is_err());
    assert!(decoder.filter(&preds(values)[0], 0, &mut vec![0; n / 64 + 1], n + 1).is_err());
    view.root().kind()
}

fn check<F: Tested>(values: &[F]) -> EncodingKind {
    assert_eq!(check_page(values, &page(values, Profile::Plain)), EncodingKind::Plain);
    check_page(values, &page(values, Profile::Compact));
    check_page(values, &page(values, Profile::Default))
}

fn special<F: Float>() -> Vec<F> {
    let low = |v: u64| F::of_bits(F::Bits::from_u64(v));
    let high = |v: u64| F::of_bits(F::Bits::from_u64(v << (F::Bits::BITS - 16)));
    // Zeros, subnormals, infinities, and NaNs of both signs with payloads.
    let mut out = vec![low(0), low(1), low(12_345), high(0x8000), high(0x7FFF), high(0xFFFF), high(0x7FF1)];
    out.push(F::of_bits(F::Bits::from_u64(high(0x7FFF).bits().to_u64() | 0x4D)));
    if F::PTYPE == PhysType::F64 {
        out.extend([high(0x7FF0), high(0xFFF0)]);
    } else {
        out.extend([high(0x7F80), high(0xFF80)]);
    }
    out
}

#[test]
fn special_values_keep_their_bits() {
    check(&special::<f64>());
    check(&special::<f32>());
    for v in special::<f64>() {
        assert_eq!(check(&vec![v; 3000]), EncodingKind::Constant);
    }
    check::<f64>(&[]);
    check::<f32>(&[]);
    check(&[1.5f32]);
}

/// A page's worth of values that look random.
fn noise(i: usize) -> u64 {
    (i as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(29).wrapping_mul(0xBF58_476D_1CE4_E5B9)
}

/// Sizes of the page that `values` becomes and of the values.
fn sizes<F: Tested>(values: &[F], profile: Profile) -> (usize, usize) {
    (page(values, profile).len(), size_of_val(values))
}

#[test]
fn decimals_become_integers() {
    for digits in 0..8 {
        let scale = 10f64.powi(digits);
        let values: Vec<f64> = (0..20_000).map(|i| (noise(i) % 1_000_000) as f64 / scale).collect();
        assert_eq!(check(&values), EncodingKind::Alp, "{digits}");
        let (encoded, plain) = sizes(&values, Profile::Default);
        assert!(encoded * 64 < plain * 23, "{digits}: {encoded} of {plain}");
    }
    let values: Vec<f32> = (0..20_000).map(|i| ((noise(i) % 100_000) as f64 / 100.0) as f32).collect();
    assert_eq!(check(&values), EncodingKind::Alp);
    let millions: Vec<f64> = (0..20_000).map(|i| (noise(i) % 1000) as f64 * 1e15).collect();
    assert_eq!(check(&millions), EncodingKind::Alp);
}

#[test]
fn what_is_not_decimal_is_patched() {
    let values: Vec<f64> = (0..20_000)
        .map(|i| if i % 333 == 7 { f64::from_bits(noise(i)) } else { (noise(i) % 10_000) as f64 / 100.0 })
        .collect();
    assert_eq!(check(&values), EncodingKind::Alp);
}

#[test]
fn real_doubles_are_cut() {
    let values: Vec<f64> =
        (0..20_000).map(|i| 100.0 + (noise(i) >> 11) as f64 / (1u64 << 53) as f64).collect();
    assert_eq!(check(&values), EncodingKind::AlpRd);
    let with_odd: Vec<f64> =
        values.iter().enumerate().map(|(i, v)| if i % 300 == 0 { f64::NAN } else { *v }).collect();
    assert_eq!(check(&with_odd), EncodingKind::AlpRd);
    let singles: Vec<f32> = values.iter().map(|v| *v as f32).collect();
    check(&singles);
}

#[test]
fn few_values_are_coded() {
    for distinct in [3, 200, 300] {
        let values: Vec<f64> =
            (0..20_000).map(|i| f64::from_bits(noise((noise(i) % distinct) as usize))).collect();
        assert_eq!(check(&values), EncodingKind::Dictionary);
        let singles: Vec<f32> = values.iter().map(|v| *v as f32).collect();
        check(&singles);
    }
}

#[test]
fn runs_are_kept_as_runs() {
    let values: Vec<f64> = (0..60_000).map(|i| f64::from_bits(noise(i / 50))).collect();
    assert_eq!(check(&values), EncodingKind::RunEnd);
}

#[test]
fn random_bits_stay_plain() {
    let values: Vec<f64> = (0..20_000).map(|i| f64::from_bits(noise(i))).collect();
    assert_eq!(check(&values), EncodingKind::Plain);
}

/// A walk with a normal distribution of steps: no decimals, but far from uniform.
fn walk(n: usize) -> Vec<f64> {
    let mut at = 1e6;
    let step = |i| (0..8).map(|k| (noise(i * 8 + k) >> 40) as f64 - 8_388_608.0).sum::<f64>() / 64.0;
    (0..n)
        .map(|i| {
            at += step(i);
            at
        })
        .collect()
}

#[test]
fn compact_uses_pco_where_it_is_smaller() {
    let values = walk(30_000);
    assert_eq!(check_page(&values, &page(&values, Profile::Compact)), EncodingKind::Pco);
    assert!(sizes(&values, Profile::Compact).0 < sizes(&values, Profile::Default).0);
}

#[test]
fn portable_code_writes_the_same_bytes() {
    let values: Vec<f64> = (0..20_000)
        .map(|i| if i % 77 == 0 { f64::from_bits(noise(i)) } else { (noise(i) % 100_000) as f64 / 1000.0 })
        .collect();
    let expected = page(&values, Profile::Default);
    Level::force_portable(true);
    let portable = page(&values, Profile::Default);
    check_page(&values, &portable);
    Level::force_portable(false);
    assert_eq!(expected.as_slice(), portable.as_slice());
}

#[test]
fn choices_are_made_anew_when_data_changes() {
    let decimals: Vec<f64> = (0..5000).map(|i| (noise(i) % 1000) as f64 / 100.0).collect();
    let more: Vec<f64> = (0..5000).map(|i| (noise(i) % 1000) as f64 / 10_000.0).collect();
    let random: Vec<f64> = (0..5000).map(|i| f64::from_bits(noise(i))).collect();
    let mut encoder = FloatEncoder::new(PhysType::F64, EncodeOptions::default());
    for (values, kind) in [
        (&decimals, EncodingKind::Alp),
        (&more, EncodingKind::Alp),
        (&random, EncodingKind::Plain),
        (&decimals, EncodingKind::Alp),
    ] {
        let mut out = PageBuilder::new();
        encoder.encode_f64(values, &mut out).unwrap();
        let page = aligned(&out.finish(values.len()).unwrap());
        assert_eq!(check_page(values, &page), kind);
        assert!(kind == EncodingKind::Plain || page.len() < 5000 * 2);
    }
}

fn values<F: Float>() -> impl Strategy<Value = Vec<F>> {
    let special = special::<F>();
    let bits = any::<u64>().prop_map(|b| F::of_bits(F::Bits::from_u64(b)));
    let shape = prop_oneof![
        prop::collection::vec(bits.clone(), 0..3000),
        prop::collection::vec(prop::sample::select(special.clone()), 0..3000),
        (prop::collection::vec(bits, 1..20), 0usize..3000)
            .prop_map(|(few, n)| (0..n).map(|i| few[i * i % few.len()]).collect::<Vec<F>>()),
        (0i64..1_000_000_000, 0i32..12, 0usize..3000, 1i64..100_000).prop_map(|(base, digits, n, spread)| {
            let scale = 10f64.powi(digits);
            (0..n as i64).map(|i| from_f64((base + i * 7919 % spread) as f64 / scale)).collect()
        }),
    ];
    (shape, prop::collection::vec((any::<prop::sample::Index>(), prop::sample::select(special)), 0..20))
        .prop_map(|(mut values, odd)| {
            let n = values.len();
            if n > 0 {
                for (at, v) in odd {
                    values[at.index(n)] = v;
                }
            }
            values
        })
}

fn from_f64<F: Float>(v: f64) -> F {
    let bits = if F::PTYPE == PhysType::F32 { u64::from((v as f32).to_bits()) } else { v.to_bits() };
    F::of_bits(F::Bits::from_u64(bits))
}

fn touch_all(page: &Buffer) {
    let Ok(view) = PageView::parse(page) else { return };
    let Ok(decoder) = FloatDecoder::open(view.root(), cx()) else { return };
    let n = decoder.len();
    let rows: Vec<u32> = (0..n as u32).step_by(7).collect();
    let pred = FloatPred::Range { lo: -5, hi: 1 << 52, negated: false };
    let _ = decoder.filter(&pred, 0, &mut vec![0; n.div_ceil(64)], n);
    if view.root().ptype() == PhysType::F32 {
        let _ = decoder.decode(n / 3, &mut vec![0f32; n - n / 3]);
        let _ = decoder.take(&rows, &mut vec![0f32; rows.len()]);
    } else {
        let _ = decoder.decode(n / 3, &mut vec![0f64; n - n / 3]);
        let _ = decoder.take(&rows, &mut vec![0f64; rows.len()]);
    }
}

proptest! {
    #[test]
    fn doubles_round_trip(values in values::<f64>()) {
        check(&values);
    }

    #[test]
    fn singles_round_trip(values in values::<f32>()) {
        check(&values);
    }

    #[test]
    fn hostile_trees_never_panic(tree in any_tree(&[PhysType::F32, PhysType::F64])) {
        touch_all(&tree);
    }

    #[test]
    fn damaged_pco_pages_never_panic(
        n in 1usize..700,
        drop in 0usize..40,
        damage in prop::collection::vec((0usize..64, any::<u8>()), 1..4),
    ) {
        let head = Compressed::of(&walk(n)).unwrap();
        let mut bytes = head.head.clone();
        for (at, value) in &damage {
            let at = at % bytes.len();
            bytes[at] = *value;
        }
        let mut parts = head.parts.clone();
        for (at, value) in &damage {
            // Values that the head tells whole have no parts.
            let at = at % parts.len().max(1);
            parts.get_mut(at).into_iter().for_each(|b| *b ^= *value);
        }
        parts.truncate(parts.len().saturating_sub(drop));
        for damaged in [(bytes, head.parts.clone()), (head.head.clone(), parts)] {
            let ends = vec![damaged.1.len() as u32];
            let mut out = PageBuilder::new();
            Compressed { head: damaged.0, parts: damaged.1, ends }.write::<f64>(n, &mut out);
            touch_all(&aligned(&out.finish(n).unwrap()));
        }
    }

    #[test]
    fn damaged_pages_never_panic(
        values in values::<f64>(),
        compact: bool,
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let profile = if compact { Profile::Compact } else { Profile::Default };
        touch_all(&damaged(&page(&values, profile), &damage));
    }
}
