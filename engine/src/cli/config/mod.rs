//! Settings in layers: defaults < configuration file < environment < flags.
//!
//! | module | job |
//! |---|---|
//! | here | the layers, and where each value is from |
//! | `settings` | what can be set |
//! | `values` | sizes and grants, as they are written |
//! | `keys` | what is known of each setting: its name, variable, type, default, meaning |
//! | `reference` | the reference and the example file, made from the types |
//! | `command` | `deltalite config` |
//!
//! The file is what `--config` or `DELTALITE_CONFIG` names, else `deltalite/config.toml` in `$XDG_CONFIG_HOME` or `~/.config`, where
//! there is one. A setting's variable is `DELTALITE_<SECTION>_<KEY>`.

pub(super) mod command;
mod keys;
mod reference;
pub(super) mod settings;
pub(super) mod values;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use deltalite::{EngineError, Result};
use figment::error::Kind;
use figment::providers::{Format, Toml};
use figment::value::{Dict, Map, Value};
use figment::{Figment, Metadata, Profile, Provider, Source};

use self::keys::{Key, keys};
use self::settings::{Client, Log, Section, Serve, Session};

/// The variable that names the file.
pub(super) const FILE_VARIABLE: &str = "DELTALITE_CONFIG";
/// Where a value is from that nothing sets.
const DEFAULT: &str = "default";

/// Tables of the file.
const SECTIONS: [&str; 4] = [Serve::NAME, Client::NAME, Session::NAME, Log::NAME];

/// One value of a layer.
struct Set {
    key: String,
    value: Value,
    origin: String,
}

impl Provider for Set {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.origin.clone())
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        let nested = figment::util::nest(&self.key, self.value.clone());
        Ok(Profile::Default.collect(nested.into_dict().unwrap_or_default()))
    }
}

/// The layers below flags.
pub(super) struct Layers {
    figment: Figment,
    file: Option<PathBuf>,
}

/// A setting as it holds.
pub(super) struct Holds {
    pub(super) key: Key,
    pub(super) value: Option<String>,
    pub(super) origin: String,
}

/// All settings, by section.
pub(super) fn all_keys() -> Vec<Key> {
    [keys::<Serve>(), keys::<Client>(), keys::<Session>(), keys::<Log>()].concat()
}

/// Where the file is looked for that nobody names.
pub(super) fn usual_file() -> Option<PathBuf> {
    Some(deltalite::tuning::profile_path()?.with_file_name("config.toml"))
}

impl Layers {
    /// Defaults, the file and the environment of this process.
    ///
    /// # Errors
    /// Where a file that was named is not there, one can't be read, or something is set that there is not.
    pub(super) fn load(named: Option<&Path>) -> Result<Self> {
        let file = match named {
            Some(path) => Some(path.to_owned()),
            None => usual_file().filter(|path| path.exists()),
        };
        Self::of(file, std::env::vars_os())
    }

    fn of(file: Option<PathBuf>, environment: impl Iterator<Item = (OsString, OsString)>) -> Result<Self> {
        let known = all_keys();
        let mut figment = Figment::new();
        for section in SECTIONS {
            let empty = Value::from(Dict::new());
            figment =
                figment.merge(Set { key: section.to_owned(), value: empty, origin: DEFAULT.to_owned() });
        }
        for key in &known {
            if let Some(default) = &key.default {
                figment = figment.merge(Set {
                    key: key.path(),
                    value: default.clone(),
                    origin: DEFAULT.to_owned(),
                });
            }
        }
        if let Some(path) = &file {
            // The library's own words for a file that is not there are fewer.
            std::fs::metadata(path).map_err(EngineError::io(path))?;
            figment = figment.merge(Toml::file_exact(path));
            check_sections(&figment, path)?;
        }
        for (name, value) in environment {
            let Some(name) = name.to_str() else { continue };
            if let Some(set) = from_variable(&known, name, value)? {
                figment = figment.merge(set);
            }
        }
        Ok(Self { figment, file })
    }

    /// The file, where there is one.
    pub(super) fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// With the flags of a command on top.
    fn with<S: Section>(&self, flags: &S) -> Result<Figment> {
        let values = Value::serialize(flags).map_err(|e| wrong(&e))?;
        let mut figment = self.figment.clone();
        for key in keys::<S>() {
            if let Some(value) = values.clone().find(&key.name) {
                figment = figment.merge(Set { key: key.path(), value, origin: key.flag.clone() });
            }
        }
        Ok(figment)
    }

    /// A section as it holds, with the flags of a command on top.
    ///
    /// # Errors
    /// Where a value can't be what is set, or a setting is not known.
    pub(super) fn section<S: Section>(&self, flags: &S) -> Result<S> {
        self.with(flags)?.extract_inner(S::NAME).map_err(|e| wrong(&e))
    }

