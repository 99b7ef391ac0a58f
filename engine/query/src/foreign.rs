//! Files of other formats, read where they are: format and compression by their ending, columns out of the names of folders.

use std::path::PathBuf;
use std::sync::Arc;

use arrow_array::{Array, StringArray};
use arrow_schema::{DataType, Schema};
use datafusion::catalog::TableProvider;
use datafusion::common::{DataFusionError, Result};
use datafusion::datasource::file_format::FileFormat;
use datafusion::datasource::listing::{ListingOptions, ListingTable, ListingTableConfig, ListingTableUrl};
use datafusion::execution::session_state::SessionState;
use futures::TryStreamExt;

use crate::error::QueryError;
use crate::pattern;

/// Endings, and the formats that they mean.
const FORMATS: [(&str, &str); 6] = [
    ("parquet", "parquet"),
    ("csv", "csv"),
    ("json", "json"),
    ("ndjson", "json"),
    ("jsonl", "json"),
    ("arrow", "arrow"),
];
/// Endings behind those of texts, and the compressions that they mean.
const COMPRESSIONS: [(&str, &str); 5] =
    [("gz", "gzip"), ("bz2", "bzip2"), ("xz", "xz"), ("zst", "zstd"), ("zstd", "zstd")];

/// What a file's name says of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Kind {
    pub(crate) format: &'static str,
    pub(crate) compression: Option<&'static str>,
}

impl Kind {
    /// Of a path or a pattern; `None` if its ending is not known.
    pub(crate) fn of(path: &str) -> Option<Self> {
        let known = |list: &[(&'static str, &'static str)], ending: &str| {
            list.iter().find(|(known, _)| ending.eq_ignore_ascii_case(known)).map(|(_, meaning)| *meaning)
        };
        let (rest, ending) = path.rsplit_once('.')?;
        if let Some(format) = known(&FORMATS, ending) {
            return Some(Self { format, compression: None });
        }
        let compression = known(&COMPRESSIONS, ending)?;
        let (_, inner) = rest.rsplit_once('.')?;
        let format = known(&FORMATS, inner).filter(|format| matches!(*format, "csv" | "json"))?;
        Some(Self { format, compression: Some(compression) })
    }
}

/// The ending by which a folder's other files of a kind are found.
fn ending_of(file: &str) -> String {
    let name = file.rsplit('/').next().unwrap_or(file);
    let kind = Kind::of(name);
    let parts = 1 + usize::from(kind.is_some_and(|kind| kind.compression.is_some()));
    let endings: Vec<&str> = name.rsplitn(parts + 1, '.').take(parts).collect();
    endings.into_iter().rev().fold(String::new(), |all, ending| all + "." + ending)
}

/// Whether those who write folders of files mean a name for themselves.
fn is_hidden(name: &str) -> bool {
    name.starts_with(['_', '.'])
}

/// The ending of the first file that can be read, and what it says.
fn kind_of_first<'a>(mut names: impl Iterator<Item = &'a str>) -> Option<(String, Kind)> {
    names.find_map(|name| Some((ending_of(name), Kind::of(name).filter(|_| !is_hidden(name))?)))
}

fn refused(path: &str, detail: impl std::fmt::Display) -> DataFusionError {
    DataFusionError::External(Box::new(QueryError::NotSupported(format!("{path}: {detail}"))))
}

