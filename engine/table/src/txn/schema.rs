//! Differences of metadata, as far as they matter to a transaction that did not know of them.

use serde_json::Value;

use crate::log::action::Metadata;

/// Properties that say how a table is kept, not what is in it.
const PROPERTIES_OF_UPKEEP: [&str; 7] = [
    "delta.checkpointInterval",
    "delta.checkpointPolicy",
    "delta.deletedFileRetentionDuration",
    "delta.logRetentionDuration",
    "delta.targetFileSize",
    "delta.tuneFileSizesForRewrites",
    "deltalite.upkeep.",
];
/// Parts of a column's metadata that are not about its values.
const COLUMN_METADATA_OF_UPKEEP: [&str; 2] = ["comment", "delta.identity.highWaterMark"];

/// One difference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Difference {
    /// Names, descriptions, comments, properties of upkeep, the high-water mark of an identity column.
    Harmless,
    /// A new column, null where it is not given.
    NewNullable(String),
    /// A column's type became wider.
    Widened(String),
    /// A column is gone.
    Dropped(String),
    /// Anything else, in words.
    Other(String),
}

/// How metadata differs.
pub fn differences(before: &Metadata, after: &Metadata) -> Vec<Difference> {
    let mut found = Vec::new();
    if before.id != after.id {
        found.push(Difference::Other("it is another table".to_owned()));
    }
    if before.partition_columns != after.partition_columns {
        found.push(Difference::Other("the partitioning changed".to_owned()));
    }
    if before.format != after.format {
        found.push(Difference::Other("the file format changed".to_owned()));
    }
    if (&before.name, &before.description) != (&after.name, &after.description) {
        found.push(Difference::Harmless);
    }
    for (key, value) in after.configuration.iter() {
        if before.configuration.get(key) != Some(value) {
            found.push(property(key));
        }
    }
    let gone = before.configuration.iter().filter(|(key, _)| after.configuration.get(key).is_none());
    found.extend(gone.map(|(key, _)| property(key)));
    if before.schema_string != after.schema_string {
        match (fields(&before.schema_string), fields(&after.schema_string)) {
            (Some(before), Some(after)) => schema(&before, &after, &mut found),
            _ => found.push(Difference::Other("the schema can't be read".to_owned())),
        }
    }
    found
}

fn property(key: &str) -> Difference {
    let is_upkeep = PROPERTIES_OF_UPKEEP
        .iter()
        .any(|known| key == *known || known.ends_with('.') && key.starts_with(known));
    if is_upkeep { Difference::Harmless } else { Difference::Other(format!("property {key} changed")) }
}

fn fields(schema: &str) -> Option<Vec<Value>> {
    match serde_json::from_str::<Value>(schema).ok()?.get_mut("fields")?.take() {
        Value::Array(fields) => Some(fields),
        _ => None,
    }
}

fn name(field: &Value) -> &str {
    field.get("name").and_then(Value::as_str).unwrap_or_default()
}

/// A column is the same when its physical name is, if it has one, and else its name.
fn identity(field: &Value) -> &str {
    let physical = field.get("metadata").and_then(|m| m.get("delta.columnMapping.physicalName"));
    physical.and_then(Value::as_str).unwrap_or_else(|| name(field))
}

fn schema(before: &[Value], after: &[Value], found: &mut Vec<Difference>) {
    for old in before {
        match after.iter().find(|new| identity(new) == identity(old)) {
            Some(new) => column(old, new, found),
            None => found.push(Difference::Dropped(name(old).to_owned())),
        }
    }
    for new in after.iter().filter(|new| before.iter().all(|old| identity(old) != identity(new))) {
        let nullable = new.get("nullable").and_then(Value::as_bool).unwrap_or(true);
        found.push(if nullable {
            Difference::NewNullable(name(new).to_owned())
        } else {
            Difference::Other(format!("column {} must not be null", name(new)))
        });
    }
}

