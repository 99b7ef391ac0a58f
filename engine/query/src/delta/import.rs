//! A Delta Lake table as one of ours, version by version.
//!
//! Each of its files becomes files here, so that a version that adds, removes or marks rows does the same with what they became. Where the columns change in a way that
//! tables here don't, all rows of that version are written anew.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch, UInt64Array};
use arrow_schema::{DataType, Field, FieldRef, Schema};
use datafusion::catalog::TableProvider;
use deltalite_table::log::LOG_FOLDER;
use deltalite_table::log::action::{Add, Metadata};
use deltalite_table::schema;
use deltalite_table::schema::change::Position;
use deltalite_table::table::alter::Change;
use deltalite_table::table::create::CreateTable;
use deltalite_table::txn::Rows;
use deltalite_table::{DeltaLiteTable, OptimisticTransaction};
use tokio::runtime::Handle;

use super::log::{Asked, Changes, DeltaSnapshot, History};
use super::table::{DeltaTable, deleted_rows};
use crate::Query;
use crate::cancel::Stop;
use crate::dml::batches;
use crate::error::{QueryError, Result};
use crate::session::Session;

/// The application that a version of ours names, with the version of the source as its own.
const APPLICATION: &str = "deltalite.import";

/// An import at work, on a thread that may wait.
pub(crate) struct Import {
    pub(crate) session: Session,
    pub(crate) handle: Handle,
    pub(crate) stop: Stop,
}

/// What a file of the source has become.
#[derive(Debug)]
struct Taken {
    add: Add,
    /// Rows that were deleted when it was read: they are not here.
    left_out: Rows,
    /// Rows that are deleted by now, by the numbers that the source has for them.
    deleted: Rows,
    /// Files of ours that have the others, in their order, and how many each has.
    files: Vec<(Box<str>, u64)>,
}

/// The source's columns, as people see them.
fn columns(metadata: &Metadata) -> Result<Schema> {
    Ok(schema::delta_schema(&metadata.schema_string)?)
}

/// A table of ours with the columns and the partitioning of a version.
fn new_table(session: &Session, path: &Path, metadata: &Metadata) -> Result<CreateTable> {
    let fields = columns(metadata)?;
    let field = |f: &FieldRef| {
        let comment = f.metadata().get("comment").map(|text| ("comment".to_owned(), text.clone()));
        let plain = Field::new(f.name(), crate::plain::plain_type(f.data_type()), f.is_nullable());
        plain.with_metadata(comment.into_iter().collect())
    };
    let schema = Schema::new(fields.fields().iter().map(field).collect::<Vec<_>>());
    let mut new = DeltaLiteTable::create(path, &schema)
        .context(session.names().context())
        .partition_by(metadata.partition_columns.clone());
    if let Some(name) = &metadata.name {
        new = new.name(name);
    }
    if let Some(comment) = &metadata.description {
        new = new.comment(comment);
    }
    Ok(new)
}

/// Whether every value of a type has a place in another that a table can be widened to.
fn widens(from: &DataType, to: &DataType) -> bool {
    use DataType::{Float32, Float64, Int8, Int16, Int32, Int64};
    matches!(
        (from, to),
        (Int8, Int16 | Int32 | Int64) | (Int16, Int32 | Int64) | (Int32, Int64) | (Float32, Float64)
    )
}

