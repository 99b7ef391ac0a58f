//! A session as the corpus sees it: values as the text that its files have.

use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float16Type, Float32Type, Float64Type};
use arrow_array::{Array, RecordBatch};
use arrow_cast::display::{ArrayFormatter, DurationFormat, FormatOptions};
use arrow_schema::{DataType, Schema};
use async_trait::async_trait;
use bigdecimal::BigDecimal;
use datafusion::prelude::{SessionConfig, SessionContext};
use deltalite_query::{QueryError, Session, SessionOptions};
use sqllogictest::{AsyncDB, ColumnType, DBOutput, Normalizer};

use crate::SHARDS;

/// Digits of a number behind the point that are compared; those of decimals are.
const DIGITS: i64 = 12;
/// Parts of a plan, as the corpus' runner has them.
const PARTITIONS: usize = 4;

/// What the corpus tells of a column's type: a letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Kind(char);

impl ColumnType for Kind {
    fn from_char(value: char) -> Option<Self> {
        Some(Self(if "BDIPRT".contains(value) { value } else { '?' }))
    }

    fn to_char(&self) -> char {
        self.0
    }
}

impl Kind {
    fn of(data_type: &DataType) -> Self {
        use DataType as T;
        Self(match data_type {
            T::Boolean => 'B',
            t if t.is_integer() => 'I',
            t if t.is_floating() || t.is_decimal() => 'R',
            T::Utf8 | T::LargeUtf8 | T::Utf8View => 'T',
            T::Date32 | T::Date64 | T::Time32(_) | T::Time64(_) => 'D',
            T::Timestamp(..) => 'P',
            T::Dictionary(_, values) if matches!(**values, T::Utf8 | T::LargeUtf8 | T::Utf8View) => 'T',
            _ => '?',
        })
    }
}

pub(crate) struct Database {
    session: Session,
    /// Reads what is declared to be outside.
    outside: SessionContext,
}

impl Database {
    pub(crate) fn new(folder: &Path) -> Result<Self, QueryError> {
        let options = SessionOptions::default().shards(SHARDS.clone()).catalog(folder).partitions(PARTITIONS);
        let outside = SessionContext::new_with_config(SessionConfig::new().with_target_partitions(1));
        Ok(Self { session: Session::new(options)?, outside })
    }

    async fn execute(&self, sql: &str) -> Result<(Schema, Vec<RecordBatch>), QueryError> {
        // The schema of names without one is called otherwise.
        let sql = &sql.replace(" public.", " main.");
        let query = self.session.sql(sql).await?;
        let schema = query.schema().as_ref().clone();
        Ok((schema, query.collect().await?))
    }

    /// Loads what `CREATE EXTERNAL TABLE` declares into a table; files that are yet to be written stay outside.
    async fn load(&self, name: &str, sql: &str) -> Result<(), QueryError> {
        let read = async {
            self.outside.sql(sql).await?.collect().await?;
            let frame = self.outside.table(name).await?;
            let schema = std::sync::Arc::new(frame.schema().as_arrow().clone());
            let batches = frame.collect().await?;
            self.outside.deregister_table(name)?;
            Ok((schema, batches))
        };
        let read: Result<_, datafusion::error::DataFusionError> = read.await;
        let (schema, batches) = match read {
            Ok((schema, batches)) if batches.iter().any(|batch| batch.num_rows() > 0) => (schema, batches),
            _ => return self.execute(sql).await.map(|_| ()),
        };
        self.session.register("outside_rows", schema, batches)?;
        self.execute(&format!("CREATE TABLE {name} AS SELECT * FROM outside_rows")).await?;
        self.session.unregister("outside_rows");
        Ok(())
    }
}

#[async_trait]
impl AsyncDB for Database {
    type Error = QueryError;
    type ColumnType = Kind;