/// Files by a path, a folder or a pattern; `None` if there are none that can be read.
///
/// # Errors
/// When they can't be listed or read, or their folders don't say the same of each of them.
pub(crate) async fn open(state: &SessionState, path: &str) -> Result<Option<Arc<dyn TableProvider>>> {
    if path.rsplit_once('/').is_some_and(|(folders, _)| folders.contains('*')) {
        return scattered(state, path).await;
    }
    let url = match pattern::url_of(path) {
        Some(url) => ListingTableUrl::try_new(url, None)?,
        None => ListingTableUrl::parse(path)?,
    };
    let store = state.runtime_env().object_store(&url)?;
    let all = match url.list_all_files(state, store.as_ref(), "").await {
        Ok(all) => all.try_collect::<Vec<_>>().await,
        Err(error) => Err(error),
    };
    let all = match all {
        Err(DataFusionError::ObjectStore(error))
            if matches!(*error, object_store::Error::NotFound { .. }) =>
        {
            return Ok(None);
        }
        all => all?,
    };
    let names = all.iter().filter_map(|file| file.location.filename());
    let Some((ending, kind)) = kind_of_first(names) else { return Ok(None) };
    let mut folders = Folders::default();
    for file in all.iter().filter(|file| file.location.as_ref().ends_with(&ending)) {
        let parts: Vec<&str> = url.strip_prefix(&file.location).into_iter().flatten().collect();
        let wrong = |detail| refused(path, format!("{} {detail}", file.location));
        folders.add(&parts).map_err(wrong)?;
    }
    let options = ListingOptions::new(format(state, kind)?)
        .with_file_extension(ending)
        .with_table_partition_cols(folders.columns());
    let schema = options.infer_schema(state, &url).await?;
    let names = folders.names();
    let kept: Vec<_> =
        schema.fields().iter().filter(|f| !names.contains(&f.name().as_str())).cloned().collect();
    if kept.len() < schema.fields().len() && kind.format == "csv" {
        // Columns of other formats are found by their names; those of CSV by their places.
        return Err(refused(path, "a column is in the files and in the names of their folders"));
    }
    let schema = Arc::new(Schema::new_with_metadata(kept, schema.metadata().clone()));
    let config = ListingTableConfig::new(url).with_listing_options(options).with_schema(schema);
    Ok(Some(Arc::new(ListingTable::try_new(config)?)))
}

/// Files of the folders that a pattern stands for.
async fn scattered(state: &SessionState, pattern: &str) -> Result<Option<Arc<dyn TableProvider>>> {
    let refused = |detail: String| refused(pattern, detail);
    let mut files = pattern::files(pattern).map_err(|e| DataFusionError::External(Box::new(e)))?;
    let name = |file: &PathBuf| Some(file.file_name()?.to_str()?.to_owned());
    let names: Vec<String> = files.iter().filter_map(name).collect();
    let Some((ending, kind)) = kind_of_first(names.iter().map(String::as_str)) else { return Ok(None) };
    files.retain(|file| name(file).is_some_and(|name| !is_hidden(&name) && name.ends_with(&ending)));
    let fixed = pattern.split('*').next().unwrap_or_default().rsplit_once('/').map_or(0, |(f, _)| f.len());
    let mut urls = Vec::with_capacity(files.len());
    for file in &files {
        let folders = file.parent().and_then(|folders| folders.to_str()?.get(fixed..)).unwrap_or_default();
        if let Some(named) = folders.split('/').find(|folder| folder.contains('=')) {
            return Err(refused(format!(
                "{named} names a column, which a pattern does not read; read the folder above it WHERE the column is what is wanted"
            )));
        }
        let url = file.to_str().and_then(pattern::url_of);
        let url = url.ok_or_else(|| refused(format!("{} can't be named", file.display())))?;
        urls.push(ListingTableUrl::try_new(url, None)?);
    }
    let options = ListingOptions::new(format(state, kind)?).with_file_extension(ending);
    let mut schemas = Vec::with_capacity(urls.len());
    for url in &urls {
        schemas.push(options.infer_schema(state, url).await?.as_ref().clone());
    }
    let schema = Schema::try_merge(schemas).map_err(|e| refused(e.to_string()))?;
    let config = ListingTableConfig::new_with_multi_paths(urls)
        .with_listing_options(options)
        .with_schema(Arc::new(schema));
    Ok(Some(Arc::new(ListingTable::try_new(config)?)))
}

fn format(state: &SessionState, kind: Kind) -> Result<Arc<dyn FileFormat>> {
    let factory = state.get_file_format_factory(kind.format).ok_or_else(|| {
        DataFusionError::Configuration(format!("this build reads no files of {}", kind.format))
    })?;
    let compression = kind.compression.map(|c| ("format.compression".to_owned(), c.to_owned()));
    factory.create(state, &compression.into_iter().collect())
}

/// What the names of folders say of the files in them: `a=1/b=x/…`, the same columns of each file.
#[derive(Debug, Default)]
struct Folders(Option<Vec<Column>>);

/// A column that is a part of folders' names, and whether all its values are of a type.
#[derive(Debug)]
struct Column {
    name: String,
    whole_numbers: bool,
    days: bool,
}

