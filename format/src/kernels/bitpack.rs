//! FastLanes packing: 1,024 values of `width` bits in `16 * width` 64-bit words.
//!
//! The lane that values are packed in follows from the width: the narrowest of 8, 16, 32 and 64 bits that holds it. So one
//! vector takes `128 * width` bytes whatever its type, and unpacking works on as many values a register as the width allows.
//!
//! In lanes of `T` bits, the value at position `p` of the vector lies in lane `l = p % 128 % (1024 / T)`, row
//! `r = FL_ORDER[(p % 128 - l) / 16] * 8 + p / 128`: bits `r * width ..` of the `T`-bit words `l`, `l + 1024 / T`, … .
//!
//! A row of all lanes is 1,024 bits for every `T`. So the kernels see rows of sixteen 64-bit words, shift those, and mask
//! what crossed from lane to lane: one loop serves every width of a lane, where a function each (as the `fastlanes` crate has
//! them, whose layout this is) would be 128 unrolled functions an instruction set, and no faster once memory is counted.

use fastlanes::FL_ORDER;

use super::{Level, leveled};
use crate::limits::VECTOR_ROWS;
use crate::phys::Lane;

/// Words of a row.
const ROW_WORDS: usize = 16;

/// One bit of every lane, or all lanes of one packed word.
type Row = [u64; ROW_WORDS];

/// Words of 64 bits that a vector of this width takes.
#[inline(always)]
pub const fn packed_words(width: usize) -> usize {
    width * ROW_WORDS
}

/// Bits of the lane that values of this width are packed in.
#[inline(always)]
pub const fn lane_bits(width: usize) -> usize {
    match width {
        0..=8 => 8,
        9..=16 => 16,
        17..=32 => 32,
        _ => 64,
    }
}

/// Unpacks a vector of `width` bits, 1 ..= 64, into lanes of [`lane_bits`].
///
/// # Panics
/// When `T` is not that lane or `packed` is not [`packed_words`] long: callers check both when they open a page.
#[inline]
pub fn unpack<T: Lane>(level: Level, width: usize, packed: &[u64], out: &mut [T; VECTOR_ROWS]) {
    check::<T>(width, packed.len());
    unpack_rows::<T>(level, width, packed.as_chunks().0, bytemuck::cast_slice_mut(out));
}

/// Packs the low `width` bits of each value, 1 ..= 64, of lanes of [`lane_bits`].
///
/// # Panics
/// As [`unpack`].
#[inline]
pub fn pack<T: Lane>(level: Level, width: usize, values: &[T; VECTOR_ROWS], packed: &mut [u64]) {
    check::<T>(width, packed.len());
    pack_rows::<T>(level, width, bytemuck::cast_slice(values), packed.as_chunks_mut().0);
}

fn check<T: Lane>(width: usize, words: usize) {
    assert!(
        width > 0 && T::BITS == lane_bits(width) && words == packed_words(width),
        "width {width} in lanes of {} with {words} packed words",
        T::BITS
    );
}

/// Where row `row` starts among the unpacked values, in words.
#[inline(always)]
fn row_start(row: usize, lane_bits: usize) -> usize {
    (FL_ORDER[row / 8 % 8] * 16 + row % 8 * 128) * lane_bits / 64
}

/// A one in every lane of a word. Times the low bits of a lane it is those bits in every lane, as nothing carries.
#[inline(always)]
fn one_in_every_lane(lane_bits: usize) -> u64 {
    match lane_bits {
        8 => u64::MAX / 0xFF,
        16 => u64::MAX / 0xFFFF,
        32 => u64::MAX / 0xFFFF_FFFF,
        _ => 1,
    }
}

leveled! {
    fn unpack_rows<T: Lane>(width: usize, packed: &[Row], out: &mut [u64]) {
        let lane_bits = T::BITS;
        let (every, ones) = (one_in_every_lane(lane_bits), u64::MAX >> (64 - lane_bits));
        let mask = u64::MAX >> (64 - width);
        for row in 0..lane_bits {
            let (word, shift) = (row * width / lane_bits, row * width % lane_bits);
            let at = row_start(row, lane_bits);
            let (Some(current), Some(out)) = (packed.get(word), out.get_mut(at..at + ROW_WORDS)) else { return };
            let Ok(out) = <&mut Row>::try_from(out) else { return };
            let low = every * (mask & (ones >> shift));
            if let Some(next) = packed.get(word + 1)
                && shift + width > lane_bits
            {
                let back = lane_bits - shift;
                let high = every * (mask & (ones << back));
                for i in 0..ROW_WORDS {
                    out[i] = (current[i] >> shift) & low | (next[i] << back) & high;
                }
            } else {
                for i in 0..ROW_WORDS {
                    out[i] = (current[i] >> shift) & low;
                }
            }
        }
    }
}

