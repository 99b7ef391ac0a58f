//! Enforced keys: no two rows of a table have the same values in these columns; rows with a null in one of them are not compared.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::UInt64Type;
use arrow_array::{Array, ArrayRef, BooleanArray, RecordBatch};
use arrow_buffer::NullBuffer;
use arrow_cast::cast;
use arrow_cast::display::array_value_to_string;
use arrow_row::{RowConverter, SortField};
use arrow_select::filter::filter_record_batch;
use deltalite_format::predicate::{CmpOp, Literal, Predicate};
use deltalite_format::reader::read_type;

use super::snapshot::TableSnapshot;
use crate::error::{Result, TableError};
use crate::log::action::StringMap;
use crate::schema::TableSchema;
use crate::txn::{Removal, Rows};

/// Property: the key's columns, as a JSON list; of several keys, a list of such lists.
pub const KEYS_PROPERTY: &str = "deltalite.keys";
/// Name of the column of row numbers in scans for keys.
const ROW: &str = "\u{0}row";

/// Encodes the values of some columns so that equal values are equal bytes.
#[derive(Debug)]
pub(crate) struct KeyEncoder {
    pub(crate) columns: Vec<String>,
    converter: RowConverter,
    types: Vec<arrow_schema::DataType>,
}

impl KeyEncoder {
    /// For columns of a table.
    ///
    /// # Errors
    /// When there is no such column, or its type can't be compared.
    pub(crate) fn new(schema: &TableSchema, columns: &[String]) -> Result<Self> {
        let arrow = schema.arrow();
        let types = columns
            .iter()
            .map(|name| Ok(read_type(arrow.field(schema.column(name)?).data_type())))
            .collect::<Result<Vec<_>>>()?;
        let fields = types.iter().map(|t| SortField::new(t.clone())).collect();
        let converter = RowConverter::new(fields).map_err(TableError::compute("comparing keys"))?;
        Ok(Self { columns: columns.to_vec(), converter, types })
    }

    /// The key of each row.
    ///
    /// # Errors
    /// When a column is missing or of a type that has nothing to do with the table's.
    pub(crate) fn encode(&self, batch: &RecordBatch) -> Result<arrow_row::Rows> {
        let arrays = self
            .columns
            .iter()
            .zip(&self.types)
            .map(|(name, data_type)| {
                let array = batch.column_by_name(name).ok_or_else(|| {
                    TableError::invalid("comparing keys", format!("rows have no column {name:?}"))
                })?;
                cast(array, data_type).map_err(TableError::compute("comparing keys"))
            })
            .collect::<Result<Vec<ArrayRef>>>()?;
        self.converter.convert_columns(&arrays).map_err(TableError::compute("comparing keys"))
    }
}

/// A table's keys.
#[derive(Debug)]
pub(crate) struct Keys {
    all: Vec<Key>,
    /// No row that is there has any.
    fresh: bool,
}

/// Columns in which no two rows have the same values.
#[derive(Debug)]
struct Key(KeyEncoder);

/// Keys of rows that are about to be added, for each of the table's.
#[derive(Debug, Default)]
pub(crate) struct AddedKeys(Vec<Added>);

/// Encoded values with how they are shown, and the least and the greatest value of the first column.
#[derive(Debug, Default)]
struct Added {
    keys: BTreeMap<Vec<u8>, String>,
    range: Option<(ArrayRef, ArrayRef)>,
}

impl AddedKeys {
    /// All of them, each with the number of the key that it is of before it.
    pub(crate) fn into_keys(self) -> impl Iterator<Item = Vec<u8>> {
        self.0.into_iter().enumerate().flat_map(|(number, added)| {
            let number = (number as u32).to_be_bytes();
            added.keys.into_keys().map(move |key| [number.as_slice(), &key].concat())
        })
    }
}

/// The columns of each of a table's keys.
///
/// # Errors
/// When the property is no list of names, or of lists of them.
pub(crate) fn keys_of(configuration: &StringMap) -> Result<Vec<Vec<String>>> {
    let Some(text) = configuration.value(KEYS_PROPERTY) else { return Ok(Vec::new()) };
    let wrong = |e: serde_json::Error| {
        TableError::invalid("reading a property", format!("{KEYS_PROPERTY} is {text:?}: {e}"))
    };
    match serde_json::from_str::<Vec<String>>(text) {
        Ok(one) => Ok(vec![one]),
        Err(_) => serde_json::from_str(text).map_err(wrong),
    }
}

/// What the property is for keys; `None` if there are none.
pub(crate) fn keys_property(keys: &[Vec<String>]) -> Option<String> {
    match keys {
        [] => None,
        [one] => Some(serde_json::Value::from(one.clone()).to_string()),
        several => Some(serde_json::Value::from(several.to_vec()).to_string()),
    }
}

impl Keys {
    pub(crate) fn of_table(base: &TableSnapshot) -> Result<Option<Self>> {
        Self::of(&base.schema, &base.log.metadata().configuration, false)
    }

    /// Of a table that takes the place of another.
    pub(crate) fn of_replaced(schema: &TableSchema, configuration: &StringMap) -> Result<Option<Self>> {
        Self::of(schema, configuration, true)
    }

    fn of(schema: &TableSchema, configuration: &StringMap, fresh: bool) -> Result<Option<Self>> {
        let keys = keys_of(configuration)?;
        let all = keys.iter().map(|columns| Ok(Key(KeyEncoder::new(schema, columns)?)));
        let all = all.collect::<Result<Vec<_>>>()?;
        Ok((!all.is_empty()).then_some(Self { all, fresh }))
    }

