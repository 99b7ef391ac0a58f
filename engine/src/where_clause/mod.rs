//! SQL conditions as text, as `--where` takes them, to predicates.
//!
//! ```
//! use arrow_schema::{DataType, Field, Schema};
//! use deltalite::where_clause::parse_where;
//!
//! let schema = Schema::new(vec![Field::new("price", DataType::Int64, true), Field::new("name", DataType::Utf8, true)]);
//! let predicate = parse_where("5 < price AND name NOT LIKE 'A%'", &schema)?;
//! assert_eq!(predicate.to_string(), "price > 5 AND name NOT LIKE 'A%'");
//!
//! let error = parse_where("price > 5 OR nmae = 'x'", &schema).unwrap_err();
//! assert_eq!(
//!     error.to_string(),
//!     "no column named \"nmae\"; did you mean \"name\"?\n  | price > 5 OR nmae = 'x'\n  |              ^^^^"
//! );
//! # Ok::<(), deltalite::where_clause::WhereError>(())
//! ```
//!
//! `outline` finds AND, OR, NOT and parentheses; here single tests are parsed and brought to predicates.

mod outline;

use std::fmt;
use std::ops::Range;

use arrow_schema::{DataType, Schema};
use deltalite_format::FormatError;
use deltalite_format::predicate::{CmpOp, Literal, Predicate, bind};
use sqlparser::ast::{
    BinaryOperator, DataType as SqlType, Expr, Ident, Interval, Spanned, TypedString, UnaryOperator, Value,
};
use sqlparser::dialect::GenericDialect;
use sqlparser::parser::{Parser, ParserError};
use sqlparser::tokenizer::{Location, Span, Token, TokenWithSpan, Tokenizer};

use outline::{DEPTH_MAX, Outline, outline};

/// Longest condition that is read, in bytes.
pub const WHERE_BYTES_MAX: usize = 8 << 20;
/// Characters of a line that an error shows around its place.
const SHOWN_CHARS: usize = 100;

/// What is wrong with a condition, and where. Displayed with the text and a caret below the place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WhereError {
    message: String,
    /// The line that the place is in.
    line: String,
    /// First character of the place in the line, from 0.
    start: usize,
    /// Characters of the place.
    len: usize,
}

impl WhereError {
    fn new(text: &str, span: Span, message: impl Into<String>) -> Self {
        let line_number = (span.start.line.max(1) - 1) as usize;
        let line = text.lines().nth(line_number).unwrap_or_default().to_owned();
        let chars = line.chars().count();
        // A place that is not known is the end of the text, where something is missing.
        let start =
            if span.start.column == 0 { chars } else { ((span.start.column - 1) as usize).min(chars) };
        let end =
            if span.end.line == span.start.line { (span.end.column.max(1) - 1) as usize } else { chars };
        let len = end.saturating_sub(start).clamp(1, chars.max(1));
        Self { message: message.into(), line, start, len }.narrowed()
    }

    /// The same with no more of a long line than people can read.
    fn narrowed(mut self) -> Self {
        let chars = self.line.chars().count();
        if chars <= SHOWN_CHARS {
            return self;
        }
        let first = self.start.saturating_sub(SHOWN_CHARS / 2).min(chars - SHOWN_CHARS);
        let (before, after) = (first > 0, first + SHOWN_CHARS < chars);
        let shown = self.line.chars().skip(first).take(SHOWN_CHARS);
        self.line = before.then_some('…').into_iter().chain(shown).chain(after.then_some('…')).collect();
        self.start = self.start - first + usize::from(before);
        self.len = self.len.min(SHOWN_CHARS + usize::from(before) - self.start).max(1);
        self
    }

    /// The stable code that documentation explains.
    pub fn code(&self) -> &'static str {
        "DL-0410"
    }

    /// What is wrong, in one line without the place.
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl fmt::Display for WhereError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        if self.line.trim().is_empty() {
            return Ok(());
        }
        // Tabs stay tabs, so that the caret stands below its place whatever their width.
        let indent: String =
            self.line.chars().take(self.start).map(|c| if c == '\t' { '\t' } else { ' ' }).collect();
        write!(f, "\n  | {}\n  | {indent}{}", self.line, "^".repeat(self.len))
    }
}

