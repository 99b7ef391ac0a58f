//! Decimal numbers of any size and precision, and where they lie among the values a column can hold.

use arrow_buffer::i256;
use half::f16;

use crate::key::{f16_key, f32_key, f64_key};

/// A decimal number, exactly: `± digits × 10^exponent`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Exact {
    negative: bool,
    /// Decimal digits, most significant first, without zeros at either end; empty for zero.
    digits: Vec<u8>,
    exponent: i64,
}

/// Where a value lies among the values of a column's type, which are numbered by their keys (for integers and decimals the
/// stored integer, for floats the total-order key).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Position {
    /// Before every value.
    Below,
    /// On the value with this key.
    At(i256),
    /// After the value with this key, before the next.
    After(i256),
    /// After every value.
    Above,
}

impl Exact {
    /// Reads `[+-]digits[.digits][e[+-]digits]`.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let (negative, rest) = match text.as_bytes().first()? {
            b'-' => (true, &text[1..]),
            b'+' => (false, &text[1..]),
            _ => (false, text),
        };
        let (mantissa, power) = match rest.find(['e', 'E']) {
            Some(at) => (&rest[..at], rest[at + 1..].parse::<i32>().ok()?),
            None => (rest, 0),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let all = || whole.bytes().chain(fraction.bytes());
        if all().next().is_none() || !all().all(|b| b.is_ascii_digit()) {
            return None;
        }
        let mut digits: Vec<u8> = all().map(|b| b - b'0').skip_while(|d| *d == 0).collect();
        let mut exponent = i64::from(power) - fraction.len() as i64;
        while digits.last() == Some(&0) {
            digits.pop();
            exponent += 1;
        }
        Some(Self { negative, digits, exponent })
    }

    /// A finite double, exactly.
    pub(super) fn of_f64(v: f64) -> Option<Self> {
        // No double has more than 1,074 decimals.
        if v.is_finite() { Self::parse(&format!("{v:.1074}")) } else { None }
    }

    /// An unscaled decimal with its scale.
    pub(super) fn of_decimal(unscaled: i256, scale: i8) -> Option<Self> {
        let mut exact = Self::parse(&unscaled.to_string())?;
        exact.exponent -= i64::from(scale);
        Some(exact)
    }

    /// Where the number lies among multiples of `10^-scale`.
    pub(super) fn among_decimals(&self, scale: i8) -> Position {
        if self.digits.is_empty() {
            return Position::At(i256::ZERO);
        }
        let outside = if self.negative { Position::Below } else { Position::Above };
        let shift = self.exponent + i64::from(scale);
        let len = self.digits.len() as i64;
        if len + shift > 77 {
            return outside;
        }
        // Digits before the point; as the last digit is not zero, there is a fraction exactly where digits are left over.
        let kept = (len + shift.min(0)).max(0) as usize;
        let ten = i256::from_i128(10);
        let digits = self.digits[..kept].iter().copied().chain(std::iter::repeat_n(0, shift.max(0) as usize));
        let sign = if self.negative { i256::MINUS_ONE } else { i256::ONE };
        let whole = digits.into_iter().try_fold(i256::ZERO, |n, d| {
            n.checked_mul(ten)?.checked_add(i256::from_i128(d.into()).wrapping_mul(sign))
        });
        match whole {
            None => outside,
            Some(n) if shift >= 0 => Position::At(n),
            Some(n) if self.negative => match n.checked_sub(i256::ONE) {
                Some(floor) => Position::After(floor),
                None => Position::Below,
            },
            Some(n) => Position::After(n),
        }
    }

    fn text(&self) -> String {
        let sign = if self.negative { "-" } else { "" };
        let digits: String = self.digits.iter().map(|d| char::from(b'0' + d)).collect();
        format!("{sign}{}e{}", if digits.is_empty() { "0" } else { &digits }, self.exponent)
    }

    /// The double nearest to the number; beyond the largest, where the number lies.
    pub(super) fn among_f64(&self) -> Position {
        nearest(self.text().parse::<f64>().ok(), f64::is_finite, f64_key, f64::MAX, f64::NEG_INFINITY)
    }

    /// The single nearest to the number; beyond the largest, where the number lies.
    pub(super) fn among_f32(&self) -> Position {
        nearest(self.text().parse::<f32>().ok(), f32::is_finite, f32_key, f32::MAX, f32::NEG_INFINITY)
    }

    /// The half nearest to the number; beyond the largest, where the number lies.
    pub(super) fn among_f16(&self) -> Position {
        let v = self.text().parse::<f64>().ok().map(f16::from_f64);
        nearest(v, f16::is_finite, f16_key, f16::MAX, f16::NEG_INFINITY)
    }
}

fn nearest<F: Copy + PartialOrd>(
    v: Option<F>,
    is_finite: impl Fn(F) -> bool,
    key: impl Fn(F) -> i64,
    max: F,
    minus_infinity: F,
) -> Position {
    let at = |v: F| i256::from_i128(key(v).into());
    match v {
        Some(v) if is_finite(v) => Position::At(at(v)),
        // A decimal is never infinite: it lies between the last finite value and infinity.
        Some(v) if v > max => Position::After(at(max)),
        Some(_) => Position::After(at(minus_infinity)),
        None => Position::Above,
    }
}