    /// Takes in the keys of rows.
    ///
    /// # Errors
    /// When a key stands twice.
    pub(crate) fn gather(&self, batch: &RecordBatch, added: &mut AddedKeys) -> Result<()> {
        added.0.resize_with(self.all.len(), Added::default);
        self.all.iter().zip(&mut added.0).try_for_each(|(key, added)| key.gather(batch, added))
    }

    /// Checks that no row of a version that stays has one of the keys.
    ///
    /// # Errors
    /// When one has, or reading fails.
    pub(crate) fn check(
        &self,
        base: &Arc<TableSnapshot>,
        added: &AddedKeys,
        deleted: &HashMap<&str, &Rows>,
        removed: &BTreeMap<Box<str>, Removal>,
    ) -> Result<()> {
        if self.fresh {
            return Ok(());
        }
        self.all.iter().zip(&added.0).try_for_each(|(key, added)| key.check(base, added, deleted, removed))
    }
}

impl Key {
    fn gather(&self, batch: &RecordBatch, added: &mut Added) -> Result<()> {
        let Some(batch) = &self.without_nulls(batch)? else { return Ok(()) };
        let rows = self.0.encode(batch)?;
        for (at, row) in rows.iter().enumerate() {
            let shown = self.shown(batch, at);
            if added.keys.insert(row.as_ref().to_vec(), shown.clone()).is_some() {
                return Err(self.duplicate(shown));
            }
        }
        if let Some(first) = self.0.columns.first().and_then(|name| batch.column_by_name(name)) {
            added.range = Some(widened(added.range.take(), first)?);
        }
        Ok(())
    }

    /// The rows whose key has no null, if there are any: as in SQL, others are not compared.
    fn without_nulls(&self, batch: &RecordBatch) -> Result<Option<RecordBatch>> {
        let columns = self.0.columns.iter().filter_map(|name| batch.column_by_name(name));
        let nulls = columns
            .fold(None, |nulls, array| NullBuffer::union(nulls.as_ref(), array.logical_nulls().as_ref()));
        let batch = match nulls {
            Some(nulls) if nulls.null_count() > 0 => {
                filter_record_batch(batch, &BooleanArray::new(nulls.into_inner(), None))
                    .map_err(TableError::compute("comparing keys"))?
            }
            _ => batch.clone(),
        };
        Ok((batch.num_rows() > 0).then_some(batch))
    }

    fn shown(&self, batch: &RecordBatch, row: usize) -> String {
        let values = self.0.columns.iter().filter_map(|name| batch.column_by_name(name));
        let texts: Vec<String> =
            values.map(|array| array_value_to_string(array, row).unwrap_or_default()).collect();
        texts.join(", ")
    }

    fn duplicate(&self, key: String) -> TableError {
        TableError::DuplicateKey { columns: self.0.columns.join(", "), key }
    }

    fn check(
        &self,
        base: &Arc<TableSnapshot>,
        added: &Added,
        deleted: &HashMap<&str, &Rows>,
        removed: &BTreeMap<Box<str>, Removal>,
    ) -> Result<()> {
        let (Some((least, greatest)), Some(first)) = (&added.range, self.0.columns.first()) else {
            return Ok(());
        };
        let compare = |op, value: &ArrayRef| Predicate::Compare {
            column: first.clone(),
            op,
            value: Literal::Typed(value.clone()),
        };
        let among = compare(CmpOp::GtEq, least).and(compare(CmpOp::LtEq, greatest));
        for file in base.files(Some(&among))? {
            if removed.contains_key(&file.add.path) {
                continue;
            }
            let gone = deleted.get(&*file.add.path);
            let scan = base.scan().columns(self.0.columns.clone()).filter(among.clone()).row_numbers(ROW);
            for batch in scan.of_files(std::slice::from_ref(&file))? {
                let batch = batch?;
                let numbers = batch.column(batch.num_columns() - 1).as_primitive::<UInt64Type>().clone();
                for (at, row) in self.0.encode(&batch)?.iter().enumerate() {
                    if let Some(shown) = added.keys.get(row.as_ref())
                        && !gone.is_some_and(|gone| gone.contains(numbers.value(at)))
                    {
                        return Err(self.duplicate(shown.clone()));
                    }
                }
            }
        }
        Ok(())
    }
}

/// The least and the greatest of a range and the values of an array.
fn widened(range: Option<(ArrayRef, ArrayRef)>, array: &ArrayRef) -> Result<(ArrayRef, ArrayRef)> {
    let compute = TableError::compute;
    let order = arrow_ord::sort::sort_to_indices(array, None, None).map_err(compute("ordering keys"))?;
    let at = |i: usize| array.slice(order.value(i) as usize, 1);
    let (least, greatest) = (at(0), at(order.len() - 1));
    let Some((low, high)) = range else { return Ok((least, greatest)) };
    let pick = |a: &ArrayRef, b: &ArrayRef, first: bool| -> Result<ArrayRef> {
        let both =
            arrow_select::concat::concat(&[a.as_ref(), b.as_ref()]).map_err(compute("ordering keys"))?;
        let order = arrow_ord::sort::sort_to_indices(&both, None, None).map_err(compute("ordering keys"))?;
        let at = if first { order.value(0) } else { order.value(1) };
        Ok(both.slice(at as usize, 1))
    };
    Ok((pick(&low, &least, true)?, pick(&high, &greatest, false)?))
}

/// Checks that no two rows of a version have the same values in columns.
///
/// # Errors
/// When two have, or reading fails.
pub(crate) fn check_all(base: &Arc<TableSnapshot>, columns: &[String]) -> Result<()> {
    let key = Key(KeyEncoder::new(&base.schema, columns)?);
    let mut all = Added::default();
    for batch in base.scan().columns(columns.to_vec()).execute()? {
        key.gather(&batch?, &mut all)?;
    }
    Ok(())
}
