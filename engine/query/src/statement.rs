//! Statements in a text: where one ends, which are ours, and versions of the past.
//!
//! `t VERSION AS OF 3` becomes the name `"t@v3"`, `t TIMESTAMP AS OF '…'` the name `"t@t<milliseconds>"`; the catalog knows both.

use std::ops::Range;

use arrow_array::cast::AsArray;
use arrow_array::types::TimestampMillisecondType;
use arrow_array::{Array, StringArray};
use arrow_schema::{DataType, TimeUnit};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::keywords::ALL_KEYWORDS;
use datafusion::sql::sqlparser::tokenizer::{Location, Token, TokenWithSpan, Tokenizer, Whitespace};

use crate::error::{QueryError, Result};
use crate::schemas::{CATALOG, MAIN};

/// Words of statements that are ours, where the language has none.
const OWN_KEYWORDS: [&str; 8] =
    ["DETAIL", "EXPORT", "HILBERT", "IMPORT", "RETAIN", "SUMMARIZE", "VERIFY", "ZORDER"];

/// A script, cut into statements.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Statements {
    /// Bytes of each, without the semicolon.
    pub ranges: Vec<Range<usize>>,
    /// Whether the last one ends: with a semicolon, or there is nothing after the one before.
    pub complete: bool,
}

/// Tokens of a text with the bytes that they are at.
pub(crate) fn tokens(text: &str) -> Result<Vec<(Token, Range<usize>)>> {
    let (found, error) = tokens_until_error(text);
    error.map_or(Ok(found), Err)
}

/// Tokens up to what is none, and that.
fn tokens_until_error(text: &str) -> (Vec<(Token, Range<usize>)>, Option<QueryError>) {
    let dialect = GenericDialect {};
    let mut found: Vec<TokenWithSpan> = Vec::new();
    let error = Tokenizer::new(&dialect, text)
        .with_unescape(false)
        .tokenize_with_location_into_buf(&mut found)
        .err()
        .map(|e| QueryError::Syntax { message: e.message.clone(), place: place(text, e.location) });
    let lines: Vec<usize> =
        std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
    let byte = |location: Location| -> usize {
        let start = lines.get((location.line as usize).saturating_sub(1)).copied().unwrap_or(text.len());
        let line = &text[start..];
        line.char_indices()
            .nth((location.column as usize).saturating_sub(1))
            .map_or(text.len(), |(at, _)| start + at)
    };
    (found.into_iter().map(|t| (t.token, byte(t.span.start)..byte(t.span.end))).collect(), error)
}

/// What a part of a statement is, for showing it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// A word of the language.
    Keyword,
    /// A name.
    Name,
    /// A string.
    Text,
    /// A number.
    Number,
    /// A comment.
    Comment,
    /// Space, and signs.
    Other,
}

/// The parts of a text, one after the other, without a gap. The last one may be unfinished.
///
/// ```
/// use deltalite_query::statement::{Part, parts};
/// let found = parts("SELECT 'a");
/// assert_eq!(found, [(Part::Keyword, 0..6), (Part::Other, 6..7), (Part::Text, 7..9)]);
/// ```
pub fn parts(text: &str) -> Vec<(Part, Range<usize>)> {
    let (tokens, error) = tokens_until_error(text);
    let mut parts: Vec<(Part, Range<usize>)> = Vec::with_capacity(tokens.len() + 1);
    let mut end = 0;
    for (token, at) in tokens {
        let part = match &token {
            Token::Word(word) if word.quote_style.is_none() && is_keyword(&word.value) => Part::Keyword,
            Token::Word(_) => Part::Name,
            Token::Number(..) => Part::Number,
            Token::Whitespace(Whitespace::SingleLineComment { .. } | Whitespace::MultiLineComment(_)) => {
                Part::Comment
            }
            Token::SingleQuotedString(_)
            | Token::EscapedStringLiteral(_)
            | Token::DollarQuotedString(_)
            | Token::HexStringLiteral(_) => Part::Text,
            _ => Part::Other,
        };
        // A token that begins before the last one ended would show text twice.
        if at.start == end && at.end > end {
            end = at.end;
            parts.push((part, at));
        } else if at.end > end {
            parts.push((part, end..at.end));
            end = at.end;
        }
    }
    if end < text.len() {
        parts.push((if error.is_some() { Part::Text } else { Part::Other }, end..text.len()));
    }
    parts
}