/// The changes that make columns of columns; `None` where rows have to be written anew.
fn column_changes(old: &Schema, new: &Schema) -> Option<Vec<Change>> {
    let same = |a: &Field, b: &Field| schema::physical_name(a) == schema::physical_name(b);
    let mut changes = Vec::new();
    let mut order: Vec<&str> = Vec::new();
    for was in old.fields() {
        let Some(is) = new.fields().iter().find(|is| same(was, is)) else {
            changes.push(Change::DropColumn(was.name().clone()));
            continue;
        };
        order.push(is.name());
        if was.name() != is.name() {
            // A name that another column has, or had, would have to be waited for.
            if old.field_with_name(is.name()).is_ok() || new.field_with_name(was.name()).is_ok() {
                return None;
            }
            changes.push(Change::RenameColumn(was.name().clone(), is.name().clone()));
        }
        let (from, to) =
            (crate::plain::plain_type(was.data_type()), crate::plain::plain_type(is.data_type()));
        if from != to {
            if !widens(&from, &to) {
                return None;
            }
            changes.push(Change::WidenColumn(is.name().clone(), to));
        }
        match (was.is_nullable(), is.is_nullable()) {
            (true, false) => return None,
            (false, true) => changes.push(Change::SetNullable(is.name().clone(), true)),
            _ => {}
        }
    }
    for is in new.fields().iter().filter(|is| !old.fields().iter().any(|was| same(was, is))) {
        if !is.is_nullable() || old.field_with_name(is.name()).is_ok() {
            return None;
        }
        order.push(is.name());
        let column = Field::new(is.name(), crate::plain::plain_type(is.data_type()), true);
        changes.push(Change::AddColumn { path: is.name().clone(), column, position: Position::Last });
    }
    // What would stand in another order is not what it was.
    order.into_iter().eq(new.fields().iter().map(|f| f.name().as_str())).then_some(changes)
}

impl Import {
    /// Makes the table `name` of the one in the folder `from`: a version for each that the folder still has the files of.
    ///
    /// # Errors
    /// When the source can't be read, or there is something where the table is to be. No table is left behind then.
    pub(crate) fn run(&self, from: &str, name: &str) -> Result<RecordBatch> {
        let path = self.session.names().path_of(name)?;
        if path.join(LOG_FOLDER).is_dir() {
            return Err(QueryError::NotSupported(format!(
                "there is a table {name} already; import to a new one"
            )));
        }
        let history = History::of(Path::new(from))?;
        let first = history.first_whole()?;
        let base = DeltaSnapshot::open(history.root(), Asked::Version(first))?;
        let table = new_table(&self.session, &path, &base.metadata)?.execute()?;
        match self.versions(&table, &history, base, first) {
            Ok(rows) => Self::told(&table, &history, first, rows),
            Err(error) => {
                // What went wrong is worth more than that the rest could not be removed.
                let _ = table.drop_table();
                Err(error)
            }
        }
    }

    fn told(table: &DeltaLiteTable, history: &History, first: u64, rows: u64) -> Result<RecordBatch> {
        table.refresh()?;
        let number = |n: u64| Arc::new(UInt64Array::from(vec![n])) as ArrayRef;
        RecordBatch::try_from_iter([
            ("first_source_version", number(first)),
            ("last_source_version", number(history.newest())),
            ("version", number(table.version().0)),
            ("rows", number(rows)),
        ])
        .map_err(|e| QueryError::Engine(e.to_string()))
    }

    /// Takes over one version after the other; returns how many rows the last one has.
    fn versions(
        &self,
        table: &DeltaLiteTable,
        history: &History,
        base: DeltaSnapshot,
        first: u64,
    ) -> Result<u64> {
        let mut taken: HashMap<Box<str>, Taken> = HashMap::new();
        let mut metadata = base.metadata;
        // Its commit may be gone, where a checkpoint stands for it.
        let told = history.changes(first).unwrap_or_default();
        let begun = Changes { metadata: None, adds: base.files, removes: Vec::new(), ..told };
        let mut next = Some((first, begun));
        while let Some((version, changes)) = next.take() {
            table.refresh()?;
            let mut txn = table.begin()?;
            txn.application(APPLICATION, version as i64);
            if let Some(new) = &changes.metadata {
                self.adopt(&mut txn, history.root(), (&metadata, new), &changes, &mut taken)?;
                metadata = new.clone();
            }
            self.version(&mut txn, history.root(), &metadata, &changes, &mut taken)?;
            self.stop.check()?;
            let (number, time) = (version.to_string(), changes.timestamp.map(|time| time.to_string()));
            let parameters = [
                ("sourceVersion", Some(number.as_str())),
                ("sourceTimestamp", time.as_deref()),
                ("sourceOperation", changes.operation.as_deref()),
            ];
            txn.commit("IMPORT", parameters.into_iter().filter_map(|(key, value)| Some((key, value?))))?;
            if version < history.newest() {
                next = Some((version + 1, history.changes(version + 1)?));
            }
        }
        table.refresh()?;
        Ok(table.snapshot().count_rows()?.unwrap_or(0))
    }

