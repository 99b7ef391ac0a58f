//! Progress on standard error: a bar on a terminal, nothing in a pipe.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// A bar for something that takes longer than a second.
#[derive(Debug)]
pub struct Progress(ProgressBar);

impl Progress {
    /// Counts rows.
    pub fn rows(what: &str, total: u64) -> Self {
        Self::new(what, total, "{prefix:32} {wide_bar} {human_pos} rows, {per_sec} {eta}")
    }

    /// Counts steps, each named while it runs.
    pub fn steps(what: &str, total: u64) -> Self {
        Self::new(what, total, "{prefix:16} {wide_bar} {pos}/{len} {msg:44!} {elapsed}")
    }

    fn new(what: &str, total: u64, template: &str) -> Self {
        let bar = ProgressBar::new(total).with_prefix(what.to_owned());
        bar.set_style(
            ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()),
        );
        bar.enable_steady_tick(Duration::from_millis(500));
        Self(bar)
    }

    /// More was done.
    pub fn advance(&self, by: u64) {
        self.0.inc(by);
    }

    /// Says which step runs now.
    pub fn step(&self, message: &str) {
        self.0.set_message(message.to_owned());
    }

    /// Prints a line above the bar.
    pub fn line(&self, text: &str) {
        self.0.suspend(|| eprintln!("{text}"));
    }

    /// Removes the bar.
    pub fn finish(&self) {
        self.0.finish_and_clear();
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.finish();
    }
}