/// Words of the language, and of our own statements.
pub(crate) fn keywords() -> impl Iterator<Item = &'static str> {
    ALL_KEYWORDS.iter().chain(&OWN_KEYWORDS).copied()
}

/// Whether a word is of the language; our own statements' words are.
fn is_keyword(word: &str) -> bool {
    let upper = word.to_ascii_uppercase();
    ALL_KEYWORDS.binary_search(&upper.as_str()).is_ok() || OWN_KEYWORDS.contains(&upper.as_str())
}

fn place(text: &str, location: Location) -> Option<Range<usize>> {
    let start: usize =
        text.split_inclusive('\n').take((location.line as usize).checked_sub(1)?).map(str::len).sum();
    let at = start + text.get(start..)?.char_indices().nth((location.column as usize).checked_sub(1)?)?.0;
    Some(at..at + 1)
}

impl Statements {
    /// Cuts a script.
    ///
    /// ```
    /// use deltalite_query::Statements;
    /// let script = "SELECT ';'; -- two\nSELECT 2";
    /// let cut = Statements::of(script)?;
    /// assert_eq!(cut.ranges.iter().map(|r| &script[r.clone()]).collect::<Vec<_>>(), ["SELECT ';'", "SELECT 2"]);
    /// assert!(!cut.complete);
    /// # Ok::<(), deltalite_query::QueryError>(())
    /// ```
    ///
    /// # Errors
    /// When a string or a comment does not end.
    pub fn of(text: &str) -> Result<Self> {
        let mut cut = Self { ranges: Vec::new(), complete: true };
        let mut open: Option<Range<usize>> = None;
        for (token, at) in tokens(text)? {
            match token {
                Token::Whitespace(_) | Token::EOF => {}
                Token::SemiColon => {
                    cut.ranges.extend(open.take());
                }
                _ => open = Some(open.map_or(at.start, |o| o.start)..at.end),
            }
        }
        if let Some(open) = open {
            cut.ranges.push(open);
            cut.complete = false;
        }
        Ok(cut)
    }
}

/// A statement that DataFusion does not have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Own {
    /// `OPTIMIZE t [WHERE …] [ZORDER BY (a, b)] [HILBERT BY (a, b)]`
    Optimize { table: String, condition: Option<String>, curve: Option<(bool, Vec<String>)> },
    /// `VACUUM t [RETAIN n HOURS | RETAIN n VERSIONS] [DRY RUN]`
    Vacuum { table: String, hours: Option<u64>, versions: Option<u64>, dry_run: bool },
    /// `RESTORE [TABLE] t TO VERSION [AS OF] n` or `… TO TIMESTAMP [AS OF] '…'`
    Restore { table: String, to: String },
    /// `VERIFY [TABLE] t [ROWS]`
    Verify { table: String, rows: bool },
    /// `DESCRIBE HISTORY t [LIMIT n]`
    History { table: String, limit: usize },
    /// `DESCRIBE DETAIL t`
    Detail { table: String },
    /// `SUMMARIZE t`
    Summarize { table: String },
    /// `EXPORT [TABLE] t [VERSION AS OF n] TO 'folder'`
    Export { table: String, version: Option<u64>, to: String },
    /// `IMPORT 'folder' TO [TABLE] t`
    Import { from: String, table: String },
}

/// Reads a statement's words one after the other.
struct Words<'a> {
    text: &'a str,
    tokens: Vec<(Token, Range<usize>)>,
    at: usize,
}