    /// Takes over new columns.
    fn adopt(
        &self,
        txn: &mut OptimisticTransaction,
        root: &Path,
        (old, new): (&Metadata, &Metadata),
        version: &Changes,
        taken: &mut HashMap<Box<str>, Taken>,
    ) -> Result<()> {
        let (was, is) = (columns(old)?, columns(new)?);
        let partitions = old.partition_columns == new.partition_columns;
        let changes = column_changes(&was, &is).filter(|changes| {
            let touches = |name: &String| old.partition_columns.contains(name);
            partitions
                && !changes.iter().any(|change| match change {
                    Change::DropColumn(name)
                    | Change::RenameColumn(name, _)
                    | Change::WidenColumn(name, _) => touches(name),
                    _ => false,
                })
        });
        match changes {
            Some(changes) if changes.is_empty() => Ok(()),
            Some(changes) => Ok(txn.alter(&changes)?),
            None => {
                let path = txn.snapshot().path().to_owned();
                txn.replace_table(&new_table(&self.session, &path, new)?)?;
                // All that stays live is to be written under the new columns.
                let touched: HashSet<&str> = (version.removes.iter().map(|remove| &*remove.path))
                    .chain(version.adds.iter().map(|add| &*add.path))
                    .collect();
                let live: Vec<Add> = taken.drain().map(|(_, taken)| taken.add).collect();
                for add in live.into_iter().filter(|add| !touched.contains(&*add.path)) {
                    taken.insert(add.path.clone(), self.file(txn, root, new, add)?);
                }
                Ok(())
            }
        }
    }

    /// Does what a version did.
    fn version(
        &self,
        txn: &mut OptimisticTransaction,
        root: &Path,
        metadata: &Metadata,
        changes: &Changes,
        taken: &mut HashMap<Box<str>, Taken>,
    ) -> Result<()> {
        for remove in &changes.removes {
            let goes = taken.get(&remove.path).is_some_and(|taken| taken.add.dv_id() == remove.dv_id())
                && !changes.adds.iter().any(|add| add.path == remove.path);
            if goes && let Some(gone) = taken.remove(&remove.path) {
                remove_files(txn, &gone)?;
            }
        }
        for add in &changes.adds {
            self.stop.check()?;
            if let Some(mut known) = taken.remove(&add.path) {
                let deleted = deleted_rows(root, add)?.unwrap_or_default();
                if known.deleted.is_subset(&deleted) && mark(txn, &known, &deleted)? {
                    (known.add, known.deleted) = (add.clone(), deleted);
                    taken.insert(add.path.clone(), known);
                    continue;
                }
                remove_files(txn, &known)?;
            }
            taken.insert(add.path.clone(), self.file(txn, root, metadata, add.clone())?);
        }
        Ok(())
    }

    /// Writes the rows of a file.
    fn file(
        &self,
        txn: &mut OptimisticTransaction,
        root: &Path,
        metadata: &Metadata,
        add: Add,
    ) -> Result<Taken> {
        let snapshot =
            DeltaSnapshot { root: root.to_owned(), metadata: metadata.clone(), files: vec![add.clone()] };
        let source = DeltaTable::of(&snapshot)?;
        let context = self.session.datafusion();
        let scan = self.handle.block_on(source.scan(&context.state(), None, &[], None));
        // Not planned any further: one part, whose rows come in the file's order.
        let plan = scan.map_err(|e| QueryError::of(e, ""))?;
        let stream = Query::plan("", plan, context.task_ctx(), None).into_stream()?;
        let mut writer = txn.writer()?;
        for batch in batches(stream, self.handle.clone(), self.stop.clone()) {
            writer.write(&batch?)?;
        }
        let files = txn.add(writer)?.files;
        let left_out = deleted_rows(root, &add)?.unwrap_or_default();
        Ok(Taken { add, deleted: left_out.clone(), left_out, files })
    }
}

