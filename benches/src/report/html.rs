//! The report as one HTML page: bars on a logarithmic axis, drawn as inline SVG, light and dark by the reader's setting.

use std::collections::BTreeSet;
use std::fmt::Write;

use super::{Details, Row, aims, figure, significant};
use crate::cases::Case;

const BAR_HEIGHT: f64 = 20.0;
const LABEL_WIDTH: f64 = 172.0;
const PLOT_WIDTH: f64 = 470.0;
const VALUE_WIDTH: f64 = 250.0;

/// The whole page.
pub fn page(rows: &[Row], details: &Details) -> String {
    let mut body = String::new();
    headline(&mut body, rows, details);
    charts(&mut body, rows, details);
    losses(&mut body, rows);
    method(&mut body, details);
    all_rows(&mut body, rows);
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\
         <title>{} compared</title><style>{STYLE}</style></head><body><main>{body}</main></body></html>\n",
        escape(&details.subject)
    )
}

const STYLE: &str = "\
:root{color-scheme:light dark;--bg:#fff;--fg:#1b1f24;--dim:#5c6670;--line:#d8dee4;--card:#f6f8fa;--good:#1a7f52;--bad:#b3392f;--even:#8a94a0;--aim:#b7791f}\
@media(prefers-color-scheme:dark){:root{--bg:#12161b;--fg:#e3e8ee;--dim:#98a3af;--line:#2e3640;--card:#1a2027;--good:#3fb57f;--bad:#e5695e;--even:#77828e;--aim:#e0a545}}\
body{margin:0;background:var(--bg);color:var(--fg);font:16px/1.5 system-ui,sans-serif}\
main{max-width:1000px;margin:0 auto;padding:2rem 1rem 4rem}\
h1{font-size:1.7rem;margin:0 0 .3rem}h2{font-size:1.25rem;margin:2.4rem 0 .4rem;border-top:1px solid var(--line);padding-top:1.4rem}h3{font-size:1rem;margin:1.3rem 0 0}\
p{margin:.3rem 0 .6rem}.dim,small{color:var(--dim)}\
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(190px,1fr));gap:.8rem;margin:1.2rem 0}\
.tile{background:var(--card);border:1px solid var(--line);border-radius:8px;padding:.7rem .9rem}.tile b{display:block;font-size:1.5rem;line-height:1.2}.tile b.bad{color:var(--bad)}.tile b.good{color:var(--good)}\
svg{display:block;width:100%;height:auto;max-width:900px}svg text{fill:var(--fg);font-size:12.5px}svg text.dim{fill:var(--dim)}\
.good{fill:var(--good)}.bad{fill:var(--bad)}.even{fill:var(--even)}.grid{stroke:var(--line)}.one{stroke:var(--fg);stroke-width:1.2}.aim{stroke:var(--aim);stroke-width:2.5}\
.scroll{overflow-x:auto}table{border-collapse:collapse;font-size:.9rem;font-variant-numeric:tabular-nums}th,td{text-align:left;padding:.25rem .7rem .25rem 0;border-bottom:1px solid var(--line);vertical-align:top}td.n,th.n{text-align:right}\
td.good{color:var(--good)}td.bad{color:var(--bad)}details summary{cursor:pointer;margin:.6rem 0}code{font-size:.9em}";

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            other => escaped.push(other),
        }
    }
    escaped
}

/// Writing to a `String` can't fail; this keeps call sites short.
macro_rules! put {
    ($out:expr, $($format:tt)*) => { let _ = write!($out, $($format)*); };
}

