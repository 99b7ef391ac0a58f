//! Progress, tables and numbers for people.

use std::io::{IsTerminal, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use deltalite::{EngineError, Result};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::Serialize;

/// Time after which a progress bar shows.
const QUIET_FOR: Duration = Duration::from_secs(1);

/// Writes text to standard output.
pub(super) fn print(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(EngineError::io(Path::new("-")))
}

/// Writes a value as JSON to standard output.
pub(super) fn print_json(value: &impl Serialize) -> Result<()> {
    let text = serde_json::to_string_pretty(value).map_err(|e| EngineError::foreign("-")(e.to_string()))?;
    print(&(text + "\n"))
}

/// Whether people are to see colours there.
#[derive(Debug, Clone, Copy)]
pub(super) struct Style(bool);

fn colours_wanted() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty())
        && std::env::var_os("TERM").is_none_or(|v| v != "dumb")
}

impl Style {
    pub(super) fn of_stderr() -> Self {
        Self(std::io::stderr().is_terminal() && colours_wanted())
    }

    pub(super) fn of_stdout() -> Self {
        Self(std::io::stdout().is_terminal() && colours_wanted())
    }

    fn paint(self, code: u8, text: &str) -> String {
        if self.0 { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }

    pub(super) fn bold(self, text: &str) -> String {
        self.paint(1, text)
    }

    pub(super) fn dim(self, text: &str) -> String {
        self.paint(2, text)
    }

    pub(super) fn red(self, text: &str) -> String {
        self.paint(31, text)
    }

    pub(super) fn green(self, text: &str) -> String {
        self.paint(32, text)
    }

    pub(super) fn yellow(self, text: &str) -> String {
        self.paint(33, text)
    }
}

/// A progress bar over bytes: on a terminal's standard error, and only once the work has taken a second.
pub(super) struct Progress {
    what: &'static str,
    bar: Option<ProgressBar>,
    shown: bool,
    started: Instant,
}

impl Progress {
    pub(super) fn new(what: &'static str, quiet: bool) -> Self {
        let bar = (!quiet && std::io::stderr().is_terminal())
            .then(|| ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden()));
        Self { what, bar, shown: false, started: Instant::now() }
    }

    pub(super) fn set(&mut self, done: u64, total: Option<u64>, note: &str) {
        let Some(bar) = &self.bar else { return };
        if !self.shown {
            if self.started.elapsed() < QUIET_FOR {
                return;
            }
            let template = if total.is_some() {
                "{prefix} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta} {msg}"
            } else {
                "{prefix} {spinner} {bytes} {bytes_per_sec} {msg}"
            };
            if let Ok(style) = ProgressStyle::with_template(template) {
                bar.set_style(style);
            }
            bar.set_prefix(self.what);
            bar.set_draw_target(ProgressDrawTarget::stderr());
            self.shown = true;
        }
        if let Some(total) = total {
            bar.set_length(total);
        }
        bar.set_position(total.map_or(done, |t| done.min(t)));
        bar.set_message(note.to_owned());
    }

    pub(super) fn seconds(&self) -> f64 {
        self.started.elapsed().as_secs_f64()
    }

    pub(super) fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.finish();
    }
}

/// A line that says how far something is: on a terminal's standard error, and only once the work has taken a second.
pub(super) struct Ticker {
    bar: Option<ProgressBar>,
    started: Instant,
}

impl Ticker {
    pub(super) fn new(wanted: bool) -> Self {
        let bar = (wanted && std::io::stderr().is_terminal()).then(|| {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden());
            bar.with_style(
                ProgressStyle::with_template("{spinner} {elapsed} {msg}")
                    .unwrap_or_else(|_| ProgressStyle::default_spinner()),
            )
        });
        Self { bar, started: Instant::now() }
    }

    pub(super) fn show(&mut self, note: &str) {
        let Some(bar) = &self.bar else { return };
        if self.started.elapsed() >= QUIET_FOR {
            bar.set_draw_target(ProgressDrawTarget::stderr());
            bar.set_message(note.to_owned());
            bar.tick();
        }
    }

    pub(super) fn clear(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.clear();
    }
}

/// Bytes for people: `1.5 MiB`.
pub(super) fn bytes(n: u64) -> String {
    const UNITS: [&str; 6] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
    let mut value = n as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{n} B") } else { format!("{value:.1} {}", UNITS[unit]) }
}

/// A number with separators: `1,234,567`.
pub(super) fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A number of things: `1 block`, `1,234 blocks`.
pub(super) fn plural(n: u64, one: &str) -> String {
    format!("{} {one}{}", count(n), if n == 1 { "" } else { "s" })
}

/// Text cut to a width, with an ellipsis.
pub(super) fn cut(text: &str, width: usize) -> String {
    let line: String = text.chars().map(|c| if c.is_control() { '␣' } else { c }).collect();
    if line.chars().count() <= width {
        return line;
    }
    line.chars().take(width.saturating_sub(1)).chain(['…']).collect()
}

/// A table with a heading; columns named in `right` are numbers.
pub(super) fn table(heading: &[&str], right: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(heading.iter().copied());
    for row in rows {
        table.add_row(row);
    }
    for (i, name) in heading.iter().enumerate() {
        if right.contains(name)
            && let Some(column) = table.column_mut(i)
        {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.lines().map(|line| line.trim_end().to_owned() + "\n").collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn numbers_read_well() {
        assert_eq!(
            (super::count(0).as_str(), super::count(1_234_567).as_str(), super::count(999).as_str()),
            ("0", "1,234,567", "999")
        );
        assert_eq!((super::bytes(1023), super::bytes(1536)), ("1023 B".to_owned(), "1.5 KiB".to_owned()));
        assert_eq!(super::cut("abc\ndef", 5), "abc␣…");
    }
}
