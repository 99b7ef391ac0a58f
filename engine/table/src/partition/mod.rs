//! How a table's rows are kept apart: each data file has rows of one partition.
//!
//! Files hold all columns, those that partition too, so that statistics prune by whatever a partition is made of. Its values stand in
//! `add.partitionValues`: of a column under its physical name, of a transform under `<physical name>_<transform>`.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{Array, ArrayRef, Int64Array, RecordBatch, StringArray, UInt32Array};
use arrow_cast::{CastOptions, cast_with_options};
use arrow_schema::{DataType, SchemaRef, TimeUnit};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use twox_hash::XxHash64;

use crate::error::{Result, TableError};
use crate::log::action::{Metadata, StringMap};
use crate::schema::table_schema::physical_name;

/// Property: how rows are kept apart, as a JSON list of texts such as `"day(at)"`.
pub const PARTITIONING_PROPERTY: &str = "deltalite.partitioning";
/// What stays as it is in a folder's name.
const FOLDER_SET: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b' ');
/// The folder of rows whose value is null, as Hive calls it.
const NULL_FOLDER: &str = "__HIVE_DEFAULT_PARTITION__";

/// What is made of a column's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Transform {
    /// The value.
    Identity,
    /// Its year.
    Year,
    /// Its month.
    Month,
    /// Its day.
    Day,
    /// Its hour.
    Hour,
    /// One of so many, by hash.
    Bucket(u32),
    /// Its first characters; of a number, the next multiple below.
    Truncate(u32),
}

/// One part of a partitioning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionField {
    /// The column.
    pub column: String,
    /// What is made of it.
    pub transform: Transform,
    /// Under which name its value stands in `partitionValues`.
    pub name: String,
}

impl fmt::Display for PartitionField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let column = &self.column;
        match self.transform {
            Transform::Identity => f.write_str(column),
            Transform::Year => write!(f, "year({column})"),
            Transform::Month => write!(f, "month({column})"),
            Transform::Day => write!(f, "day({column})"),
            Transform::Hour => write!(f, "hour({column})"),
            Transform::Bucket(n) => write!(f, "bucket({n}, {column})"),
            Transform::Truncate(n) => write!(f, "truncate({n}, {column})"),
        }
    }
}

/// How a table's rows are kept apart.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Partitioning {
    fields: Vec<PartitionField>,
}