fn headline(out: &mut String, rows: &[Row], details: &Details) {
    put!(
        out,
        "<h1>{} compared with {} other formats</h1><p class=\"dim\">{} · {} · {} · every figure a median of interleaved \
         runs; results compared for equality before anything was timed</p><div class=\"tiles\">",
        escape(&details.subject),
        rows.iter().map(|row| row.peer.as_str()).collect::<BTreeSet<_>>().len(),
        utc(details.started_unix_seconds),
        escape(&details.machine.cpu),
        escape(&details.machine.kernel),
    );
    for (case, peer) in [
        ("decode", "parquet_zstd"),
        ("filter", "parquet_tuned"),
        ("random", "parquet_tuned"),
        ("write", "parquet_zstd"),
    ] {
        if let Some(row) = rows.iter().find(|row| row.case == case && row.peer == peer) {
            let class = if row.ratio >= 1.0 { "good" } else { "bad" };
            put!(
                out,
                "<div class=\"tile\"><b class=\"{class}\">{}×</b>{case}<br><small>vs {peer}, {}, {} core(s)</small></div>",
                significant(row.ratio),
                escape(&row.data),
                row.cores
            );
        }
    }
    let aimed: Vec<bool> = rows
        .iter()
        .filter(|row| row.cores == 1)
        .filter_map(|row| aims::aim(&row.case, &row.peer).map(|aim| row.ratio >= aim))
        .collect();
    if !aimed.is_empty() {
        put!(
            out,
            "<div class=\"tile\"><b>{} of {}</b>aims reached<br><small>aims are set for lineitem, 1 core</small></div>",
            aimed.iter().filter(|reached| **reached).count(),
            aimed.len()
        );
    }
    put!(
        out,
        "<div class=\"tile\"><b>±{:.1} %</b>noise floor<br><small>{} against itself</small></div></div>",
        details.noise_floor * 100.0,
        escape(&details.subject)
    );
    for note in details.notes.iter().filter(|note| note.wrong_result) {
        put!(out, "<p class=\"bad\"><b>Wrong result:</b> {}</p>", escape(&note.text));
    }
}

fn charts(out: &mut String, rows: &[Row], details: &Details) {
    let mut groups: Vec<(&str, usize)> = Vec::new();
    for row in rows {
        if !groups.contains(&(row.data.as_str(), row.cores)) {
            groups.push((&row.data, row.cores));
        }
    }
    for (data, cores) in groups {
        let size = details.tables.iter().find(|table| table.name == data).map_or_else(String::new, |table| {
            format!(
                "{} rows × {} columns, {} as Arrow. ",
                table.rows,
                table.columns,
                figure(table.arrow_bytes as f64, "bytes")
            )
        });
        put!(
            out,
            "<h2>{}, {} core{}</h2><p class=\"dim\">{size}Bars show how many times better {} is (log axis; left of 1 it \
             is worse). The amber mark is the aim.</p>",
            escape(data),
            cores,
            if cores == 1 { "" } else { "s" },
            escape(&details.subject)
        );
        let group: Vec<&Row> = rows.iter().filter(|row| row.data == data && row.cores == cores).collect();
        let mut cases: Vec<&str> = Vec::new();
        for row in &group {
            if !cases.contains(&row.case.as_str()) {
                cases.push(&row.case);
            }
        }
        for case in cases {
            let bars: Vec<&Row> = group.iter().copied().filter(|row| row.case == case).collect();
            chart(out, case, &bars, details);
        }
    }
}

