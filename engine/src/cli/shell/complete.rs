//! What a word that is typed may become.

use std::path::Path;

use deltalite::query::Session;
use deltalite::query::statement::{Part, parts};
use reedline::{Completer, CompletionResult, Span, Suggestion};
use tokio::runtime::Handle;

use super::commands;

/// Words that a table follows.
const BEFORE_TABLES: [&str; 12] = [
    "FROM",
    "JOIN",
    "INTO",
    "UPDATE",
    "TABLE",
    "DESCRIBE",
    "DESC",
    "SUMMARIZE",
    "OPTIMIZE",
    "VACUUM",
    "RESTORE",
    "VERIFY",
];
/// Most suggestions: a menu that is longer is not read.
const SUGGESTIONS_MAX: usize = 200;

pub(super) struct SqlCompleter {
    pub(super) session: Session,
    pub(super) handle: Handle,
}

/// The word that ends where the cursor is, and what kind of word comes before it.
struct Place<'a> {
    start: usize,
    word: &'a str,
    /// Within quotes.
    quoted: bool,
    before: Option<String>,
}

fn place(line: &str) -> Place<'_> {
    let found = parts(line);
    let last = found.last().filter(|(part, _)| matches!(part, Part::Keyword | Part::Name | Part::Text));
    let (start, quoted) = match last {
        Some((Part::Text, range)) => (range.start + 1, true),
        // A word after a sign that names may have: `a-b`, `t.col`.
        Some((_, range)) => (range.start, line[range.clone()].starts_with('"')),
        None => (line.len(), false),
    };
    let start = if quoted && last.is_some_and(|(part, _)| *part == Part::Name) { start + 1 } else { start };
    let start = start.min(line.len());
    let earlier = parts(&line[..start]);
    let before = earlier
        .iter()
        .rev()
        .map(|(_, range)| line[range.clone()].trim())
        .find(|text| !text.is_empty() && *text != "'" && *text != "\"")
        .map(str::to_ascii_uppercase);
    Place { start, word: &line[start..], quoted, before }
}

/// Names and paths that a statement mentions.
fn mentioned(line: &str) -> Vec<&str> {
    let names = parts(line).into_iter().filter(|(part, _)| matches!(part, Part::Name | Part::Text));
    names.map(|(_, range)| line[range].trim_matches(['\'', '"'])).filter(|n| !n.is_empty()).collect()
}

/// Files and folders that begin so.
fn paths(word: &str) -> Vec<String> {
    let (folder, _) = word.rsplit_once('/').map_or(("", word), |(folder, name)| (folder, name));
    let shown = if word.contains('/') { format!("{folder}/") } else { String::new() };
    let listed = if folder.is_empty() && word.starts_with('/') {
        Path::new("/")
    } else if folder.is_empty() {
        Path::new(".")
    } else {
        Path::new(folder)
    };
    let Ok(entries) = std::fs::read_dir(listed) else { return Vec::new() };
    let mut found: Vec<String> = entries
        .filter_map(Result::ok)
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let folder = entry.file_type().is_ok_and(|t| t.is_dir());
            (!name.starts_with('.')).then(|| format!("{shown}{name}{}", if folder { "/" } else { "" }))
        })
        .filter(|path| path.starts_with(word))
        .collect();
    found.sort();
    found
}

