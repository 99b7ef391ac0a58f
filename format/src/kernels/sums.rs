//! Sums of signed 64-bit numbers, of all rows or by group, and what has to be known of numbers before they are added: how large they are.
//!
//! Nothing here checks for overflow; who calls knows from [`magnitude`] that there is none, or wants what wraps.

use super::{Level, leveled};

/// Groups that [`by_group`] and [`count_by_group`] can tell apart.
pub const GROUPS_MAX: usize = 256;

/// Up to so many groups it is fastest to go over the rows once for each.
const FEW: usize = 6;
/// Sums of a group that neighbouring rows are added to: to add to one that was just written would have to wait for it.
const LANES: usize = 4;

leveled! {
    /// Takes the low half of 128-bit numbers; their [`magnitude`], if all of them fit 64 bits.
    pub fn narrow_wide<>(values: &[i128], out: &mut [i64]) -> Option<u64> {
        let pairs: &[[u64; 2]] = bytemuck::cast_slice(values);
        let (mut bits, mut beyond) = (0, 0);
        for (out, [low, high]) in out.iter_mut().zip(pairs) {
            let sign = (*low as i64 >> 63) as u64;
            beyond |= high ^ sign;
            bits |= low ^ sign;
            *out = *low as i64;
        }
        (beyond == 0).then_some(bits)
    }
}

leveled! {
    /// A number `m` such that all values lie in `-m - 1 ..= m`.
    pub fn magnitude<>(values: &[i64]) -> u64 {
        values.iter().fold(0, |bits, v| bits | (v ^ (v >> 63)) as u64)
    }
}

leveled! {
    /// The sum, wrapping, and the [`magnitude`], which tells whether it is right.
    pub fn total<>(values: &[i64]) -> (i64, u64) {
        values.iter().fold((0, 0), |(sum, bits), v| (sum.wrapping_add(*v), bits | (v ^ (v >> 63)) as u64))
    }
}

leveled! {
    /// `out[i] = left[i] * right[i]`, wrapping.
    pub fn multiply<>(left: &[i64], right: &[i64], out: &mut [i64]) {
        for (out, (l, r)) in out.iter_mut().zip(left.iter().zip(right)) {
            *out = l.wrapping_mul(*r);
        }
    }
}

leveled! {
    /// `out[i] = left[i] * left_by + right[i] * right_by`, wrapping.
    pub fn combine<>(left: &[i64], left_by: i64, right: &[i64], right_by: i64, out: &mut [i64]) {
        let rows = out.iter_mut().zip(left.iter().zip(right));
        match (left_by, right_by) {
            (1, 1) => rows.for_each(|(out, (l, r))| *out = l.wrapping_add(*r)),
            (1, -1) => rows.for_each(|(out, (l, r))| *out = l.wrapping_sub(*r)),
            _ => rows.for_each(|(out, (l, r))| *out = l.wrapping_mul(left_by).wrapping_add(r.wrapping_mul(right_by))),
        }
    }
}

leveled! {
    /// The sum, wrapping.
    pub fn sum<>(values: &[i64]) -> i64 {
        values.iter().fold(0, |sum, v| sum.wrapping_add(*v))
    }
}

leveled! {
    fn sum_of<>(values: &[i64], groups: &[u8], group: u8) -> i64 {
        values.iter().zip(groups).fold(0, |sum, (v, g)| sum.wrapping_add(if *g == group { *v } else { 0 }))
    }
}

/// Adds each value to its group's sum, wrapping. Rows of groups beyond `sums` are left out.
pub fn by_group(level: Level, values: &[i64], groups: &[u8], sums: &mut [i64]) {
    if sums.len() <= FEW {
        for (group, sum) in sums.iter_mut().enumerate() {
            *sum = sum.wrapping_add(sum_of(level, values, groups, group as u8));
        }
        return;
    }
    let mut lanes = [[0i64; GROUPS_MAX]; LANES];
    let (mut some, mut some_groups) = (values.chunks_exact(LANES), groups.chunks_exact(LANES));
    for (values, groups) in (&mut some).zip(&mut some_groups) {
        for lane in 0..LANES {
            let sum = &mut lanes[lane][usize::from(groups[lane])];
            *sum = sum.wrapping_add(values[lane]);
        }
    }
    for (value, group) in some.remainder().iter().zip(some_groups.remainder()) {
        let sum = &mut lanes[0][usize::from(*group)];
        *sum = sum.wrapping_add(*value);
    }
    for (group, sum) in sums.iter_mut().enumerate().take(GROUPS_MAX) {
        *sum = lanes.iter().fold(*sum, |sum, lane| sum.wrapping_add(lane[group]));
    }
}

