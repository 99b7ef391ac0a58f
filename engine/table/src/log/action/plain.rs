//! Adds in the one form in which they are written here.
//!
//! A log is mostly adds, and those of our own writers have their fields in one order, no spaces, and hardly a character escaped. Such a
//! line is read front to back, each field where it has to be. Most of it is statistics: JSON in a JSON string, every quote of it
//! escaped, which are kept as they stand. Any other line, and any doubt, is left to the parser that reads everything.

use super::file::{Add, DeletionVector, DvStorage};
use super::map::StringMap;
use super::stats_text::{StatsText, end_of_text};
use crate::log::limits::LINE_BYTES_MAX;

/// Most entries of a map that are read here.
const ENTRIES_MAX: usize = 16;
/// Most digits that surely fit 63 bits.
const DIGITS_MAX: usize = 18;

/// What is left of a line.
struct Scanner<'a> {
    line: &'a str,
    at: usize,
}

impl<'a> Scanner<'a> {
    fn rest(&self) -> &'a [u8] {
        &self.line.as_bytes()[self.at..]
    }

    /// Passes over these very characters, if they come next.
    #[inline]
    fn eat(&mut self, expected: &str) -> bool {
        let found = self.rest().starts_with(expected.as_bytes());
        if found {
            self.at += expected.len();
        }
        found
    }

    #[inline]
    fn need(&mut self, expected: &str) -> Option<()> {
        self.eat(expected).then_some(())
    }

    /// A text without escapes, with its quotes.
    #[inline]
    fn text(&mut self) -> Option<&'a str> {
        self.need("\"")?;
        let rest = self.rest();
        let end = rest.iter().position(|b| *b == b'"' || *b == b'\\' || *b < 0x20)?;
        if rest[end] != b'"' {
            return None;
        }
        let text = self.line.get(self.at..self.at + end)?;
        self.at += end + 1;
        Some(text)
    }

    /// A text in which nothing but quotes is escaped, with its quotes; as it stands.
    #[inline]
    fn quoted(&mut self) -> Option<&'a str> {
        self.need("\"")?;
        let end = end_of_text(self.line.as_bytes(), self.at)?;
        let text = self.line.get(self.at..end)?;
        self.at = end + 1;
        Some(text)
    }

    /// A whole number that is not negative and not too long.
    #[inline]
    fn number(&mut self) -> Option<u64> {
        let rest = self.rest();
        let mut number = 0;
        let mut digits = 0;
        while let Some(digit) = rest.get(digits).filter(|b| b.is_ascii_digit()) {
            number = 10 * number + u64::from(digit - b'0');
            digits += 1;
            if digits > DIGITS_MAX {
                return None;
            }
        }
        if digits == 0 || (digits > 1 && rest[0] == b'0') {
            return None;
        }
        self.at += digits;
        Some(number)
    }

    fn small_number(&mut self) -> Option<u32> {
        let number = self.number()?;
        i32::try_from(number).ok().map(i32::cast_unsigned)
    }

    /// An object of texts and nulls.
    #[inline]
    fn map(&mut self) -> Option<StringMap> {
        if self.eat("{}") {
            return Some(StringMap::default());
        }
        self.need("{")?;
        let mut entries = [("", None); ENTRIES_MAX];
        let mut count = 0;
        loop {
            let key = self.text()?;
            self.need(":")?;
            let value = if self.eat("null") { None } else { Some(self.text()?) };
            *entries.get_mut(count)? = (key, value);
            count += 1;
            if self.eat("}") {
                return StringMap::build(entries[..count].iter().copied()).ok();
            }
            self.need(",")?;
        }
    }

    fn deletion_vector(&mut self) -> Option<DeletionVector> {
        self.need("{\"storageType\":")?;
        let storage_type = DvStorage::parse(self.text()?)?;
        self.need(",\"pathOrInlineDv\":")?;
        let path_or_inline_dv = self.text()?.into();
        let offset = if self.eat(",\"offset\":") { Some(self.small_number()?) } else { None };
        self.need(",\"sizeInBytes\":")?;
        let size_in_bytes = self.small_number()?;
        self.need(",\"cardinality\":")?;
        let cardinality = self.number()?;
        self.need("}")?;
        Some(DeletionVector { storage_type, path_or_inline_dv, offset, size_in_bytes, cardinality })
    }
}

