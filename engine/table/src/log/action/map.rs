//! A small immutable map of strings, in two allocations.

use std::fmt;

use serde::de::{Error as _, MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Marks a value that is null.
const NULL: u32 = u32::MAX;

/// A map from strings to strings or null, as partition values, tags and properties are: few entries, many maps.
///
/// Keys and values lie in one text, sorted by key.
///
/// ```
/// use deltalite_table::log::action::StringMap;
/// let map: StringMap = [("country", Some("DE")), ("city", None)].into_iter().collect();
/// assert_eq!(map.get("country"), Some(Some("DE")));
/// assert_eq!(map.get("city"), Some(None));
/// assert_eq!(map.get("street"), None);
/// assert_eq!(map.value("city"), None);
/// ```
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct StringMap {
    text: Box<str>,
    entries: Box<[Entry]>,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Entry {
    key_start: u32,
    value_start: u32,
    /// Where the value ends, or [`NULL`].
    value_end: u32,
}

/// A key stands twice, or the map is too long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadMap(pub(crate) String);

impl StringMap {
    /// A map of these pairs, in any order.
    pub(crate) fn build<'a, I>(pairs: I) -> Result<Self, BadMap>
    where
        I: Iterator<Item = (&'a str, Option<&'a str>)> + Clone,
    {
        let (mut bytes, mut count, mut sorted, mut last) = (0, 0, true, None);
        for (key, value) in pairs.clone() {
            bytes += key.len() + value.map_or(0, str::len);
            count += 1;
            sorted &= last.is_none_or(|l| l < key);
            last = Some(key);
        }
        if bytes >= NULL as usize {
            return Err(BadMap(format!("its {bytes} bytes are more than a map holds")));
        }
        if count == 0 {
            return Ok(Self::default());
        }
        if sorted {
            return Ok(Self::lay_out(pairs, bytes, count));
        }
        let mut all: Vec<_> = pairs.collect();
        all.sort_unstable_by_key(|(key, _)| *key);
        if let Some(twice) = all.windows(2).find(|w| w[0].0 == w[1].0) {
            return Err(BadMap(format!("key {:?} stands twice", twice[0].0)));
        }
        Ok(Self::lay_out(all.into_iter(), bytes, count))
    }

    fn lay_out<'a>(
        pairs: impl Iterator<Item = (&'a str, Option<&'a str>)>,
        bytes: usize,
        count: usize,
    ) -> Self {
        let mut text = String::with_capacity(bytes);
        let mut entries = Vec::with_capacity(count);
        for (key, value) in pairs {
            let key_start = text.len() as u32;
            text.push_str(key);
            let value_start = text.len() as u32;
            text.push_str(value.unwrap_or_default());
            let value_end = if value.is_some() { text.len() as u32 } else { NULL };
            entries.push(Entry { key_start, value_start, value_end });
        }
        Self { text: text.into_boxed_str(), entries: entries.into_boxed_slice() }
    }

    fn key(&self, entry: &Entry) -> &str {
        &self.text[entry.key_start as usize..entry.value_start as usize]
    }

    fn value_of(&self, entry: &Entry) -> Option<&str> {
        (entry.value_end != NULL).then(|| &self.text[entry.value_start as usize..entry.value_end as usize])
    }

    /// What stands under a key: `None` if nothing does, `Some(None)` for null.
    pub fn get(&self, key: &str) -> Option<Option<&str>> {
        let at = self.entries.binary_search_by(|e| self.key(e).cmp(key)).ok()?;
        Some(self.value_of(&self.entries[at]))
    }

    /// What stands under a key; a null counts as nothing.
    pub fn value(&self, key: &str) -> Option<&str> {
        self.get(key).flatten()
    }

    /// All entries, by key.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, Option<&str>)> + Clone {
        self.entries.iter().map(|e| (self.key(e), self.value_of(e)))
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

/// Of several pairs with one key the last stays.
impl<K: AsRef<str>, V: AsRef<str>> FromIterator<(K, Option<V>)> for StringMap {
    fn from_iter<I: IntoIterator<Item = (K, Option<V>)>>(pairs: I) -> Self {
        let pairs: std::collections::BTreeMap<String, Option<V>> =
            pairs.into_iter().map(|(k, v)| (k.as_ref().to_owned(), v)).collect();
        let bytes = pairs.iter().map(|(k, v)| k.len() + v.as_ref().map_or(0, |v| v.as_ref().len())).sum();
        let each = pairs.iter().map(|(k, v)| (k.as_str(), v.as_ref().map(AsRef::as_ref)));
        Self::lay_out(each, bytes, pairs.len())
    }
}

impl fmt::Debug for StringMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl Serialize for StringMap {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.len()))?;
        for (key, value) in self.iter() {
            map.serialize_entry(key, &value)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for StringMap {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pairs;
        impl<'de> Visitor<'de> for Pairs {
            type Value = StringMap;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of strings")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<StringMap, A::Error> {
                let mut pairs: Vec<(String, Option<String>)> = Vec::new();
                while let Some(pair) = map.next_entry()? {
                    pairs.push(pair);
                }
                StringMap::build(pairs.iter().map(|(k, v)| (k.as_str(), v.as_deref())))
                    .map_err(|e| A::Error::custom(e.0))
            }
        }
        deserializer.deserialize_map(Pairs)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn behaves_as_a_btree_map(pairs in proptest::collection::vec(("[a-c]{0,2}", proptest::option::of(".{0,4}")), 0..8)) {
            let model: BTreeMap<String, Option<String>> = pairs.iter().cloned().collect();
            let map: StringMap = pairs.iter().map(|(k, v)| (k, v.as_deref())).collect();
            prop_assert_eq!(map.len(), model.len());
            for (k, v) in &model {
                prop_assert_eq!(map.get(k), Some(v.as_deref()));
            }
            prop_assert_eq!(map.get("zz"), None);
            let json = serde_json::to_string(&map).unwrap();
            prop_assert_eq!(&json, &serde_json::to_string(&model).unwrap());
            prop_assert_eq!(serde_json::from_str::<StringMap>(&json).unwrap(), map);
            let strict = StringMap::build(pairs.iter().map(|(k, v)| (k.as_str(), v.as_deref())));
            prop_assert_eq!(strict.is_ok(), pairs.len() == model.len());
        }
    }
}
