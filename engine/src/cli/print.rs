//! Rows as text: tables, one value a line, TSV, JSON, Markdown, HTML.

use arrow_array::RecordBatch;
use arrow_cast::display::{ArrayFormatter, FormatOptions};
use arrow_cast::pretty::pretty_format_batches_with_options;
use arrow_json::ArrayWriter;
use arrow_schema::SchemaRef;
use deltalite::{EngineError, Result};

/// How rows are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Text {
    /// Columns side by side, in a frame.
    Table,
    /// One value a line.
    Vertical,
    /// Values with tabs between them; `\N` is null, and tabs, line feeds and backslashes are escaped.
    Tsv,
    /// One array of objects.
    Json,
    /// A table of Markdown.
    Markdown,
    /// A table of HTML.
    Html,
}

/// Prints batches as they come.
pub(super) struct Printer {
    text: Text,
    schema: SchemaRef,
    /// Most rows of a table; 0 is all.
    max_rows: usize,
    rows: usize,
    /// What a table waits for to know its widths.
    held: Vec<RecordBatch>,
}

type Out<'a> = dyn FnMut(&str) -> Result<()> + 'a;

fn failed(e: impl std::fmt::Display) -> EngineError {
    EngineError::foreign("standard output")(e.to_string())
}

impl Printer {
    pub(super) fn new(text: Text, schema: &SchemaRef, max_rows: usize) -> Self {
        Self { text, schema: schema.clone(), max_rows, rows: 0, held: Vec::new() }
    }

    /// Prints, or keeps, a batch.
    ///
    /// # Errors
    /// When a value can't be shown, or printing fails.
    pub(super) fn add(&mut self, batch: &RecordBatch, out: &mut Out<'_>) -> Result<()> {
        if self.text == Text::Table {
            let left = match self.max_rows {
                0 => batch.num_rows(),
                most => most.saturating_sub(self.rows).min(batch.num_rows()),
            };
            self.rows += batch.num_rows();
            if left > 0 {
                self.held.push(batch.slice(0, left));
            }
            return Ok(());
        }
        if batch.num_rows() == 0 {
            return Ok(());
        }
        if self.rows == 0 {
            out(&self.head())?;
        }
        let mut text = String::new();
        if self.text == Text::Json {
            self.json(batch, &mut text)?;
        } else {
            self.lines(batch, &mut text)?;
        }
        self.rows += batch.num_rows();
        out(&text)
    }

    /// Prints the rest.
    ///
    /// # Errors
    /// As [`Printer::add`].
    pub(super) fn finish(mut self, out: &mut Out<'_>) -> Result<()> {
        if self.text == Text::Table {
            if self.held.is_empty() {
                self.held.push(RecordBatch::new_empty(self.schema.clone()));
            }
            let table = pretty_format_batches_with_options(&self.held, &options("NULL")).map_err(failed)?;
            out(&format!("{table}\n"))?;
            let shown: usize = self.held.iter().map(RecordBatch::num_rows).sum();
            if shown < self.rows {
                eprintln!("{shown} of {} rows are shown; --max-rows 0 shows all", self.rows);
            }
            return Ok(());
        }
        if self.rows == 0 {
            out(&self.head())?;
        }
        out(match self.text {
            Text::Json if self.rows == 0 => "]\n",
            Text::Json => "\n]\n",
            Text::Html => "</tbody></table>\n",
            _ => "",
        })
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        self.schema.fields().iter().map(|f| f.name().as_str())
    }

    fn head(&self) -> String {
        match self.text {
            Text::Tsv => self.names().map(tsv).collect::<Vec<_>>().join("\t") + "\n",
            Text::Json => "[".to_owned(),
            Text::Markdown => {
                let names: Vec<String> = self.names().map(markdown).collect();
                format!("| {} |\n|{}\n", names.join(" | "), " --- |".repeat(names.len()))
            }
            Text::Html => {
                let names: String = self.names().map(|n| format!("<th>{}</th>", html(n))).collect();
                format!("<table><thead><tr>{names}</tr></thead><tbody>\n")
            }
            Text::Table | Text::Vertical => String::new(),
        }
    }

    fn json(&self, batch: &RecordBatch, text: &mut String) -> Result<()> {
        let mut bytes = Vec::new();
        let mut writer = ArrayWriter::new(&mut bytes);
        writer.write(batch).and_then(|()| writer.finish()).map_err(failed)?;
        let rows = String::from_utf8_lossy(&bytes);
        text.push_str(if self.rows == 0 { "\n" } else { ",\n" });
        text.push_str(rows.trim_start_matches('[').trim_end_matches(']'));
        Ok(())
    }

