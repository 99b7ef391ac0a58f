//! `LIKE` patterns: `%` is any run of characters, `_` is one character, an escape makes the next character ordinary.
//!
//! A pattern is cut at its `%` into segments. The first is anchored at the start and the last at the end of the value (unless
//! a `%` stands there); those between are found left to right, each at its first occurrence after the one before. As every
//! segment has a fixed number of characters, the leftmost occurrence also ends leftmost, so no backtracking is needed.

/// A pattern, by the cheapest way to test it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LikePattern {
    /// No wildcard: the value is this.
    Exact(Vec<u8>),
    /// `abc%`.
    Prefix(Vec<u8>),
    /// `%abc`.
    Suffix(Vec<u8>),
    /// `%abc%`; empty for `%`, which is true of every value.
    Contains(Vec<u8>),
    /// Anything else.
    General(GeneralPattern),
}

/// A pattern with `_`, or with `%` between parts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GeneralPattern {
    /// Never empty: one segment more than there are `%`.
    segments: Vec<Vec<Token>>,
    /// Whether `_` is a UTF-8 character (text) or a byte (binary).
    chars: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    Bytes(Vec<u8>),
    One,
}

impl LikePattern {
    /// Reads a pattern. With an `escape`, the character after it stands for itself; an escape at the very end stands for
    /// itself too. `chars` says whether `_` is one UTF-8 character (text columns) or one byte (binary columns).
    pub fn parse(pattern: &str, escape: Option<char>, chars: bool) -> Self {
        let mut segments = vec![Vec::new()];
        let mut rest = pattern.chars().peekable();
        while let Some(c) = rest.next() {
            let (c, escaped) = match rest.peek() {
                Some(&next) if Some(c) == escape => {
                    rest.next();
                    (next, true)
                }
                _ => (c, false),
            };
            match c {
                // A second `%` in a row adds nothing.
                '%' if !escaped => {
                    if segments.len() == 1 || segments.last().is_some_and(|s| !s.is_empty()) {
                        segments.push(Vec::new());
                    }
                }
                '_' if !escaped => push(&mut segments, Token::One),
                c => push(&mut segments, Token::Bytes(c.to_string().into_bytes())),
            }
        }
        Self::classify(GeneralPattern { segments, chars })
    }

    fn classify(general: GeneralPattern) -> Self {
        let plain: Option<Vec<&[u8]>> = general
            .segments
            .iter()
            .map(|s| match s.as_slice() {
                [] => Some(&[][..]),
                [Token::Bytes(b)] => Some(b.as_slice()),
                _ => None,
            })
            .collect();
        match plain.as_deref() {
            Some([all]) => Self::Exact(all.to_vec()),
            Some([b"", b""]) => Self::Contains(Vec::new()),
            Some([prefix, b""]) => Self::Prefix(prefix.to_vec()),
            Some([b"", suffix]) => Self::Suffix(suffix.to_vec()),
            Some([b"", needle, b""]) => Self::Contains(needle.to_vec()),
            _ => Self::General(general),
        }
    }

    /// Whether the value fits the pattern.
    pub fn matches(&self, v: &[u8]) -> bool {
        match self {
            Self::Exact(all) => v == all,
            Self::Prefix(prefix) => v.starts_with(prefix),
            Self::Suffix(suffix) => v.ends_with(suffix),
            Self::Contains(needle) => memchr::memmem::find(v, needle).is_some(),
            Self::General(general) => general.matches(v),
        }
    }

    /// Bytes that every value that fits starts with; empty when there are none.
    pub fn prefix(&self) -> &[u8] {
        match self {
            Self::Exact(p) | Self::Prefix(p) => p,
            Self::Suffix(_) | Self::Contains(_) => &[],
            Self::General(g) => match g.segments[0].first() {
                Some(Token::Bytes(b)) => b,
                _ => &[],
            },
        }
    }

    /// The longest run of bytes that every value that fits contains: a cheap test before the whole one.
    pub fn required(&self) -> &[u8] {
        match self {
            Self::Exact(b) | Self::Prefix(b) | Self::Suffix(b) | Self::Contains(b) => b,
            Self::General(g) => {
                let runs = g.segments.iter().flatten().filter_map(|t| match t {
                    Token::Bytes(b) => Some(b.as_slice()),
                    Token::One => None,
                });
                runs.max_by_key(|b| b.len()).unwrap_or_default()
            }
        }
    }
}

fn push(segments: &mut [Vec<Token>], token: Token) {
    let Some(segment) = segments.last_mut() else { return };
    match (segment.last_mut(), token) {
        (Some(Token::Bytes(run)), Token::Bytes(more)) => run.extend_from_slice(&more),
        (_, token) => segment.push(token),
    }
}

impl std::fmt::Display for GeneralPattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("'")?;
        for (i, segment) in self.segments.iter().enumerate() {
            f.write_str(if i > 0 { "%" } else { "" })?;
            for token in segment {
                match token {
                    Token::One => f.write_str("_")?,
                    Token::Bytes(b) => {
                        let text = String::from_utf8_lossy(b).replace('\\', "\\\\").replace('\'', "''");
                        f.write_str(&text.replace('%', "\\%").replace('_', "\\_"))?;
                    }
                }
            }
        }
        f.write_str("'")
    }
}