impl SqlCompleter {
    /// Words that fit, in the order to offer them, with what they are.
    fn words(&self, line: &str, place: &Place<'_>) -> Vec<(String, &'static str)> {
        let lower = place.word.to_lowercase();
        let fits = |name: &String| name.to_lowercase().starts_with(&lower);
        let mut words: Vec<(String, &'static str)> = Vec::new();
        let tables = || self.session.table_names().into_iter().filter(fits).map(|t| (t, "table"));
        if place.before.as_deref().is_some_and(|word| BEFORE_TABLES.contains(&word)) {
            words.extend(tables());
            if place.quoted {
                words.extend(paths(place.word).into_iter().map(|p| (p, "path")));
            }
            return words;
        }
        if place.quoted && line[..place.start].ends_with('\'') {
            return words;
        }
        for name in mentioned(line) {
            let columns = self.handle.block_on(self.session.column_names(name));
            words.extend(columns.into_iter().filter(fits).map(|c| (c, "column")));
        }
        words.extend(tables());
        if !place.word.is_empty() && !place.quoted {
            words.extend(self.session.functions().into_iter().filter(fits).map(|f| (f, "function")));
            let small = place.word.chars().all(char::is_lowercase);
            let keywords = Session::keywords().map(|k| if small { k.to_lowercase() } else { k.to_owned() });
            words.extend(keywords.filter(fits).map(|k| (k, "")));
        }
        words
    }
}

impl Completer for SqlCompleter {
    fn complete(&mut self, line: &str, pos: usize) -> CompletionResult {
        let typed = line.get(..pos).unwrap_or(line);
        let (start, words) = if let Some(command) = typed.strip_prefix(".schema ") {
            let tables = self.session.table_names().into_iter().filter(|t| t.starts_with(command));
            (pos - command.len(), tables.map(|t| (t, "table")).collect())
        } else if let Some(path) = [".read ", ".output "].iter().find_map(|c| typed.strip_prefix(c)) {
            (pos - path.len(), paths(path).into_iter().map(|p| (p, "path")).collect())
        } else if typed.starts_with('.') {
            let found = commands::all().filter(|(name, _, _)| name.starts_with(typed));
            (0, found.map(|(name, _, does)| (name.to_owned(), does)).collect::<Vec<_>>())
        } else {
            let place = place(typed);
            (place.start, self.words(line, &place))
        };
        let mut seen = std::collections::HashSet::new();
        let suggestions: Vec<Suggestion> = words
            .into_iter()
            .filter(|(word, _)| seen.insert(word.clone()))
            .take(SUGGESTIONS_MAX)
            .map(|(value, what)| Suggestion {
                append_whitespace: !value.ends_with('/'),
                value,
                description: (!what.is_empty()).then(|| what.to_owned()),
                span: Span::new(start, pos),
                ..Suggestion::default()
            })
            .collect();
        CompletionResult::fresh(suggestions)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that can't set up its data has failed")]
mod tests {
    use super::*;
    use deltalite::query::SessionOptions;

    fn offered(completer: &mut SqlCompleter, line: &str) -> Vec<String> {
        completer.complete(line, line.len()).suggestions().iter().map(|s| s.value.clone()).collect()
    }

    #[test]
    fn tables_columns_and_words_are_offered_where_they_fit() {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let session = Session::new(SessionOptions::default().catalog(folder.path())).unwrap();
        for statement in
            ["CREATE TABLE trips (fare BIGINT, fast BOOLEAN)", "CREATE TABLE \"Other\" (x BIGINT)"]
        {
            runtime.block_on(async { session.sql(statement).await.unwrap().collect().await.unwrap() });
        }
        let mut completer = SqlCompleter { session, handle: runtime.handle().clone() };
        assert_eq!(offered(&mut completer, "SELECT * FROM "), ["Other", "trips"]);
        assert_eq!(offered(&mut completer, "SELECT * FROM tr"), ["trips"]);
        assert!(
            offered(&mut completer, "SELECT * FROM trips WHERE fa")
                .starts_with(&["fare".into(), "fast".into()])
        );
        assert!(offered(&mut completer, "sel").contains(&"select".to_owned()));
        assert!(offered(&mut completer, "SEL").contains(&"SELECT".to_owned()));
        assert!(offered(&mut completer, "select co").contains(&"count".to_owned()));
        assert_eq!(offered(&mut completer, ".ti"), [".timer"]);
        assert_eq!(offered(&mut completer, ".schema t"), ["trips"]);
        assert_eq!(offered(&mut completer, "SELECT 'tr"), Vec::<String>::new());
        // Columns of a table that is named after the cursor.
        let line = "SELECT f FROM trips";
        let found = completer.complete(line, "SELECT f".len());
        assert_eq!(found.suggestions()[0].value, "fare");
        assert_eq!(found.suggestions()[0].span, Span::new(7, 8));
    }

    #[test]
    fn paths_are_offered_within_quotes() {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a file.csv"), "a\n").unwrap();
        std::fs::create_dir(folder.path().join("a folder")).unwrap();
        let session = Session::new(SessionOptions::default().catalog(folder.path())).unwrap();
        let mut completer = SqlCompleter { session, handle: runtime.handle().clone() };
        let start = folder.path().join("a ").display().to_string();
        let found = offered(&mut completer, &format!("SELECT * FROM '{start}"));
        assert_eq!(found, [format!("{start}file.csv"), format!("{start}folder/")]);
    }
}