/// The add that a line is, if it is written as writers here do; `None` says nothing about the line.
pub(super) fn plain_add(line: &[u8]) -> Option<Add> {
    if line.len() > LINE_BYTES_MAX || !line.starts_with(b"{\"add\":{\"path\":") {
        return None;
    }
    let mut s = Scanner { line: simdutf8::basic::from_utf8(line).ok()?, at: 0 };
    s.need("{\"add\":{\"path\":")?;
    let path = Some(s.text()?).filter(|path| !path.is_empty())?.into();
    s.need(",\"partitionValues\":")?;
    let partition_values = s.map()?;
    s.need(",\"size\":")?;
    let size = s.number()?;
    s.need(",\"modificationTime\":")?;
    let modification_time = s.number()? as i64;
    s.need(",\"dataChange\":")?;
    let data_change = s.eat("true");
    if !data_change {
        s.need("false")?;
    }
    let stats = if s.eat(",\"stats\":") { Some(StatsText::quoted(s.quoted()?)) } else { None };
    let tags = if s.eat(",\"tags\":") { Some(s.map()?) } else { None };
    let deletion_vector =
        if s.eat(",\"deletionVector\":") { Some(Box::new(s.deletion_vector()?)) } else { None };
    let base_row_id = if s.eat(",\"baseRowId\":") { Some(s.number()? as i64) } else { None };
    let default_row_commit_version =
        if s.eat(",\"defaultRowCommitVersion\":") { Some(s.number()? as i64) } else { None };
    let clustering_provider = if s.eat(",\"clusteringProvider\":") { Some(s.text()?.into()) } else { None };
    s.need("}}")?;
    s.rest().is_empty().then_some(Add {
        path,
        partition_values,
        size,
        modification_time,
        data_change,
        stats,
        tags,
        deletion_vector,
        base_row_id,
        default_row_commit_version,
        clustering_provider,
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that can't set up its data has failed")]
mod tests {
    use proptest::prelude::*;

    use super::super::read::general;
    use super::*;
    use crate::log::action::Action;

    fn any_text() -> impl Strategy<Value = String> {
        prop_oneof![6 => "[a-z0-9=/.%-]{0,20}", 1 => "[a\"\\\\\n\u{e9}{}:,]{0,8}"]
    }

    fn any_map() -> impl Strategy<Value = StringMap> {
        prop::collection::btree_map(any_text(), prop::option::of(any_text()), 0..4)
            .prop_map(|m| m.iter().map(|(k, v)| (k.as_str(), v.as_deref())).collect())
    }

    fn any_vector() -> impl Strategy<Value = DeletionVector> {
        (0..3usize, any_text(), prop::option::of(any::<u32>()), any::<u32>(), any::<u64>()).prop_map(
            |(kind, text, offset, size_in_bytes, cardinality)| DeletionVector {
                storage_type: [DvStorage::Relative, DvStorage::Inline, DvStorage::Absolute][kind],
                path_or_inline_dv: text.into(),
                offset: offset.map(|n| n >> 1),
                size_in_bytes: size_in_bytes >> 1,
                cardinality: cardinality >> 1,
            },
        )
    }

    fn any_add() -> impl Strategy<Value = Add> {
        let stats = prop_oneof![
            Just(r#"{"numRecords":7,"minValues":{"a":"x","b":1.5},"nullCount":{"a":0}}"#.to_owned()),
            any_text(),
        ];
        let numbers = prop_oneof![3 => 0..1i64 << 50, 1 => any::<i64>()];
        let ids = || prop::option::of(0..i64::MAX);
        (
            ("[a-z0-9=/-]{1,20}|[ -~]{1,8}", any_map(), any::<u64>(), numbers, any::<bool>()),
            (prop::option::of(stats), prop::option::of(any_map()), prop::option::of(any_vector())),
            (ids(), ids(), prop::option::of(any_text())),
        )
            .prop_map(
                |(
                    (path, partition_values, size, modification_time, data_change),
                    (stats, tags, vector),
                    (row, version, provider),
                )| Add {
                    path: path.into(),
                    partition_values,
                    size: size >> 1,
                    modification_time,
                    data_change,
                    stats: stats.map(StatsText::from),
                    tags,
                    deletion_vector: vector.map(Box::new),
                    base_row_id: row,
                    default_row_commit_version: version,
                    clustering_provider: provider.map(Into::into),
                },
            )
    }

    fn line(add: &Add) -> Vec<u8> {
        serde_json::to_vec(&Action::Add(add.clone())).unwrap()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        /// What is read here, the parser that reads everything reads likewise: of lines as they are written, and of lines with some bytes changed,
        /// taken out or put in.
        #[test]
        fn both_parsers_agree(add in any_add(), edits in prop::collection::vec((any::<prop::sample::Index>(), 0..3u8, any::<u8>()), 0..3)) {
            let mut line = line(&add);
            for (at, kind, byte) in edits {
                let at = at.index(line.len());
                match kind {
                    0 => line[at] = byte,
                    1 => drop(line.remove(at)),
                    _ => line.insert(at, line[byte as usize % line.len()]),
                }
                if line.is_empty() {
                    break;
                }
            }
            if let Some(read) = plain_add(&line) {
                prop_assert_eq!(general(&line).unwrap(), Some(Action::Add(read)));
            }
        }

        /// Adds as writers here make them are read here.
        #[test]
        fn our_own_are_plain(add in any_add()) {
            let plain = |text: &str| !text.contains(['"', '\\', '\n']);
            let all_plain = |map: &StringMap| map.iter().all(|(k, v)| plain(k) && v.is_none_or(plain));
            let small = |n: i64| (0..1_000_000_000_000_000_000).contains(&n);
            let expected = plain(&add.path)
                && all_plain(&add.partition_values)
                && add.tags.as_ref().is_none_or(all_plain)
                && add.stats.as_ref().is_none_or(|s| !s.text().contains(['\\', '\n']))
                && add.clustering_provider.as_deref().is_none_or(plain)
                && add.deletion_vector.as_ref().is_none_or(|v| plain(&v.path_or_inline_dv) && small(v.cardinality as i64))
                && [Some(add.size as i64), Some(add.modification_time), add.base_row_id, add.default_row_commit_version]
                    .into_iter()
                    .flatten()
                    .all(small);
            let read = plain_add(&line(&add));
            prop_assert_eq!(read.is_some(), expected);
            prop_assert!(read.is_none_or(|read| read == add));
        }
    }

    #[test]
    fn doubt_is_left_to_the_other() {
        let good = r#"{"add":{"path":"a","partitionValues":{"p":"1","q":null},"size":1,"modificationTime":2,"dataChange":true,"stats":"{\"numRecords\":1}"}}"#;
        assert!(plain_add(good.as_bytes()).is_some());
        for (from, to) in [
            ("\"a\"", "\"\""),
            ("\"a\"", "\"\\u0061\""),
            ("\"q\":null", "\"p\":null"),
            (":1,", ":01,"),
            (":1,", ":-1,"),
            (":1,", ":1.0,"),
            (":1,", ":1234567890123456789,"),
            ("true", "True"),
            ("}}", "} }"),
            ("}}", "}}x"),
            ("}}", "}"),
            ("\\\"numRecords\\\"", "\\nnumRecords\\\""),
            (",\"size\"", ", \"size\""),
        ] {
            let line = good.replacen(from, to, 1);
            assert_ne!(line, good);
            assert!(plain_add(line.as_bytes()).is_none(), "{line}");
        }
        assert!(plain_add(b"").is_none());
        assert!(plain_add(&good.as_bytes()[..good.len() - 3]).is_none());
    }
}
