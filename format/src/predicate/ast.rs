//! Conditions as people write them: names, literals and SQL's operators, not yet tied to a schema.

use std::fmt;

use super::literal::Literal;

/// A condition over the columns of a table, with SQL's three-valued logic: a row is selected where it is true, not where it is
/// false or NULL.
///
/// Built by [`col`] and printed as SQL.
///
/// ```
/// use deltalite_format::predicate::col;
///
/// let p = col("price").lt(10.5).and(col("name").like("A%").or(col("note").is_null()));
/// assert_eq!(p.to_string(), "price < 10.5 AND (name LIKE 'A%' OR note IS NULL)");
/// ```
#[derive(Debug, Clone, PartialEq)]
pub enum Predicate {
    /// All of them; true without any.
    And(Vec<Predicate>),
    /// Any of them; false without any.
    Or(Vec<Predicate>),
    /// The inverse; NULL stays NULL.
    Not(Box<Predicate>),
    /// `column op value`.
    Compare {
        /// Name, or dotted path to a field of a struct.
        column: String,
        /// The operator.
        op: CmpOp,
        /// The right side.
        value: Literal,
    },
    /// `column [NOT] BETWEEN low AND high`, both ends included.
    Between {
        /// Name or path.
        column: String,
        /// Lower end.
        low: Literal,
        /// Upper end.
        high: Literal,
        /// Whether it says NOT.
        negated: bool,
    },
    /// `column [NOT] IN (values)`.
    In {
        /// Name or path.
        column: String,
        /// The list.
        values: Vec<Literal>,
        /// Whether it says NOT.
        negated: bool,
    },
    /// `column IS NULL`.
    IsNull {
        /// Name or path.
        column: String,
    },
    /// `column IS NOT NULL`.
    IsNotNull {
        /// Name or path.
        column: String,
    },
    /// `column [NOT] LIKE pattern`, or `ILIKE`.
    Like {
        /// Name or path.
        column: String,
        /// The pattern: `%` any run of characters, `_` one.
        pattern: String,
        /// The character that makes the next one ordinary.
        escape: Option<char>,
        /// Whether it says NOT.
        negated: bool,
        /// Whether it says ILIKE.
        case_insensitive: bool,
    },
    /// TRUE, FALSE or NULL.
    Literal(Option<bool>),
}

/// A comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CmpOp {
    /// `=`
    Eq,
    /// `<>`
    NotEq,
    /// `<`
    Lt,
    /// `<=`
    LtEq,
    /// `>`
    Gt,
    /// `>=`
    GtEq,
}

impl CmpOp {
    /// The operator that is true where this one is false (of values that are not null).
    #[must_use]
    pub fn inverted(self) -> Self {
        match self {
            Self::Eq => Self::NotEq,
            Self::NotEq => Self::Eq,
            Self::Lt => Self::GtEq,
            Self::LtEq => Self::Gt,
            Self::Gt => Self::LtEq,
            Self::GtEq => Self::Lt,
        }
    }

    /// The operator with its sides exchanged: `5 < a` is `a > 5`.
    #[must_use]
    pub fn flipped(self) -> Self {
        match self {
            Self::Eq | Self::NotEq => self,
            Self::Lt => Self::Gt,
            Self::LtEq => Self::GtEq,
            Self::Gt => Self::Lt,
            Self::GtEq => Self::LtEq,
        }
    }
}

impl fmt::Display for CmpOp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Eq => "=",
            Self::NotEq => "<>",
            Self::Lt => "<",
            Self::LtEq => "<=",
            Self::Gt => ">",
            Self::GtEq => ">=",
        })
    }
}

/// A column to build a condition on; see [`col`].
#[derive(Debug, Clone)]
pub struct Column(String);

/// The column of this name, or the field of a struct by its dotted path (`address.city`).
pub fn col(name: impl Into<String>) -> Column {
    Column(name.into())
}

/// A literal; for use where `impl Into<Literal>` can't infer one.
pub fn lit(value: impl Into<Literal>) -> Literal {
    value.into()
}

impl Column {
    fn compare(self, op: CmpOp, value: impl Into<Literal>) -> Predicate {
        Predicate::Compare { column: self.0, op, value: value.into() }
    }

    /// `column = value`
    pub fn eq(self, value: impl Into<Literal>) -> Predicate {
        self.compare(CmpOp::Eq, value)
    }

    /// `column <> value`
    pub fn not_eq(self, value: impl Into<Literal>) -> Predicate {
        self.compare(CmpOp::NotEq, value)
    }

    /// `column < value`
    pub fn lt(self, value: impl Into<Literal>) -> Predicate {
        self.compare(CmpOp::Lt, value)
    }

    /// `column <= value`
    pub fn lt_eq(self, value: impl Into<Literal>) -> Predicate {
        self.compare(CmpOp::LtEq, value)
    }

    /// `column > value`
    pub fn gt(self, value: impl Into<Literal>) -> Predicate {
        self.compare(CmpOp::Gt, value)
    }

    /// `column >= value`
    pub fn gt_eq(self, value: impl Into<Literal>) -> Predicate {
        self.compare(CmpOp::GtEq, value)
    }

    /// `column BETWEEN low AND high`
    pub fn between(self, low: impl Into<Literal>, high: impl Into<Literal>) -> Predicate {
        Predicate::Between { column: self.0, low: low.into(), high: high.into(), negated: false }
    }

    /// `column NOT BETWEEN low AND high`
    pub fn not_between(self, low: impl Into<Literal>, high: impl Into<Literal>) -> Predicate {
        Predicate::Between { column: self.0, low: low.into(), high: high.into(), negated: true }
    }

