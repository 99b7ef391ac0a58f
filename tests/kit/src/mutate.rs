//! Seeded mutations of inputs.

use rand::Rng;
use rand::rngs::StdRng;

/// Changes bytes the way disks and links make them go wrong, and the way attackers do; parts of another input are among them.
pub(crate) fn mutate(bytes: &mut Vec<u8>, other: &[u8], rng: &mut StdRng) {
    const NUMBERS: [u64; 14] = [
        0,
        1,
        2,
        7,
        63,
        64,
        255,
        16_384,
        65_535,
        65_536,
        1 << 20,
        u32::MAX as u64,
        i64::MAX as u64,
        u64::MAX,
    ];
    for _ in 0..rng.random_range(1..5) {
        if bytes.is_empty() {
            return;
        }
        let at = rng.random_range(0..bytes.len());
        match rng.random_range(0..14) {
            0..=2 => bytes[at] ^= 1 << rng.random_range(0..8),
            3 => bytes[at] = rng.random(),
            4..=6 => {
                // Numbers stand at multiples of their width, mostly.
                let width = [1, 2, 4, 8][rng.random_range(0..4)];
                let at = if rng.random_bool(0.8) { at / width * width } else { at };
                let mut number = NUMBERS[rng.random_range(0..NUMBERS.len())];
                if rng.random_bool(0.3) {
                    number = number.wrapping_sub(rng.random_range(0..3));
                }
                let end = (at + width).min(bytes.len());
                bytes[at..end].copy_from_slice(&number.to_le_bytes()[..end - at]);
            }
            7 => {
                let end = (at + rng.random_range(1..64)).min(bytes.len());
                bytes[at..end].fill([0, 0xff][rng.random_range(0..2)]);
            }
            8 => bytes.truncate(at),
            9 => {
                let end = (at + rng.random_range(1..200)).min(bytes.len());
                let to = rng.random_range(0..=bytes.len() - (end - at));
                bytes.copy_within(at..end, to);
            }
            // A part once more, or one less.
            10 => {
                let end = (at + rng.random_range(1..300)).min(bytes.len());
                let part = bytes[at..end].to_vec();
                bytes.splice(at..at, part);
            }
            11 => {
                let end = (at + rng.random_range(1..130)).min(bytes.len());
                bytes.drain(at..end);
            }
            12 => {
                let new: Vec<u8> = (0..rng.random_range(1..60)).map(|_| rng.random()).collect();
                bytes.splice(at..at, new);
            }
            _ if !other.is_empty() => {
                let from = rng.random_range(0..other.len());
                let n = rng.random_range(1..200).min(other.len() - from);
                bytes.splice(at..at, other[from..from + n].iter().copied());
            }
            _ => {}
        }
    }
}
