//! Copies of tables.

use std::path::{Path, PathBuf};

use uuid::Uuid;

use super::DeltaLiteTable;
use super::core::Core;
use super::create::protocol;
use crate::error::{Result, TableError};
use crate::log::SealedCommit;
use crate::log::action::table::now_ms;
use crate::log::action::{Action, Add, CommitInfo, Metadata, encode_path};
use crate::log::inline::Inlined;

impl DeltaLiteTable {
    /// A new table in another folder that has this version's rows without copying them: its files are this table's. The version gets a tag,
    /// so that vacuum leaves them alone; take the tag away when the clone is gone.
    ///
    /// # Errors
    /// When there is a table already, or the system fails.
    pub fn shallow_clone(&self, to: impl AsRef<Path>) -> Result<DeltaLiteTable> {
        let to = to.as_ref();
        let snapshot = self.snapshot();
        let newest = DeltaLiteTable::newest(self.core.clone())?;
        newest.set_tag(&format!("clone:{}", to.display()), Some(snapshot.version()))?;
        self.copy(to, |add| {
            self.core.make_durable(&add)?;
            let path = self.core.path_of(&add.path)?;
            let mut vector = add.deletion_vector.clone();
            if let Some(vector) = &mut vector
                && let Some(name) = crate::deletion_vector::file_of(vector)?
            {
                vector.storage_type = crate::log::action::DvStorage::Absolute;
                vector.path_or_inline_dv = self.core.root.join(name).display().to_string().into();
            }
            let path = encode_path(&path.display().to_string()).into();
            Ok(Add { path, deletion_vector: vector, ..add })
        })
    }

    /// A new table in another folder with copies of this version's files.
    ///
    /// # Errors
    /// When there is a table already, or the system fails.
    pub fn deep_clone(&self, to: impl AsRef<Path>) -> Result<DeltaLiteTable> {
        let to = to.as_ref();
        std::fs::create_dir_all(to).map_err(TableError::io("making the folder", to))?;
        self.copy(to, |add| {
            let from = self.core.whole_file(&add)?;
            let name = format!("{}.dlb", Uuid::new_v4());
            copy_file(&from, &to.join(&name))?;
            let mut vector = add.deletion_vector.clone();
            if let Some(vector) = &mut vector
                && let Some(name) = crate::deletion_vector::file_of(vector)?
            {
                let target = to.join(&name);
                if !target.exists() {
                    copy_file(&self.core.root.join(&name), &target)?;
                }
            }
            Ok(Add { path: encode_path(&name).into(), deletion_vector: vector, ..add })
        })
    }

    fn copy(&self, to: &Path, mut place: impl FnMut(Add) -> Result<Add>) -> Result<DeltaLiteTable> {
        let snapshot = self.snapshot();
        let metadata = Metadata {
            id: Uuid::new_v4().to_string(),
            created_time: Some(now_ms()),
            ..snapshot.log.metadata().as_ref().clone()
        };
        let mut actions = vec![Action::Protocol(protocol()), Action::Metadata(Box::new(metadata))];
        for file in snapshot.files(None)? {
            let mut add = Add { data_change: true, ..place(file.add)? };
            // Its bytes are in the log of the other table, not in this one's.
            Inlined::forget(&mut add);
            actions.push(Action::Add(add));
        }
        if to.is_dir() {
            std::fs::File::open(to)
                .and_then(|folder| folder.sync_all())
                .map_err(TableError::io("syncing the folder", to))?;
        }
        let mut info = CommitInfo::new("CLONE");
        let source = self.core.root.display().to_string();
        let version = snapshot.version().to_string();
        info.operation_parameters =
            [("source", Some(source.as_str())), ("sourceVersion", Some(version.as_str()))]
                .into_iter()
                .collect();
        let first = SealedCommit::first(info, actions)?;
        if !Core::create(to, &self.core.context, first)? {
            let detail = format!("there is one in {} already", to.display());
            return Err(TableError::invalid("cloning a table", detail));
        }
        DeltaLiteTable::newest(Core::open(to, &self.core.context)?)
    }
}

fn copy_file(from: &Path, to: &PathBuf) -> Result<()> {
    let copy = || {
        std::fs::copy(from, to)?;
        std::fs::File::open(to)?.sync_all()
    };
    copy().map_err(TableError::io("copying a file to", to))
}