impl GeneralPattern {
    fn matches(&self, v: &[u8]) -> bool {
        let Some((first, rest)) = self.segments.split_first() else { return v.is_empty() };
        let Some(mut at) = self.segment_at(first, v, 0) else { return false };
        let Some((last, middle)) = rest.split_last() else { return at == v.len() };
        for segment in middle {
            match self.find(segment, v, at) {
                Some(end) => at = end,
                None => return false,
            }
        }
        self.ends_with(last, v, at)
    }

    /// Where the segment ends if it stands at `at`.
    fn segment_at(&self, segment: &[Token], v: &[u8], mut at: usize) -> Option<usize> {
        for token in segment {
            at += match token {
                Token::Bytes(b) => v[at..].starts_with(b).then_some(b.len())?,
                Token::One => self.step(v, at)?,
            };
        }
        Some(at)
    }

    /// Where the segment's first occurrence at or after `at` ends.
    fn find(&self, segment: &[Token], v: &[u8], mut at: usize) -> Option<usize> {
        if let Some(Token::Bytes(head)) = segment.first() {
            let finder = memchr::memmem::Finder::new(head);
            loop {
                let start = at + finder.find(&v[at..])?;
                if let Some(end) = self.segment_at(segment, v, start) {
                    return Some(end);
                }
                at = start + 1;
            }
        }
        loop {
            if let Some(end) = self.segment_at(segment, v, at) {
                return Some(end);
            }
            at += self.step(v, at)?;
        }
    }

    /// Whether the segment stands at the end, starting at `from` or later.
    fn ends_with(&self, segment: &[Token], v: &[u8], from: usize) -> bool {
        let mut end = v.len();
        for token in segment.iter().rev() {
            let back = match token {
                Token::Bytes(b) if v[from..end].ends_with(b) => b.len(),
                Token::Bytes(_) => return false,
                Token::One => match self.step_back(&v[from..end]) {
                    Some(n) => n,
                    None => return false,
                },
            };
            end -= back;
        }
        true
    }

    /// Length of the character at `at`.
    fn step(&self, v: &[u8], at: usize) -> Option<usize> {
        let first = *v.get(at)?;
        let len = match first {
            _ if !self.chars => 1,
            0..=0xbf => 1,
            0xc0..=0xdf => 2,
            0xe0..=0xef => 3,
            0xf0..=0xff => 4,
        };
        Some(len.min(v.len() - at))
    }

    /// Length of the last character.
    fn step_back(&self, v: &[u8]) -> Option<usize> {
        if v.is_empty() {
            return None;
        }
        if !self.chars {
            return Some(1);
        }
        let tail = v.iter().rev().take_while(|b| (0x80..0xc0).contains(*b)).count();
        Some((tail + 1).min(v.len()))
    }
}

#[cfg(test)]
mod tests {
    use arrow_array::{Scalar, StringArray};
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn patterns_are_classified() {
        let parse = |p| LikePattern::parse(p, Some('\\'), true);
        assert_eq!(parse("abc"), LikePattern::Exact(b"abc".to_vec()));
        assert_eq!(parse(""), LikePattern::Exact(Vec::new()));
        assert_eq!(parse("abc%%"), LikePattern::Prefix(b"abc".to_vec()));
        assert_eq!(parse("%abc"), LikePattern::Suffix(b"abc".to_vec()));
        assert_eq!(parse("%%a\\%c%"), LikePattern::Contains(b"a%c".to_vec()));
        assert_eq!(parse("%"), LikePattern::Contains(Vec::new()));
        assert!(matches!(parse("a_c"), LikePattern::General(_)));
        assert_eq!(parse("ab_c%d").prefix(), b"ab");
        assert_eq!(parse("ab_cde%d").required(), b"cde");
        assert_eq!(LikePattern::parse("a!%", Some('!'), true), LikePattern::Exact(b"a%".to_vec()));
        assert_eq!(LikePattern::parse("a\\", None, true), LikePattern::Exact(b"a\\".to_vec()));
    }

    #[test]
    fn one_is_a_character_in_text_and_a_byte_in_binary() {
        assert!(LikePattern::parse("_x", None, true).matches("äx".as_bytes()));
        assert!(!LikePattern::parse("_x", None, false).matches("äx".as_bytes()));
        assert!(LikePattern::parse("__x", None, false).matches("äx".as_bytes()));
        assert!(LikePattern::parse("%_", None, true).matches("€".as_bytes()));
        assert!(!LikePattern::parse("%__", None, true).matches("€".as_bytes()));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        #[test]
        fn like_is_arrows_like(pattern in "[ab%_ä\\\\]{0,7}", value in "[abä%_\\\\]{0,9}") {
            let ours = LikePattern::parse(&pattern, Some('\\'), true).matches(value.as_bytes());
            let theirs = arrow_string::like::like(
                &StringArray::from(vec![value.as_str()]),
                &Scalar::new(StringArray::from(vec![pattern.as_str()])),
            ).unwrap().value(0);
            prop_assert_eq!(ours, theirs, "{:?} like {:?}", value, pattern);
        }
    }
}
