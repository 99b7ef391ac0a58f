//! The corpus of SQL that DataFusion is tested with (crate `datafusion-sqllogictest`), on DeltaLite tables.
//!
//! `make sqllogictest` fetches it and runs this. Each file gets a session over an empty folder; what its statements create is a DeltaLite table, and what
//! they declare to be outside is loaded into one. What does not apply is listed with its reason in `not-applicable.txt`; what uses the result of a
//! statement that does not apply does not apply either. An expected error has to be an error; its words are ours.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod database;
mod rules;
mod tpch;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use deltalite_shard::executor::{ShardOptions, ShardSet};
use futures::{StreamExt, stream};
use sqllogictest::{Injected, QueryExpect, Record, Runner, StatementExpect, parse_file};

use crate::database::{Database, Kind};
use crate::rules::{Rules, Verdict};

static SHARDS: LazyLock<Arc<ShardSet>> = LazyLock::new(|| {
    Arc::new(ShardSet::start(ShardOptions::with_shards(1).unwrap().arena(64 << 20)).unwrap())
});

/// At least this many of a hundred applicable records have to agree.
const AIM_PERCENT: f64 = 98.0;
/// No record takes longer.
const LIMIT: Duration = Duration::from_mins(1);

#[derive(Default)]
struct Outcome {
    agreed: usize,
    failures: Vec<String>,
    not_applicable: BTreeMap<String, usize>,
}

/// An expected error is any error.
fn with_own_words(record: Record<Kind>) -> Record<Kind> {
    use sqllogictest::ExpectedError;
    match record {
        Record::Statement {
            loc,
            conditions,
            connection,
            sql,
            expected: StatementExpect::Error(_),
            retry,
        } => {
            let expected = StatementExpect::Error(ExpectedError::Empty);
            Record::Statement { loc, conditions, connection, sql, expected, retry }
        }
        Record::Query { loc, conditions, connection, sql, expected: QueryExpect::Error(_), retry } => {
            let expected = QueryExpect::Error(ExpectedError::Empty);
            Record::Query { loc, conditions, connection, sql, expected, retry }
        }
        other => other,
    }
}

async fn run_file(corpus: &Path, file: PathBuf, rules: &Rules) -> Outcome {
    let name = file.strip_prefix(corpus).unwrap().display().to_string();
    let mut outcome = Outcome::default();
    let records = match parse_file::<Kind>(&file) {
        Ok(records) => records,
        Err(e) => {
            outcome.failures.push(format!("{name}: {e}"));
            return outcome;
        }
    };
    let folder = tempfile::tempdir().unwrap();
    let scratch = corpus.join("scratch").join(Path::new(&name).file_stem().unwrap());
    let _ = std::fs::remove_dir_all(&scratch);
    std::fs::create_dir_all(&scratch).unwrap();
    let mut runner = Runner::new(|| async { Database::new(folder.path()) });
    runner.add_label("Datafusion");
    runner.with_column_validator(sqllogictest::strict_column_validator);
    runner.with_normalizer(|text| text.trim_end().to_owned());
    runner.with_validator(database::agree);
    let mut file_rules = rules.of_file(&name);
    for record in records {
        let (sql, line) = match &record {
            Record::Statement { sql, loc, .. } | Record::Query { sql, loc, .. } => (sql.clone(), loc.clone()),
            Record::Halt { .. } => break,
            Record::Injected(Injected::BeginInclude(_) | Injected::EndInclude(_)) => continue,
            _ => {
                let _ = runner.run_async(record).await;
                continue;
            }
        };
        if let Verdict::NotApplicable(reason) = file_rules.verdict(&sql) {
            *outcome.not_applicable.entry(reason).or_default() += 1;
            // What is not looked at may still have to go away.
            if sql.trim_start().to_uppercase().starts_with("DROP") {
                let _ = runner.run_async(record).await;
            }
            continue;
        }
        let ran = tokio::time::timeout(LIMIT, runner.run_async(with_own_words(record))).await;
        let failure = match ran {
            Ok(Ok(_)) => None,
            Ok(Err(e)) => Some(e.display(false).to_string()),
            Err(_) => Some(format!("took longer than {LIMIT:?}")),
        };
        match failure {
            None => outcome.agreed += 1,
            Some(failure) => outcome.failures.push(format!("{line}\n{sql}\n{failure}\n")),
        }
    }
    outcome
}

fn files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found);
        } else if path.extension().is_some_and(|e| e == "slt") {
            found.push(path);
        }
    }
}

#[test]
#[ignore = "reads the corpus that `make sqllogictest` fetches"]
fn the_corpus_agrees() {
    let corpus =
        PathBuf::from(std::env::var("DELTALITE_CORPUS").expect("DELTALITE_CORPUS names the corpus' folder"));
    let corpus = corpus.join("test_files");
    let only = std::env::var("DELTALITE_CORPUS_ONLY").unwrap_or_default();
    let rules = Rules::of(include_str!("not-applicable.txt"));
    let mut found = Vec::new();
    files(&corpus, &mut found);
    found.retain(|file| file.display().to_string().contains(&only));
    found.sort();
    assert!(!found.is_empty(), "{}: no files", corpus.display());
    tpch::generate(&corpus.join("tpch/data"));
    // Statements name files relative to this.
    std::env::set_current_dir(corpus.parent().unwrap()).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_stack_size(8 << 20)
        .enable_all()
        .build()
        .unwrap();
    let corpus = Arc::new(corpus);
    let rules = Arc::new(rules);
    let outcomes: Vec<(String, Outcome)> = runtime.block_on(async {
        stream::iter(found)
            .map(|file| {
                let (corpus, rules) = (corpus.clone(), rules.clone());
                async move {
                    let name = file.strip_prefix(&*corpus).unwrap().display().to_string();
                    let run = {
                        let (corpus, rules) = (corpus.clone(), rules.clone());
                        tokio::task::spawn_blocking(move || {
                            tokio::runtime::Handle::current().block_on(run_file(&corpus, file, &rules))
                        })
                    };
                    let outcome = run.await.unwrap_or_else(|e| Outcome {
                        failures: vec![format!("{name}: {e}")],
                        ..Outcome::default()
                    });
                    (name, outcome)
                }
            })
            .buffer_unordered(2)
            .collect()
            .await
    });
    let (mut agreed, mut failed) = (0, 0);
    let mut reasons: BTreeMap<String, usize> = BTreeMap::new();
    let mut report = String::new();
    for (name, outcome) in outcomes {
        agreed += outcome.agreed;
        failed += outcome.failures.len();
        for (reason, count) in outcome.not_applicable {
            *reasons.entry(reason).or_default() += count;
        }
        for failure in outcome.failures {
            let _ = writeln!(report, "=== {name}: {failure}");
        }
    }
    println!("{report}");
    println!("not applicable:");
    for (reason, count) in &reasons {
        println!("{count:>7}  {reason}");
    }
    let share = 100.0 * agreed as f64 / (agreed + failed) as f64;
    println!("{agreed} of {} applicable records agree ({share:.2} %)", agreed + failed);
    assert!(share >= AIM_PERCENT, "{share:.2} % of the applicable records agree");
}