impl Partitioning {
    /// Of texts such as `country`, `day(at)`, `bucket(16, id)`, `truncate(4, name)`.
    ///
    /// ```
    /// use std::sync::Arc;
    /// use arrow_schema::{DataType, Field, Schema};
    /// use deltalite_table::partition::Partitioning;
    /// let schema = Arc::new(Schema::new(vec![Field::new("country", DataType::Utf8, true), Field::new("day", DataType::Date32, true)]));
    /// let by = Partitioning::parse(["country", "year(day)"], &schema)?;
    /// assert_eq!(by.to_string(), "country, year(day)");
    /// # Ok::<(), deltalite_table::TableError>(())
    /// ```
    ///
    /// # Errors
    /// When a text is none of these, there is no such column, or its type can't be partitioned so.
    pub fn parse<'a>(fields: impl IntoIterator<Item = &'a str>, schema: &SchemaRef) -> Result<Self> {
        let fields = fields.into_iter().map(|text| parse_field(text, schema)).collect::<Result<Vec<_>>>()?;
        for (i, field) in fields.iter().enumerate() {
            if fields[..i].iter().any(|other| other.name == field.name) {
                return Err(wrong(format!("{field} is given twice")));
            }
        }
        Ok(Self { fields })
    }

    /// What a table's metadata says.
    ///
    /// # Errors
    /// When it is not understood.
    pub fn of_metadata(metadata: &Metadata, schema: &SchemaRef) -> Result<Self> {
        match metadata.configuration.value(PARTITIONING_PROPERTY) {
            None => Self::parse(metadata.partition_columns.iter().map(String::as_str), schema),
            Some(text) => {
                let fields: Vec<String> = serde_json::from_str(text).map_err(|e| wrong(e.to_string()))?;
                Self::parse(fields.iter().map(String::as_str), schema)
            }
        }
    }

    /// As the property has it; `None` without any.
    pub fn to_property(&self) -> Option<String> {
        let texts: Vec<String> = self.fields.iter().map(ToString::to_string).collect();
        (!texts.is_empty()).then(|| serde_json::Value::from(texts).to_string())
    }

    /// Columns of which each file has one value.
    pub fn identity_columns(&self) -> Vec<String> {
        let plain = self.fields.iter().filter(|f| f.transform == Transform::Identity);
        plain.map(|f| f.column.clone()).collect()
    }

    /// Its parts.
    pub fn fields(&self) -> &[PartitionField] {
        &self.fields
    }

    /// Whether rows are not kept apart.
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// Rows by partition, in the order in which partitions are met; rows keep theirs.
    ///
    /// # Errors
    /// When a value can't be brought to text.
    pub fn split(&self, batch: &RecordBatch) -> Result<Vec<(StringMap, RecordBatch)>> {
        let texts = self.fields.iter().map(|f| f.texts(batch)).collect::<Result<Vec<_>>>()?;
        let mut groups: Vec<(Vec<Option<&str>>, Vec<u32>)> = Vec::new();
        let mut known: HashMap<Vec<Option<&str>>, usize> = HashMap::new();
        for row in 0..batch.num_rows() {
            let key: Vec<Option<&str>> =
                texts.iter().map(|t| t.is_valid(row).then(|| t.value(row))).collect();
            let group = match known.get(&key) {
                Some(group) => *group,
                None => {
                    groups.push((key.clone(), Vec::new()));
                    known.insert(key, groups.len() - 1);
                    groups.len() - 1
                }
            };
            groups[group].1.push(row as u32);
        }
        let whole = groups.len() == 1;
        groups
            .into_iter()
            .map(|(key, rows)| {
                let values = self.fields.iter().map(|f| f.name.as_str()).zip(key).collect();
                if whole {
                    return Ok((values, batch.clone()));
                }
                let rows = arrow_select::take::take_record_batch(batch, &UInt32Array::from(rows));
                Ok((values, rows.map_err(TableError::compute("splitting rows by partition"))?))
            })
            .collect()
    }

    /// The folder that files of a partition go to; empty without partitions.
    pub fn folder(&self, values: &StringMap) -> String {
        let part = |field: &PartitionField| {
            let value = values.value(&field.name).map_or_else(
                || NULL_FOLDER.to_owned(),
                |text| utf8_percent_encode(text, FOLDER_SET).to_string(),
            );
            format!("{}={value}", utf8_percent_encode(&field.name, FOLDER_SET))
        };
        self.fields.iter().map(part).collect::<Vec<_>>().join("/")
    }
}

impl fmt::Display for Partitioning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let texts: Vec<String> = self.fields.iter().map(ToString::to_string).collect();
        f.write_str(&texts.join(", "))
    }
}

fn wrong(detail: String) -> TableError {
    TableError::invalid("partitioning a table", detail)
}

fn parse_field(text: &str, schema: &SchemaRef) -> Result<PartitionField> {
    let not_understood = || {
        let detail = format!(
            "{text:?} is not understood; write a column, or year, month, day or hour(column), bucket(n, column), truncate(n, column)"
        );
        wrong(detail)
    };
    let text = text.trim();
    let is_column = schema.fields().iter().any(|f| f.name() == text);
    let call = text.split_once('(').filter(|_| !is_column);
    let (transform, column) = match call {
        None => (Transform::Identity, text),
        Some((function, rest)) => {
            let inner = rest.strip_suffix(')').ok_or_else(not_understood)?.trim();
            let counted = |inner: &'_ str| {
                let (n, column) = inner.split_once(',')?;
                let n = n.trim().parse::<u32>().ok().filter(|n| *n > 0)?;
                Some((n, column.trim().to_owned()))
            };
            match function.trim().to_ascii_lowercase().as_str() {
                "year" | "years" => (Transform::Year, inner),
                "month" | "months" => (Transform::Month, inner),
                "day" | "days" | "date" => (Transform::Day, inner),
                "hour" | "hours" => (Transform::Hour, inner),
                kind @ ("bucket" | "truncate") => {
                    let (n, column) = counted(inner).ok_or_else(not_understood)?;
                    let transform =
                        if kind == "bucket" { Transform::Bucket(n) } else { Transform::Truncate(n) };
                    return field_of(&column, transform, schema);
                }
                _ => return Err(not_understood()),
            }
        }
    };
    field_of(column, transform, schema)
}

