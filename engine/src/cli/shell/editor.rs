//! The line that is typed: its keys, its history, its end.

use std::borrow::Cow;
use std::path::PathBuf;

use deltalite::query::Session;
use deltalite::{EngineError, Result};
use nu_ansi_term::{Color, Style};
use reedline::{
    ColumnarMenu, DefaultHinter, EditCommand, Emacs, FileBackedHistory, KeyCode, KeyModifiers, MenuBuilder,
    Prompt, PromptEditMode, PromptHistorySearch, Reedline, ReedlineEvent, ReedlineMenu, Signal,
    ValidationResult, Validator, default_emacs_keybindings,
};
use tokio::runtime::Handle;

use super::complete::SqlCompleter;
use super::highlight::SqlColours;

/// Statements that are remembered.
const HISTORY_MAX: usize = 10_000;
const MENU: &str = "completion";

/// What was typed.
pub(super) enum Typed {
    Text(String),
    /// Ctrl-C.
    Dropped,
    /// Ctrl-D.
    End,
}

pub(super) struct Editor {
    line: Reedline,
}

/// Whether what is typed is whole: a command, or statements of which the last one ends.
fn is_whole(text: &str) -> bool {
    let text = text.trim();
    text.is_empty()
        || text.starts_with('.')
        || matches!(text.to_ascii_lowercase().as_str(), "quit" | "exit")
        || Session::statements(text).is_ok_and(|s| s.complete)
}

struct WholeStatements;

impl Validator for WholeStatements {
    fn validate(&self, line: &str) -> ValidationResult {
        if is_whole(line) { ValidationResult::Complete } else { ValidationResult::Incomplete }
    }
}

/// The name of the shell; marked while a transaction is open.
struct Name {
    in_transaction: bool,
}

impl Prompt for Name {
    fn render_prompt_left(&self) -> Cow<'_, str> {
        "deltalite".into()
    }

    fn render_prompt_right(&self) -> Cow<'_, str> {
        "".into()
    }

    fn render_prompt_indicator(&self, _mode: PromptEditMode) -> Cow<'_, str> {
        if self.in_transaction { "*> ".into() } else { "> ".into() }
    }

    fn render_prompt_multiline_indicator(&self) -> Cow<'_, str> {
        "      ...> ".into()
    }

    fn render_prompt_history_search_indicator(&self, search: PromptHistorySearch) -> Cow<'_, str> {
        format!("(history: {}) ", search.term).into()
    }
}

fn default_history() -> Option<PathBuf> {
    let state = std::env::var_os("XDG_STATE_HOME").filter(|v| !v.is_empty()).map(PathBuf::from);
    let state = state.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".local/state")));
    state.map(|folder| folder.join("deltalite/history"))
}

impl Editor {
    pub(super) fn new(session: &Session, handle: &Handle, history: Option<PathBuf>) -> Self {
        let mut keys = default_emacs_keybindings();
        let complete = vec![ReedlineEvent::Menu(MENU.to_owned()), ReedlineEvent::MenuNext];
        keys.add_binding(KeyModifiers::NONE, KeyCode::Tab, ReedlineEvent::UntilFound(complete));
        keys.add_binding(KeyModifiers::SHIFT, KeyCode::BackTab, ReedlineEvent::MenuPrevious);
        keys.add_binding(
            KeyModifiers::ALT,
            KeyCode::Enter,
            ReedlineEvent::Edit(vec![EditCommand::InsertNewline]),
        );
        let colours = std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
        let mut line = Reedline::create()
            .with_ansi_colors(colours)
            .with_completer(Box::new(SqlCompleter { session: session.clone(), handle: handle.clone() }))
            .with_quick_completions(true)
            .with_partial_completions(true)
            .with_menu(ReedlineMenu::EngineCompleter(Box::new(ColumnarMenu::default().with_name(MENU))))
            .with_edit_mode(Box::new(Emacs::new(keys)))
            .with_highlighter(Box::new(SqlColours))
            .with_validator(Box::new(WholeStatements))
            .with_hinter(Box::new(DefaultHinter::default().with_style(Style::new().fg(Color::DarkGray))));
        // A home that can't be written to costs the history, not the shell.
        let opened =
            history.or_else(default_history).map(|file| FileBackedHistory::with_file(HISTORY_MAX, file));
        match opened {
            Some(Ok(history)) => line = line.with_history(Box::new(history)),
            Some(Err(error)) => eprintln!("no history is kept: {error}"),
            None => {}
        }
        Self { line }
    }

    /// What is typed next.
    ///
    /// # Errors
    /// When the terminal can't be read.
    pub(super) fn read(&mut self, in_transaction: bool) -> Result<Typed> {
        let failed = |e: std::io::Error| EngineError::Io { path: "the terminal".into(), source: e };
        Ok(match self.line.read_line(&Name { in_transaction }).map_err(failed)? {
            Signal::Success(text) | Signal::ExternalBreak(text) | Signal::HostCommand(text) => {
                Typed::Text(text)
            }
            Signal::CtrlC => Typed::Dropped,
            _ => Typed::End,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::is_whole;

    #[test]
    fn a_statement_is_whole_when_it_ends() {
        for whole in ["", ".help", "SELECT 1;", "SELECT ';';", "a;\n b; -- c", "exit"] {
            assert!(is_whole(whole), "{whole}");
        }
        for open in ["SELECT 1", "SELECT ';", "a; b", "/* ;", "SELECT \";"] {
            assert!(!is_whole(open), "{open}");
        }
    }
}
