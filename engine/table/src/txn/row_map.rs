//! Where the rows of compacted files went.

use std::collections::BTreeMap;

use super::sets::Rows;
use crate::error::{Result, TableError};

/// Rows `old..old + len` of a file became rows `new..new + len` of another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Run {
    old: u64,
    len: u64,
    output: u32,
    new: u64,
}

/// For each file that was compacted, where its rows are now. Rows that were deleted before have no place.
///
/// ```
/// use deltalite_table::txn::RowMapBuilder;
/// let mut builder = RowMapBuilder::default();
/// // Two files become one; row 1 of the first was deleted.
/// builder.run("a", 0, 1, "c", 0);
/// builder.run("a", 2, 3, "c", 1);
/// builder.run("b", 0, 2, "c", 4);
/// let map = builder.build()?;
/// assert_eq!(map.place("a", 4), Some(("c", 3)));
/// assert_eq!(map.place("a", 1), None);
/// # Ok::<(), deltalite_table::TableError>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RowMap {
    outputs: Vec<Box<str>>,
    /// Of each old file, by old row.
    runs: BTreeMap<Box<str>, Vec<Run>>,
}

/// Rows `old..old + len` of `source` are rows `new..new + len` of `output`. Of a file without rows left, a run of none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MappedRun<'a> {
    /// The file compacted.
    pub source: &'a str,
    /// First row in it.
    pub old: u64,
    /// Number of rows.
    pub len: u64,
    /// The file written.
    pub output: &'a str,
    /// First row in that.
    pub new: u64,
}

impl RowMap {
    /// All that it says, by source and row.
    pub fn runs(&self) -> impl Iterator<Item = MappedRun<'_>> {
        self.runs.iter().flat_map(move |(source, runs)| {
            let none = MappedRun { source, old: 0, len: 0, output: "", new: 0 };
            let empty = runs.is_empty().then_some(none);
            let mapped = runs.iter().map(move |run| MappedRun {
                source,
                old: run.old,
                len: run.len,
                output: &self.outputs[run.output as usize],
                new: run.new,
            });
            empty.into_iter().chain(mapped)
        })
    }

    /// Whether rows of this file were moved, or it had none.
    pub fn has(&self, path: &str) -> bool {
        self.runs.contains_key(path)
    }

    /// The files compacted.
    pub fn sources(&self) -> impl Iterator<Item = &str> {
        self.runs.keys().map(AsRef::as_ref)
    }

    /// The files into which the rows of one went.
    pub fn outputs_of(&self, path: &str) -> impl Iterator<Item = &str> {
        let mut outputs: Vec<u32> = self.runs.get(path).into_iter().flatten().map(|run| run.output).collect();
        outputs.sort_unstable();
        outputs.dedup();
        outputs.into_iter().map(|output| &*self.outputs[output as usize])
    }

    /// Where a row of a file is now.
    pub fn place(&self, path: &str, row: u64) -> Option<(&str, u64)> {
        let runs = self.runs.get(path)?;
        let run = runs[..runs.partition_point(|run| run.old <= row)].last()?;
        let within = row - run.old;
        (within < run.len).then(|| (&*self.outputs[run.output as usize], run.new + within))
    }

    /// Where rows of a file are now, by output; or the first that has no place.
    ///
    /// # Errors
    /// The row without a place.
    pub fn places(&self, path: &str, rows: &Rows) -> Result<BTreeMap<Box<str>, Rows>, u64> {
        let mut places: BTreeMap<Box<str>, Rows> = BTreeMap::new();
        for row in rows {
            let (output, new) = self.place(path, row).ok_or(row)?;
            match places.get_mut(output) {
                Some(rows) => rows.insert(new),
                None => places.entry(output.into()).or_default().insert(new),
            };
        }
        Ok(places)
    }
}

/// Builds a [`RowMap`] from runs, in any order.
#[derive(Debug, Default)]
pub struct RowMapBuilder {
    map: RowMap,
    numbers: BTreeMap<Box<str>, u32>,
}

impl RowMapBuilder {
    /// Says that a file is compacted, also when none of its rows are left.
    pub fn source(&mut self, path: &str) {
        self.map.runs.entry(path.into()).or_default();
    }

    /// Rows `old..old + len` of `source` are rows `new..new + len` of `output`.
    pub fn run(&mut self, source: &str, old: u64, len: u64, output: &str, new: u64) {
        let next = self.map.outputs.len() as u32;
        let output = *self.numbers.entry(output.into()).or_insert_with(|| {
            self.map.outputs.push(output.into());
            next
        });
        let runs = self.map.runs.entry(source.into()).or_default();
        match runs.last_mut() {
            Some(last)
                if last.output == output && last.old + last.len == old && last.new + last.len == new =>
            {
                last.len += len;
            }
            _ if len > 0 => runs.push(Run { old, len, output, new }),
            _ => {}
        }
    }

    /// The map.
    ///
    /// # Errors
    /// When two runs say different things of one row.
    pub fn build(mut self) -> Result<RowMap> {
        for (path, runs) in &mut self.map.runs {
            runs.sort_unstable_by_key(|run| run.old);
            if let Some(twice) = runs.windows(2).find(|w| w[0].old + w[0].len > w[1].old) {
                return Err(TableError::invalid(
                    "mapping compacted rows",
                    format!("row {} of {path} has two places", twice[1].old),
                ));
            }
        }
        Ok(self.map)
    }
}
