//! Group keys to small numbers.
//!
//! Each column numbers its own values, and pairs of numbers are numbered in turn until one is left. A value is 16 bytes: an integer, or the view of a
//! string, which is the string where that is short. The view of a longer one says where in the batch it lies, and stands for it only there: it is looked
//! up by its bytes when it is first seen in a batch, and found by its view after that. So strings of a dictionary cost the same whatever
//! their length.
//!
//! Up to eight values of a column are found by comparing rows with each of them, many at once; more by hashing.

use std::collections::HashMap;

use arrow_array::cast::AsArray;
use arrow_array::types::{
    ArrowPrimitiveType, BinaryViewType, ByteViewType, Date32Type, Date64Type, Decimal128Type, Int8Type,
    Int16Type, Int32Type, Int64Type, StringViewType, TimestampMicrosecondType, TimestampMillisecondType,
    TimestampNanosecondType, TimestampSecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{Array, ArrayRef, GenericByteViewArray, UInt32Array};
use arrow_schema::{DataType, TimeUnit};
use datafusion::arrow::buffer::NullBuffer;
use datafusion::arrow::compute::{concat, take};
use datafusion::common::{Result, plan_err};
use deltalite_format::kernels::Level;
use deltalite_format::kernels::which::{FEW, Word, which};

/// Groups that are told apart. One number is left for rows that are in none.
pub(super) const GROUPS_MAX: usize = 255;
/// The number of no group.
pub(super) const NONE: u8 = u8::MAX;

/// Places for values and their views, so many that few collide.
const PLACES: usize = 1024;
/// Long strings of a batch that are remembered by their views.
const ALIASES_MAX: usize = 256;
/// Long strings of a batch that are looked up by their bytes, before this is not worth it.
const LOOKUPS_MAX: usize = 1024;
/// Bytes of a string that lies in its view.
const INLINE_MAX: u32 = 12;

/// Rows that are numbered in one way or the other.
const CHUNK_ROWS: usize = 2048;

/// A value of a key's column.
trait Value: Word {
    /// The same in 128 bits.
    fn wide(self) -> u128;
    /// The value that is this in 128 bits.
    fn of(wide: u128) -> Self;
}

macro_rules! value {
    ($($t:ty),*) => {$(
        impl Value for $t {
            #[inline(always)]
            fn wide(self) -> u128 { self as u128 }
            #[inline(always)]
            fn of(wide: u128) -> Self { wide as Self }
        }
    )*};
}
value!(i8, i16, i32, i64, u8, u16, u32, u64);

impl Value for [u64; 2] {
    #[inline(always)]
    fn wide(self) -> u128 {
        u128::from(self[0]) | u128::from(self[1]) << 64
    }
    #[inline(always)]
    fn of(wide: u128) -> Self {
        [wide as u64, (wide >> 64) as u64]
    }
}

/// Numbers for the values of one column.
struct Column {
    values: Vec<u128>,
    /// Numbers of `values`; [`NONE`] where there is none.
    numbers: Vec<u8>,
    /// Places that are taken, as long as they are few.
    taken: Vec<usize>,
    /// Strings that do not lie in their views.
    long: HashMap<Box<[u8]>, u8>,
    /// Places of views of long strings.
    aliases: Vec<usize>,
    null: Option<u8>,
    count: usize,
}

impl std::fmt::Debug for Column {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Column").field("count", &self.count).finish_non_exhaustive()
    }
}

#[inline(always)]
fn place_of(value: u128) -> usize {
    let (low, high) = (value as u64, (value >> 64) as u64);
    let mixed = low.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ high.wrapping_mul(0xC2B2_AE3D_27D4_EB4F);
    (mixed >> 54) as usize % PLACES
}

impl Column {
    fn new() -> Self {
        Self {
            values: vec![0; PLACES],
            numbers: vec![NONE; PLACES],
            taken: Vec::new(),
            long: HashMap::new(),
            aliases: Vec::new(),
            null: None,
            count: 0,
        }
    }

