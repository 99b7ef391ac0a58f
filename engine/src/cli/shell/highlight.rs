//! Colours of what is typed.

use deltalite::query::statement::{Part, parts};
use nu_ansi_term::{Color, Style};
use reedline::{Highlighter, StyledText};

pub(super) struct SqlColours;

impl Highlighter for SqlColours {
    fn highlight(&self, line: &str, _cursor: usize) -> StyledText {
        let mut styled = StyledText::new();
        if line.trim_start().starts_with('.') {
            styled.push((Style::new().fg(Color::Cyan), line.to_owned()));
            return styled;
        }
        for (part, range) in parts(line) {
            let style = match part {
                Part::Keyword => Style::new().fg(Color::Blue).bold(),
                Part::Text => Style::new().fg(Color::Green),
                Part::Number => Style::new().fg(Color::Purple),
                Part::Comment => Style::new().dimmed(),
                Part::Name | Part::Other => Style::new(),
            };
            styled.push((style, line[range].to_owned()));
        }
        styled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_change_no_text() {
        for line in [
            "SELECT 'ä', 1.5 -- x",
            "select 'open",
            "",
            "  .help",
            "\"ü\"\n;;/* x",
            "a\u{301} ≠ $$",
            "'it''s' e'\\'' x'00'",
        ] {
            let styled: String =
                SqlColours.highlight(line, 0).buffer.into_iter().map(|(_, text)| text).collect();
            assert_eq!(styled, line);
        }
    }
}
