//! Statistics: what is known of values without reading them.
//!
//! * [`ZoneStats`] – smallest and largest key, nulls and NaNs of some rows; merged from zones to pages, chunks and columns;
//! * [`zones`] – computing them from arrays, on the write path;
//! * [`bounds`] – the smallest and largest value themselves;
//! * [`sketch`] – how many distinct values there are, about.

pub mod bounds;
pub mod sketch;
pub mod zones;

use arrow_schema::DataType;

use crate::error::{FormatError, Result};
use crate::key::KeyType;

pub use bounds::{BoundsBuilder, ExactBounds};
pub use sketch::DistinctSketch;
pub use zones::zone_stats;

/// Statistics of some rows of one leaf: of a zone, or of any larger unit by [`ZoneStats::merge`].
///
/// `min` and `max` are [keys](crate::key) over the values that are not null, NaNs included (in total order they lie beyond
/// the infinities). Without such values `min > max`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ZoneStats {
    /// Smallest key.
    pub min: u128,
    /// Largest key.
    pub max: u128,
    /// Number of nulls.
    pub nulls: u32,
    /// Number of NaNs.
    pub nans: u32,
    /// Number of rows.
    pub rows: u32,
}

/// Bytes of a stored zone without its keys.
const ZONE_COUNTS_BYTES: usize = 6;

impl ZoneStats {
    /// Of no rows: what merging starts from.
    pub const EMPTY: Self = Self { min: u128::MAX, max: 0, nulls: 0, nans: 0, rows: 0 };

    /// Of rows of a nested type, of whose values nothing is known but which are null.
    pub fn counts_only(rows: u32, nulls: u32) -> Self {
        if nulls == rows {
            Self { nulls, rows, ..Self::EMPTY }
        } else {
            Self { min: 0, max: u128::MAX, nulls, nans: 0, rows }
        }
    }

    /// Number of rows that are not null.
    pub fn values(&self) -> u32 {
        self.rows.saturating_sub(self.nulls)
    }

    /// Adds the statistics of other rows.
    pub fn merge(&mut self, other: &Self) {
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
        self.nulls += other.nulls;
        self.nans += other.nans;
        self.rows += other.rows;
    }

    /// The statistics of all the rows of several zones.
    pub fn merged<'a>(zones: impl IntoIterator<Item = &'a Self>) -> Self {
        let mut all = Self::EMPTY;
        zones.into_iter().for_each(|z| all.merge(z));
        all
    }

    /// Stores zones of a column of this type: for each `min` and `max` ([`KeyType::write`]), `u16` nulls, `u16` NaNs, `u16`
    /// rows. Zones have at most 65,535 rows. Nested types have no keys, only counts.
    pub fn write_all(zones: &[Self], data_type: &DataType, out: &mut Vec<u8>) {
        let key = KeyType::of(data_type);
        for zone in zones {
            debug_assert!(u16::try_from(zone.rows).is_ok());
            if let Some(key) = key {
                // Without values the keys say nothing; reading restores them from the counts.
                let (min, max) = if zone.values() == 0 { (0, 0) } else { (zone.min, zone.max) };
                key.write(min, out);
                key.write(max, out);
            }
            for count in [zone.nulls, zone.nans, zone.rows] {
                out.extend_from_slice(&(count as u16).to_le_bytes());
            }
        }
    }

    /// Reads what [`ZoneStats::write_all`] stored.
    ///
    /// # Errors
    /// [`FormatError::Corrupt`] when the bytes are no whole number of zones or counts contradict each other.
    pub fn read_all(bytes: &[u8], data_type: &DataType) -> Result<Vec<Self>> {
        let key = KeyType::of(data_type);
        let keys = 2 * key.map_or(0, KeyType::width);
        let zone_bytes = keys + ZONE_COUNTS_BYTES;
        if !bytes.len().is_multiple_of(zone_bytes) {
            let detail = format!("{} bytes are no whole number of zones of {zone_bytes} bytes", bytes.len());
            return Err(FormatError::corrupt("zone statistics", detail));
        }
        let zone = |zone: &[u8]| {
            let count =
                |i: usize| u32::from(u16::from_le_bytes([zone[keys + 2 * i], zone[keys + 2 * i + 1]]));
            let (nulls, nans, rows) = (count(0), count(1), count(2));
            if nulls + nans > rows {
                let detail = format!("a zone of {rows} rows has {nulls} nulls and {nans} NaNs");
                return Err(FormatError::corrupt("zone statistics", detail));
            }
            Ok(match key {
                Some(key) if nulls < rows => {
                    let (min, max) = (key.read(&zone[..keys / 2]), key.read(&zone[keys / 2..keys]));
                    if min > max {
                        return Err(FormatError::corrupt(
                            "zone statistics",
                            "a zone's minimum exceeds its maximum",
                        ));
                    }
                    Self { min, max, nulls, nans, rows }
                }
                _ => Self::counts_only(rows, nulls),
            })
        };
        bytes.chunks_exact(zone_bytes).map(zone).collect()
    }
}
