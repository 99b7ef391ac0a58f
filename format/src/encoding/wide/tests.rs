use deltalite_alloc::BufferPool;
use proptest::prelude::*;

use super::*;
use crate::encoding::fuzz::{aligned, any_tree, damaged};
use crate::encoding::{DecodeContext, EncodeOptions, Profile};
use crate::page::PageView;
use crate::page::{EncodingKind, PageBuilder};
use crate::phys::PhysType;
use crate::predicate::leaf::IntPred;
use arrow_buffer::{Buffer, i256};

fn cx() -> DecodeContext<'static> {
    DecodeContext { dictionary: None, pool: BufferPool::global(), utf8: false }
}

fn page<W: Wide>(values: &[W], profile: Profile) -> Buffer {
    let mut out = PageBuilder::new();
    WideEncoder::new(W::PTYPE, EncodeOptions { profile }).encode(values, &mut out).unwrap();
    aligned(&out.finish(values.len()).unwrap())
}

fn check_page<W: Wide + Default>(values: &[W], page: &Buffer) -> EncodingKind {
    let n = values.len();
    let view = PageView::parse(page).unwrap();
    let decoder = WideDecoder::open(view.root(), cx()).unwrap();
    for (start, len) in [(0, n), (n / 3, n / 2), (1030.min(n), n - n.min(1030)), (n, 0)] {
        let mut part = vec![W::default(); len];
        decoder.decode(start, &mut part).unwrap();
        assert_eq!(part, values[start..start + len]);
    }
    for step in [1, 3, 500, 1024] {
        let rows: Vec<u32> = (n as u32 / 5..n as u32).step_by(step).collect();
        let mut some = vec![W::default(); rows.len()];
        decoder.take(&rows, &mut some).unwrap();
        assert!(rows.iter().zip(&some).all(|(&r, v)| values[r as usize] == *v));
    }
    assert!(decoder.decode(1, &mut vec![W::default(); n]).is_err());
    assert!(decoder.take(&[n as u32], &mut [W::default()]).is_err());
    view.root().kind()
}

fn check_filter(values: &[i128], page: &Buffer) {
    let view = PageView::parse(page).unwrap();
    let decoder = WideDecoder::open(view.root(), cx()).unwrap();
    let mut set: Vec<i128> = values.iter().take(5).copied().collect();
    set.sort_unstable();
    set.dedup();
    let (lo, hi) = (*set.first().unwrap_or(&0), *set.last().unwrap_or(&3));
    let preds = [
        IntPred::Range { lo, hi, negated: false },
        IntPred::Range { lo: i128::MIN, hi: lo / 2 + hi / 2, negated: true },
        IntPred::Range { lo: 1, hi: 0, negated: true },
        IntPred::Set { values: set.clone(), negated: false },
        IntPred::Set { values: set, negated: true },
    ];
    for pred in &preds {
        for start in (0..=values.len()).step_by(1024) {
            let len = values.len() - start;
            let mut mask = vec![u64::MAX; len.div_ceil(64)];
            decoder.filter(pred, start, &mut mask, len).unwrap();
            for i in 0..mask.len() * 64 {
                let expected = i < len && pred.matches(values[start + i]);
                assert_eq!(mask[i / 64] >> (i % 64) & 1 == 1, expected);
            }
        }
    }
}

fn check128(values: &[i128]) -> EncodingKind {
    let plain = page(values, Profile::Plain);
    assert_eq!(check_page(values, &plain), EncodingKind::Plain);
    check_filter(values, &plain);
    for profile in [Profile::Compact, Profile::Default] {
        check_filter(values, &page(values, profile));
        check_page(values, &page(values, profile));
    }
    let wide: Vec<i256> = values.iter().map(|&v| i256::from_i128(v)).collect();
    assert_eq!(check_page(&wide, &page(&wide, Profile::Plain)), EncodingKind::Plain);
    check_page(&wide, &page(&wide, Profile::Compact));
    check_page(&wide, &page(&wide, Profile::Default))
}