leveled! {
    fn count_of<>(groups: &[u8], group: u8) -> u64 {
        // In bytes as long as these can't overflow: as many rows a register as there are bytes in it.
        groups.chunks(255).map(|some| u64::from(some.iter().fold(0u8, |n, g| n + u8::from(*g == group)))).sum()
    }
}

/// Counts each group's rows. Rows of groups beyond `counts` are left out.
pub fn count_by_group(level: Level, groups: &[u8], counts: &mut [u64]) {
    if counts.len() <= FEW {
        for (group, count) in counts.iter_mut().enumerate() {
            *count += count_of(level, groups, group as u8);
        }
        return;
    }
    let mut lanes = [[0u64; GROUPS_MAX]; LANES];
    for (i, group) in groups.iter().enumerate() {
        lanes[i % LANES][usize::from(*group)] += 1;
    }
    for (group, count) in counts.iter_mut().enumerate().take(GROUPS_MAX) {
        *count += lanes.iter().map(|lane| lane[group]).sum::<u64>();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_value() -> impl Strategy<Value = i64> {
        prop_oneof![any::<i64>(), -1000..1000i64, Just(i64::MIN), Just(i64::MAX)]
    }

    proptest! {
        #[test]
        fn groups_have_the_sums_of_their_rows(
            rows in prop::collection::vec((any_value(), any::<u8>()), 0..600),
            groups in prop_oneof![1..12usize, 1..=GROUPS_MAX],
            beyond in 0..3usize,
        ) {
            let values: Vec<i64> = rows.iter().map(|r| r.0).collect();
            let of: Vec<u8> = rows.iter().map(|r| (usize::from(r.1) % (groups + beyond).min(GROUPS_MAX)) as u8).collect();
            let (mut sums, mut counts) = (vec![7i64; groups], vec![9u64; groups]);
            for (value, group) in values.iter().zip(&of) {
                if let Some(sum) = sums.get_mut(usize::from(*group)) {
                    *sum = sum.wrapping_add(*value);
                    counts[usize::from(*group)] += 1;
                }
            }
            for level in Level::available() {
                let (mut found, mut found_counts) = (vec![7i64; groups], vec![9u64; groups]);
                by_group(level, &values, &of, &mut found);
                count_by_group(level, &of, &mut found_counts);
                prop_assert_eq!(&found, &sums);
                prop_assert_eq!(&found_counts, &counts);
                prop_assert_eq!(sum(level, &values), values.iter().fold(0, |s: i64, v| s.wrapping_add(*v)));
            }
        }

        #[test]
        fn numbers_are_as_large_as_they_are_said_to_be(values in prop::collection::vec(any_value(), 0..70), wide: i128, at: prop::sample::Index) {
            let mut long: Vec<i128> = values.iter().map(|v| i128::from(*v)).collect();
            for level in Level::available() {
                let mut out = vec![0; values.len()];
                let found = narrow_wide(level, &long, &mut out);
                prop_assert_eq!(&out, &values);
                prop_assert_eq!(found, Some(magnitude(level, &values)));
                prop_assert_eq!(total(level, &values), (sum(level, &values), magnitude(level, &values)));
                let most = i128::from(magnitude(level, &values));
                prop_assert!(long.iter().all(|v| (-most - 1..=most).contains(v)));
                prop_assert!(most == 0 || long.iter().any(|v| *v > most / 2 || *v < -most / 2));
            }
            if let Ok(narrow) = i64::try_from(wide) {
                prop_assert_eq!(narrow_wide(Level::best(), &[wide], &mut [0]), Some(magnitude(Level::best(), &[narrow])));
            } else if !long.is_empty() {
                let at = at.index(long.len());
                long[at] = wide;
                for level in Level::available() {
                    prop_assert_eq!(narrow_wide(level, &long, &mut vec![0; long.len()]), None);
                }
            }
        }

        #[test]
        fn results_are_the_same_at_every_level(rows in prop::collection::vec((any_value(), any_value()), 0..70), left_by in prop_oneof![Just(1), Just(100), any::<i64>()], right_by in prop_oneof![Just(1), Just(-1), any::<i64>()]) {
            let (left, right): (Vec<i64>, Vec<i64>) = rows.iter().copied().unzip();
            let products: Vec<i64> = rows.iter().map(|(l, r)| l.wrapping_mul(*r)).collect();
            let combined: Vec<i64> = rows.iter().map(|(l, r)| l.wrapping_mul(left_by).wrapping_add(r.wrapping_mul(right_by))).collect();
            for level in Level::available() {
                let mut out = vec![0; rows.len()];
                multiply(level, &left, &right, &mut out);
                prop_assert_eq!(&out, &products);
                combine(level, &left, left_by, &right, right_by, &mut out);
                prop_assert_eq!(&out, &combined);
            }
        }
    }
}