/// Where a double lies among singles.
pub(super) fn f64_among_f32(v: f64) -> Position {
    among_narrower(v, f32_key(v as f32), |key| {
        let key = key as i32;
        f32::from_bits((key ^ ((key >> 31) as u32 >> 1) as i32) as u32).into()
    })
}

/// Where a double lies among halves.
pub(super) fn f64_among_f16(v: f64) -> Position {
    among_narrower(v, f16_key(f16::from_f64(v)), |key| {
        let key = key as i16;
        f16::from_bits((key ^ ((key >> 15) as u16 >> 1) as i16) as u16).to_f64()
    })
}

/// `near` is the key of a narrower float next to `v`, `widen` the double that a key stands for.
fn among_narrower(v: f64, mut near: i64, widen: impl Fn(i64) -> f64) -> Position {
    if f64_key(widen(near)) > f64_key(v) {
        near -= 1;
    }
    let at = i256::from_i128(near.into());
    if f64_key(widen(near)) == f64_key(v) { Position::At(at) } else { Position::After(at) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(v: i128) -> Position {
        Position::At(i256::from_i128(v))
    }

    fn after(v: i128) -> Position {
        Position::After(i256::from_i128(v))
    }

    #[test]
    fn texts_lie_where_they_should() {
        let among = |text: &str, scale| Exact::parse(text).unwrap().among_decimals(scale);
        assert_eq!(among("5.5", 0), after(5));
        assert_eq!(among("-5.5", 0), after(-6));
        assert_eq!(among("5.50", 1), at(55));
        assert_eq!(among("-0", 3), at(0));
        assert_eq!(among("12e2", -2), at(12));
        assert_eq!(among("1250", -2), after(12));
        assert_eq!(among("1e-400", 0), after(0));
        assert_eq!(among("-1e-400", 0), after(-1));
        assert_eq!(among("1e77", 0), Position::Above);
        assert_eq!(among("-1e2000000000", 0), Position::Below);
        assert_eq!(among(&i256::MAX.to_string(), 0), Position::At(i256::MAX));
        assert_eq!(among(&i256::MIN.to_string(), 0), Position::At(i256::MIN));
        assert_eq!(
            among("57896044618658097711785492504343953926634992332820282019728792003956564819968", 0),
            Position::Above
        );
        for bad in ["", "-", ".", "e5", "1e", "1.2.3", "0x10", "1_000", "ä", "NaN", "1e99999999999"] {
            assert_eq!(Exact::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn doubles_lie_where_they_should() {
        let key = |v: f64| i128::from(f64_key(v));
        let among = |text: &str| Exact::parse(text).unwrap().among_f64();
        assert_eq!(among("0.1"), at(key(0.1)));
        assert_eq!(among("0"), at(key(0.0)));
        assert_eq!(among("-0.0"), at(key(-0.0)));
        assert_eq!(among("1e400"), after(key(f64::MAX)));
        assert_eq!(among("-1e400"), after(key(f64::NEG_INFINITY)));
        assert_eq!(f64_among_f32(0.1), after(f32_key(0.1f32.next_down()).into()));
        assert_eq!(f64_among_f32(1e300), after(f32_key(f32::MAX).into()));
        assert_eq!(f64_among_f16(1.5), at(f16_key(f16::from_f32(1.5)).into()));
    }

    proptest! {
        #[test]
        fn integers_and_doubles_are_exact(v: i128, scale in 0i8..20, bits: u64) {
            prop_assert_eq!(Exact::parse(&v.to_string()).unwrap().among_decimals(0), at(v));
            let exact = Exact::of_decimal(i256::from_i128(v), scale).unwrap();
            prop_assert_eq!(exact.among_decimals(scale), at(v));
            let power = 10i128.pow(scale as u32);
            let floor = v.div_euclid(power);
            prop_assert_eq!(exact.among_decimals(0), if v.rem_euclid(power) == 0 { at(floor) } else { after(floor) });
            let d = f64::from_bits(bits);
            if let Some(exact) = Exact::of_f64(d) {
                prop_assert_eq!(exact.among_f64(), at(f64_key(if d == 0.0 && !exact.negative { 0.0 } else { d }).into()));
            } else {
                prop_assert!(!d.is_finite());
            }
        }

        #[test]
        fn a_double_lies_between_its_neighbours(bits: u64) {
            let v = f64::from_bits(bits);
            let widen = |key: i64| {
                let key = key as i32;
                f64::from(f32::from_bits((key ^ ((key >> 31) as u32 >> 1) as i32) as u32))
            };
            let as_i64 = |k: i256| k.to_i128().unwrap() as i64;
            match f64_among_f32(v) {
                Position::At(k) => prop_assert_eq!(f64_key(widen(as_i64(k))), f64_key(v)),
                Position::After(k) => {
                    prop_assert!(f64_key(widen(as_i64(k))) < f64_key(v));
                    if v.is_finite() {
                        prop_assert!(f64_key(widen(as_i64(k) + 1)) > f64_key(v));
                    }
                }
                other => prop_assert!(false, "{:?}", other),
            }
        }
    }
}