    fn lines(&self, batch: &RecordBatch, text: &mut String) -> Result<()> {
        let null = if self.text == Text::Tsv { "\\N" } else { "NULL" };
        let options = options(null);
        let columns = batch
            .columns()
            .iter()
            .map(|column| ArrayFormatter::try_new(column.as_ref(), &options).map_err(failed))
            .collect::<Result<Vec<_>>>()?;
        let width = self.names().map(|n| n.chars().count()).max().unwrap_or(0);
        for row in 0..batch.num_rows() {
            let values = columns.iter().zip(batch.columns()).map(|(format, column)| {
                let shown = format.value(row).to_string();
                (shown, column.is_null(row))
            });
            match self.text {
                Text::Vertical => {
                    text.push_str(&format!("-- row {} --\n", self.rows + row + 1));
                    for (name, (value, _)) in self.names().zip(values) {
                        text.push_str(&format!("{name:>width$}: {value}\n"));
                    }
                }
                Text::Tsv => {
                    let cells = values.map(|(value, is_null)| if is_null { value } else { tsv(&value) });
                    text.push_str(&(cells.collect::<Vec<_>>().join("\t") + "\n"));
                }
                Text::Markdown => {
                    let cells: Vec<String> = values.map(|(value, _)| markdown(&value)).collect();
                    text.push_str(&format!("| {} |\n", cells.join(" | ")));
                }
                Text::Html => {
                    let cells: String =
                        values.map(|(value, _)| format!("<td>{}</td>", html(&value))).collect();
                    text.push_str(&format!("<tr>{cells}</tr>\n"));
                }
                Text::Table | Text::Json => {}
            }
        }
        Ok(())
    }
}

fn options(null: &str) -> FormatOptions<'_> {
    FormatOptions::default().with_display_error(true).with_null(null)
}

fn tsv(text: &str) -> String {
    text.replace('\\', "\\\\").replace('\t', "\\t").replace('\n', "\\n").replace('\r', "\\r")
}

fn markdown(text: &str) -> String {
    text.replace('\\', "\\\\").replace('|', "\\|").replace("\r\n", "<br>").replace('\n', "<br>")
}

fn html(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that can't set up its data has failed")]
mod tests {
    use std::sync::Arc;

    use arrow_array::{ArrayRef, Int64Array, StringArray};

    use super::*;

    fn printed(text: Text, batches: &[RecordBatch]) -> String {
        let mut all = String::new();
        let mut out = |text: &str| {
            all.push_str(text);
            Ok(())
        };
        let mut printer = Printer::new(text, &batches[0].schema(), 0);
        for batch in batches {
            printer.add(batch, &mut out).unwrap();
        }
        printer.finish(&mut out).unwrap();
        all
    }

    fn batch(texts: &[Option<&str>]) -> RecordBatch {
        let numbers: ArrayRef = Arc::new(Int64Array::from_iter_values(0..texts.len() as i64));
        let texts: ArrayRef = Arc::new(StringArray::from(texts.to_vec()));
        RecordBatch::try_from_iter([("n", numbers), ("t|", texts)]).unwrap()
    }

    #[test]
    fn special_characters_are_escaped() {
        let odd = batch(&[Some("a|b\tc\n<d> & \"e\\"), None]);
        assert_eq!(
            printed(Text::Tsv, std::slice::from_ref(&odd)),
            "n\tt|\n0\ta|b\\tc\\n<d> & \"e\\\\\n1\t\\N\n"
        );
        assert_eq!(
            printed(Text::Markdown, std::slice::from_ref(&odd)),
            "| n | t\\| |\n| --- | --- |\n| 0 | a\\|b\tc<br><d> & \"e\\\\ |\n| 1 | NULL |\n"
        );
        let page = printed(Text::Html, &[odd]);
        assert!(
            page.contains("<td>a|b\tc\n&lt;d&gt; &amp; &quot;e\\</td>")
                && page.ends_with("</tbody></table>\n")
        );
    }

    #[test]
    fn json_is_one_array_whatever_the_batches() {
        for batches in [vec![batch(&[])], vec![batch(&[Some("x")]), batch(&[]), batch(&[None, Some("\"")])]] {
            let rows: Vec<serde_json::Value> = serde_json::from_str(&printed(Text::Json, &batches)).unwrap();
            assert_eq!(rows.len(), batches.iter().map(RecordBatch::num_rows).sum::<usize>());
        }
    }

    #[test]
    fn vertical_has_a_line_a_value() {
        assert_eq!(printed(Text::Vertical, &[batch(&[Some("x")])]), "-- row 1 --\n n: 0\nt|: x\n");
    }
}
