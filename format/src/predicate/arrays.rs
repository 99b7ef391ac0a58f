//! Evaluation on decoded arrays: the reference for what encodings do on encoded data, and the way for tests they don't know.

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, RecordBatch, Scalar, StringArray};
use arrow_buffer::{BooleanBuffer, NullBuffer};
use arrow_schema::DataType;

use super::bound::{ArrowTest, BoundPredicate, Leaf, LeafTest};
use super::leaf::{BytesPred, FloatPred, IntPred, f32_key, f64_key};
use crate::error::{FormatError, Result};
use crate::key::{day_time_number, f16_key, month_day_nano_number, saturated};
use crate::mask::BitMask;
use crate::native::{BytesRef, Native};

impl BoundPredicate {
    /// The rows of a batch where the predicate is true. The batch has the schema that was bound to.
    ///
    /// # Errors
    /// When the batch's columns are not of the types that were bound to.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use arrow_array::{ArrayRef, Int32Array, RecordBatch};
    /// use deltalite_format::predicate::{bind, col};
    ///
    /// let a: ArrayRef = Arc::new(Int32Array::from(vec![Some(1), None, Some(3)]));
    /// let batch = RecordBatch::try_from_iter([("a", a)])?;
    /// let rows = bind(&col("a").not_eq(1), &batch.schema())?.evaluate_batch(&batch)?;
    /// assert!(!rows.get(0) && !rows.get(1) && rows.get(2));
    /// # Ok::<(), deltalite_format::FormatError>(())
    /// ```
    pub fn evaluate_batch(&self, batch: &RecordBatch) -> Result<BitMask> {
        let rows = batch.num_rows();
        self.evaluate(rows, &BitMask::ones(rows), &mut |leaf, _| match batch.columns().get(leaf.column) {
            Some(column) => leaf.evaluate_array(column),
            None => Err(leaf.misfit("the batch has no such column")),
        })
    }
}

impl Leaf {
    #[cold]
    fn misfit(&self, why: &str) -> FormatError {
        FormatError::invalid("filter", format!("{self}: {why}"))
    }

    /// The rows of its column where the leaf is true. `column` is the whole column, also when the leaf tests a struct's field.
    ///
    /// # Errors
    /// When the column is not of the type that was bound to.
    pub fn evaluate_array(&self, column: &ArrayRef) -> Result<BitMask> {
        let mut array = column;
        let mut nulls = array.logical_nulls();
        for &child in &self.path {
            let parent = array.as_struct_opt().ok_or_else(|| self.misfit("the column is no struct"))?;
            array = parent.columns().get(child).ok_or_else(|| self.misfit("the struct has no such field"))?;
            // Where the struct is null, so are its fields.
            nulls = NullBuffer::union(nulls.as_ref(), array.logical_nulls().as_ref());
        }
        match &self.test {
            LeafTest::IsNull => {
                Ok(nulls.map_or_else(|| BitMask::zeros(array.len()), |n| mask_of(&!n.inner())))
            }
            LeafTest::IsNotNull => {
                Ok(nulls.map_or_else(|| BitMask::ones(array.len()), |n| mask_of(n.inner())))
            }
            _ => {
                let mut mask = self.test_values(array.as_ref())?;
                if let Some(nulls) = nulls {
                    mask.and(&mask_of(nulls.inner()));
                }
                Ok(mask)
            }
        }
    }

    /// Where the test is true of the values; null slots may come out either way.
    fn test_values(&self, array: &dyn Array) -> Result<BitMask> {
        if let Some(dictionary) = array.as_any_dictionary_opt() {
            let mut mask = BitMask::zeros(array.len());
            if !dictionary.values().is_empty() {
                let hits = self.test_values(dictionary.values().as_ref())?;
                let keys = dictionary.normalized_keys();
                keys.into_iter().enumerate().filter(|(_, k)| hits.get(*k)).for_each(|(i, _)| mask.set(i));
            }
            return Ok(mask);
        }
        if let LeafTest::Arrow(ArrowTest::ILike { pattern, negated }) = &self.test {
            return ilike(array, pattern, *negated);
        }
        let unlike = || self.misfit(&format!("the array is {}", array.data_type()));
        let native = Native::of(array).ok_or_else(unlike)?;
        Ok(match (&self.test, native) {
            (LeafTest::Bool(value), Native::Bool(v)) => {
                let mut mask = mask_of(v);
                if !value {
                    mask.not();
                }
                mask
            }
            (LeafTest::Int(pred), native) => ints(pred, &native).ok_or_else(unlike)?,
            (LeafTest::Float(pred), Native::F32(v)) => by_float(pred, v, f32_key),
            (LeafTest::Float(pred), Native::F64(v)) => by_float(pred, v, f64_key),
            (LeafTest::Bytes(pred), Native::Bytes(v)) => bytes(pred, &v),
            (LeafTest::Arrow(ArrowTest::Key(pred)), Native::F16(v)) => {
                pack(v, |v| pred.matches(f16_key(v).into()))
            }
            (LeafTest::Arrow(ArrowTest::Key(pred)), Native::DayTime(v)) => {
                pack(v, |v| pred.matches(day_time_number(v).into()))
            }
            (LeafTest::Arrow(ArrowTest::Key(pred)), Native::MonthDayNano(v)) => {
                pack(v, |v| pred.matches(month_day_nano_number(v)))
            }
            (LeafTest::Arrow(ArrowTest::Wide { lo, hi, negated }), Native::I256(v)) => {
                pack(v, |v| (*lo <= v && v <= *hi) != *negated)
            }
            _ => return Err(unlike()),
        })
    }
}