fn chart(out: &mut String, case: &str, bars: &[&Row], details: &Details) {
    let Some(first) = bars.first() else { return };
    let words = case.parse::<Case>().map_or_else(
        |_| {
            let note = details
                .notes
                .iter()
                .find(|note| note.case == case && note.data == first.data && note.format.is_empty());
            note.map_or_else(String::new, |note| note.text.clone())
        },
        |case| case.description().to_owned(),
    );
    put!(
        out,
        "<h3>{}</h3><small>{} · ours {}</small>",
        escape(case),
        escape(&words),
        escape(&figure(first.ours, &first.unit))
    );
    let ratios =
        bars.iter().map(|row| row.ratio).chain(bars.iter().filter_map(|row| aims::aim(case, &row.peer)));
    let (mut low, mut high) = (0.5_f64, 2.0_f64);
    for ratio in ratios.filter(|ratio| ratio.is_finite() && *ratio > 0.0) {
        low = low.min(ratio);
        high = high.max(ratio);
    }
    let (low, high) = (low.log10() - 0.05, high.log10() + 0.05);
    let x = |ratio: f64| LABEL_WIDTH + (ratio.log10().clamp(low, high) - low) / (high - low) * PLOT_WIDTH;
    let height = bars.len() as f64 * BAR_HEIGHT + 20.0;
    put!(
        out,
        "<svg viewBox=\"0 0 {} {height}\" role=\"img\" aria-label=\"{}\">",
        LABEL_WIDTH + PLOT_WIDTH + VALUE_WIDTH,
        escape(case)
    );
    for decade in low.ceil() as i32..=high.floor() as i32 {
        let ratio = 10_f64.powi(decade);
        let class = if decade == 0 { "one" } else { "grid" };
        put!(
            out,
            "<line class=\"{class}\" x1=\"{0:.1}\" x2=\"{0:.1}\" y1=\"0\" y2=\"{1}\"/><text class=\"dim\" x=\"{0:.1}\" \
             y=\"{2}\" text-anchor=\"middle\">{3}×</text>",
            x(ratio),
            height - 16.0,
            height - 3.0,
            significant_ratio(ratio)
        );
    }
    for (position, row) in bars.iter().enumerate() {
        let top = position as f64 * BAR_HEIGHT + 3.0;
        let (one, end) = (x(1.0), x(row.ratio));
        let class = if row.ratio >= 1.02 {
            "good"
        } else if row.ratio <= 0.98 {
            "bad"
        } else {
            "even"
        };
        put!(
            out,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>\
             <rect class=\"{class}\" x=\"{:.1}\" y=\"{top:.1}\" width=\"{:.1}\" height=\"{}\" rx=\"2\"/>",
            LABEL_WIDTH - 8.0,
            top + 12.0,
            escape(&row.peer),
            one.min(end),
            (end - one).abs().max(1.5),
            BAR_HEIGHT - 5.0
        );
        if let Some(aim) = aims::aim(case, &row.peer) {
            put!(
                out,
                "<line class=\"aim\" x1=\"{0:.1}\" x2=\"{0:.1}\" y1=\"{1:.1}\" y2=\"{2:.1}\"><title>aim {3}×</title></line>",
                x(aim),
                top - 1.5,
                top + BAR_HEIGHT - 3.5,
                significant(aim)
            );
        }
        put!(
            out,
            "<text x=\"{:.1}\" y=\"{:.1}\">{}× <tspan class=\"dim\" fill-opacity=\"0.7\">(theirs {})</tspan></text>",
            LABEL_WIDTH + PLOT_WIDTH + 10.0,
            top + 12.0,
            significant(row.ratio),
            escape(&figure(row.theirs, &row.unit))
        );
    }
    out.push_str("</svg>");
}

fn significant_ratio(ratio: f64) -> String {
    if ratio >= 1.0 { format!("{ratio:.0}") } else { format!("{ratio}") }
}

fn losses(out: &mut String, rows: &[Row]) {
    let mut lost: Vec<&Row> = rows.iter().filter(|row| row.ratio < 1.0).collect();
    lost.sort_by(|a, b| a.ratio.total_cmp(&b.ratio));
    out.push_str("<h2>Where we lose</h2>");
    if lost.is_empty() {
        out.push_str("<p>In none of the comparisons of this run.</p>");
    } else {
        row_table(out, &lost);
    }
    let missed: Vec<&Row> = rows
        .iter()
        .filter(|row| row.cores == 1 && row.ratio >= 1.0)
        .filter(|row| {
            aims::aim(&row.case, &row.peer).is_some_and(|aim| row.ratio < aim)
                || aims::limit(&row.case).is_some_and(|limit| row.ours > limit)
        })
        .collect();
    if !missed.is_empty() {
        out.push_str("<h3>Ahead, but short of the aim</h3>");
        row_table(out, &missed);
    }
}

fn row_table(out: &mut String, rows: &[&Row]) {
    out.push_str(
        "<div class=\"scroll\"><table><tr><th>case</th><th>data</th><th>peer</th><th class=\"n\">cores</th>\
         <th class=\"n\">ours</th><th class=\"n\">theirs</th><th class=\"n\">ratio</th><th class=\"n\">aim</th></tr>",
    );
    for row in rows {
        let class = if row.ratio < 1.0 { "n bad" } else { "n good" };
        put!(
            out,
            "<tr><td>{}</td><td>{}</td><td>{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td>\
             <td class=\"{class}\">{}×</td><td class=\"n\">{}</td></tr>",
            escape(&row.case),
            escape(&row.data),
            escape(&row.peer),
            row.cores,
            escape(&figure(row.ours, &row.unit)),
            escape(&figure(row.theirs, &row.unit)),
            significant(row.ratio),
            aims::aim(&row.case, &row.peer).map_or_else(String::new, |aim| format!("{}×", significant(aim)))
        );
    }
    out.push_str("</table></div>");
}