    async fn run(&mut self, sql: &str) -> Result<DBOutput<Kind>, QueryError> {
        let words: Vec<&str> = sql.split_whitespace().collect();
        let upper: Vec<String> = words.iter().take(7).map(|w| w.to_uppercase()).collect();
        let external = upper.iter().take(4).position(|w| w == "EXTERNAL");
        if let Some(at) = external.filter(|_| upper[0] == "CREATE") {
            let skipped = if upper.get(at + 2).is_some_and(|w| w == "IF") { 5 } else { 2 };
            let name = words[at + skipped].split('(').next().unwrap_or_default();
            self.load(name, sql).await?;
            return Ok(DBOutput::StatementComplete(0));
        }
        let (schema, batches) = self.execute(sql).await?;
        // A statement that makes or drops something has no rows in the corpus; of ours, the number of rows is one.
        if ["CREATE", "DROP", "ALTER", "TRUNCATE"].contains(&upper[0].as_str()) {
            return Ok(DBOutput::StatementComplete(0));
        }
        let types: Vec<Kind> = schema.fields().iter().map(|f| Kind::of(f.data_type())).collect();
        let mut rows = Vec::new();
        for batch in &batches {
            for row in 0..batch.num_rows() {
                let cells = batch.columns().iter().map(|column| cell(column, row));
                rows.extend(lines(cells.collect()));
            }
        }
        if types.is_empty() && rows.is_empty() {
            return Ok(DBOutput::StatementComplete(0));
        }
        Ok(DBOutput::Rows { types, rows })
    }

    async fn shutdown(&mut self) {}

    fn engine_name(&self) -> &'static str {
        "DataFusion"
    }

    async fn sleep(time: Duration) {
        tokio::time::sleep(time).await;
    }
}

/// A row whose last cell has several lines, as plans have, is a row and one for each line, numbered and with its indentation shown.
fn lines(mut row: Vec<String>) -> Vec<Vec<String>> {
    let Some(last) = row.pop_if(|cell| cell.contains('\n')) else {
        return vec![row];
    };
    let mut rows = vec![row];
    rows.extend(last.split('\n').enumerate().map(|(at, line)| {
        let text = line.trim_start();
        vec![format!("{:02}){}{text}", at + 1, "-".repeat(line.len() - text.len()))]
    }));
    rows
}

fn number(text: &str, digits: i64) -> String {
    BigDecimal::from_str(text).unwrap().round(digits).normalized().to_plain_string()
}

fn real(value: f64, text: &str) -> String {
    match value {
        v if v.is_nan() => "NaN".to_owned(),
        v if v == f64::INFINITY => "Infinity".to_owned(),
        v if v == f64::NEG_INFINITY => "-Infinity".to_owned(),
        _ => number(text, DIGITS),
    }
}

fn cell(column: &dyn Array, row: usize) -> String {
    use DataType as T;
    if column.is_null(row) {
        return "NULL".to_owned();
    }
    let options = FormatOptions::default().with_null("NULL").with_duration_format(DurationFormat::Pretty);
    let shown = || ArrayFormatter::try_new(column, &options).unwrap().value(row).to_string();
    match column.data_type() {
        T::Null => "NULL".to_owned(),
        T::Float16 => {
            let value = column.as_primitive::<Float16Type>().value(row);
            real(value.to_f64(), &value.to_string())
        }
        T::Float32 => {
            let value = column.as_primitive::<Float32Type>().value(row);
            real(value.into(), &value.to_string())
        }
        T::Float64 => {
            let value = column.as_primitive::<Float64Type>().value(row);
            real(value, &value.to_string())
        }
        T::Decimal32(_, scale)
        | T::Decimal64(_, scale)
        | T::Decimal128(_, scale)
        | T::Decimal256(_, scale) => number(&shown(), (*scale).into()),
        T::Utf8 | T::LargeUtf8 | T::Utf8View => match shown().as_str() {
            "" => "(empty)".to_owned(),
            text => text.trim_end_matches('\n').replace('\0', "\\0"),
        },
        T::Dictionary(..) => {
            let dictionary = column.as_any_dictionary();
            cell(dictionary.values(), dictionary.normalized_keys()[row])
        }
        _ => shown(),
    }
}

/// Whether rows are those expected; `<slt:ignore>` stands for any text.
pub(crate) fn agree(normalizer: Normalizer, actual: &[Vec<String>], expected: &[String]) -> bool {
    let expected: Vec<String> = expected.iter().map(normalizer).collect();
    let actual: Vec<String> = actual.iter().map(|row| row.join(" ").trim_end().to_owned()).collect();
    let (expected, actual) = (expected.join("\n"), actual.join("\n"));
    let mut parts = expected.split("<slt:ignore>");
    let Some(mut rest) = actual.strip_prefix(parts.next().unwrap_or_default()) else { return false };
    let mut parts = parts.peekable();
    if parts.peek().is_none() {
        return rest.is_empty();
    }
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    true
}
