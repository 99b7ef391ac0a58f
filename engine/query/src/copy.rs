//! `COPY … TO` files.
//!
//! A `.dlb` file is written here. Of others the format and the compression are read off the name (`rows.csv.gz`), and the rest is DataFusion's.

use std::path::Path;

use arrow_array::RecordBatch;
use datafusion::sql::parser::{CopyToSource, CopyToStatement, DFParserBuilder, Statement};
use deltalite_format::{FileWriter, WriterOptions};
use deltalite_shard::write::{AtomicFile, WriteOptions};
use deltalite_table::TableError;
use tokio::runtime::Handle;

use crate::cancel;
use crate::dml::{batches, blocking, count};
use crate::error::{QueryError, Result};
use crate::foreign::Kind;
use crate::pattern;
use crate::session::Session;

/// What becomes of a `COPY`.
#[derive(Debug)]
pub(crate) enum Copy {
    /// It was one to a `.dlb` file, and has been done.
    Done(RecordBatch),
    /// It is DataFusion's, in these words.
    Text(String),
}

/// Runs a `COPY` to a `.dlb` file, or says how DataFusion is told of another; `None` for any other statement.
///
/// # Errors
/// When a part of it is not supported, the query fails, or the file can't be written: nothing is left behind then.
pub(crate) async fn run(session: &Session, text: &str, shown: &str) -> Result<Option<Copy>> {
    let head: String = text.trim_start().chars().take(4).collect();
    if !head.eq_ignore_ascii_case("COPY") {
        return Ok(None);
    }
    // What can't be parsed is for DataFusion to tell.
    let Ok(mut parsed) = DFParserBuilder::new(text).build().and_then(|mut parser| parser.parse_statements())
    else {
        return Ok(None);
    };
    let (Some(Statement::CopyTo(copy)), true) = (parsed.pop_front(), parsed.is_empty()) else {
        return Ok(None);
    };
    let format = copy.stored_as.as_deref().map(str::to_lowercase);
    let ours = match &format {
        Some(format) => format == "dlb",
        None => Path::new(&copy.target).extension().is_some_and(|e| e.eq_ignore_ascii_case("dlb")),
    };
    if ours {
        return to_dlb(session, copy, shown).await.map(|done| Some(Copy::Done(done)));
    }
    Ok(Some(Copy::Text(said(&copy))))
}

/// The statement with the format and the compression that the file's name means, and its place as a URL.
fn said(copy: &CopyToStatement) -> String {
    let CopyToStatement { source, target, partitioned_by, options, stored_as } = copy;
    let kind = Kind::of(target).filter(|_| stored_as.is_none());
    let named = |name: &str| options.iter().any(|(key, _)| key.eq_ignore_ascii_case(name));
    let mut options: Vec<String> = options.iter().map(|(key, value)| format!("'{key}' {value}")).collect();
    if let Some(compression) = kind.and_then(|kind| kind.compression)
        && !named("format.compression")
        && !named("compression")
    {
        options.push(format!("'format.compression' '{compression}'"));
    }
    let target = pattern::url_of(target).map_or_else(|| target.clone(), |url| url.to_string());
    let mut text = format!("COPY {source} TO '{}'", target.replace('\'', "''"));
    if let Some(format) = stored_as.as_deref().or(kind.map(|kind| kind.format)) {
        text.push_str(&format!(" STORED AS {}", format.to_uppercase()));
    }
    if !partitioned_by.is_empty() {
        text.push_str(&format!(" PARTITIONED BY ({})", partitioned_by.join(", ")));
    }
    if !options.is_empty() {
        text.push_str(&format!(" OPTIONS ({})", options.join(", ")));
    }
    text
}

async fn to_dlb(session: &Session, copy: CopyToStatement, shown: &str) -> Result<RecordBatch> {
    if !copy.partitioned_by.is_empty() || !copy.options.is_empty() {
        return Err(QueryError::NotSupported(
            "COPY to a .dlb file takes no OPTIONS and no PARTITIONED BY; CREATE TABLE … PARTITIONED BY makes a table of many files"
                .to_owned(),
        ));
    }
    let sql = match &copy.source {
        CopyToSource::Relation(name) => format!("SELECT * FROM {name}"),
        CopyToSource::Query(query) => query.to_string(),
    };
    let query = session.plan(&sql, shown).await?;
    let threads = session.names().context().shards().len();
    let handle = Handle::current();
    let (_waiting, stop) = cancel::pair();
    blocking(move || {
        let target = Path::new(&copy.target);
        let schema = query.schema().clone();
        let sink = AtomicFile::create(target, WriteOptions::default()).map_err(TableError::from)?;
        let options = WriterOptions { threads, ..WriterOptions::default() };
        let mut writer = FileWriter::new(sink, &schema, options).map_err(TableError::from)?;
        for batch in batches(query.into_stream()?, handle, stop.clone()) {
            writer.write(&batch?).map_err(TableError::from)?;
        }
        let (summary, sink) = writer.finish_into().map_err(TableError::from)?;
        stop.check()?;
        sink.finish().map_err(TableError::from)?;
        count(summary.rows)
    })
    .await
}
