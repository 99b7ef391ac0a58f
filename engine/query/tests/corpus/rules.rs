//! What of the corpus does not apply, and why.

use std::collections::BTreeMap;

use regex::{Regex, RegexBuilder};

/// Rules under a reason each: `file GLOB`, or `sql REGEX`, or `in GLOB sql REGEX`.
pub(crate) struct Rules(Vec<Rule>);

struct Rule {
    reason: String,
    file: Option<Regex>,
    sql: Option<Regex>,
}

pub(crate) enum Verdict {
    Applicable,
    NotApplicable(String),
}

fn pattern(text: &str) -> Regex {
    RegexBuilder::new(text).case_insensitive(true).build().unwrap_or_else(|e| panic!("{text}: {e}"))
}

fn glob(text: &str) -> Regex {
    pattern(&format!("^{}$", regex::escape(text).replace(r"\*", ".*")))
}

impl Rules {
    pub(crate) fn of(text: &str) -> Self {
        let mut reason = String::new();
        let mut rules = Vec::new();
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("//")) {
            let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
            let (file, sql) = match word {
                "#" => {
                    rest.clone_into(&mut reason);
                    continue;
                }
                "file" => (Some(glob(rest)), None),
                "sql" => (None, Some(pattern(rest))),
                "in" => {
                    let (file, sql) = rest.split_once(" sql ").unwrap_or_else(|| panic!("{line}"));
                    (Some(glob(file)), Some(pattern(sql)))
                }
                _ => panic!("not-applicable.txt: {line}"),
            };
            rules.push(Rule { reason: reason.clone(), file, sql });
        }
        Self(rules)
    }

    pub(crate) fn of_file(&self, name: &str) -> FileRules<'_> {
        let rules = self.0.iter().filter(|rule| rule.file.as_ref().is_none_or(|file| file.is_match(name)));
        FileRules {
            rules: rules.collect(),
            creates: pattern(
                r"^\s*CREATE\s+(?:OR\s+REPLACE\s+)?(?:UNBOUNDED\s+)?(?:EXTERNAL\s+|TEMPORARY\s+|TEMP\s+)?(?:TABLE|VIEW|FUNCTION|SCHEMA|DATABASE)\s+(?:IF\s+NOT\s+EXISTS\s+)?([^\s(]+)",
            ),
            fills: pattern(r"^\s*INSERT\s+(?:INTO|OVERWRITE)\s+([^\s(]+)"),
            missing: BTreeMap::new(),
        }
    }
}

/// Rules of a file, and what it lacks by them.
pub(crate) struct FileRules<'a> {
    rules: Vec<&'a Rule>,
    creates: Regex,
    fills: Regex,
    missing: BTreeMap<String, (Regex, String)>,
}

impl FileRules<'_> {
    pub(crate) fn verdict(&mut self, sql: &str) -> Verdict {
        let created = self.creates.captures(sql).map(|c| c[1].trim_matches('"').to_lowercase());
        let rule = self.rules.iter().find(|rule| rule.sql.as_ref().is_none_or(|p| p.is_match(sql)));
        let reason = rule.map(|rule| rule.reason.clone()).or_else(|| {
            let uses = |(name, (word, _)): &(&String, &(Regex, String))| {
                Some(*name) != created.as_ref() && word.is_match(sql)
            };
            self.missing.iter().find(uses).map(|(_, (_, reason))| reason.clone())
        });
        // What is not filled as it should be is as good as not there.
        let filled = self.fills.captures(sql).map(|c| c[1].trim_matches('"').to_lowercase());
        if let Some(created) = created.or(filled.filter(|_| reason.is_some())) {
            match &reason {
                Some(reason) => {
                    let word = pattern(&format!(r"(^|\W){}($|\W)", regex::escape(&created)));
                    self.missing.insert(created, (word, reason.clone()));
                }
                None => {
                    self.missing.remove(&created);
                }
            }
        }
        reason.map_or(Verdict::Applicable, Verdict::NotApplicable)
    }
}