impl Taken {
    /// Where rows that the source deletes are in each of the files here: without those that were left out before them. `None` where there are not so many.
    fn places(&self, deleted: &Rows) -> Option<Vec<Rows>> {
        let places: Rows = deleted.iter().map(|row| row - self.left_out.rank(row)).collect();
        let all: u64 = self.files.iter().map(|(_, rows)| rows).sum();
        if places.max().is_some_and(|last| last >= all) {
            return None;
        }
        let (mut begins, mut places) = (0, places.iter().peekable());
        let of_file = self.files.iter().map(|(_, rows)| {
            let ends = begins + rows;
            let mut here = Rows::new();
            while let Some(row) = places.next_if(|row| *row < ends) {
                here.insert(row - begins);
            }
            begins = ends;
            here
        });
        Some(of_file.collect())
    }
}

fn remove_files(txn: &mut OptimisticTransaction, gone: &Taken) -> Result<()> {
    let deleted = gone.places(&(&gone.deleted - &gone.left_out)).unwrap_or_default();
    for (at, (path, rows)) in gone.files.iter().enumerate() {
        // A file goes with the last of its rows.
        if *rows > 0 && deleted.get(at).is_some_and(|deleted| deleted.len() == *rows) {
            continue;
        }
        let file = txn.snapshot().file(path)?;
        txn.remove_file(&file)?;
    }
    Ok(())
}

/// Deletes the rows that the source has deleted since; whether it was possible to tell which those are here.
fn mark(txn: &mut OptimisticTransaction, known: &Taken, deleted: &Rows) -> Result<bool> {
    let Some(places) = known.places(&(deleted - &known.deleted)) else { return Ok(false) };
    let snapshot = txn.snapshot().clone();
    for ((path, _), here) in known.files.iter().zip(places) {
        if !here.is_empty() {
            txn.delete_rows(&snapshot.file(path)?, &here)?;
        }
    }
    Ok(true)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that can't set up its data has failed")]
mod tests {
    use super::*;

    fn schema_of(columns: &[(&str, &str, DataType, bool)]) -> Schema {
        let field = |(name, physical, data_type, nullable): &(&str, &str, DataType, bool)| {
            let metadata = [("delta.columnMapping.physicalName".to_owned(), (*physical).to_owned())];
            Field::new(*name, data_type.clone(), *nullable).with_metadata(metadata.into())
        };
        Schema::new(columns.iter().map(field).collect::<Vec<_>>())
    }

    #[test]
    fn columns_change_as_tables_can_or_not_at_all() {
        use DataType::{Float64, Int32, Int64, Utf8};
        let old = schema_of(&[("a", "1", Int32, false), ("b", "2", Utf8, true), ("c", "3", Utf8, true)]);
        let new = schema_of(&[("a", "1", Int64, true), ("x", "3", Utf8, true), ("d", "4", Float64, true)]);
        let names: Vec<&str> = column_changes(&old, &new).unwrap().iter().map(Change::operation).collect();
        assert_eq!(names, ["CHANGE COLUMN", "CHANGE COLUMN", "DROP COLUMNS", "RENAME COLUMN", "ADD COLUMNS"]);
        assert_eq!(column_changes(&old, &old).unwrap(), []);
        for refused in [
            schema_of(&[("a", "1", Utf8, false), ("b", "2", Utf8, true), ("c", "3", Utf8, true)]),
            schema_of(&[("a", "1", Int32, false), ("c", "2", Utf8, true), ("b", "3", Utf8, true)]),
            schema_of(&[("b", "2", Utf8, true), ("a", "1", Int32, false), ("c", "3", Utf8, true)]),
            schema_of(&[("a", "1", Int32, false), ("b", "9", Utf8, true), ("c", "3", Utf8, true)]),
            schema_of(&[("a", "1", Int32, false), ("b", "2", Utf8, false), ("c", "3", Utf8, true)]),
        ] {
            assert_eq!(column_changes(&old, &refused), None, "{refused}");
        }
    }
}
