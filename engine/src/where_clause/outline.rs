//! The outline of a condition: AND, OR, NOT and parentheses, found in its tokens before any test is parsed.
//!
//! An SQL parser nests `a OR b OR c …` to the left, one level a term, and every walk over that tree, its destruction included, recurses
//! as deep. Here a chain of any length is one level, so that only parentheses and NOT count as depth.

use std::ops::Range;

use sqlparser::keywords::Keyword;
use sqlparser::tokenizer::{Span, Token, TokenWithSpan};

/// Deepest nesting of parentheses and NOT.
pub(super) const DEPTH_MAX: usize = 100;
/// Most tokens of one test, not counting the elements of its lists. What a parser nests within a test is bounded by this.
const TEST_TOKENS_MAX: usize = 200;
/// Tokens that an element of a list may have without counting: `CAST('2024-12-31' AS DATE)` has six.
const ELEMENT_TOKENS: usize = 8;

/// What a condition is made of. Tests are ranges of tokens.
#[derive(Debug)]
pub(super) enum Outline {
    All(Vec<Outline>),
    Any(Vec<Outline>),
    Not(Box<Outline>),
    Test(Range<usize>),
}

/// A message and its place.
pub(super) type Misplaced = (Span, String);

/// The outline of tokens without white space.
pub(super) fn outline(tokens: &[TokenWithSpan]) -> Result<Outline, Misplaced> {
    let mut outliner = Outliner { tokens, closing: closing(tokens)?, at: 0 };
    let outline = outliner.any(0)?;
    match outliner.tokens.get(outliner.at) {
        None => Ok(outline),
        Some(rest) => Err((rest.span, "this parenthesis closes none".to_owned())),
    }
}

/// For each opening parenthesis the position of the one that closes it.
fn closing(tokens: &[TokenWithSpan]) -> Result<Vec<usize>, Misplaced> {
    let (mut closing, mut open) = (vec![0; tokens.len()], Vec::new());
    for (i, token) in tokens.iter().enumerate() {
        match token.token {
            Token::LParen => open.push(i),
            // One that closes none ends the outline, which says so.
            Token::RParen => {
                if let Some(start) = open.pop() {
                    closing[start] = i;
                }
            }
            _ => {}
        }
    }
    match open.first() {
        None => Ok(closing),
        Some(&start) => Err((tokens[start].span, "this parenthesis is not closed".to_owned())),
    }
}

struct Outliner<'t> {
    tokens: &'t [TokenWithSpan],
    closing: Vec<usize>,
    at: usize,
}

impl Outliner<'_> {
    fn keyword(&self, at: usize) -> Option<Keyword> {
        match &self.tokens.get(at)?.token {
            Token::Word(word) => Some(word.keyword),
            _ => None,
        }
    }

    fn accept(&mut self, keyword: Keyword) -> bool {
        let there = self.keyword(self.at) == Some(keyword);
        self.at += usize::from(there);
        there
    }

    fn any(&mut self, depth: usize) -> Result<Outline, Misplaced> {
        let first = self.all(depth)?;
        if self.keyword(self.at) != Some(Keyword::OR) {
            return Ok(first);
        }
        let mut parts = vec![first];
        while self.accept(Keyword::OR) {
            parts.push(self.all(depth)?);
        }
        Ok(Outline::Any(parts))
    }

    fn all(&mut self, depth: usize) -> Result<Outline, Misplaced> {
        let first = self.operand(depth)?;
        if self.keyword(self.at) != Some(Keyword::AND) {
            return Ok(first);
        }
        let mut parts = vec![first];
        while self.accept(Keyword::AND) {
            parts.push(self.operand(depth)?);
        }
        Ok(Outline::All(parts))
    }

    fn operand(&mut self, depth: usize) -> Result<Outline, Misplaced> {
        if depth > DEPTH_MAX {
            let span = self.tokens.get(self.at).map_or(Span::empty(), |t| t.span);
            return Err((span, format!("nested deeper than {DEPTH_MAX} levels of parentheses and NOT")));
        }
        if self.accept(Keyword::NOT) {
            return Ok(Outline::Not(Box::new(self.operand(depth + 1)?)));
        }
        if self.tokens.get(self.at).is_some_and(|t| t.token == Token::LParen) {
            let close = self.closing[self.at];
            // `(a) = 5` and `(1 + 2) < a` are tests; parentheses around conditions are followed by nothing else than this.
            if self.ends_test(close + 1) {
                self.at += 1;
                let inner = self.any(depth + 1)?;
                // Whatever the parentheses hold ends at the closing one, since each test ends there.
                self.at = close + 1;
                return Ok(inner);
            }
        }
        self.test()
    }

    fn ends_test(&self, at: usize) -> bool {
        self.tokens.get(at).is_none_or(|t| t.token == Token::RParen)
            || matches!(self.keyword(at), Some(Keyword::AND | Keyword::OR))
    }

    /// The tokens up to the next AND or OR that is not inside parentheses and not BETWEEN's.
    fn test(&mut self) -> Result<Outline, Misplaced> {
        let start = self.at;
        let (mut depth, mut between, mut counted) = (0_usize, false, 0);
        // Of the list's element that is being read: the depth it lies in and the tokens it still has free.
        let mut element = (0, 0);
        while let Some(TokenWithSpan { token, span }) = self.tokens.get(self.at) {
            if depth == 0 && self.ends_test(self.at) {
                if !(between && self.keyword(self.at) == Some(Keyword::AND)) {
                    break;
                }
                between = false;
            }
            match token {
                Token::LParen => depth += 1,
                Token::RParen => {
                    depth -= 1;
                    if depth < element.0 {
                        element = (0, 0);
                    }
                }
                Token::Comma if depth > 0 => element = (depth, ELEMENT_TOKENS + 1),
                Token::Word(word) if depth == 0 && word.keyword == Keyword::BETWEEN => between = true,
                _ => {}
            }
            if element.1 > 0 {
                element.1 -= 1;
            } else {
                counted += 1;
            }
            if counted > TEST_TOKENS_MAX {
                return Err((
                    *span,
                    format!("too long for one test: more than {TEST_TOKENS_MAX} words and signs"),
                ));
            }
            self.at += 1;
        }
        Ok(Outline::Test(start..self.at))
    }
}