    /// Where a value stands, or where it would.
    #[inline(always)]
    fn find(&self, value: u128) -> usize {
        let mut at = place_of(value);
        while self.values[at] != value && self.numbers[at] != NONE {
            at = (at + 1) % PLACES;
        }
        at
    }

    fn put(&mut self, at: usize, value: u128, number: u8) {
        (self.values[at], self.numbers[at]) = (value, number);
        if self.taken.len() <= FEW {
            self.taken.push(at);
        }
    }

    /// A number that no value has yet.
    fn next(&mut self) -> Option<u8> {
        let next = u8::try_from(self.count).ok().filter(|n| *n != NONE)?;
        self.count += 1;
        Some(next)
    }

    fn null(&mut self) -> Option<u8> {
        if self.null.is_none() {
            self.null = Some(self.next()?);
        }
        self.null
    }

    /// Numbers rows; false if there are too many values. `unknown` gives a number to the value of a row, which would stand at a place.
    fn number<V: Value>(
        &mut self,
        nulls: Option<&NullBuffer>,
        values: &[V],
        numbers: &mut [u8],
        mut unknown: impl FnMut(&mut Self, usize, usize) -> Option<u8>,
    ) -> bool {
        let nulls = nulls.filter(|nulls| nulls.null_count() > 0);
        for (chunk, numbers) in numbers.chunks_mut(CHUNK_ROWS).enumerate() {
            let first = chunk * CHUNK_ROWS;
            let values = &values[first..first + numbers.len()];
            let nulls = nulls.map(|nulls| nulls.slice(first, numbers.len()));
            let nulls = nulls.filter(|nulls| nulls.null_count() > 0);
            if self.compare(nulls.as_ref(), values, numbers) {
                continue;
            }
            for (row, number) in numbers.iter_mut().enumerate() {
                let found = if nulls.as_ref().is_some_and(|nulls| nulls.is_null(row)) {
                    self.null()
                } else {
                    let at = self.find(values[row].wide());
                    match self.numbers[at] {
                        NONE => unknown(self, first + row, at),
                        number => Some(number),
                    }
                };
                match found {
                    Some(found) => *number = found,
                    None => return false,
                }
            }
        }
        true
    }

    /// Numbers rows by comparing them with the values that are known; false if those are many, or not all there are.
    fn compare<V: Value>(&self, nulls: Option<&NullBuffer>, values: &[V], numbers: &mut [u8]) -> bool {
        if self.taken.is_empty() || self.taken.len() > FEW || nulls.is_some() && self.null.is_none() {
            return false;
        }
        let mut few = [V::of(0); FEW];
        for (few, at) in few.iter_mut().zip(&self.taken) {
            *few = V::of(self.values[*at]);
        }
        let all = which(Level::current(), values, &few[..self.taken.len()], numbers);
        if !all && nulls.is_none() {
            return false;
        }
        let given = self.taken.iter().map(|at| self.numbers[*at]);
        if !given.clone().enumerate().all(|(at, number)| at == usize::from(number)) {
            let mut table = [NONE; 256];
            given.zip(&mut table).for_each(|(number, to)| *to = number);
            for number in numbers.iter_mut() {
                *number = table[usize::from(*number)];
            }
        }
        let (Some(nulls), Some(null)) = (nulls, self.null) else { return true };
        // Values of rows without one are of no concern.
        (!nulls.inner()).set_indices().for_each(|row| numbers[row] = null);
        numbers.iter().fold(0, |most, number| most.max(*number)) != NONE
    }

    fn number_values<V: Value>(
        &mut self,
        nulls: Option<&NullBuffer>,
        values: &[V],
        numbers: &mut [u8],
    ) -> bool {
        self.number(nulls, values, numbers, |column, row, at| {
            let number = column.next()?;
            column.put(at, values[row].wide(), number);
            Some(number)
        })
    }