impl std::error::Error for WhereError {}

/// Reads a condition on the columns of a schema.
///
/// Comparisons of a column with a literal (on either side), `BETWEEN`, `IN`, `LIKE`, `ILIKE`, `IS [NOT] NULL`, `IS [NOT] TRUE`,
/// boolean columns, `AND`, `OR`, `NOT` and parentheses. Literals are numbers, `'text'`, `X'00FF'`, `TRUE`, `NULL`, `DATE '…'`,
/// `TIME '…'`, `TIMESTAMP '…'` and `INTERVAL '…'`. Fields of structs are written `column.field`. Names are as written; an
/// unquoted name that differs only in case from one column is that column.
///
/// # Errors
/// When the text is no such condition, a column is not there, or a literal does not fit its column's type.
pub fn parse_where(text: &str, schema: &Schema) -> Result<Predicate, WhereError> {
    let reader = Reader { text, schema };
    if text.len() > WHERE_BYTES_MAX {
        let message = format!("the condition has {} bytes; at most {WHERE_BYTES_MAX} are read", text.len());
        return Err(WhereError::new("", Span::empty(), message));
    }
    let mut tokens = Tokenizer::new(&GenericDialect {}, text)
        .tokenize_with_location()
        .map_err(|e| WhereError::new(text, Span { start: e.location, end: e.location }, e.message))?;
    tokens.retain(|t| !matches!(t.token, Token::Whitespace(_)));
    if tokens.is_empty() {
        return Err(WhereError::new(text, Span::empty(), "the condition is empty"));
    }
    let outline = outline(&tokens).map_err(|(span, message)| WhereError::new(text, span, message))?;
    reader.condition(&outline, &tokens)
}

struct Reader<'a> {
    text: &'a str,
    schema: &'a Schema,
}

