//! The reference and the example file, made from the types.

use std::fmt::Write as _;

use clap::Command;

use super::keys::{Key, ValueType, keys, text};
use super::settings::{Client, Log, Section, Serve, Session};

/// What a section is for.
fn meaning<S: Section>() -> String {
    let schema = schemars::schema_for!(S);
    let said = schema.as_value()["description"].as_str().unwrap_or_default();
    said.replace('\n', " ")
}

/// Each section's name, meaning and settings.
fn sections() -> [(&'static str, String, Vec<Key>); 4] {
    fn of<S: Section>() -> (&'static str, String, Vec<Key>) {
        (S::NAME, meaning::<S>(), keys::<S>())
    }
    [of::<Serve>(), of::<Client>(), of::<Session>(), of::<Log>()]
}

/// `docs/configuration.md`.
pub(super) fn markdown() -> String {
    let mut out = String::from(
        "# Configuration\n\n\
         This page is made by `deltalite config reference`.\n\n\
         A setting's value is that of the last of these which sets it:\n\n\
         1. its default;\n\
         2. the configuration file: what `--config` or the variable `DELTALITE_CONFIG` names, else `deltalite/config.toml` in `$XDG_CONFIG_HOME` or \
         `~/.config` where there is one;\n\
         3. its variable in the environment (an empty one sets nothing);\n\
         4. its flag.\n\n\
         `deltalite config show` prints every setting with its value and where that is from, `deltalite config show serve --threads 2` what would hold for \
         that command. `deltalite config example` prints a file to begin with, `deltalite config schema` a JSON Schema for editors. A setting that does not \
         exist is an error, in a file and in the environment.\n\n\
         Sizes are written as `65536`, `\"64KiB\"` or `\"1.5GiB\"`. A list in a variable has commas between its values.\n",
    );
    for (name, meaning, keys) in sections() {
        let _ = write!(
            out,
            "\n## `[{name}]`\n\n{meaning}\n\n| key | flag | variable | type | default | meaning |\n|---|---|---|---|---|---|\n"
        );
        for key in keys {
            let default = key.default.as_ref().map(|value| format!("`{}`", text(value))).unwrap_or_default();
            let _ = writeln!(
                out,
                "| `{}` | `{} {}` | `{}` | {} | {default} | {} |",
                key.name,
                key.flag,
                key.value_name,
                key.variable,
                key.value_type.name(),
                key.meaning.replace('|', "\\|"),
            );
        }
    }
    out.push_str(
        "\nBeside these, `DELTALITE_IO` (`ring`, `threads` or `auto`) says how files are read and written by every command, and `NO_COLOR` that nothing is coloured.\n",
    );
    out
}

/// A file with all settings, those without a default as comments.
pub(super) fn example() -> String {
    let mut out = String::from(
        "# Settings of DeltaLite; all can be left out. `deltalite config show` says which hold.\n",
    );
    for (name, meaning, keys) in sections() {
        let _ = write!(out, "\n# {meaning}\n[{name}]\n");
        for key in keys {
            let _ = writeln!(out, "# {}", key.meaning);
            let value = key.default.as_ref().map(|value| match key.value_type {
                ValueType::Integer | ValueType::Boolean => text(value),
                ValueType::Number => format!("{:?}", text(value).parse::<f64>().unwrap_or_default()),
                ValueType::Text | ValueType::List => format!("{:?}", text(value)),
            });
            let _ = match (value, key.value_type) {
                (Some(value), _) => writeln!(out, "{} = {value}", key.name),
                (None, ValueType::List) => writeln!(out, "# {} = [\"{}\"]", key.name, key.value_name),
                (None, ValueType::Integer) => writeln!(out, "# {} = 60", key.name),
                (None, _) => writeln!(out, "# {} = \"{}\"", key.name, key.value_name),
            };
        }
    }
    out
}

/// A JSON Schema of the file.
pub(super) fn schema() -> serde_json::Value {
    let mut properties = serde_json::Map::new();
    let mut add = |name: &str, schema: schemars::Schema| {
        let mut schema = schema.to_value();
        if let Some(schema) = schema.as_object_mut() {
            schema.remove("$schema");
        }
        properties.insert(name.to_owned(), schema);
    };
    add(Serve::NAME, schemars::schema_for!(Serve));
    add(Client::NAME, schemars::schema_for!(Client));
    add(Session::NAME, schemars::schema_for!(Session));
    add(Log::NAME, schemars::schema_for!(Log));
    serde_json::json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Configuration of DeltaLite",
        "type": "object",
        "additionalProperties": false,
        "properties": properties,
    })
}

/// Says in a command's help what the settings among its flags default to, and which variable sets them.
pub(in crate::cli) fn described(command: Command) -> Command {
    let sections = sections();
    let of = |name: &str| -> Vec<&Key> {
        let wanted: &[&str] = match name {
            "serve" => &["serve", "log"],
            "query" | "shell" => &["session", "client", "log"],
            "scan" => &["client", "log"],
            _ => &[],
        };
        sections.iter().filter(|s| wanted.contains(&s.0)).flat_map(|s| &s.2).collect()
    };
    let names: Vec<String> = command.get_subcommands().map(|c| c.get_name().to_owned()).collect();
    names.into_iter().fold(command, |command, name| {
        let keys = of(&name);
        command.mut_subcommand(name, |subcommand| {
            keys.into_iter().fold(subcommand, |subcommand, key| {
                subcommand.mut_arg(&key.argument, |argument| {
                    let default = key.default.as_ref().map(|value| format!("default: {}, ", text(value)));
                    let more = format!("[{}env: {}]", default.unwrap_or_default(), key.variable);
                    argument.help(format!("{} {more}", key.meaning))
                })
            })
        })
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that can't set up its data has failed")]
mod tests {
    use super::*;

    #[test]
    fn the_reference_in_the_book_is_that_of_the_types() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/configuration.md");
        let book = std::fs::read_to_string(path).unwrap_or_default();
        assert!(book == markdown(), "run: deltalite config reference > docs/configuration.md");
    }

    #[test]
    fn the_example_holds_what_is_the_default() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.toml");
        std::fs::write(&path, example()).unwrap();
        let layers = super::super::Layers::of(Some(path), std::iter::empty()).unwrap();
        for holds in layers.show(&Serve::default()).unwrap() {
            let default = holds.key.default.as_ref().map(text);
            assert_eq!(holds.value, default, "{}", holds.key.path());
        }
        // With the comments taken away it is a file too.
        let bare: String = example()
            .lines()
            .map(|line| line.strip_prefix("# ").filter(|rest| rest.contains(" = ")).unwrap_or(line))
            .map(|line| format!("{line}\n"))
            .collect();
        assert!(bare.contains("data = \"FOLDER\"") && bare.contains("grant = [\"NAME=PATH\"]"), "{bare}");
    }

    #[test]
    fn every_setting_has_its_place() {
        let schema = schema();
        for (name, meaning, keys) in sections() {
            assert!(!meaning.is_empty() && !keys.is_empty());
            let properties = schema["properties"][name]["properties"].as_object().unwrap();
            assert_eq!(properties.len(), keys.len(), "{name}");
            for key in keys {
                assert!(properties.contains_key(&key.name), "{}", key.path());
                assert!(!key.meaning.is_empty() && !key.value_name.is_empty(), "{}", key.path());
            }
        }
    }
}
