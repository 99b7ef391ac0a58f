//! One file, wherever it lies.

use std::borrow::Cow;

use super::columns::Columns;
use crate::error::{Result, TableError};
use crate::log::action::{Add, DeletionVector, FileStats, StatsText, StringMap};

/// A live file: a row of columns, or an add that is not yet in columns.
#[derive(Debug, Clone, Copy)]
pub struct FileView<'a>(Place<'a>);

#[derive(Debug, Clone, Copy)]
enum Place<'a> {
    Row(&'a Columns, usize),
    Add(&'a Add),
}

impl<'a> FileView<'a> {
    pub(crate) fn of(add: &'a Add) -> Self {
        Self(Place::Add(add))
    }

    pub(crate) fn row(columns: &'a Columns, row: usize) -> Self {
        Self(Place::Row(columns, row))
    }

    /// Its path as in the log, percent-encoded.
    pub fn path(&self) -> &'a str {
        match self.0 {
            Place::Row(columns, row) => columns.path(row),
            Place::Add(add) => &add.path,
        }
    }

    /// Its bytes.
    pub fn size(&self) -> u64 {
        match self.0 {
            Place::Row(columns, row) => columns.size(row),
            Place::Add(add) => add.size,
        }
    }

    /// When it was made, in milliseconds since 1970.
    pub fn modification_time(&self) -> i64 {
        match self.0 {
            Place::Row(columns, row) => columns.modification_time(row),
            Place::Add(add) => add.modification_time,
        }
    }

    /// Its value of a partition column; `None` for null.
    pub fn partition_value(&self, name: &str) -> Option<&'a str> {
        match self.0 {
            Place::Row(columns, row) => columns.partition_value(name, row),
            Place::Add(add) => add.partition_values.value(name),
        }
    }

    /// Its values of all partition columns.
    pub fn partition_values(&self) -> StringMap {
        match self.0 {
            Place::Row(columns, row) => columns.partition_values(row),
            Place::Add(add) => add.partition_values.clone(),
        }
    }

    /// Which of its rows are deleted.
    pub fn deletion_vector(&self) -> Option<DeletionVector> {
        match self.0 {
            Place::Row(columns, row) => columns.deletion_vector(row),
            Place::Add(add) => add.deletion_vector.as_deref().cloned(),
        }
    }

    /// What tells its deletion vector from others.
    pub fn dv_id(&self) -> Option<String> {
        match self.0 {
            Place::Row(columns, row) => columns.deletion_vector(row).map(|dv| dv.unique_id()),
            Place::Add(add) => add.dv_id(),
        }
    }

    /// Id of its first row.
    pub fn base_row_id(&self) -> Option<i64> {
        match self.0 {
            Place::Row(columns, row) => columns.base_row_id(row),
            Place::Add(add) => add.base_row_id,
        }
    }

    /// The version that rows without one of their own were committed in.
    pub fn default_row_commit_version(&self) -> Option<i64> {
        match self.0 {
            Place::Row(columns, row) => columns.default_row_commit_version(row),
            Place::Add(add) => add.default_row_commit_version,
        }
    }

    /// What arranged its rows.
    pub fn clustering_provider(&self) -> Option<&'a str> {
        match self.0 {
            Place::Row(columns, row) => columns.clustering_provider(row),
            Place::Add(add) => add.clustering_provider.as_deref(),
        }
    }

    /// Whether writers say anything of it.
    pub(crate) fn may_have_tags(&self) -> bool {
        match self.0 {
            Place::Row(columns, row) => columns.tags_text(row).is_some(),
            Place::Add(add) => add.tags.is_some(),
        }
    }

    pub(crate) fn tags_text(&self) -> Result<Option<Cow<'a, str>>> {
        match self.0 {
            Place::Row(columns, row) => Ok(columns.tags_text(row).map(Cow::Borrowed)),
            Place::Add(add) => Ok(map_text(add.tags.as_ref())?.map(Cow::Owned)),
        }
    }

    /// What writers say of it.
    ///
    /// # Errors
    /// When a checkpoint holds something else than tags there.
    pub fn tags(&self) -> Result<Option<StringMap>> {
        match self.0 {
            Place::Row(columns, row) => parse_map(self.path(), columns.tags_text(row)),
            Place::Add(add) => Ok(add.tags.clone()),
        }
    }

    /// Its statistics as JSON.
    ///
    /// # Errors
    /// When they can't be read from the checkpoint.
    pub fn stats_text(&self) -> Result<Option<Cow<'a, str>>> {
        match self.0 {
            Place::Row(columns, row) => Ok(columns.stats_text(row)?.map(Cow::Borrowed)),
            Place::Add(add) => Ok(add.stats.as_ref().map(StatsText::text)),
        }
    }

    /// Its statistics, parsed now.
    ///
    /// # Errors
    /// When they can't be read or are not what the specification says.
    pub fn stats(&self) -> Result<Option<FileStats>> {
        self.stats_text()?.map(|text| FileStats::parse(self.path(), &text)).transpose()
    }

    /// The add that says all this again, without changing data.
    ///
    /// # Errors
    /// When tags or statistics can't be read from the checkpoint.
    pub fn to_add(&self) -> Result<Add> {
        if let Place::Add(add) = self.0 {
            return Ok(Add { data_change: false, ..add.clone() });
        }
        Ok(Add {
            path: self.path().into(),
            partition_values: self.partition_values(),
            size: self.size(),
            modification_time: self.modification_time(),
            data_change: false,
            stats: self.stats_text()?.map(StatsText::from),
            tags: self.tags()?,
            deletion_vector: self.deletion_vector().map(Box::new),
            base_row_id: self.base_row_id(),
            default_row_commit_version: self.default_row_commit_version(),
            clustering_provider: self.clustering_provider().map(Into::into),
        })
    }
}

/// A map as the JSON that sidecars hold.
pub(crate) fn map_text(map: Option<&StringMap>) -> Result<Option<String>> {
    let text = map.map(serde_json::to_string).transpose();
    text.map_err(|e| TableError::invalid("writing tags", e.to_string()))
}

/// Reads [`map_text`].
pub(crate) fn parse_map(file: &str, text: Option<&str>) -> Result<Option<StringMap>> {
    let map = text.map(serde_json::from_str).transpose();
    map.map_err(|e| TableError::corrupt(file, format!("its tags in the checkpoint are no map: {e}")))
}