    /// Each setting of a section as it holds, and where its value is from.
    ///
    /// # Errors
    /// As [`Layers::section`].
    pub(super) fn show<S: Section>(&self, flags: &S) -> Result<Vec<Holds>> {
        let figment = self.with(flags)?;
        let section: S = figment.extract_inner(S::NAME).map_err(|e| wrong(&e))?;
        let values = Value::serialize(&section).map_err(|e| wrong(&e))?;
        let shown = keys::<S>().into_iter().map(|key| {
            let value = values.clone().find(&key.name).map(|value| key.shown(&value));
            let origin = figment.find_metadata(&key.path()).map_or_else(|| DEFAULT.to_owned(), origin);
            Holds { key, value, origin }
        });
        Ok(shown.collect())
    }
}

/// Where a value is from, as people know it.
fn origin(metadata: &Metadata) -> String {
    match &metadata.source {
        Some(Source::File(path)) => path.display().to_string(),
        _ => metadata.name.to_string(),
    }
}

/// What a variable sets, if it is one of ours.
fn from_variable(known: &[Key], name: &str, value: OsString) -> Result<Option<Set>> {
    let Some(key) = known.iter().find(|key| key.variable == name) else {
        let ours = known.iter().any(|key| name.starts_with(&key.variable_prefix()));
        return if ours {
            let near = nearest(name, known.iter().map(|key| key.variable.as_str()));
            Err(EngineError::usage(name, format!("there is no such setting; {near}")))
        } else {
            Ok(None)
        };
    };
    let Ok(text) = value.into_string() else {
        return Err(EngineError::usage(name, "its value is not UTF-8"));
    };
    // An empty variable is as good as none: that is how scripts take one away for a single command.
    if text.is_empty() {
        return Ok(None);
    }
    let value = key.value_type.read(&text).map_err(|detail| EngineError::usage(name, detail))?;
    Ok(Some(Set { key: key.path(), value, origin: name.to_owned() }))
}

/// That all tables of a file are sections.
fn check_sections(figment: &Figment, path: &Path) -> Result<()> {
    let all: Dict = figment.extract().map_err(|e| wrong(&e))?;
    for (name, value) in all {
        if !SECTIONS.contains(&name.as_str()) {
            let near = nearest(&name, SECTIONS.into_iter());
            let detail = format!("there is no section [{name}]; {near}");
            return Err(EngineError::usage(path.display().to_string(), detail));
        }
        if value.as_dict().is_none() {
            let detail = format!("{name} is a section; write [{name}] and its settings below");
            return Err(EngineError::usage(path.display().to_string(), detail));
        }
    }
    Ok(())
}

/// What a name that is not there was likely to be.
fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> String {
    let lower = name.to_lowercase();
    let by_distance = known.map(|k| (strsim::damerau_levenshtein(&lower, &k.to_lowercase()), k));
    match by_distance.min() {
        Some((distance, near)) if distance <= 1 + name.len() / 4 => format!("did you mean {near}?"),
        _ => "`deltalite config reference` lists all settings".to_owned(),
    }
}