impl Reader<'_> {
    fn error<T>(&self, span: Span, message: impl Into<String>) -> Result<T, WhereError> {
        Err(WhereError::new(self.text, span, message))
    }

    fn condition(&self, outline: &Outline, tokens: &[TokenWithSpan]) -> Result<Predicate, WhereError> {
        let each = |parts: &[Outline]| {
            parts.iter().map(|p| self.condition(p, tokens)).collect::<Result<Vec<_>, _>>()
        };
        Ok(match outline {
            Outline::All(parts) => Predicate::And(each(parts)?),
            Outline::Any(parts) => Predicate::Or(each(parts)?),
            Outline::Not(inner) => !self.condition(inner, tokens)?,
            Outline::Test(range) => self.predicate(self.test(range, tokens)?)?,
        })
    }

    /// Parses one test.
    fn test(&self, range: &Range<usize>, tokens: &[TokenWithSpan]) -> Result<Expr, WhereError> {
        // The test ends where the next token is, so that an error there has a place.
        let after = tokens.get(range.end);
        let end = TokenWithSpan::new(Token::EOF, after.map_or(Span::empty(), |t| t.span));
        let own = tokens[range.clone()].iter().cloned().chain([end]).collect();
        let dialect = GenericDialect {};
        let mut parser =
            Parser::new(&dialect).with_recursion_limit(DEPTH_MAX).with_tokens_with_locations(own);
        let parsed = parser.parse_expr();
        let rest = parser.peek_token();
        match parsed {
            Ok(expr) if rest.token == Token::EOF => Ok(expr),
            Ok(_) => {
                let message = format!("expected AND, OR or the end of the condition, found {}", rest.token);
                self.error(rest.span, message)
            }
            Err(error) => Err(self.syntax(&error, after)),
        }
    }

    /// A parser's error, whose place is only in its message. What it takes for the end is the token after the test.
    fn syntax(&self, error: &ParserError, after: Option<&TokenWithSpan>) -> WhereError {
        let message = match error {
            ParserError::TokenizerError(m) | ParserError::ParserError(m) => m.as_str(),
            ParserError::RecursionLimitExceeded => "the condition is nested too deep",
        };
        let (what, place) = message.rsplit_once(" at Line: ").unwrap_or((message, ""));
        let location = place.split_once(", Column: ").and_then(|(line, column)| {
            Some(Location { line: line.trim().parse().ok()?, column: column.trim().parse().ok()? })
        });
        let what = match what.strip_prefix("Expected: ").and_then(|w| w.rsplit_once(", found: ")) {
            Some((expected, "EOF")) => {
                let found = after.map_or("the end of the condition".to_owned(), |t| t.token.to_string());
                format!("expected {expected}, found {found}")
            }
            Some((expected, found)) => format!("expected {expected}, found {found}"),
            None => what.to_owned(),
        };
        let span = match (location, after) {
            (Some(at), Some(after)) if at == after.span.start => after.span,
            (Some(at), _) => Span { start: at, end: at },
            (None, _) => Span::empty(),
        };
        WhereError::new(self.text, span, what)
    }

    fn predicate(&self, expr: Expr) -> Result<Predicate, WhereError> {
        let span = expr.span();
        match expr {
            Expr::Nested(inner) => self.predicate(*inner),
            Expr::BinaryOp { left, op, right } => match comparison(&op) {
                Some(op) => self.comparison(*left, op, *right),
                None => self.error(span, format!("{op} can't be used in a condition")),
            },
            Expr::Value(value) => match value.value {
                Value::Boolean(value) => Ok(Predicate::Literal(Some(value))),
                Value::Null => Ok(Predicate::Literal(None)),
                other => self.error(span, format!("{other} alone is no condition; compare it with a column")),
            },
            Expr::Identifier(_) | Expr::CompoundIdentifier(_) => self.truth(&expr, true),
            Expr::IsTrue(e) => self.truth(&e, true),
            Expr::IsFalse(e) => self.truth(&e, false),
            Expr::IsNotTrue(e) => Ok(self.truth(&e, false)?.or(self.null(&e, false)?)),
            Expr::IsNotFalse(e) => Ok(self.truth(&e, true)?.or(self.null(&e, false)?)),
            Expr::IsNull(e) | Expr::IsUnknown(e) => self.null(&e, false),
            Expr::IsNotNull(e) | Expr::IsNotUnknown(e) => self.null(&e, true),
            Expr::Between { expr, negated, low, high } => {
                let column = self.column(&expr)?;
                let (low, high) = (self.literal(&low)?, self.literal(&high)?);
                self.checked(&expr, span, Predicate::Between { column, low, high, negated })
            }
            Expr::InList { expr, list, negated } => {
                let column = self.column(&expr)?;
                let values = list.iter().map(|e| self.literal(e)).collect::<Result<_, _>>()?;
                self.checked(&expr, span, Predicate::In { column, values, negated })
            }
            Expr::Like { negated, any: false, expr, pattern, escape_char } => {
                self.like(&expr, span, &pattern, escape_char.map(|e| e.value), negated, false)
            }
            Expr::ILike { negated, any: false, expr, pattern, escape_char } => {
                self.like(&expr, span, &pattern, escape_char.map(|e| e.value), negated, true)
            }
            _ => self.error(
                span,
                "not supported in a condition; there are =, <>, <, <=, >, >=, BETWEEN, IN, LIKE, ILIKE, IS NULL, AND, OR and NOT",
            ),
        }
    }

    fn comparison(&self, left: Expr, op: CmpOp, right: Expr) -> Result<Predicate, WhereError> {
        let span = left.span().union(&right.span());
        let (column, op, value) = match (is_column(&left), is_column(&right)) {
            (true, false) => (left, op, right),
            (false, true) => (right, op.flipped(), left),
            (true, true) => {
                let quoted = [&left, &right].into_iter().find_map(|e| self.text_in_double_quotes(e));
                if let Some(name) = quoted {
                    let text = name.value.replace('\'', "''");
                    let message =
                        format!("double quotes are for names of columns; text is written as '{text}'");
                    return self.error(name.span, message);
                }
                return self.error(span, "two columns can't be compared; one side must be a literal");
            }
            (false, false) => return self.error(span, "one side of a comparison must be a column"),
        };
        let (name, value) = (self.column(&column)?, self.literal(&value)?);
        self.checked(&column, span, Predicate::Compare { column: name, op, value })
    }

    fn like(
        &self,
        column: &Expr,
        span: Span,
        pattern: &Expr,
        escape: Option<Value>,
        negated: bool,
        case_insensitive: bool,
    ) -> Result<Predicate, WhereError> {
        let Literal::Text(pattern) = self.literal(pattern)? else {
            return self.error(pattern.span(), "a LIKE pattern is a text in single quotes");
        };
        let escape = match escape {
            None => Some('\\'),
            Some(Value::SingleQuotedString(c)) if c.chars().count() <= 1 => c.chars().next(),
            Some(other) => return self.error(span, format!("ESCAPE takes one character, not {other}")),
        };
        let name = self.column(column)?;
        self.checked(
            column,
            span,
            Predicate::Like { column: name, pattern, escape, negated, case_insensitive },
        )
    }

    /// A name in double quotes that no column has, which is likely meant to be text.
    fn text_in_double_quotes<'e>(&self, expr: &'e Expr) -> Option<&'e Ident> {
        match expr {
            Expr::Nested(inner) => self.text_in_double_quotes(inner),
            Expr::Identifier(name) => {
                (name.quote_style == Some('"') && self.schema.index_of(&name.value).is_err()).then_some(name)
            }
            _ => None,
        }
    }

    /// A boolean column that is, or is not, true.
    fn truth(&self, column: &Expr, value: bool) -> Result<Predicate, WhereError> {
        let name = self.column(column)?;
        let predicate = Predicate::Compare { column: name, op: CmpOp::Eq, value: Literal::Bool(value) };
        self.checked(column, column.span(), predicate)
    }

    fn null(&self, column: &Expr, negated: bool) -> Result<Predicate, WhereError> {
        let name = self.column(column)?;
        let predicate =
            if negated { Predicate::IsNotNull { column: name } } else { Predicate::IsNull { column: name } };
        self.checked(column, column.span(), predicate)
    }

    /// The same test, if it fits the schema. Binding one test at a time is what tells where an error lies.
    fn checked(&self, column: &Expr, span: Span, test: Predicate) -> Result<Predicate, WhereError> {
        match bind(&test, self.schema) {
            Ok(_) => Ok(test),
            Err(error @ FormatError::NoSuchColumn { .. }) => self.error(column.span(), error.to_string()),
            Err(FormatError::Invalid { detail, .. }) => self.error(span, detail),
            Err(error) => self.error(span, error.to_string()),
        }
    }

    /// The name or path of a column.
    fn column(&self, expr: &Expr) -> Result<String, WhereError> {
        match expr {
            Expr::Nested(inner) => self.column(inner),
            Expr::Identifier(name) => Ok(self.path(std::slice::from_ref(name))),
            Expr::CompoundIdentifier(parts) => Ok(self.path(parts)),
            other => {
                self.error(other.span(), "expected a column; functions and arithmetic are not supported here")
            }
        }
    }

    /// A path with the case that the schema has.
    fn path(&self, parts: &[Ident]) -> String {
        let mut fields = Some(self.schema.fields());
        let names = parts.iter().map(|part| {
            let field = fields.and_then(|fields| {
                let exact = fields.iter().find(|f| *f.name() == part.value);
                let mut near = fields.iter().filter(|f| f.name().eq_ignore_ascii_case(&part.value));
                exact.or_else(|| match (part.quote_style, near.next(), near.next()) {
                    (None, Some(only), None) => Some(only),
                    _ => None,
                })
            });
            fields = match field.map(|f| f.data_type()) {
                Some(DataType::Struct(children)) => Some(children),
                _ => None,
            };
            field.map_or(part.value.as_str(), |f| f.name())
        });
        names.collect::<Vec<_>>().join(".")
    }

    fn literal(&self, expr: &Expr) -> Result<Literal, WhereError> {
        let wrong = |e: FormatError| match e {
            FormatError::Invalid { detail, .. } => WhereError::new(self.text, expr.span(), detail),
            other => WhereError::new(self.text, expr.span(), other.to_string()),
        };
        let unknown =
            || self.error(expr.span(), "expected a literal, such as 5, 'text', DATE '2024-12-31' or NULL");
        match expr {
            Expr::Nested(inner) => self.literal(inner),
            Expr::Value(value) => match &value.value {
                Value::Number(text, _) => Ok(Literal::Number(text.clone())),
                Value::SingleQuotedString(text)
                | Value::EscapedStringLiteral(text)
                | Value::NationalStringLiteral(text) => Ok(Literal::Text(text.clone())),
                Value::HexStringLiteral(digits) => match bytes(digits) {
                    Some(bytes) => Ok(Literal::Bytes(bytes)),
                    None => self.error(expr.span(), "X'…' takes pairs of the digits 0-9 and A-F"),
                },
                Value::Boolean(value) => Ok(Literal::Bool(*value)),
                Value::Null => Ok(Literal::Null),
                _ => unknown(),
            },
            Expr::UnaryOp { op: op @ (UnaryOperator::Minus | UnaryOperator::Plus), expr: inner } => {
                match self.literal(inner)? {
                    Literal::Number(text) if op == &UnaryOperator::Plus => Ok(Literal::Number(text)),
                    Literal::Number(text) => Ok(Literal::Number(match text.strip_prefix('-') {
                        Some(positive) => positive.to_owned(),
                        None => format!("-{text}"),
                    })),
                    _ => self.error(expr.span(), format!("{op} needs a number")),
                }
            }
            Expr::TypedString(TypedString { data_type, value, .. }) => {
                match value.value.clone().into_string() {
                    Some(text) => self.typed(expr, data_type, &text)?.map_err(wrong),
                    None => unknown(),
                }
            }
            Expr::Cast { expr: inner, data_type, format: None, .. } => match self.literal(inner)? {
                Literal::Text(text) => self.typed(expr, data_type, &text)?.map_err(wrong),
                _ => unknown(),
            },
            Expr::Interval(Interval { value, leading_field, last_field: None, .. }) => {
                let (Literal::Text(amount) | Literal::Number(amount)) = self.literal(value)? else {
                    return unknown();
                };
                let unit = leading_field.as_ref().map_or(String::new(), |f| format!(" {f}"));
                Literal::interval(&format!("{amount}{unit}")).map_err(wrong)
            }
            _ => unknown(),
        }
    }

    fn typed(
        &self,
        expr: &Expr,
        data_type: &SqlType,
        text: &str,
    ) -> Result<Result<Literal, FormatError>, WhereError> {
        Ok(match data_type {
            SqlType::Date => Literal::date(text),
            SqlType::Time(..) => Literal::time(text),
            SqlType::Timestamp(..) | SqlType::Datetime(_) => Literal::timestamp(text),
            other => {
                let message = format!(
                    "literals of type {other} are not supported; there are DATE, TIME, TIMESTAMP and INTERVAL"
                );
                return self.error(expr.span(), message);
            }
        })
    }
}

