//! `deltalite explain-error`

use clap::Args;
use deltalite::explain::{codes, explain};
use deltalite::{EngineError, Result};

use super::report::Outcome;
use super::ui;

/// Say what an error code means and what to do. Without a code: all of them.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  deltalite explain-error DL-0202
  deltalite explain-error")]
pub(super) struct Arguments {
    /// The code, as in `error[DL-0202]`.
    code: Option<String>,
}

impl Arguments {
    pub(super) fn run(self) -> Result<Outcome> {
        let Some(code) = self.code else {
            let all: Vec<String> = codes().map(|(code, text)| format!("{code}  {text}\n")).collect();
            ui::print(&all.concat())?;
            return Ok(Outcome::Done);
        };
        // "202" and "0202" are understood too.
        let full = if code.bytes().all(|b| b.is_ascii_digit()) {
            format!("DL-{code:0>4}")
        } else {
            code.to_ascii_uppercase()
        };
        match explain(&full) {
            Some(text) => {
                ui::print(&format!("{full}\n\n{text}\n"))?;
                Ok(Outcome::Done)
            }
            None => Err(EngineError::usage(
                format!("code {code:?}"),
                "there is no such error; `deltalite explain-error` lists all codes",
            )),
        }
    }
}
