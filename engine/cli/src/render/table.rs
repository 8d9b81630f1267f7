//! Tables that fit the terminal.

use comfy_table::{Attribute, Cell, ContentArrangement, Table, presets};

/// A table with a header; cells wrap where it would be wider than the terminal.
pub(crate) fn table<C: Into<Cell>>(
    header: &[&str],
    rows: impl IntoIterator<Item = Vec<C>>,
) -> String {
    let mut table = Table::new();
    table.set_content_arrangement(ContentArrangement::Dynamic);
    if super::colour_out() {
        table.load_preset(presets::UTF8_HORIZONTAL_ONLY);
        table.enforce_styling();
    } else {
        table.load_preset(presets::NOTHING);
        table.force_no_tty();
    }
    table.set_width(super::width().try_into().unwrap_or(u16::MAX));
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
