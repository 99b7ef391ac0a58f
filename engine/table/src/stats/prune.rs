//! Which files a condition can be true in, by partition values and statistics.

use std::sync::Arc;

use arrow_array::{ArrayRef, StringArray};
use arrow_cast::{CastOptions, cast_with_options};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use deltalite_format::key::int_key;
use deltalite_format::predicate::{BoundPredicate, Predicate, Pruned, bind};
use deltalite_format::reader::read_type;
use deltalite_format::stats::{ZoneStats, zone_stats};

use crate::error::Result;
use crate::log::FileView;
use crate::log::action::{Add, FileStats, StatValue};
use crate::partition::{Partitioning, Transform};
use crate::schema::table_schema::physical_name;
use crate::txn::FilePredicate;

/// Digits that a double holds of a decimal for sure.
const DOUBLE_DIGITS: u8 = 15;

/// A condition, ready to be asked about files.
#[derive(Debug)]
pub struct Pruner {
    text: String,
    bound: BoundPredicate,
    /// By position in the bound schema: the column's physical name and type.
    columns: Vec<(String, DataType)>,
    /// Positions of the columns that the condition reads.
    read: Vec<usize>,
    /// Of those, the ones that each file has one value of, which the log says.
    identity: Vec<usize>,
}

impl Pruner {
    /// For the files of a table of this schema.
    ///
    /// # Errors
    /// When the condition doesn't fit the columns.
    pub fn new(predicate: &Predicate, schema: &SchemaRef, partitioning: &Partitioning) -> Result<Self> {
        let read_form =
            |f: &Arc<Field>| f.as_ref().clone().with_data_type(read_type(f.data_type())).with_nullable(true);
        let bound = bind(predicate, &Schema::new(schema.fields().iter().map(read_form).collect::<Vec<_>>()))?;
        let columns: Vec<_> =
            schema.fields().iter().map(|f| (physical_name(f).to_owned(), f.data_type().clone())).collect();
        let mut read = bound.column_indices();
        read.sort_unstable();
        read.dedup();
        let by_value = |name: &str| {
            partitioning.fields().iter().any(|f| f.transform == Transform::Identity && f.name == name)
        };
        let identity = read.iter().copied().filter(|at| by_value(&columns[*at].0)).collect();
        Ok(Self { text: predicate.to_string(), bound, columns, read, identity })
    }

    /// The files in which it can be true, and of each whether it is true of all rows for sure.
    ///
    /// Statistics are parsed only of files that partition values leave.
    ///
    /// # Errors
    /// When statistics can't be read.
    pub fn select<'a>(
        &self,
        files: impl Iterator<Item = FileView<'a>>,
    ) -> Result<Vec<(FileView<'a>, Pruned)>> {
        let mut kept = Vec::new();
        for file in files {
            match self.verdict(&file)? {
                Pruned::None => {}
                verdict => kept.push((file, verdict)),
            }
        }
        Ok(kept)
    }

    /// What is known of the rows of a file.
    ///
    /// # Errors
    /// When its statistics can't be read.
    pub fn verdict(&self, file: &FileView<'_>) -> Result<Pruned> {
        let mut zones: Vec<Option<ZoneStats>> = vec![None; self.columns.len()];
        for &at in &self.identity {
            let (name, data_type) = &self.columns[at];
            zones[at] = partition_zone(file.partition_value(name), data_type);
        }
        if !self.identity.is_empty() && self.ask(&zones) == Pruned::None {
            return Ok(Pruned::None);
        }
        let Some(stats) = file.stats()? else { return Ok(self.ask(&zones)) };
        for &at in &self.read {
            let (name, data_type) = &self.columns[at];
            zones[at] = zone(&stats, name, data_type).or(zones[at]);
        }
        Ok(self.ask(&zones))
    }

    fn ask(&self, zones: &[Option<ZoneStats>]) -> Pruned {
        self.bound.prune(|column| zones.get(column).copied().flatten(), |_| None)
    }
}

impl FilePredicate for Pruner {
    fn may_match(&self, file: &Add) -> bool {
        // What can't be read may match.
        self.verdict(&FileView::of(file)).map_or(true, |verdict| verdict != Pruned::None)
    }

    fn text(&self) -> String {
        self.text.clone()
    }
}

/// A column that has one value, or null, in all rows.
fn partition_zone(value: Option<&str>, data_type: &DataType) -> Option<ZoneStats> {
    match value {
        None => Some(ZoneStats::counts_only(1, 1)),
        Some(text) => bounds(&[text.to_owned(), text.to_owned()], data_type),
    }
}

/// What statistics say of a column.
fn zone(stats: &FileStats, name: &str, data_type: &DataType) -> Option<ZoneStats> {
    let rows = stats.num_records?;
    let column = stats.column(&[name])?;
    // Counts are only compared with nothing and with all.
    let nulls = match column.null_count? {
        0 => 0,
        n if n >= rows => return (rows > 0).then(|| ZoneStats::counts_only(1, 1)),
        _ => 1,
    };
    let (min, max) = (column.min.as_ref()?, column.max.as_ref()?);
    let mut zone = match (min, max) {
        (StatValue::Int(min), StatValue::Int(max)) if data_type.is_integer() => {
            let (min, max) = (int_key(i128::from(*min)), int_key(i128::from(*max)));
            ZoneStats { min, max, nulls: 0, nans: 0, rows: 2 }
        }
        _ => bounds(&[text(min, data_type)?, text(max, data_type)?], data_type)?,
    };
    zone.rows = 2 + nulls;
    zone.nulls = nulls;
    Some(zone)
}

/// A bound as a text that casts to the type exactly.
fn text(value: &StatValue, data_type: &DataType) -> Option<String> {
    match value {
        StatValue::Bool(b) => Some(b.to_string()),
        StatValue::Int(n) => Some(n.to_string()),
        StatValue::Uint(n) => Some(n.to_string()),
        StatValue::Float(f) => {
            let exact = match data_type {
                DataType::Float32 | DataType::Float64 => true,
                DataType::Decimal128(precision, _) => *precision <= DOUBLE_DIGITS,
                _ => false,
            };
            exact.then(|| f.to_string())
        }
        StatValue::Text(text) => Some(text.clone()),
    }
}

/// The statistics of two values.
fn bounds(values: &[String; 2], data_type: &DataType) -> Option<ZoneStats> {
    let texts: ArrayRef = Arc::new(StringArray::from(values.to_vec()));
    let options = CastOptions { safe: false, ..CastOptions::default() };
    let typed = cast_with_options(&texts, data_type, &options).ok()?;
    let zone = zone_stats(typed.as_ref(), 2).first().copied()?;
    (zone.nulls == 0 && zone.nans == 0).then_some(zone)
}
