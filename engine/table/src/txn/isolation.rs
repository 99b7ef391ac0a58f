//! Isolation levels.

use std::fmt;

/// What transactions may notice of each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub enum Isolation {
    /// A transaction sees one version and does not lose updates: two that change the same rows conflict. What it only read may have
    /// changed when it commits.
    Snapshot,
    /// Writes are serializable: the table is as if transactions had run one after the other, in some order. Readers may see versions that
    /// this order does not have. The default, as in Delta Lake.
    #[default]
    WriteSerializable,
    /// The table is as if transactions had run one after the other in the order of their versions.
    Serializable,
}

impl Isolation {
    /// The name that commits and properties use.
    pub fn name(self) -> &'static str {
        match self {
            Isolation::Snapshot => "SnapshotIsolation",
            Isolation::WriteSerializable => "WriteSerializable",
            Isolation::Serializable => "Serializable",
        }
    }

    /// What a name stands for.
    ///
    /// ```
    /// use deltalite_table::txn::Isolation;
    /// assert_eq!(Isolation::parse("serializable"), Some(Isolation::Serializable));
    /// assert_eq!(Isolation::parse("dirty"), None);
    /// ```
    pub fn parse(name: &str) -> Option<Self> {
        let all = [Isolation::Snapshot, Isolation::WriteSerializable, Isolation::Serializable];
        if name.eq_ignore_ascii_case("snapshot") {
            return Some(Isolation::Snapshot);
        }
        all.into_iter().find(|level| level.name().eq_ignore_ascii_case(name))
    }
}

impl fmt::Display for Isolation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
