//! How many distinct values a column has, within about 1.6 %.
//!
//! HyperLogLog with 4,096 registers and the estimator of Ertl, "New cardinality estimation algorithms for HyperLogLog sketches"
//! (arXiv 1702.01284), which needs no tables and is good at every size.
//!
//! Stored as `u8` form, then: form 0, for each register that is not zero, in order, `u16` register and `u8` rank; form 1, all
//! 4,096 ranks as `u8`. The shorter form is written.

use arrow_array::Array;

use crate::error::{FormatError, Result};
use crate::hash::for_each_hash;

const REGISTERS: usize = 1 << BITS;
const BITS: u32 = 12;
/// Largest rank: all bits of the hash that do not choose the register are zero.
const RANK_MAX: u8 = (64 - BITS + 1) as u8;
const FORM_SPARSE: u8 = 0;
const FORM_DENSE: u8 = 1;

/// A mergeable sketch of the distinct values of some rows. Nulls are not values.
///
/// ```
/// use arrow_array::Int32Array;
/// use deltalite_format::stats::DistinctSketch;
///
/// let mut sketch = DistinctSketch::new();
/// sketch.insert_array(&Int32Array::from_iter_values((0..10_000).map(|i| i % 500)));
/// assert!((480.0..520.0).contains(&sketch.estimate()));
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct DistinctSketch {
    ranks: Box<[u8; REGISTERS]>,
}

impl std::fmt::Debug for DistinctSketch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "DistinctSketch(≈ {:.0})", self.estimate())
    }
}

impl Default for DistinctSketch {
    fn default() -> Self {
        Self::new()
    }
}

impl DistinctSketch {
    /// Of no values.
    pub fn new() -> Self {
        Self { ranks: Box::new([0; REGISTERS]) }
    }

    /// Adds every value that is not null. Nested types add nothing.
    pub fn insert_array(&mut self, array: &dyn Array) {
        for_each_hash(array, &mut |hash| {
            let register = (hash >> (64 - BITS)) as usize;
            // The guard bit bounds the rank where all the rest is zero.
            let rank = ((hash << BITS) | (1 << (BITS - 1))).leading_zeros() as u8 + 1;
            self.ranks[register] = self.ranks[register].max(rank);
        });
    }

    /// Adds the values of another sketch.
    pub fn merge(&mut self, other: &Self) {
        self.ranks.iter_mut().zip(other.ranks.iter()).for_each(|(a, b)| *a = (*a).max(*b));
    }

    /// About how many distinct values were added.
    pub fn estimate(&self) -> f64 {
        let q = 64 - BITS as usize;
        let m = REGISTERS as f64;
        let mut counts = [0u32; 64];
        self.ranks.iter().for_each(|&r| counts[r as usize] += 1);
        if counts[0] as usize == REGISTERS {
            return 0.0;
        }
        let mut z = m * tau((m - f64::from(counts[q + 1])) / m);
        for k in (1..=q).rev() {
            z = 0.5 * (z + f64::from(counts[k]));
        }
        z += m * sigma(f64::from(counts[0]) / m);
        m * m / (2.0 * std::f64::consts::LN_2 * z)
    }

    /// The sketch as it is stored.
    pub fn to_bytes(&self) -> Vec<u8> {
        let used = self.ranks.iter().filter(|r| **r != 0).count();
        if used * 3 >= REGISTERS {
            let mut out = vec![FORM_DENSE];
            out.extend_from_slice(self.ranks.as_slice());
            return out;
        }
        let mut out = vec![FORM_SPARSE];
        for (i, &rank) in self.ranks.iter().enumerate().filter(|(_, r)| **r != 0) {
            out.extend_from_slice(&(i as u16).to_le_bytes());
            out.push(rank);
        }
        out
    }

    /// Reads what [`DistinctSketch::to_bytes`] gave.
    ///
    /// # Errors
    /// [`FormatError::Corrupt`] when the bytes are no sketch.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let bad = |detail: String| FormatError::corrupt("distinct-value sketch", detail);
        let mut sketch = Self::new();
        match bytes.split_first() {
            Some((&FORM_DENSE, ranks)) if ranks.len() == REGISTERS => sketch.ranks.copy_from_slice(ranks),
            Some((&FORM_SPARSE, entries)) if entries.len().is_multiple_of(3) => {
                for entry in entries.chunks_exact(3) {
                    let register = u16::from_le_bytes([entry[0], entry[1]]) as usize;
                    *sketch
                        .ranks
                        .get_mut(register)
                        .ok_or_else(|| bad(format!("register {register} of 4,096")))? = entry[2];
                }
            }
            _ => return Err(bad(format!("{} bytes in no known form", bytes.len()))),
        }
        match sketch.ranks.iter().find(|r| **r > RANK_MAX) {
            Some(rank) => Err(bad(format!("rank {rank} is larger than {RANK_MAX}"))),
            None => Ok(sketch),
        }
    }
}

fn sigma(mut x: f64) -> f64 {
    if x >= 1.0 {
        return f64::INFINITY;
    }
    let (mut y, mut z) = (1.0, x);
    loop {
        x *= x;
        let before = z;
        z += x * y;
        y += y;
        if z <= before {
            return z;
        }
    }
}

fn tau(mut x: f64) -> f64 {
    if x <= 0.0 || x >= 1.0 {
        return 0.0;
    }
    let (mut y, mut z) = (1.0, 1.0 - x);
    loop {
        x = x.sqrt();
        let before = z;
        y *= 0.5;
        z -= (1.0 - x).powi(2) * y;
        if z >= before {
            return z / 3.0;
        }
    }
}

#[cfg(test)]
mod tests {
    use arrow_array::Int64Array;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn estimates_are_near_at_every_size() {
        for n in [0i64, 1, 10, 100, 1_000, 5_000, 20_000, 300_000] {
            let mut sketch = DistinctSketch::new();
            sketch.insert_array(&Int64Array::from_iter_values(0..n));
            let error = (sketch.estimate() - n as f64).abs();
            assert!(error <= 0.08 * n as f64, "{} for {n}", sketch.estimate());
        }
    }

    proptest! {
        #[test]
        fn sketches_come_back_and_merge(a in prop::collection::vec(any::<i64>(), 0..4000), b in prop::collection::vec(any::<i64>(), 0..50)) {
            let of = |v: &[i64]| {
                let mut sketch = DistinctSketch::new();
                sketch.insert_array(&Int64Array::from(v.to_vec()));
                sketch
            };
            let (mut x, y) = (of(&a), of(&b));
            prop_assert_eq!(&DistinctSketch::from_bytes(&x.to_bytes()).unwrap(), &x);
            prop_assert_eq!(&DistinctSketch::from_bytes(&y.to_bytes()).unwrap(), &y);
            x.merge(&y);
            prop_assert_eq!(x, of(&[a, b].concat()));
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            if let Ok(sketch) = DistinctSketch::from_bytes(&bytes) {
                prop_assert!(sketch.estimate().is_finite());
            }
        }
    }
}