impl<'a> Words<'a> {
    fn new(text: &'a str) -> Result<Self> {
        let mut tokens = tokens(text)?;
        tokens.retain(|(token, _)| !matches!(token, Token::Whitespace(_) | Token::EOF));
        Ok(Self { text, tokens, at: 0 })
    }

    fn word(&mut self, word: &str) -> bool {
        let found = matches!(self.tokens.get(self.at), Some((Token::Word(w), _)) if w.value.eq_ignore_ascii_case(word));
        self.at += usize::from(found);
        found
    }

    fn words(&mut self, words: &[&str]) -> bool {
        let start = self.at;
        let all = words.iter().all(|word| self.word(word));
        if !all {
            self.at = start;
        }
        all
    }

    fn token(&mut self, token: &Token) -> bool {
        let found = self.tokens.get(self.at).is_some_and(|(t, _)| t == token);
        self.at += usize::from(found);
        found
    }

    fn error<T>(&self, expected: &str) -> Result<T> {
        let place = self.tokens.get(self.at).map_or(self.text.len()..self.text.len(), |(_, at)| at.clone());
        let found = self.text.get(place.clone()).filter(|t| !t.is_empty()).unwrap_or("the end");
        Err(QueryError::Syntax { message: format!("expected {expected}, found {found}"), place: Some(place) })
    }

    /// A name: lower case unless it is quoted.
    fn name(&mut self) -> Result<String> {
        let name = match self.tokens.get(self.at) {
            Some((Token::Word(word), _)) if word.quote_style.is_some() => word.value.clone(),
            Some((Token::Word(word), _)) => word.value.to_lowercase(),
            Some((Token::SingleQuotedString(text), _)) => text.clone(),
            _ => return self.error("a name or a quoted path"),
        };
        self.at += 1;
        Ok(name)
    }

    /// A table's name, with its schema if it is in another than `main`.
    fn table(&mut self) -> Result<String> {
        let mut parts = vec![self.name()?];
        while self.token(&Token::Period) {
            parts.push(self.name()?);
        }
        full_name(&parts)
    }

    fn number(&mut self) -> Result<u64> {
        match self.tokens.get(self.at) {
            Some((Token::Number(text, _), _)) if text.parse::<u64>().is_ok() => {
                let number = text.parse().unwrap_or(0);
                self.at += 1;
                Ok(number)
            }
            _ => self.error("a whole number"),
        }
    }

    fn names(&mut self) -> Result<Vec<String>> {
        let parenthesis = self.token(&Token::LParen);
        let mut names = vec![self.name()?];
        while self.token(&Token::Comma) {
            names.push(self.name()?);
        }
        if parenthesis && !self.token(&Token::RParen) {
            return self.error("`)`");
        }
        Ok(names)
    }

    fn end(&self) -> Result<()> {
        if self.at < self.tokens.len() { self.error("the end of the statement") } else { Ok(()) }
    }

    /// The text up to one of the words, or the end.
    fn until(&mut self, stops: &[&str]) -> String {
        let start = self.tokens.get(self.at).map_or(self.text.len(), |(_, at)| at.start);
        let mut end = start;
        while let Some((token, at)) = self.tokens.get(self.at) {
            if matches!(token, Token::Word(w) if stops.iter().any(|s| w.value.eq_ignore_ascii_case(s))) {
                break;
            }
            end = at.end;
            self.at += 1;
        }
        self.text[start..end].to_owned()
    }
}

/// A name as statements write it, whatever is in it.
pub(crate) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A table's name out of its parts: `table`, `schema.table`, or with the catalog before; the schema `main` is left out.
///
/// # Errors
/// When another catalog is named, or there are more parts.
pub(crate) fn full_name(parts: &[String]) -> Result<String> {
    match parts {
        [table] => Ok(table.clone()),
        [schema, table] if schema == MAIN => Ok(table.clone()),
        [schema, table] => Ok(format!("{schema}.{table}")),
        [catalog, rest @ ..] if catalog == CATALOG && rest.len() == 2 => full_name(rest),
        _ => Err(QueryError::NotSupported(format!(
            "{} is not in the catalog {CATALOG:?}, which is the only one",
            parts.join(".")
        ))),
    }
}

