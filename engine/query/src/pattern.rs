//! Files by a pattern: `*` stands for any part of a name, `**` for any folders.

use std::path::PathBuf;

use glob::{MatchOptions, Pattern, glob_with};
use url::Url;

use crate::error::{QueryError, Result};

/// Files by a path or a pattern, sorted. Names that begin with a dot are only found by patterns that have it.
///
/// # Errors
/// When it is no pattern, or a folder can't be listed.
pub(crate) fn files(pattern: &str) -> Result<Vec<PathBuf>> {
    // Other signs of patterns are what they are: `[` and `?` are found in names.
    let literal: Vec<String> = pattern.split('*').map(Pattern::escape).collect();
    let options = MatchOptions {
        case_sensitive: true,
        require_literal_separator: true,
        require_literal_leading_dot: true,
    };
    let wrong = |what: String| QueryError::NotSupported(format!("{pattern}: {what}"));
    let found = glob_with(&literal.join("*"), options).map_err(|e| wrong(e.msg.to_owned()))?;
    let mut files = Vec::new();
    for entry in found {
        let path = entry.map_err(|e| wrong(format!("listing {}: {}", e.path().display(), e.error())))?;
        if path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// The URL of a path, in which no sign stands for others: DataFusion takes `[` and `?` in paths for those of patterns. `None` if it is none of the
/// file system, or a pattern.
pub(crate) fn url_of(path: &str) -> Option<Url> {
    if path.contains('*') || path.contains("://") {
        return None;
    }
    let whole = std::path::absolute(path).ok()?;
    let is_folder = path.ends_with('/') || whole.is_dir();
    if is_folder { Url::from_directory_path(whole).ok() } else { Url::from_file_path(whole).ok() }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that can't set up its data has failed")]
mod tests {
    use super::*;

    #[test]
    fn stars_stand_for_parts_of_names() {
        let root = tempfile::tempdir().unwrap();
        for name in ["a/x.csv", "a/[1]?.csv", "b/x.csv", "b/c/x.csv", "b/.x.csv", ".d/x.csv", "x.csv/y"] {
            let path = root.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        }
        let found = |pattern: &str| -> Vec<String> {
            let of_root = format!("{}/{pattern}", root.path().display());
            let names = files(&of_root).unwrap();
            names.iter().map(|p| p.strip_prefix(root.path()).unwrap().display().to_string()).collect()
        };
        assert_eq!(found("*/x.csv"), ["a/x.csv", "b/x.csv"]);
        assert_eq!(found("**/x.csv"), ["a/x.csv", "b/c/x.csv", "b/x.csv"]);
        assert_eq!(found("a/[1]*"), ["a/[1]?.csv"]);
        assert_eq!(found("a/x.csv"), ["a/x.csv"]);
        assert_eq!(found("b*/*/x*v"), ["b/c/x.csv"]);
        assert_eq!(found("x*"), Vec::<String>::new());
        assert_eq!(found("nothing/*"), Vec::<String>::new());
        assert!(files("a**b/x").unwrap_err().to_string().contains("a**b/x"));
    }
}
