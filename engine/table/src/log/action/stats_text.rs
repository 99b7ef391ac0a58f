//! Statistics of an add, as text.
//!
//! They are JSON in a JSON string, every quote of it escaped, and nobody reads most of them: so they are kept as they stood in the line.
//! A text with any escape but `\"` is not, and neither are control characters, which a parser refuses.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

const STEP: usize = 64;

/// Statistics as JSON, not parsed; possibly as they stood in a line, with each quote behind a backslash.
#[derive(Clone)]
pub struct StatsText(Form);

#[derive(Clone)]
enum Form {
    Plain(Box<str>),
    Quoted(Box<str>),
}

impl StatsText {
    /// A text as it stood in a line, in which nothing but quotes is escaped.
    pub(super) fn quoted(text: &str) -> Self {
        Self(Form::Quoted(text.into()))
    }

    /// The JSON.
    pub fn text(&self) -> Cow<'_, str> {
        match &self.0 {
            Form::Plain(text) => Cow::Borrowed(text),
            Form::Quoted(text) => Cow::Owned(text.replace("\\\"", "\"")),
        }
    }
}

impl<T: Into<Box<str>>> From<T> for StatsText {
    fn from(text: T) -> Self {
        Self(Form::Plain(text.into()))
    }
}

impl PartialEq for StatsText {
    fn eq(&self, other: &Self) -> bool {
        self.text() == other.text()
    }
}

impl fmt::Debug for StatsText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.text().fmt(f)
    }
}

impl Serialize for StatsText {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text())
    }
}

impl<'de> Deserialize<'de> for StatsText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Box::<str>::deserialize(deserializer).map(Self::from)
    }
}

/// Bytes before the quote that ends a text which begins at `start`; `None` if something else than quotes is escaped in it.
pub(super) fn end_of_text(line: &[u8], start: usize) -> Option<usize> {
    let stops = |at: usize| {
        let (before, byte, after) = (line[at - 1], line[at], line[at + 1]);
        (byte == b'"' && before != b'\\') || (byte == b'\\' && after != b'"') || byte < 0x20
    };
    let mut at = start;
    // The byte after the last one looked at is there: a line ends with braces.
    while at + STEP < line.len() {
        // Bytes, not bools, and no way out of the loop: compilers make vectors of it.
        let [before, byte, after] = [at - 1, at, at + 1].map(|from| &line[from..from + STEP]);
        let mut any = 0;
        for i in 0..STEP {
            any |= u8::from(byte[i] == b'"') & u8::from(before[i] != b'\\')
                | u8::from(byte[i] == b'\\') & u8::from(after[i] != b'"')
                | u8::from(byte[i] < 0x20);
        }
        if any != 0 {
            break;
        }
        at += STEP;
    }
    let end = (at..line.len().checked_sub(1)?).find(|at| stops(*at))?;
    (line[end] == b'"').then_some(end)
}