fn comparison(op: &BinaryOperator) -> Option<CmpOp> {
    Some(match op {
        BinaryOperator::Eq => CmpOp::Eq,
        BinaryOperator::NotEq => CmpOp::NotEq,
        BinaryOperator::Lt => CmpOp::Lt,
        BinaryOperator::LtEq => CmpOp::LtEq,
        BinaryOperator::Gt => CmpOp::Gt,
        BinaryOperator::GtEq => CmpOp::GtEq,
        _ => return None,
    })
}

fn is_column(expr: &Expr) -> bool {
    match expr {
        Expr::Nested(inner) => is_column(inner),
        Expr::Identifier(_) | Expr::CompoundIdentifier(_) => true,
        _ => false,
    }
}

fn bytes(digits: &str) -> Option<Vec<u8>> {
    if !digits.is_ascii() || !digits.len().is_multiple_of(2) {
        return None;
    }
    (0..digits.len()).step_by(2).map(|i| u8::from_str_radix(&digits[i..i + 2], 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use arrow_schema::{Field, TimeUnit};

    use super::*;

    fn schema() -> Schema {
        let address = DataType::Struct(vec![Field::new("City", DataType::Utf8, true)].into());
        Schema::new(vec![
            Field::new("id", DataType::Int64, false),
            Field::new("price", DataType::Decimal128(10, 2), true),
            Field::new("name", DataType::Utf8, true),
            Field::new("Flag", DataType::Boolean, true),
            Field::new("day", DataType::Date32, true),
            Field::new("at", DataType::Timestamp(TimeUnit::Millisecond, None), true),
            Field::new("took", DataType::Duration(TimeUnit::Second), true),
            Field::new("hash", DataType::Binary, true),
            Field::new("address", address, true),
            Field::new("odd name", DataType::Int8, true),
        ])
    }

    #[test]
    fn conditions_are_read() {
        let cases = [
            ("id = 5", "id = 5"),
            ("5 >= id", "id <= 5"),
            ("id <> 5 and id != 6 and not id < -7", "id <> 5 AND id <> 6 AND NOT (id < -7)"),
            ("id < 5 OR (id > 7 AND price >= 1.50) OR TRUE", "id < 5 OR (id > 7 AND price >= 1.50) OR TRUE"),
            ("price between 1 and +2.5", "price BETWEEN 1 AND 2.5"),
            ("id not between 1 and 2", "id NOT BETWEEN 1 AND 2"),
            ("name in ('a', 'it''s', NULL)", "name IN ('a', 'it''s', NULL)"),
            ("name not in ('a')", "name NOT IN ('a')"),
            (
                "name like 'a%' and name not like '%!_x' escape '!'",
                "name LIKE 'a%' AND name NOT LIKE '%!_x' ESCAPE '!'",
            ),
            ("name ilike '%B%'", "name ILIKE '%B%'"),
            ("name is null or price is not null", "name IS NULL OR price IS NOT NULL"),
            ("flag", "Flag = TRUE"),
            ("not \"Flag\"", "NOT (Flag = TRUE)"),
            ("flag is not true", "Flag = FALSE OR Flag IS NULL"),
            ("day < date '1998-09-02'", "day < DATE '1998-09-02'"),
            ("day < '1998-09-02'", "day < '1998-09-02'"),
            ("day < cast('1998-09-02' as date)", "day < DATE '1998-09-02'"),
            ("at > timestamp '2024-01-01 12:00:00'", "at > TIMESTAMP '2024-01-01T12:00:00'"),
            ("hash = X'00ff'", "hash = X'00FF'"),
            ("address.city = 'Bonn'", "address.City = 'Bonn'"),
            ("\"odd name\" = 1", "\"odd name\" = 1"),
            ("(((id))) = ((5))", "id = 5"),
            ("(id = 5) AND ((flag) OR (id) IN (1))", "id = 5 AND (Flag = TRUE OR id IN (1))"),
            ("not (id) between (1) and 2 and flag", "NOT (id BETWEEN 1 AND 2) AND Flag = TRUE"),
            ("not not flag -- twice\n", "NOT (NOT (Flag = TRUE))"),
            ("NULL", "NULL"),
        ];
        for (text, expected) in cases {
            assert_eq!(
                parse_where(text, &schema()).map(|p| p.to_string()),
                Ok(expected.to_owned()),
                "{text}"
            );
        }
        assert!(parse_where("took > interval '1 day'", &schema()).is_ok());
        assert!(parse_where("took > interval '90' minute", &schema()).is_ok());
    }

    #[test]
    fn what_is_printed_is_read_again() {
        for text in [
            "NOT (id = 5 AND name LIKE 'a\\%b')",
            "day <= DATE '1998-09-02' OR id IN (1, 2)",
            "hash = X'00FF'",
        ] {
            let once = parse_where(text, &schema()).unwrap();
            assert_eq!(parse_where(&once.to_string(), &schema()).unwrap(), once);
        }
    }

    #[test]
    fn errors_point_at_their_place() {
        let cases = [
            ("nmae = 'x'", "no column named \"nmae\"; did you mean \"name\"?", "nmae"),
            ("id = 5 AND Price2 = 1", "no column named \"Price2\"; did you mean \"price\"?", "Price2"),
            ("id = 'five'", "'five' is not a number", "id = 'five'"),
            ("id = 5 name", "expected AND, OR or the end", "name"),
            ("id + 1 = 5", "one side of a comparison must be a column", "id + 1 = 5"),
            ("id = price", "two columns can't be compared", "id = price"),
            ("name = upper('x')", "expected a literal", "upper('x'"),
            ("hash = X'0G'", "pairs of the digits", "X'0G'"),
            ("day = date '2024-02-30'", "is not a date", "'2024-02-30'"),
            ("'x'", "alone is no condition", "'x'"),
            ("id = 1 AND (price = 2", "this parenthesis is not closed", "("),
            ("id = 1) AND price = 2", "closes none", ")"),
            ("id = 1 OR AND price = 2", "found AND", "AND"),
            ("name = \"bob\"", "text is written as 'bob'", "\"bob\""),
            ("(id = )", "expected an expression, found )", ")"),
            ("id BETWEEN 1 OR id = 5", "found OR", "OR"),
        ];
        for (text, message, place) in cases {
            let error = parse_where(text, &schema()).unwrap_err();
            assert!(error.message().contains(message), "{text}: {error}");
            let found: String = text.chars().skip(error.start).take(error.len).collect();
            assert!(found.starts_with(place.chars().next().unwrap()), "{text}: points at {found:?}\n{error}");
        }
        assert_eq!(parse_where(" ", &schema()).unwrap_err().to_string(), "the condition is empty");
        let end = parse_where("id =", &schema()).unwrap_err();
        assert_eq!(end.start, 4, "{end}");
        let second = parse_where("id = 1\n\tAND nmae = 2", &schema()).unwrap_err();
        assert!(second.to_string().ends_with("  | \tAND nmae = 2\n  | \t    ^^^^"), "{second}");
    }

    #[test]
    fn long_conditions_are_read() {
        let terms = |n: usize, word: &str| {
            (0..n)
                .map(|i| format!("address.city = 'the city of number {i:028}'"))
                .collect::<Vec<_>>()
                .join(word)
        };
        let any = terms(20_000, " OR ");
        assert!(any.len() > 1 << 20);
        for (text, is_any) in
            [(any.clone(), true), (terms(20_000, " AND "), false), (format!("((({any})))"), true)]
        {
            match (parse_where(&text, &schema()).unwrap(), is_any) {
                (Predicate::Or(parts), true) | (Predicate::And(parts), false) => {
                    assert_eq!(parts.len(), 20_000);
                }
                (other, _) => panic!("{}", other.to_string().chars().take(200).collect::<String>()),
            }
        }
        let negated = parse_where(&format!("NOT ({any})"), &schema()).unwrap();
        assert!(bind(&negated, &schema()).is_ok());
        let list = (0..20_000).map(|i| format!("{i:050}")).collect::<Vec<_>>().join(", ");
        for text in [format!("id IN ({list})"), format!("id NOT IN ({})", list.replace(", ", ", -"))] {
            let Predicate::In { values, .. } = parse_where(&text, &schema()).unwrap() else { panic!() };
            assert_eq!(values.len(), 20_000);
        }
        let dates = vec!["CAST('2024-12-31' AS DATE)"; 20_000].join(",");
        assert!(parse_where(&format!("day IN ({dates})"), &schema()).is_ok());
        let mixed = (0..20_000).map(|i| format!("(id > {i} AND NOT price BETWEEN 1 AND {i})"));
        assert!(parse_where(&mixed.collect::<Vec<_>>().join(" OR "), &schema()).is_ok());
    }

    #[test]
    fn deep_and_endless_conditions_are_errors() {
        let nest = |n: usize| format!("{}id = 1{}", "(".repeat(n), ")".repeat(n));
        assert_eq!(parse_where(&nest(DEPTH_MAX), &schema()).unwrap().to_string(), "id = 1");
        let error = parse_where(&nest(DEPTH_MAX + 1), &schema()).unwrap_err();
        assert!(error.message().contains("nested deeper than 100 levels"), "{error}");
        let n = 100_000;
        for text in [
            nest(n),
            format!("{}id = 1", "NOT ".repeat(n)),
            format!("{}id = 1", "(id = 2 OR ".repeat(n)) + &")".repeat(n),
            format!("id = {}1", "-".repeat(n)),
            format!("id = {}1", "- ".repeat(n)),
            format!("id = {}1{}", "(".repeat(n), ")".repeat(n)),
            format!("id{} = 1", "+1".repeat(n)),
            format!("id{}", " IN (1,1)".repeat(n)),
            format!("id{}", " IS NULL".repeat(n)),
            format!("id = 1{}", "::int".repeat(n)),
            format!("id IN (1{}", ",(1".repeat(n)) + &")".repeat(n + 1),
            "(".repeat(n),
            ")".repeat(n),
            "x".repeat(WHERE_BYTES_MAX + 1),
            String::new(),
        ] {
            let error = parse_where(&text, &schema()).unwrap_err().to_string();
            assert!(error.len() < 1000, "{}", error.len());
        }
    }
}