impl Folders {
    /// Takes in a file, by the parts of its path below the folder that is read.
    fn add(&mut self, parts: &[&str]) -> Result<(), &'static str> {
        let above = &parts[..parts.len().saturating_sub(1)];
        let named: Vec<(&str, &str)> = above.iter().filter_map(|part| part.split_once('=')).collect();
        if !named.is_empty() && named.len() < above.len() {
            return Err("is in a folder that names a column, and in one that does not");
        }
        let new = || -> Vec<Column> {
            let column = |(name, _): &(&str, &str)| Column {
                name: (*name).to_owned(),
                whole_numbers: true,
                days: true,
            };
            named.iter().map(column).collect()
        };
        let known = self.0.get_or_insert_with(new);
        if !known.iter().map(|column| column.name.as_str()).eq(named.iter().map(|(name, _)| *name)) {
            return Err("has other columns in the names of its folders than the files before");
        }
        for (column, (_, value)) in known.iter_mut().zip(&named) {
            // A number that would be written otherwise is a text: `007`.
            column.whole_numbers &= value.parse::<i64>().is_ok_and(|number| number.to_string() == *value);
            column.days &= value.len() == 10 && is_day(value);
        }
        Ok(())
    }

    fn names(&self) -> Vec<&str> {
        self.0.iter().flatten().map(|column| column.name.as_str()).collect()
    }

    fn columns(&self) -> Vec<(String, DataType)> {
        let data_type = |column: &Column| match column {
            Column { whole_numbers: true, .. } => DataType::Int64,
            Column { days: true, .. } => DataType::Date32,
            _ => DataType::Dictionary(Box::new(DataType::UInt16), Box::new(DataType::Utf8)),
        };
        self.0.iter().flatten().map(|column| (column.name.clone(), data_type(column))).collect()
    }
}

fn is_day(text: &str) -> bool {
    let texts = StringArray::from(vec![text]);
    arrow_cast::cast(&texts, &DataType::Date32).is_ok_and(|day| day.is_valid(0))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that can't set up its data has failed")]
mod tests {
    use super::*;

    #[test]
    fn endings_say_format_and_compression() {
        let of = |path: &str| Kind::of(path).map(|kind| (kind.format, kind.compression));
        assert_eq!(of("a/b.parquet"), Some(("parquet", None)));
        assert_eq!(of("in/*.CSV"), Some(("csv", None)));
        assert_eq!(of("a.jsonl.zst"), Some(("json", Some("zstd"))));
        assert_eq!(of("a.csv.gz"), Some(("csv", Some("gzip"))));
        for unknown in ["a.gz", "a.parquet.gz", "a.dlb", "a", "csv", "a.csv/b"] {
            assert_eq!(of(unknown), None, "{unknown}");
        }
        assert_eq!(ending_of("x/a.b.csv.gz"), ".csv.gz");
        assert_eq!(ending_of("a.b.parquet"), ".parquet");
    }

    #[test]
    fn folders_name_columns() {
        let mut folders = Folders::default();
        folders.add(&["a=1", "d=2024-02-29", "t=x%20y", "f.csv"]).unwrap();
        folders.add(&["a=-22", "d=2024-03-01", "t=7", "f.csv"]).unwrap();
        let text = DataType::Dictionary(Box::new(DataType::UInt16), Box::new(DataType::Utf8));
        let expected = [("a", DataType::Int64), ("d", DataType::Date32), ("t", text.clone())];
        assert!(folders.columns().iter().map(|(n, t)| (n.as_str(), t.clone())).eq(expected));
        assert!(folders.add(&["a=1", "f.csv"]).is_err());
        assert!(folders.add(&["a=1", "x", "d=2024-02-29", "t=x", "f.csv"]).is_err());
        // What is no number in one place is a text in all.
        folders.add(&["a=007", "d=2024-02-30", "t=", "f.csv"]).unwrap();
        assert_eq!(folders.columns().iter().filter(|(_, t)| *t == text).count(), 3);
        let mut none = Folders::default();
        none.add(&["f.csv"]).unwrap();
        assert!(none.columns().is_empty() && none.add(&["a=1", "f.csv"]).is_err());
    }
}