fn field_of(column: &str, transform: Transform, schema: &SchemaRef) -> Result<PartitionField> {
    let field =
        schema.field_with_name(column).map_err(|_| wrong(format!("there is no column {column:?}")))?;
    let data_type = field.data_type();
    let temporal = matches!(data_type, DataType::Date32 | DataType::Timestamp(..));
    let fits = match transform {
        Transform::Identity | Transform::Bucket(_) => {
            data_type.is_integer()
                || temporal
                || matches!(data_type, DataType::Utf8 | DataType::Boolean | DataType::Decimal128(..))
        }
        Transform::Year | Transform::Month | Transform::Day => temporal,
        Transform::Hour => matches!(data_type, DataType::Timestamp(..)),
        Transform::Truncate(_) => data_type.is_integer() || *data_type == DataType::Utf8,
    };
    let physical = physical_name(field);
    let name = match transform {
        Transform::Identity => physical.to_owned(),
        Transform::Year => format!("{physical}_year"),
        Transform::Month => format!("{physical}_month"),
        Transform::Day => format!("{physical}_day"),
        Transform::Hour => format!("{physical}_hour"),
        Transform::Bucket(_) => format!("{physical}_bucket"),
        Transform::Truncate(_) => format!("{physical}_truncate"),
    };
    let field = PartitionField { column: column.to_owned(), transform, name };
    if !fits {
        return Err(wrong(format!(
            "{field}: column {column:?} is of type {data_type}, which can't be partitioned so"
        )));
    }
    Ok(field)
}

impl PartitionField {
    /// The part's value for each row, as text.
    fn texts(&self, batch: &RecordBatch) -> Result<StringArray> {
        let column = batch
            .column_by_name(&self.column)
            .ok_or_else(|| wrong(format!("rows have no column {:?}", self.column)))?;
        let cast = |array: &ArrayRef, to: &DataType| {
            let options = CastOptions { safe: false, ..CastOptions::default() };
            cast_with_options(array, to, &options).map_err(|e| {
                let column = &self.column;
                wrong(format!("a row can't be put into a partition by {self}: column {column:?} has a value that no text shows ({e})"))
            })
        };
        let text = |array: &ArrayRef| Ok::<_, TableError>(cast(array, &DataType::Utf8)?.as_string().clone());
        let prefix = |after_year: usize| {
            // The wall clock in UTC: 2024-12-31T23:59:59, or with a sign and more digits, +12024-12-31T23:59:59.
            let wall = cast(column, &DataType::Timestamp(TimeUnit::Microsecond, None))?;
            let texts = text(&wall)?;
            let cut = |t: &str| {
                let year = t.bytes().skip(1).position(|b| b == b'-').map_or(t.len(), |at| at + 1);
                t.get(..year + after_year).unwrap_or(t).to_owned()
            };
            Ok(texts.iter().map(|t| t.map(cut)).collect())
        };
        match self.transform {
            Transform::Identity => text(column),
            Transform::Year => prefix(0),
            Transform::Month => prefix("-12".len()),
            Transform::Day => prefix("-12-31".len()),
            Transform::Hour => prefix("-12-31T23".len()),
            Transform::Bucket(n) => {
                let bucket = |t: &str| (XxHash64::oneshot(0, t.as_bytes()) % u64::from(n)).to_string();
                Ok(text(column)?.iter().map(|t| t.map(bucket)).collect())
            }
            Transform::Truncate(n) if *column.data_type() == DataType::Utf8 => {
                let texts: &StringArray = column.as_string();
                Ok(texts.iter().map(|t| t.map(|t| t.chars().take(n as usize).collect::<String>())).collect())
            }
            Transform::Truncate(n) => {
                let numbers = cast(column, &DataType::Int64)?;
                let cut: Int64Array = numbers
                    .as_primitive::<Int64Type>()
                    .unary(|v| v.saturating_sub(v.rem_euclid(i64::from(n))));
                text(&(Arc::new(cut) as ArrayRef))
            }
        }
    }
}