fn method(out: &mut String, details: &Details) {
    let machine = &details.machine;
    put!(
        out,
        "<h2>How it was measured</h2><p>Contestants take turns within each round and who begins changes, so that whatever \
         the machine does meets all of them alike; the figure is the median. All run on the same cores, restricted by \
         affinity. Warm: the file's bytes are in the process' memory before the clock starts. Cold: pushed out of the page \
         cache before each call. Checksums are verified wherever a format has them switched on by default. {} took part \
         twice in every comparison; the median distance from itself is the noise floor of ±{:.1} %. Load average at the \
         start: {}.</p><div class=\"scroll\"><table>",
        escape(&details.subject),
        details.noise_floor * 100.0,
        machine.load_at_start
    );
    for (name, value) in [
        (
            "processor",
            format!(
                "{}, {} cores allowed, {}",
                machine.cpu,
                machine.cores,
                machine.vector_extensions.join(" ")
            ),
        ),
        ("last-level cache", machine.last_level_cache.clone()),
        ("memory", figure(machine.memory_bytes as f64, "bytes")),
        ("kernel", machine.kernel.clone()),
        ("huge pages", machine.huge_pages.clone()),
        ("disk", machine.disk.clone()),
        ("compiler", machine.compiler.clone()),
        ("command", details.command.clone()),
        ("took", format!("{:.0} s", details.took_seconds)),
    ] {
        put!(out, "<tr><th>{name}</th><td>{}</td></tr>", escape(&value));
    }
    for library in &details.libraries {
        put!(out, "<tr><th>{}</th><td>{}</td></tr>", escape(&library.name), escape(&library.version));
    }
    out.push_str("</table></div>");
    if !details.notes.is_empty() {
        put!(out, "<details><summary>{} remarks</summary><ul>", details.notes.len());
        for note in &details.notes {
            put!(
                out,
                "<li><code>{}</code> on {}{}: {}</li>",
                escape(&note.case),
                escape(&note.data),
                if note.format.is_empty() { String::new() } else { format!(", {}", escape(&note.format)) },
                escape(&note.text)
            );
        }
        out.push_str("</ul></details>");
    }
}

fn all_rows(out: &mut String, rows: &[Row]) {
    put!(out, "<h2>All figures</h2><details><summary>{} rows</summary>", rows.len());
    row_table(out, &rows.iter().collect::<Vec<_>>());
    out.push_str("</details>");
}

/// Date and time in UTC by the civil-from-days algorithm (Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms").
fn utc(seconds: u64) -> String {
    let days = (seconds / 86_400) as i64 + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let minute = seconds % 86_400 / 60;
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02} UTC", minute / 60, minute % 60)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::Machine;
    use crate::measure::Budget;

    fn sample() -> (Vec<Row>, Details) {
        let row = |case: &str, peer: &str, ratio: f64| Row {
            case: case.into(),
            data: "a<b".into(),
            peer: peer.into(),
            cores: 1,
            ours: 10.0,
            theirs: 10.0 * ratio,
            unit: "ms".into(),
            ratio,
        };
        let details = Details {
            command: "deltalite-bench run".into(),
            started_unix_seconds: 951_827_696,
            took_seconds: 1.0,
            machine: Machine::detect(std::path::Path::new("/")),
            subject: "deltalite".into(),
            libraries: Vec::new(),
            tables: Vec::new(),
            budget: Budget::QUICK,
            noise_floor: 0.01,
            noise: Vec::new(),
            notes: Vec::new(),
            timings: Vec::new(),
        };
        (vec![row("decode", "parquet_zstd", 8.5), row("decode", "arrow_ipc", 0.1)], details)
    }

    #[test]
    fn the_page_is_self_contained_and_names_losses() {
        let (rows, details) = sample();
        let page = page(&rows, &details);
        assert!(!page.contains("http://") && !page.contains("https://") && !page.contains("src="));
        assert!(page.contains("a&lt;b") && !page.contains("a<b"));
        let losses = page.split("Where we lose").nth(1).unwrap();
        assert!(losses.split("</table>").next().unwrap().contains("arrow_ipc"));
        assert_eq!(page.matches("<svg").count(), page.matches("</svg>").count());
    }

    #[test]
    fn dates_are_civil() {
        assert_eq!(utc(0), "1970-01-01 00:00 UTC");
        assert_eq!(utc(951_827_696), "2000-02-29 12:34 UTC");
    }
}