/// The statement, if it is one of ours.
///
/// # Errors
/// When it begins like one and does not go on like it.
pub(crate) fn own(text: &str) -> Result<Option<Own>> {
    let mut w = Words::new(text)?;
    let statement = if w.word("OPTIMIZE") {
        let table = w.table()?;
        let condition = w.word("WHERE").then(|| w.until(&["ZORDER", "HILBERT"]));
        let curve = if w.words(&["ZORDER", "BY"]) {
            Some((false, w.names()?))
        } else if w.words(&["HILBERT", "BY"]) {
            Some((true, w.names()?))
        } else {
            None
        };
        Own::Optimize { table, condition, curve }
    } else if w.word("VACUUM") {
        let table = w.table()?;
        let (mut hours, mut versions) = (None, None);
        if w.word("RETAIN") {
            let number = w.number()?;
            if w.word("VERSIONS") {
                versions = Some(number);
            } else if w.word("HOURS") {
                hours = Some(number);
            } else {
                return w.error("HOURS or VERSIONS");
            }
        }
        Own::Vacuum { table, hours, versions, dry_run: w.words(&["DRY", "RUN"]) }
    } else if w.word("RESTORE") {
        let _ = w.word("TABLE");
        let table = w.table()?;
        if !w.word("TO") {
            return w.error("TO");
        }
        let to = if w.word("VERSION") {
            let _ = w.words(&["AS", "OF"]);
            format!("v{}", w.number()?)
        } else if w.word("TIMESTAMP") {
            let _ = w.words(&["AS", "OF"]);
            format!("t{}", milliseconds(&w.name()?)?)
        } else {
            return w.error("VERSION or TIMESTAMP");
        };
        Own::Restore { table, to }
    } else if w.word("VERIFY") {
        let _ = w.word("TABLE");
        let table = w.table()?;
        Own::Verify { table, rows: w.word("ROWS") }
    } else if w.words(&["DESCRIBE", "HISTORY"]) {
        let table = w.table()?;
        let limit = if w.word("LIMIT") { w.number()? as usize } else { usize::MAX };
        Own::History { table, limit }
    } else if w.words(&["DESCRIBE", "DETAIL"]) {
        Own::Detail { table: w.table()? }
    } else if w.word("SUMMARIZE") {
        Own::Summarize { table: w.table()? }
    } else if w.word("EXPORT") {
        let _ = w.word("TABLE");
        let table = w.table()?;
        let version = w.words(&["VERSION", "AS", "OF"]).then(|| w.number()).transpose()?;
        if !w.word("TO") {
            return w.error("TO");
        }
        Own::Export { table, version, to: w.name()? }
    } else if w.word("IMPORT") {
        let from = w.name()?;
        if !w.word("TO") {
            return w.error("TO");
        }
        let _ = w.word("TABLE");
        Own::Import { from, table: w.table()? }
    } else {
        return Ok(None);
    };
    w.end()?;
    Ok(Some(statement))
}

/// Turns `name VERSION AS OF n` and `name TIMESTAMP AS OF '…'` into names that the catalog knows.
///
/// # Errors
/// When the version is no number or the time is none.
pub(crate) fn with_versions(text: &str) -> Result<String> {
    let mut w = Words::new(text)?;
    let mut out = String::with_capacity(text.len());
    let mut copied = 0;
    while w.at < w.tokens.len() {
        let before = w.at;
        let suffix = if w.words(&["VERSION", "AS", "OF"]) {
            format!("@v{}", w.number()?)
        } else if w.words(&["TIMESTAMP", "AS", "OF"]) {
            format!("@t{}", milliseconds(&w.name()?)?)
        } else {
            w.at += 1;
            continue;
        };
        let name = before.checked_sub(1).map(|at| &w.tokens[at]);
        let (name, at) = match name {
            Some((Token::Word(word), at)) if word.quote_style.is_some() => (word.value.clone(), at.clone()),
            Some((Token::Word(word), at)) => (word.value.to_lowercase(), at.clone()),
            Some((Token::SingleQuotedString(text), at)) => (text.clone(), at.clone()),
            _ => {
                w.at = before;
                return w.error("a table before AS OF");
            }
        };
        out.push_str(&text[copied..at.start]);
        out.push_str(&quoted(&format!("{name}{suffix}")));
        copied = w.tokens[w.at - 1].1.end;
    }
    out.push_str(&text[copied..]);
    Ok(out)
}

