//! Lifting statistics out of a line before it is parsed.
//!
//! Most of an add is its statistics: JSON in a JSON string, every quote of it escaped. Nobody reads most of them, so they are kept
//! as they stand in the line, found by one pass over the bytes, and what is left is parsed with a number in their place. The
//! number is drawn anew for each reader: only where the parser meets it under `add.stats` have statistics been lifted. A line
//! for which anything else comes out is parsed as it is.
//!
//! Between `,"stats":"` and the next quote without a backslash lies the value of some member `stats`: in a valid line these bytes
//! can't stand within a string, where each quote would follow a backslash. To tell that from one byte to the left, texts with any
//! escape but `\"` are left alone, and so are control characters and what is no UTF-8, which a parser refuses.

use std::borrow::Cow;
use std::fmt;
use std::sync::LazyLock;

use memchr::memmem::Finder;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

const KEY: &[u8] = b",\"stats\":\"";
static FIND_KEY: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(KEY));
/// Shorter texts are no faster to lift than to parse.
const LIFTED_BYTES_MIN: usize = 64;
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

/// Bytes before the quote that ends a text which begins at `start`; `None` if the text is not to be lifted.
fn end_of_text(line: &[u8], start: usize) -> Option<usize> {
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

/// Takes statistics out of a line: what is left goes to `rest`, with `number` where they stood.
pub(super) fn lift(line: &[u8], number: i64, rest: &mut Vec<u8>) -> Option<StatsText> {
    let start = FIND_KEY.find(line)? + KEY.len();
    let end = end_of_text(line, start)?;
    if end - start < LIFTED_BYTES_MIN {
        return None;
    }
    let text = simdutf8::basic::from_utf8(&line[start..end]).ok()?;
    rest.clear();
    rest.extend_from_slice(&line[..start - 1]);
    rest.extend_from_slice(number.to_string().as_bytes());
    rest.extend_from_slice(&line[end + 1..]);
    Some(StatsText(Form::Quoted(text.into())))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_lifted_is_what_stands_there(text in "[a\"\\\\\n\u{e9}{}:,]{0,200}", pad in "[a\"]{60,140}", before in "[a\",\\\\]{0,9}") {
            let text = format!("{pad}{text}");
            let line = serde_json::json!({"a": before, "stats": text, "z": 1}).to_string();
            let mut rest = Vec::new();
            if let Some(lifted) = lift(line.as_bytes(), 77, &mut rest) {
                prop_assert_eq!(lifted.text(), text.as_str());
                let rest: serde_json::Value = serde_json::from_slice(&rest).unwrap();
                prop_assert_eq!(rest, serde_json::json!({"a": before, "stats": 77, "z": 1}));
            } else {
                prop_assert!(text.contains(['\\', '\n']));
            }
        }
    }
}
