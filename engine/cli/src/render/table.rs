//! Tables that fit the terminal.

use comfy_table::{Attribute, Cell, ContentArrangement, Table, presets};

/// A table with a header; cells wrap where the terminal is narrow. Without a terminal, lines are as
/// long as their content.
pub(crate) fn table(header: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_preset(presets::UTF8_HORIZONTAL_ONLY);
    table.set_content_arrangement(ContentArrangement::Dynamic);
    if !super::colour() {
        table.force_no_tty();
        table.load_preset(presets::NOTHING);
    }
    if let Some(columns) = std::env::var("COLUMNS")
        .ok()
        .and_then(|text| text.parse().ok())
    {
        table.set_width(columns);
    }
    table.set_header(
        header
            .iter()
            .map(|text| Cell::new(text).add_attribute(Attribute::Bold)),
    );
    table.add_rows(rows);
    // Trailing blanks are noise in files.
    let text = table.to_string();
    text.lines()
        .map(|line| format!("{}\n", line.trim_end()))
        .collect()
}