/// A time as people write it, in milliseconds since 1970; without a zone it is UTC.
fn milliseconds(text: &str) -> Result<i64> {
    let texts = StringArray::from(vec![text]);
    let wanted = DataType::Timestamp(TimeUnit::Millisecond, Some("UTC".into()));
    let cast = arrow_cast::cast(&texts, &wanted).ok().filter(|times| times.is_valid(0));
    let times = cast.ok_or_else(|| QueryError::Syntax {
        message: format!("{text:?} is no time; write it as '2024-12-31 23:59:59'"),
        place: None,
    })?;
    Ok(times.as_primitive::<TimestampMillisecondType>().value(0))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that can't set up its data has failed")]
mod tests {
    use super::*;

    #[test]
    fn versions_become_names() {
        let rewritten = |text: &str| with_versions(text).unwrap();
        assert_eq!(rewritten("SELECT * FROM T VERSION AS OF 3 AS x"), "SELECT * FROM \"t@v3\" AS x");
        assert_eq!(rewritten("SELECT * FROM 'a/b' version as of 0"), "SELECT * FROM \"a/b@v0\"");
        assert_eq!(
            rewritten("SELECT 1 FROM \"T\" TIMESTAMP AS OF '1970-01-01T00:00:01Z', u"),
            "SELECT 1 FROM \"T@t1000\", u"
        );
        assert_eq!(rewritten("SELECT 'a VERSION AS OF 3'"), "SELECT 'a VERSION AS OF 3'");
        assert!(with_versions("SELECT * FROM t VERSION AS OF x").is_err());
    }

    #[test]
    fn our_statements_are_found() {
        assert_eq!(own("SELECT 1").unwrap(), None);
        assert_eq!(
            own("optimize T where a = 1 zorder by (a, \"B\")").unwrap(),
            Some(Own::Optimize {
                table: "t".into(),
                condition: Some("a = 1".into()),
                curve: Some((false, vec!["a".into(), "B".into()]))
            })
        );
        assert_eq!(
            own("VACUUM t RETAIN 0 HOURS DRY RUN").unwrap(),
            Some(Own::Vacuum { table: "t".into(), hours: Some(0), versions: None, dry_run: true })
        );
        assert_eq!(
            own("RESTORE TABLE t TO VERSION AS OF 4").unwrap(),
            Some(Own::Restore { table: "t".into(), to: "v4".into() })
        );
        let error = own("VACUUM t RETAIN x").unwrap_err();
        assert_eq!(
            error.render("VACUUM t RETAIN x"),
            "expected a whole number, found x [DL-0701]\n  | VACUUM t RETAIN x\n  |                 ^"
        );
        assert!(own("VERIFY t nonsense").is_err());
    }

    #[test]
    fn scripts_are_cut() {
        let script = "a; /* ; */ b -- ;\n; 'x;y' \"z;\"";
        let cut = Statements::of(script).unwrap();
        let texts: Vec<&str> = cut.ranges.iter().map(|r| &script[r.clone()]).collect();
        assert_eq!(texts, ["a", "b", "'x;y' \"z;\""]);
        assert!(!cut.complete);
        assert!(Statements::of(" ; ").unwrap().complete);
        assert!(Statements::of("SELECT 'a").is_err());
    }
}