/// A mask from a boolean buffer.
fn mask_of(bits: &BooleanBuffer) -> BitMask {
    let mut mask = BitMask::zeros(bits.len());
    let chunks = bits.bit_chunks();
    mask.words_mut().iter_mut().zip(chunks.iter_padded()).for_each(|(word, bits)| *word = bits);
    mask.trim();
    mask
}

/// One bit a value.
#[inline(always)]
fn pack<T: Copy>(values: &[T], test: impl Fn(T) -> bool) -> BitMask {
    let mut mask = BitMask::zeros(values.len());
    for (word, chunk) in mask.words_mut().iter_mut().zip(values.chunks(64)) {
        *word = chunk.iter().enumerate().fold(0, |bits, (i, &v)| bits | u64::from(test(v)) << i);
    }
    mask
}

fn ints(pred: &IntPred, native: &Native<'_>) -> Option<BitMask> {
    macro_rules! test {
        ($v:expr) => {
            match pred {
                // In the native width, where a bound beyond it tests nothing.
                IntPred::Range { lo, hi, negated } => {
                    let (all, lo, hi) = clamp(*lo, *hi, $v);
                    pack($v, |v| (all && lo <= v && v <= hi) != *negated)
                }
                IntPred::Set { .. } => pack($v, |v| pred.matches(v.into())),
            }
        };
    }
    Some(match *native {
        Native::I8(v) => test!(v),
        Native::I16(v) => test!(v),
        Native::I32(v) => test!(v),
        Native::I64(v) => test!(v),
        Native::U8(v) => test!(v),
        Native::U16(v) => test!(v),
        Native::U32(v) => test!(v),
        Native::U64(v) => test!(v),
        Native::I128(v) => pack(v, |v| pred.matches(v)),
        Native::I256(v) => pack(v, |v| pred.matches(saturated(v))),
        _ => return None,
    })
}

/// Types with a smallest and a largest value.
trait Bounded: TryFrom<i128> + Into<i128> + Copy {
    const MIN: Self;
    const MAX: Self;
}
macro_rules! bounded {
    ($($t:ty),*) => {$( impl Bounded for $t { const MIN: Self = <$t>::MIN; const MAX: Self = <$t>::MAX; } )*};
}
bounded!(i8, i16, i32, i64, u8, u16, u32, u64);

/// Bounds in the values' own type, and whether anything lies between them. The values only tell the type.
fn clamp<T: Bounded>(lo: i128, hi: i128, _values: &[T]) -> (bool, T, T) {
    let some = lo <= hi && lo <= T::MAX.into() && hi >= T::MIN.into();
    (some, T::try_from(lo).unwrap_or(T::MIN), T::try_from(hi).unwrap_or(T::MAX))
}

fn by_float<F: Copy>(pred: &FloatPred, values: &[F], key: impl Fn(F) -> i64) -> BitMask {
    match *pred {
        FloatPred::Range { lo, hi, negated } => pack(values, |v| {
            let key = key(v);
            (lo <= key && key <= hi) != negated
        }),
        FloatPred::Set { .. } => pack(values, |v| pred.matches(key(v))),
    }
}

fn bytes(pred: &BytesPred, values: &BytesRef<'_>) -> BitMask {
    let matcher = pred.matcher();
    let mut mask = BitMask::zeros(values.len());
    (0..values.len()).filter(|&i| matcher.matches(values.get(i))).for_each(|i| mask.set(i));
    mask
}

fn ilike(array: &dyn Array, pattern: &str, negated: bool) -> Result<BitMask> {
    let pattern = StringArray::from(vec![pattern]);
    let pattern: ArrayRef = match array.data_type() {
        DataType::Utf8 => std::sync::Arc::new(pattern),
        other => arrow_cast::cast(&pattern, other)?,
    };
    let hits = arrow_string::like::ilike(&array, &Scalar::new(pattern))?;
    let mut mask = mask_of(hits.values());
    if negated {
        mask.not();
    }
    Ok(mask)
}