    fn number_strings<V: ByteViewType>(
        &mut self,
        array: &GenericByteViewArray<V>,
        numbers: &mut [u8],
    ) -> bool {
        self.forget_views();
        let views: &[u128] = array.views();
        let mut lookups = 0;
        self.number(
            array.nulls(),
            bytemuck::cast_slice::<u128, [u64; 2]>(views),
            numbers,
            |column, row, at| {
                let view = views[row];
                if view as u32 <= INLINE_MAX {
                    let number = column.next()?;
                    column.put(at, view, number);
                    return Some(number);
                }
                lookups += 1;
                if lookups > LOOKUPS_MAX {
                    return None;
                }
                let bytes: &[u8] = array.value(row).as_ref();
                let number = match column.long.get(bytes) {
                    Some(number) => *number,
                    None => {
                        let number = column.next()?;
                        column.long.insert(bytes.into(), number);
                        number
                    }
                };
                if column.aliases.len() < ALIASES_MAX {
                    column.put(at, view, number);
                    column.aliases.push(at);
                }
                Some(number)
            },
        )
    }

    /// Forgets the views of the last batch's long strings.
    fn forget_views(&mut self) {
        if self.aliases.is_empty() {
            return;
        }
        self.aliases.drain(..).for_each(|at| self.numbers[at] = NONE);
        // Others may have made way for them.
        let values = std::mem::replace(&mut self.values, vec![0; PLACES]);
        let numbers = std::mem::replace(&mut self.numbers, vec![NONE; PLACES]);
        self.taken.clear();
        for (value, number) in values.into_iter().zip(numbers).filter(|(_, number)| *number != NONE) {
            self.put(self.find(value), value, number);
        }
    }

    fn number_array(&mut self, array: &ArrayRef, numbers: &mut [u8]) -> Result<bool> {
        macro_rules! numbered {
            ($($data_type:pat => $t:ty),* $(,)?) => {
                match array.data_type() {
                    $($data_type => {
                        self.number_values::<<$t as ArrowPrimitiveType>::Native>(array.nulls(), array.as_primitive::<$t>().values(), numbers)
                    })*
                    DataType::Decimal128(..) => {
                        let values: &[i128] = array.as_primitive::<Decimal128Type>().values();
                        self.number_values(array.nulls(), bytemuck::cast_slice::<i128, [u64; 2]>(values), numbers)
                    }
                    DataType::Boolean => {
                        let values: Vec<u8> = array.as_boolean().values().iter().map(u8::from).collect();
                        self.number_values(array.nulls(), &values, numbers)
                    }
                    DataType::Utf8View => self.number_strings(array.as_byte_view::<StringViewType>(), numbers),
                    DataType::BinaryView => self.number_strings(array.as_byte_view::<BinaryViewType>(), numbers),
                    other => return plan_err!("keys of type {other} are not numbered"),
                }
            };
        }
        Ok(numbered!(
            DataType::Int8 => Int8Type, DataType::Int16 => Int16Type, DataType::Int32 => Int32Type,
            DataType::Int64 => Int64Type, DataType::UInt8 => UInt8Type, DataType::UInt16 => UInt16Type,
            DataType::UInt32 => UInt32Type, DataType::UInt64 => UInt64Type, DataType::Date32 => Date32Type,
            DataType::Date64 => Date64Type,
            DataType::Timestamp(TimeUnit::Second, _) => TimestampSecondType,
            DataType::Timestamp(TimeUnit::Millisecond, _) => TimestampMillisecondType,
            DataType::Timestamp(TimeUnit::Microsecond, _) => TimestampMicrosecondType,
            DataType::Timestamp(TimeUnit::Nanosecond, _) => TimestampNanosecondType,
        ))
    }
}

