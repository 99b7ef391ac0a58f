//! Orders of rows along space-filling curves.

use arrow_array::RecordBatch;
use arrow_ord::rank::rank;

use crate::error::{Result, TableError};

/// Bits of each column's rank that a curve is made of.
const BITS: u32 = 16;
/// Columns that a curve goes through at most.
const COLUMNS_MAX: usize = 8;

/// A curve through several columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Curve {
    /// Bits of the ranks, interleaved (Morton 1966).
    Z,
    /// Hilbert's, after Skilling, "Programming the Hilbert curve" (2004).
    Hilbert,
}

impl Curve {
    pub(super) fn name(self) -> &'static str {
        match self {
            Curve::Z => "zOrderBy",
            Curve::Hilbert => "hilbertBy",
        }
    }
}

/// The order of rows along a curve. Values count by their rank, so that any type and any distribution fills the space evenly.
///
/// # Errors
/// When there is no such column, or its type has no order.
pub(super) fn order(curve: Curve, batch: &RecordBatch, columns: &[String]) -> Result<Vec<u32>> {
    let wrong = |detail: String| TableError::invalid("ordering rows", detail);
    if columns.is_empty() || columns.len() > COLUMNS_MAX {
        return Err(wrong(format!(
            "{} columns are given; a curve goes through 1 to {COLUMNS_MAX}",
            columns.len()
        )));
    }
    let rows = batch.num_rows();
    let mut points = vec![vec![0u32; columns.len()]; rows];
    for (at, name) in columns.iter().enumerate() {
        let array =
            batch.column_by_name(name).ok_or_else(|| wrong(format!("there is no column {name:?}")))?;
        let ranks = rank(array.as_ref(), None).map_err(TableError::compute("ordering rows"))?;
        for (point, rank) in points.iter_mut().zip(ranks) {
            point[at] = ((u64::from(rank) << BITS) / (rows as u64 + 1)) as u32;
        }
    }
    let keys: Vec<u128> = points
        .into_iter()
        .map(|mut point| {
            if curve == Curve::Hilbert {
                to_hilbert(&mut point);
            }
            interleave(&point)
        })
        .collect();
    let mut order: Vec<u32> = (0..rows as u32).collect();
    order.sort_by_key(|row| keys[*row as usize]);
    Ok(order)
}

/// Bits of the coordinates, the most significant of each first.
fn interleave(point: &[u32]) -> u128 {
    (0..BITS).rev().fold(0, |key, bit| {
        point.iter().fold(key, |key, coordinate| key << 1 | u128::from(coordinate >> bit & 1))
    })
}

/// Coordinates to the transposed index along the curve, in place.
fn to_hilbert(point: &mut [u32]) {
    let n = point.len();
    let top = 1u32 << (BITS - 1);
    let mut q = top;
    while q > 1 {
        let p = q - 1;
        for i in 0..n {
            if point[i] & q != 0 {
                point[0] ^= p;
            } else {
                let t = (point[0] ^ point[i]) & p;
                point[0] ^= t;
                point[i] ^= t;
            }
        }
        q >>= 1;
    }
    for i in 1..n {
        point[i] ^= point[i - 1];
    }
    let mut t = 0;
    q = top;
    while q > 1 {
        if point[n - 1] & q != 0 {
            t ^= q - 1;
        }
        q >>= 1;
    }
    for coordinate in point {
        *coordinate ^= t;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Along Hilbert's curve one step changes one coordinate by one, in any number of dimensions.
    #[test]
    fn neighbours_on_the_curve_are_neighbours_in_space() {
        for dimensions in 1..=3usize {
            let side = 8u32;
            let mut points: Vec<Vec<u32>> = vec![Vec::new()];
            for _ in 0..dimensions {
                points = points
                    .iter()
                    .flat_map(|p| (0..side).map(move |c| [p.as_slice(), &[c]].concat()))
                    .collect();
            }
            points.sort_by_key(|point| {
                let mut scaled: Vec<u32> = point.iter().map(|c| c << (BITS - 3)).collect();
                to_hilbert(&mut scaled);
                interleave(&scaled)
            });
            for pair in points.windows(2) {
                let steps: u32 = pair[0].iter().zip(&pair[1]).map(|(a, b)| a.abs_diff(*b)).sum();
                assert_eq!(steps, 1, "{pair:?}");
            }
        }
    }

    #[test]
    fn interleaving_takes_the_highest_bits_first() {
        assert_eq!(interleave(&[0b11, 0b01]), 0b1011);
    }
}