    /// `column IN (values)`
    pub fn is_in<L: Into<Literal>>(self, values: impl IntoIterator<Item = L>) -> Predicate {
        Predicate::In { column: self.0, values: values.into_iter().map(Into::into).collect(), negated: false }
    }

    /// `column NOT IN (values)`
    pub fn not_in<L: Into<Literal>>(self, values: impl IntoIterator<Item = L>) -> Predicate {
        Predicate::In { column: self.0, values: values.into_iter().map(Into::into).collect(), negated: true }
    }

    /// `column IS NULL`
    pub fn is_null(self) -> Predicate {
        Predicate::IsNull { column: self.0 }
    }

    /// `column IS NOT NULL`
    pub fn is_not_null(self) -> Predicate {
        Predicate::IsNotNull { column: self.0 }
    }

    fn matching(self, pattern: impl Into<String>, negated: bool, case_insensitive: bool) -> Predicate {
        Predicate::Like {
            column: self.0,
            pattern: pattern.into(),
            escape: Some('\\'),
            negated,
            case_insensitive,
        }
    }

    /// `column LIKE pattern`, with `\` as the escape.
    pub fn like(self, pattern: impl Into<String>) -> Predicate {
        self.matching(pattern, false, false)
    }

    /// `column NOT LIKE pattern`, with `\` as the escape.
    pub fn not_like(self, pattern: impl Into<String>) -> Predicate {
        self.matching(pattern, true, false)
    }

    /// `column ILIKE pattern`: `LIKE` that ignores case, with `\` as the escape.
    pub fn ilike(self, pattern: impl Into<String>) -> Predicate {
        self.matching(pattern, false, true)
    }
}

impl Predicate {
    /// `self AND other`
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        match self {
            Self::And(mut all) => {
                all.push(other);
                Self::And(all)
            }
            first => Self::And(vec![first, other]),
        }
    }

    /// `self OR other`
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        match self {
            Self::Or(mut any) => {
                any.push(other);
                Self::Or(any)
            }
            first => Self::Or(vec![first, other]),
        }
    }

    /// Names and paths of the columns it mentions, each once, in order of appearance.
    pub fn columns(&self) -> Vec<&str> {
        let mut names = Vec::new();
        self.collect_columns(&mut names);
        names
    }

    fn collect_columns<'a>(&'a self, names: &mut Vec<&'a str>) {
        match self {
            Self::And(parts) | Self::Or(parts) => parts.iter().for_each(|p| p.collect_columns(names)),
            Self::Not(inner) => inner.collect_columns(names),
            Self::Compare { column, .. }
            | Self::Between { column, .. }
            | Self::In { column, .. }
            | Self::IsNull { column }
            | Self::IsNotNull { column }
            | Self::Like { column, .. } => {
                if !names.contains(&column.as_str()) {
                    names.push(column);
                }
            }
            Self::Literal(_) => {}
        }
    }
}

impl std::ops::Not for Predicate {
    type Output = Self;

    fn not(self) -> Self {
        Self::Not(Box::new(self))
    }
}

/// A name as SQL writes it: quoted where it is not a plain identifier or a path of them.
struct Name<'a>(&'a str);

impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plain = |part: &str| {
            part.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
                && part.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        };
        if self.0.split('.').all(plain) {
            f.write_str(self.0)
        } else {
            write!(f, "\"{}\"", self.0.replace('"', "\"\""))
        }
    }
}

impl fmt::Display for Predicate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let not = |negated: bool| if negated { "NOT " } else { "" };
        match self {
            Self::And(parts) if parts.is_empty() => f.write_str("TRUE"),
            Self::Or(parts) if parts.is_empty() => f.write_str("FALSE"),
            Self::And(parts) | Self::Or(parts) => {
                let word = if matches!(self, Self::And(_)) { " AND " } else { " OR " };
                for (i, part) in parts.iter().enumerate() {
                    if i > 0 {
                        f.write_str(word)?;
                    }
                    match part {
                        Self::And(_) | Self::Or(_) => write!(f, "({part})")?,
                        _ => write!(f, "{part}")?,
                    }
                }
                Ok(())
            }
            Self::Not(inner) => write!(f, "NOT ({inner})"),
            Self::Compare { column, op, value } => write!(f, "{} {op} {value}", Name(column)),
            Self::Between { column, low, high, negated } => {
                write!(f, "{} {}BETWEEN {low} AND {high}", Name(column), not(*negated))
            }
            Self::In { column, values, negated } => {
                write!(f, "{} {}IN (", Name(column), not(*negated))?;
                for (i, value) in values.iter().enumerate() {
                    write!(f, "{}{value}", if i > 0 { ", " } else { "" })?;
                }
                f.write_str(")")
            }
            Self::IsNull { column } => write!(f, "{} IS NULL", Name(column)),
            Self::IsNotNull { column } => write!(f, "{} IS NOT NULL", Name(column)),
            Self::Like { column, pattern, escape, negated, case_insensitive } => {
                let word = if *case_insensitive { "ILIKE" } else { "LIKE" };
                write!(f, "{} {}{word} '{}'", Name(column), not(*negated), pattern.replace('\'', "''"))?;
                match escape {
                    Some('\\') => Ok(()),
                    Some('\'') => f.write_str(" ESCAPE ''''"),
                    Some(c) => write!(f, " ESCAPE '{c}'"),
                    None => f.write_str(" ESCAPE ''"),
                }
            }
            Self::Literal(Some(true)) => f.write_str("TRUE"),
            Self::Literal(Some(false)) => f.write_str("FALSE"),
            Self::Literal(None) => f.write_str("NULL"),
        }
    }
}