/// An error of the layers, as where and what.
fn wrong(error: &figment::Error) -> EngineError {
    let first = error.clone().into_iter().next();
    let error = first.as_ref().unwrap_or(error);
    let mut path = error.path.clone();
    // The section that was asked for comes last.
    if path.last().is_some_and(|last| SECTIONS.contains(&last.as_str())) {
        path.rotate_right(1);
    }
    let path = path.join(".");
    let from = error.metadata.as_ref().map(origin);
    let what = match (from, path.is_empty()) {
        (Some(from), true) => from,
        (Some(from), false) => format!("{path} ({from})"),
        (None, _) => path,
    };
    let detail = match &error.kind {
        Kind::UnknownField(field, expected) => {
            format!("there is no setting {field}; {}", nearest(field, expected.iter().copied()))
        }
        kind => kind.to_string(),
    };
    EngineError::usage(what, detail)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that can't set up its data has failed")]
mod tests {
    use super::keys::ValueType;
    use super::*;

    fn layers(toml: &str, variables: &[(&str, &str)]) -> Result<Layers> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.toml");
        std::fs::write(&path, toml).unwrap();
        let variables: Vec<(OsString, OsString)> =
            variables.iter().map(|(name, value)| (name.into(), value.into())).collect();
        let layers = Layers::of(Some(path), variables.into_iter())?;
        // The file is read when it is merged.
        drop(folder);
        Ok(layers)
    }

    fn of(holds: &[Holds], name: &str) -> (String, String) {
        let holds = holds.iter().find(|h| h.key.name == name).unwrap();
        let origin = holds.origin.rsplit('/').next().unwrap();
        (holds.value.clone().unwrap_or_default(), origin.to_owned())
    }

    #[test]
    fn each_layer_covers_those_below() {
        let toml = "[serve]\nscans = 7\nthreads = 3\nmemory = 1048576\ngrant = ['a=b', 'c=d']\n";
        let variables = [("DELTALITE_SERVE_THREADS", "4"), ("DELTALITE_SERVE_DRAIN", "5"), ("HOME", "/")];
        let layers = layers(toml, &variables).unwrap();
        let flags = Serve { drain: Some(6), ..Serve::default() };
        let holds = layers.show(&flags).unwrap();
        let found =
            ["listen", "scans", "memory", "grant", "threads", "drain", "data"].map(|name| of(&holds, name));
        let expected = [
            ("127.0.0.1:7433", "default"),
            ("7", "config.toml"),
            ("1MiB", "config.toml"),
            ("a=b, c=d", "config.toml"),
            ("4", "DELTALITE_SERVE_THREADS"),
            ("6", "--drain"),
            ("", "default"),
        ];
        assert_eq!(found, expected.map(|(v, o)| (v.to_owned(), o.to_owned())));
        let serve = layers.section(&flags).unwrap();
        assert_eq!((serve.scans, serve.threads, serve.drain), (Some(7), Some(4), Some(6)));
        assert_eq!((serve.memory, serve.grant.len()), (Some(values::Size(1 << 20)), 2));
    }

    #[test]
    fn variables_are_read_by_their_type() {
        let variables = [
            ("DELTALITE_CLIENT_TOKEN", "12345"),
            ("DELTALITE_SERVE_GRANT", "a=b,c=d"),
            ("DELTALITE_SERVE_HTTP_ANYWHERE", "true"),
            ("DELTALITE_LOG_FORMAT", "json"),
            ("DELTALITE_LOG_OTLP_RATIO", "0.5"),
            ("DELTALITE_SESSION_TIMEOUT", ""),
        ];
        let layers = layers("", &variables).unwrap();
        let client = layers.section(&Client::default()).unwrap();
        assert_eq!(client.token.as_deref(), Some("12345"));
        let serve = layers.section(&Serve::default()).unwrap();
        assert_eq!((serve.grant.len(), serve.http_anywhere), (2, Some(true)));
        let log = layers.section(&Log::default()).unwrap();
        assert_eq!((log.format, log.otlp_ratio), (Some(settings::LogFormat::Json), Some(0.5)));
        assert_eq!(layers.section(&Session::default()).unwrap().timeout, None);
        // What is secret is not shown.
        assert_eq!(of(&layers.show(&Client::default()).unwrap(), "token").0, "…");
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        let said = |toml: &str, variables: &[(&str, &str)]| {
            let error = layers(toml, variables).and_then(|layers| layers.section(&Serve::default()));
            error.unwrap_err().to_string()
        };
        let text = said("[serve]\nlistn = 'x'\n", &[]);
        assert!(text.contains("config.toml") && text.contains("did you mean listen?"), "{text}");
        let text = said("[server]\nlisten = 'x'\n", &[]);
        assert!(text.contains("no section [server]; did you mean serve?"), "{text}");
        let text = said("serve = 1\n", &[]);
        assert!(text.contains("write [serve]"), "{text}");
        let text = said("[serve]\nscans = 'many'\n", &[]);
        assert!(text.contains("serve.scans") && text.contains("many"), "{text}");
        let text = said("[serve]\nmemory = '1 parsec'\n", &[]);
        assert!(text.contains("serve.memory") && text.contains("no unit of bytes"), "{text}");
        let text = said("[serve\n", &[]);
        assert!(text.contains("config.toml") && text.contains('1'), "{text}");
        let text = said("", &[("DELTALITE_SERVE_SCANS", "many")]);
        assert!(text.contains("DELTALITE_SERVE_SCANS") && text.contains("many"), "{text}");
        let text = said("", &[("DELTALITE_SERVE_SCAN", "1")]);
        assert!(text.contains("did you mean DELTALITE_SERVE_SCANS?"), "{text}");
        let text = Layers::of(Some("/nowhere/config.toml".into()), std::iter::empty());
        assert!(text.is_err_and(|e| e.to_string().contains("/nowhere/config.toml")));
    }

    #[test]
    fn value_types_are_those_of_the_fields() {
        let all = all_keys();
        let of = |path: &str| all.iter().find(|key| key.path() == path).unwrap().value_type;
        assert_eq!(of("serve.scans"), ValueType::Integer);
        assert_eq!(of("serve.grant"), ValueType::List);
        assert_eq!(of("serve.memory"), ValueType::Text);
        assert_eq!(of("serve.http_anywhere"), ValueType::Boolean);
        assert_eq!(of("log.otlp_ratio"), ValueType::Number);
    }
}