leveled! {
    fn pack_rows<T: Lane>(width: usize, values: &[u64], packed: &mut [Row]) {
        let lane_bits = T::BITS;
        let (every, ones) = (one_in_every_lane(lane_bits), u64::MAX >> (64 - lane_bits));
        let mask = u64::MAX >> (64 - width);
        packed.fill([0; ROW_WORDS]);
        for row in 0..lane_bits {
            let (word, shift) = (row * width / lane_bits, row * width % lane_bits);
            let at = row_start(row, lane_bits);
            let Some(Ok(values)) = values.get(at..at + ROW_WORDS).map(<&Row>::try_from) else { return };
            let low = every * (mask & (ones >> shift));
            let Some(current) = packed.get_mut(word) else { return };
            for i in 0..ROW_WORDS {
                current[i] |= (values[i] & low) << shift;
            }
            if shift + width > lane_bits
                && let Some(next) = packed.get_mut(word + 1)
            {
                let back = lane_bits - shift;
                let high = every * (mask >> back);
                for i in 0..ROW_WORDS {
                    next[i] = (values[i] >> back) & high;
                }
            }
        }
    }
}

/// The value at `position` of a packed vector.
///
/// # Panics
/// When `packed` is not [`packed_words`] long or `position` is not below 1,024.
#[inline]
pub fn unpack_one(width: usize, packed: &[u64], position: usize) -> u64 {
    #[inline(always)]
    fn one<T: Lane>(width: usize, packed: &[u64], position: usize) -> u64 {
        let lanes = VECTOR_ROWS / T::BITS;
        let words: &[T] = bytemuck::cast_slice(packed);
        let (word, shift) = place(T::BITS, width, position);
        let low = words[word].to_u64() >> shift;
        let taken = T::BITS - shift;
        let value = if taken < width { low | words[word + lanes].to_u64() << taken } else { low };
        value & (u64::MAX >> (64 - width))
    }
    assert!(
        position < VECTOR_ROWS && packed.len() == packed_words(width),
        "position {position}, width {width}"
    );
    match width {
        0 => 0,
        1..=8 => one::<u8>(width, packed, position),
        9..=16 => one::<u16>(width, packed, position),
        17..=32 => one::<u32>(width, packed, position),
        _ => one::<u64>(width, packed, position),
    }
}

/// In which word of `bits` bits the value at `position` of a packed vector begins, and at which of its bits.
#[inline(always)]
fn place(bits: usize, width: usize, position: usize) -> (usize, usize) {
    let lanes = VECTOR_ROWS / bits;
    let within = position % 128;
    let lane = within % lanes;
    let row = FL_ORDER[(within - lane) / 16] * 8 + position / 128;
    let bit = row * width;
    (lanes * (bit / bits) + lane, bit % bits)
}

/// The word of `packed` in which the value at `position` begins.
pub fn word_of(width: usize, position: usize) -> usize {
    let bits = lane_bits(width);
    place(bits, width, position).0 * bits / 64
}

#[cfg(test)]
mod tests {
    use fastlanes::BitPacking;

    use super::*;

    /// Every width of a lane, at every level, against the crate whose layout it is.
    fn round_trip<T: Lane + BitPacking>(first: usize) {
        for width in first..=T::BITS {
            let values: [T; VECTOR_ROWS] = std::array::from_fn(|i| {
                Lane::from_u64((i as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(i as u32 % 64))
            });
            let mask = u64::MAX >> (64 - width);
            let mut theirs = vec![0u64; packed_words(width)];
            // SAFETY: 1,024 values and the words that the width takes.
            unsafe { T::unchecked_pack(width, &values, bytemuck::cast_slice_mut(&mut theirs)) };
            for level in Level::available() {
                let mut packed = vec![0; packed_words(width)];
                pack(level, width, &values, &mut packed);
                assert_eq!(theirs, packed, "{} {width}", level.name());
                let mut out = [<T as Lane>::from_u64(0); VECTOR_ROWS];
                unpack(level, width, &packed, &mut out);
                for i in 0..VECTOR_ROWS {
                    assert_eq!(
                        Lane::to_u64(out[i]),
                        Lane::to_u64(values[i]) & mask,
                        "{} {width} {i}",
                        level.name()
                    );
                    assert_eq!(unpack_one(width, &packed, i), Lane::to_u64(out[i]), "{width} {i}");
                }
            }
        }
    }

    #[test]
    fn every_width_packs_as_the_fastlanes_crate_does() {
        round_trip::<u8>(1);
        round_trip::<u16>(9);
        round_trip::<u32>(17);
        round_trip::<u64>(33);
    }
}
