//! What is known of each setting, from the types: names and meaning from their flags, types from their schema.

use clap::Command;
use figment::value::{Num, Value};
use schemars::{JsonSchema, SchemaGenerator};

use super::settings::Section;

/// Settings whose values are not shown.
const SECRET: [&str; 1] = ["client.token"];

/// What a value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ValueType {
    Text,
    Integer,
    Number,
    Boolean,
    /// Of texts; in a variable with commas between.
    List,
}

impl ValueType {
    fn of(schema: &serde_json::Value) -> Self {
        let named = |name: &str| match &schema["type"] {
            serde_json::Value::String(one) => one == name,
            serde_json::Value::Array(several) => several.iter().any(|one| one == name),
            _ => false,
        };
        match () {
            () if named("integer") => Self::Integer,
            () if named("number") => Self::Number,
            () if named("boolean") => Self::Boolean,
            () if named("array") => Self::List,
            () => Self::Text,
        }
    }

    /// A value as it is written in a variable.
    pub(super) fn read(self, text: &str) -> Result<Value, String> {
        let is_no = |what: &str| format!("{text:?} is no {what}");
        Ok(match self {
            Self::Text => Value::from(text),
            Self::Integer => Value::from(text.parse::<u64>().map_err(|_| is_no("whole number"))?),
            Self::Number => Value::from(text.parse::<f64>().map_err(|_| is_no("number"))?),
            Self::Boolean => match text {
                "true" | "1" | "yes" => Value::from(true),
                "false" | "0" | "no" => Value::from(false),
                _ => return Err(is_no("truth value; write true or false")),
            },
            Self::List => Value::from(text.split(',').map(str::trim).collect::<Vec<_>>()),
        })
    }

    /// For people.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Integer => "whole number",
            Self::Number => "number",
            Self::Boolean => "true or false",
            Self::List => "list of texts",
        }
    }
}

/// A setting.
#[derive(Debug, Clone)]
pub(in crate::cli) struct Key {
    pub(super) section: &'static str,
    /// Within the section.
    pub(super) name: String,
    /// The flag that sets it, with its dashes.
    pub(super) flag: String,
    /// The variable that sets it.
    pub(super) variable: String,
    pub(super) value_type: ValueType,
    /// What stands for its value in help.
    pub(super) value_name: String,
    pub(super) default: Option<Value>,
    pub(super) meaning: String,
    /// The flag's name within clap.
    pub(super) argument: String,
}

impl Key {
    /// `section.name`
    pub(super) fn path(&self) -> String {
        format!("{}.{}", self.section, self.name)
    }

    /// What variables of the section begin with.
    pub(super) fn variable_prefix(&self) -> String {
        format!("DELTALITE_{}_", self.section.to_uppercase())
    }

    pub(super) fn is_secret(&self) -> bool {
        SECRET.contains(&self.path().as_str())
    }

    /// A value as people are shown it.
    pub(super) fn shown(&self, value: &Value) -> String {
        if self.is_secret() { "…".to_owned() } else { text(value) }
    }
}

/// A value as text.
pub(super) fn text(value: &Value) -> String {
    match value {
        Value::String(_, text) => text.clone(),
        Value::Bool(_, truth) => truth.to_string(),
        Value::Num(_, Num::F64(number)) => number.to_string(),
        Value::Num(_, number) => number
            .to_i128()
            .map_or_else(|| number.to_u128().map(|n| n.to_string()).unwrap_or_default(), |n| n.to_string()),
        Value::Array(_, values) => values.iter().map(text).collect::<Vec<_>>().join(", "),
        Value::Char(_, c) => c.to_string(),
        Value::Dict(..) | Value::Empty(..) => String::new(),
    }
}

/// The settings of a section, in the order of their flags.
pub(super) fn keys<S: Section>() -> Vec<Key> {
    let schema = <S as JsonSchema>::json_schema(&mut SchemaGenerator::default());
    let command = S::augment_args(Command::new(S::NAME));
    let defaults = Value::serialize(S::defaults()).ok();
    let of = |argument: &clap::Arg| {
        // A flag that would be named as another section's has the section's name before it.
        let id = argument.get_id().as_str();
        let name = id.strip_prefix(&format!("{}_", S::NAME)).unwrap_or(id).to_owned();
        Key {
            section: S::NAME,
            flag: format!("--{}", argument.get_long().unwrap_or(id)),
            variable: format!("DELTALITE_{}_{}", S::NAME, name).to_uppercase(),
            value_type: ValueType::of(&schema.as_value()["properties"][&name]),
            value_name: argument
                .get_value_names()
                .and_then(|names| names.first())
                .map(ToString::to_string)
                .unwrap_or_default(),
            default: defaults.clone().and_then(|defaults| defaults.find(&name)),
            meaning: argument.get_help().map(ToString::to_string).unwrap_or_default(),
            argument: id.to_owned(),
            name,
        }
    };
    command.get_arguments().map(of).collect()
}