#[test]
fn constants_take_one_value() {
    assert_eq!(check128(&vec![i128::MIN; 5000]), EncodingKind::Constant);
    assert_eq!(check128(&[]), EncodingKind::Constant);
    check128(&[i128::MIN, i128::MAX, 0, -1, 1]);
}

#[test]
fn each_form_is_chosen_where_it_is_small() {
    let noise = |i: i128| i.wrapping_mul(0x1E37_79B9_7F4A_7C15_F39C_C060_5CED_C835).rotate_left(51);
    let of = |f: &dyn Fn(i128) -> i128| check128(&(0..20_000).map(f).collect::<Vec<_>>());
    assert_eq!(of(&|i| i * 1000 - 77), EncodingKind::Narrow);
    assert_eq!(of(&|i| (1 << 100) + i % 999), EncodingKind::Narrow);
    assert_eq!(of(&|i| (1 << 64) - 10_000 + i), EncodingKind::Narrow);
    assert_eq!(of(&|i| (1 << 63) - 10_000 + i), EncodingKind::Narrow);
    assert_eq!(of(&|i| noise(noise(i) & 63)), EncodingKind::Dictionary);
    assert_eq!(of(&|i| noise(noise(i) & 511)), EncodingKind::Dictionary);
    let random: Vec<i128> = (0..5000).map(|i| noise(noise(i) ^ noise(i * i) >> 61)).collect();
    check128(&random);
    assert_eq!(check_page(&random, &page(&random, Profile::Default)), EncodingKind::Plain);
}

fn values() -> impl Strategy<Value = Vec<i128>> {
    (0u32..128, 0usize..2500, any::<i128>(), 1usize..200, any::<u64>()).prop_map(
        |(shift, n, base, distinct, seed)| {
            let mut state = u128::from(seed) | 1;
            let pool: Vec<i128> = (0..n)
                .map(|_| {
                    state = state.wrapping_mul(0xDA94_2042_E4DD_58B5_1234_5678_9ABC_DEF1).wrapping_add(77);
                    ((state.rotate_left(31) >> shift) as i128).wrapping_add(base >> shift)
                })
                .collect();
            if shift % 2 == 0 { pool } else { (0..n).map(|i| pool[i * i % distinct.min(n)]).collect() }
        },
    )
}

proptest! {
    #[test]
    fn round_trip(values in values()) {
        check128(&values);
    }

    #[test]
    fn round_trip_256(values in values(), shift in 0u8..128) {
        let wide: Vec<i256> =
            values.iter().map(|&v| (i256::from_i128(v) << shift).wrapping_add(i256::from_i128(v))).collect();
        for profile in [Profile::Plain, Profile::Compact, Profile::Default] {
            check_page(&wide, &page(&wide, profile));
        }
    }

    #[test]
    fn hostile_pages_never_panic(
        tree in any_tree(&[PhysType::I128, PhysType::I256]),
        values in values(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
    ) {
        for page in [tree, damaged(&page(&values, Profile::Default), &damage)] {
            let Ok(view) = PageView::parse(&page) else { continue };
            let Ok(decoder) = WideDecoder::open(view.root(), cx()) else { continue };
            let n = decoder.len();
            let rows: Vec<u32> = (0..n as u32).step_by(7).collect();
            let _ = decoder.decode_i128(n / 3, &mut vec![0; n - n / 3]);
            let _ = decoder.decode_i256(n / 3, &mut vec![i256::ZERO; n - n / 3]);
            let _ = decoder.take_i128(&rows, &mut vec![0; rows.len()]);
            let _ = decoder.take_i256(&rows, &mut vec![i256::ZERO; rows.len()]);
            let pred = IntPred::Range { lo: -5, hi: 1 << 40, negated: false };
            let _ = decoder.filter(&pred, 0, &mut vec![0; n.div_ceil(64)], n);
        }
    }
}