/// Whether values of a type are numbered.
pub(super) fn is_key(data_type: &DataType) -> bool {
    data_type.is_integer()
        || matches!(
            data_type,
            DataType::Boolean
                | DataType::Date32
                | DataType::Date64
                | DataType::Decimal128(..)
                | DataType::Timestamp(..)
                | DataType::Utf8View
                | DataType::BinaryView
        )
}

/// Numbers for pairs of numbers.
#[derive(Debug)]
struct Pairs {
    numbers: Vec<u8>,
    count: u8,
}

impl Pairs {
    /// Puts the numbers of pairs in the place of the first ones; false if there are too many.
    fn number(&mut self, first: &mut [u8], second: &[u8]) -> bool {
        for (first, second) in first.iter_mut().zip(second) {
            let number = &mut self.numbers[usize::from(*first) << 8 | usize::from(*second)];
            if *number == NONE {
                if usize::from(self.count) == GROUPS_MAX {
                    return false;
                }
                *number = self.count;
                self.count += 1;
            }
            *first = *number;
        }
        true
    }
}

/// Groups by the values of their keys.
#[derive(Debug)]
pub(super) struct Keys {
    columns: Vec<Column>,
    pairs: Vec<Pairs>,
    /// The keys of the groups, by the batches they were first seen in.
    seen: Vec<Vec<ArrayRef>>,
    count: usize,
    second: Vec<u8>,
}

impl Keys {
    /// Of so many columns.
    pub(super) fn new(columns: usize) -> Self {
        let pairs = (1..columns).map(|_| Pairs { numbers: vec![NONE; 1 << 16], count: 0 });
        Self {
            columns: (0..columns).map(|_| Column::new()).collect(),
            pairs: pairs.collect(),
            seen: Vec::new(),
            count: 0,
            second: Vec::new(),
        }
    }

    /// Groups so far.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// Writes the group of each row. False if there are more than [`GROUPS_MAX`]: the rows are in no group then, and no more can be given.
    pub(super) fn number(&mut self, keys: &[ArrayRef], groups: &mut [u8]) -> Result<bool> {
        let Some((first, others)) = self.columns.split_first_mut() else {
            return plan_err!("groups without keys are not numbered");
        };
        if !first.number_array(&keys[0], groups)? {
            return Ok(false);
        }
        self.second.resize(groups.len(), 0);
        for ((column, pairs), key) in others.iter_mut().zip(&mut self.pairs).zip(&keys[1..]) {
            if !column.number_array(key, &mut self.second)? || !pairs.number(groups, &self.second) {
                return Ok(false);
            }
        }
        let count = self.pairs.last().map_or(self.columns[0].count, |pairs| usize::from(pairs.count));
        if count > self.count {
            self.note(keys, groups, count)?;
        }
        Ok(true)
    }

    /// Keeps the keys of groups that are new.
    fn note(&mut self, keys: &[ArrayRef], groups: &[u8], count: usize) -> Result<()> {
        // Numbers are given in the order of rows.
        let mut rows = Vec::with_capacity(count - self.count);
        for (row, group) in groups.iter().enumerate() {
            if usize::from(*group) == self.count + rows.len() {
                rows.push(row as u32);
            }
        }
        let rows = UInt32Array::from(rows);
        let keys = keys.iter().map(|key| Ok(take(key.as_ref(), &rows, None)?)).collect::<Result<Vec<_>>>()?;
        self.seen.push(keys);
        self.count = count;
        Ok(())
    }

    /// The keys of all groups, in the order of their numbers; nothing without groups.
    pub(super) fn arrays(&self) -> Result<Vec<ArrayRef>> {
        let column = |at: usize| {
            let parts: Vec<&dyn Array> = self.seen.iter().map(|keys| keys[at].as_ref()).collect();
            Ok(concat(&parts)?)
        };
        if self.seen.is_empty() { Ok(Vec::new()) } else { (0..self.columns.len()).map(column).collect() }
    }
}
