//! Tables that fit the terminal.

use comfy_table::{Attribute, Cell, ColumnConstraint, ContentArrangement, Table, Width, presets};

/// Rows that are laid out at a time where there are very many.
const AT_A_TIME: usize = 1000;
/// Blanks around a cell.
const PADDING: usize = 2;
/// A column is made no narrower than this to fit a terminal.
const LEAST_COLUMN: usize = 10;

/// A table with a header; cells wrap where it would be wider than the terminal.
pub(crate) fn table<C: Into<Cell>>(
    header: &[&str],
    rows: impl IntoIterator<Item = Vec<C>>,
) -> String {
    let mut table = empty();
    if super::colour_out() {
        table.load_preset(presets::UTF8_HORIZONTAL_ONLY);
        table.enforce_styling();
    }
    set_header(&mut table, header);
    table.add_rows(rows);
    lines(&table)
}

/// The same, handed to `out` piece by piece, where there may be very many rows: then columns are as wide as
/// the widest of all, and there are no rules between pieces.
pub(crate) fn long_table<const N: usize>(
    header: &[&str; N],
    rows: impl Iterator<Item = [String; N]> + Clone,
    out: &mut dyn FnMut(&str),
) {
    if rows.clone().nth(AT_A_TIME).is_none() {
        return out(&table(header, rows.map(Vec::from)));
    }
    let mut widths = header.map(|cell| cell.chars().count() + PADDING);
    for row in rows.clone() {
        for (width, cell) in widths.iter_mut().zip(&row) {
            *width = (*width).max(cell.chars().count() + PADDING);
        }
    }
    fit(&mut widths, super::width());
    let constraint = |width: usize| Width::Fixed(width.try_into().unwrap_or(u16::MAX));
    let constraints = widths.map(|width| ColumnConstraint::Absolute(constraint(width)));
    let mut rows = rows.peekable();
    let mut first = true;
    while rows.peek().is_some() {
        let mut table = empty();
        if std::mem::take(&mut first) {
            set_header(&mut table, header);
        }
        table.add_rows(rows.by_ref().take(AT_A_TIME));
        table.set_constraints(constraints);
        out(&lines(&table));
    }
}

/// Takes from the widest columns until all fit, or all are narrow.
fn fit(widths: &mut [usize], room: usize) {
    while widths.iter().sum::<usize>() > room {
        match widths.iter_mut().max() {
            Some(widest) if *widest > LEAST_COLUMN => *widest -= 1,
            _ => return,
        }
    }
}

fn empty() -> Table {
    let mut table = Table::new();
    table.set_content_arrangement(ContentArrangement::Dynamic);
    table.load_preset(presets::NOTHING);
    table.force_no_tty();
    table.set_width(super::width().try_into().unwrap_or(u16::MAX));
    table
}

fn set_header(table: &mut Table, header: &[&str]) {
    let bold = |text| Cell::new(text).add_attribute(Attribute::Bold);
    table.set_header(header.iter().map(bold));
}

fn lines(table: &Table) -> String {
    // Trailing blanks are noise in files.
    let text = table.to_string();
    text.lines()
        .map(|line| format!("{}\n", line.trim_end()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn very_many_rows_are_laid_out_as_few_are() {
        let rows = |count: usize| {
            (0..count).map(|i| [format!("trial-{i}"), "x".repeat(i % 7), String::new()])
        };
        let text = |count| {
            let (mut text, mut pieces) = (String::new(), 0);
            long_table(&["id", "long header", "z"], rows(count), &mut |piece| {
                pieces += 1;
                text.push_str(piece);
            });
            (text, pieces)
        };
        let whole = |count| table(&["id", "long header", "z"], rows(count).map(Vec::from));
        for (count, pieces) in [(0, 1), (1000, 1), (1001, 2), (2500, 3)] {
            assert_eq!(text(count), (whole(count), pieces), "{count}");
        }
    }

    #[test]
    fn the_widest_columns_give_way() {
        let fitted = |mut widths: [usize; 3], room| {
            fit(&mut widths, room);
            widths
        };
        assert_eq!(fitted([5, 20, 60], 85), [5, 20, 60]);
        assert_eq!(fitted([5, 20, 60], 65), [5, 20, 40]);
        assert_eq!(fitted([5, 20, 60], 1), [5, 10, 10]);
    }
}
