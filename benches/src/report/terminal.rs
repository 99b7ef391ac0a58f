//! The table that people see at the end of a run.

use std::fmt::Write;
use std::io::IsTerminal;

use comfy_table::presets::UTF8_BORDERS_ONLY;
use comfy_table::{Attribute, Cell, CellAlignment, Color, ContentArrangement, Table};

use super::{Details, Row, aims, figure, significant};

/// Renders the rows grouped by table and cores; coloured only on a terminal without `NO_COLOR`.
pub fn render(rows: &[Row], details: &Details) -> String {
    let colour = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let mut text = String::new();
    let mut groups: Vec<(&str, usize)> = Vec::new();
    for row in rows {
        if !groups.contains(&(row.data.as_str(), row.cores)) {
            groups.push((&row.data, row.cores));
        }
    }
    for (data, cores) in groups {
        let mut table = Table::new();
        table.load_preset(UTF8_BORDERS_ONLY).set_content_arrangement(ContentArrangement::Dynamic);
        table.set_header(["case", "compared with", details.subject.as_str(), "peer", "ratio", "aim"]);
        for column in 2..6 {
            if let Some(column) = table.column_mut(column) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        let mut last = "";
        for row in rows.iter().filter(|row| row.data == data && row.cores == cores) {
            let aim = aims::aim(&row.case, &row.peer);
            let mut ratio = Cell::new(format!("{}×", significant(row.ratio)));
            if colour {
                ratio = match aim {
                    Some(aim) if row.ratio >= aim => ratio.fg(Color::Green).add_attribute(Attribute::Bold),
                    _ if row.ratio < 1.0 => ratio.fg(Color::Red),
                    _ => ratio,
                };
            }
            table.add_row([
                Cell::new(if row.case == last { "" } else { &row.case }),
                Cell::new(&row.peer),
                Cell::new(figure(row.ours, &row.unit)),
                Cell::new(figure(row.theirs, &row.unit)),
                ratio,
                Cell::new(aim.map_or_else(String::new, |aim| format!("{}×", significant(aim)))),
            ]);
            last = &row.case;
        }
        let size = details.tables.iter().find(|table| table.name == data).map_or_else(String::new, |table| {
            format!(
                ", {} rows × {} columns, {}",
                table.rows,
                table.columns,
                figure(table.arrow_bytes as f64, "bytes")
            )
        });
        let _ = writeln!(text, "\n{data}{size}; {cores} core(s)\n{table}");
    }
    let _ = writeln!(
        text,
        "\nA ratio above 1 means that {} is better. Noise floor ±{:.1} %. {} · {} cores · {}",
        details.subject,
        details.noise_floor * 100.0,
        details.machine.cpu,
        details.machine.cores,
        details.machine.kernel,
    );
    for note in details.notes.iter().filter(|note| note.wrong_result) {
        let _ = writeln!(text, "WRONG RESULT: {}", note.text);
    }
    text
}