fn column(old: &Value, new: &Value, found: &mut Vec<Difference>) {
    let name = name(new);
    if self::name(old) != name {
        found.push(Difference::Other(format!("column {} is now called {name}", self::name(old))));
    }
    match (old.get("nullable"), new.get("nullable")) {
        (a, b) if a == b => {}
        (_, Some(Value::Bool(true))) => found.push(Difference::Harmless),
        _ => found.push(Difference::Other(format!("column {name} must not be null"))),
    }
    match (old.get("type"), new.get("type")) {
        (a, b) if a == b => {}
        (Some(Value::String(a)), Some(Value::String(b))) if is_wider(a, b) => {
            found.push(Difference::Widened(name.to_owned()));
        }
        _ => found.push(Difference::Other(format!("the type of column {name} changed"))),
    }
    let none = serde_json::Map::new();
    let [old, new] = [old, new].map(|f| f.get("metadata").and_then(Value::as_object).unwrap_or(&none));
    for key in old.keys().chain(new.keys()) {
        if old.get(key) != new.get(key) {
            found.push(if COLUMN_METADATA_OF_UPKEEP.contains(&key.as_str()) || key == "delta.typeChanges" {
                Difference::Harmless
            } else {
                Difference::Other(format!("{key} of column {name} changed"))
            });
        }
    }
}

/// Whether every value of one primitive type is one of another: Delta's type widening.
fn is_wider(from: &str, to: &str) -> bool {
    const INTEGERS: [(&str, i32); 4] = [("byte", 3), ("short", 5), ("integer", 10), ("long", 20)];
    let integer = |name: &str| INTEGERS.iter().position(|(known, _)| *known == name);
    match (integer(from), integer(to)) {
        (Some(a), Some(b)) => return a < b,
        (Some(a), None) if to == "double" => return a < 3,
        (Some(a), None) => {
            return decimal(to).is_some_and(|(precision, scale)| precision - scale >= INTEGERS[a].1);
        }
        _ => {}
    }
    match (decimal(from), decimal(to)) {
        (Some((p, s)), Some((q, t))) => t >= s && q - t >= p - s,
        _ => matches!((from, to), ("float", "double") | ("date", "timestamp_ntz")),
    }
}

fn decimal(name: &str) -> Option<(i32, i32)> {
    let (precision, scale) = name.strip_prefix("decimal(")?.strip_suffix(')')?.split_once(',')?;
    Some((precision.trim().parse().ok()?, scale.trim().parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(fields: &str) -> Metadata {
        Metadata {
            schema_string: format!(r#"{{"type":"struct","fields":[{fields}]}}"#),
            ..Metadata::default()
        }
    }

    fn field(name: &str, kind: &str) -> String {
        format!(r#"{{"name":"{name}","type":"{kind}","nullable":true,"metadata":{{}}}}"#)
    }

    #[test]
    fn columns_come_go_and_widen() {
        let before =
            table(&[field("a", "integer"), field("b", "decimal(10,2)"), field("c", "string")].join(","));
        let after = table(&[field("a", "long"), field("b", "decimal(12,3)"), field("d", "date")].join(","));
        let found = differences(&before, &after);
        assert_eq!(
            found,
            [
                Difference::Widened("a".into()),
                Difference::Widened("b".into()),
                Difference::Dropped("c".into()),
                Difference::NewNullable("d".into())
            ]
        );
        assert_eq!(differences(&before, &before), []);
    }

    #[test]
    fn what_changes_meaning_is_told() {
        let other = |before: &Metadata, after: &Metadata| {
            differences(before, after).into_iter().filter(|d| matches!(d, Difference::Other(_))).count()
        };
        assert_eq!(other(&table(&field("a", "long")), &table(&field("a", "integer"))), 1);
        assert_eq!(other(&table(&field("a", "decimal(10,2)")), &table(&field("a", "decimal(10,3)"))), 1);
        let strict = field("b", "long").replace("\"nullable\":true", "\"nullable\":false");
        assert_eq!(other(&table(&field("b", "long")), &table(&strict)), 1);
        assert_eq!(other(&table(""), &table(&strict)), 1);
        assert_eq!(other(&table(&strict), &table(&field("b", "long"))), 0);
        let partitioned = Metadata { partition_columns: vec!["a".into()], ..table(&field("a", "long")) };
        assert_eq!(other(&table(&field("a", "long")), &partitioned), 1);
        let set =
            |key: &str| Metadata { configuration: [(key, Some("1"))].into_iter().collect(), ..table("") };
        assert_eq!(other(&table(""), &set("delta.appendOnly")), 1);
        assert_eq!(other(&set("delta.appendOnly"), &table("")), 1);
        assert_eq!(other(&table(""), &set("delta.checkpointInterval")), 0);
        assert_eq!(other(&table(""), &set("deltalite.upkeep.note")), 0);
    }
}
