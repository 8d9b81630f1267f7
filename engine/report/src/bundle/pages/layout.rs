//! Blocks of text → pages.

use super::font::{Font, encoded};
use super::pdf::{self, HEIGHT, Page, WIDTH};
use super::{Block, Cell, Style};

/// Margin of a page on every side, in points.
const MARGIN: f32 = 42.0;
/// Between the columns of a table.
const GAP: f32 = 5.0;

/// A page that is filled from above.
struct Writer {
    size: f32,
    pages: Vec<Page>,
    y: f32,
}

/// The pages of some blocks with text of a size.
pub(super) fn pages(blocks: &[Block], size: f32) -> Vec<Page> {
    let mut writer = Writer {
        size,
        pages: vec![Page::default()],
        y: HEIGHT - MARGIN,
    };
    for block in blocks {
        writer.block(block);
    }
    writer.pages
}

/// The file of some pages.
pub(super) fn file(title: &str, pages: &[Page]) -> Vec<u8> {
    pdf::file(&encoded(title), pages)
}

impl Writer {
    fn leading(&self) -> f32 {
        self.size * 1.17
    }

    /// Makes room for a height: on the next page if this one has none.
    fn need(&mut self, height: f32) {
        if self.y - height < MARGIN {
            self.pages.push(Page::default());
            self.y = HEIGHT - MARGIN;
        }
    }

    fn line(&mut self, font: Font, size: f32, x: f32, text: &[u8]) {
        let y = self.y;
        if let Some(page) = self.pages.last_mut() {
            page.text(font, size, (x, y), text);
        }
    }

    /// A paragraph, each line where the page has room.
    fn paragraph(&mut self, font: Font, text: &str, indent: f32) {
        let (leading, size) = (self.leading(), self.size);
        // Markdown's marks of commands; in a command itself a backtick is a backtick.
        let text = match font {
            Font::Code => encoded(text),
            Font::Plain | Font::Bold => encoded(&text.replace('`', "'")),
        };
        for line in wrapped(font, size, &text, WIDTH - 2.0 * MARGIN - indent) {
            self.need(leading);
            self.y -= leading;
            self.line(font, size, MARGIN + indent, &line);
        }
    }

    fn block(&mut self, block: &Block) {
        let size = self.size;
        match block {
            Block::Title(text) => {
                let size = size + 4.0;
                for line in wrapped(Font::Bold, size, &encoded(text), WIDTH - 2.0 * MARGIN) {
                    self.y -= size * 1.15;
                    self.line(Font::Bold, size, MARGIN, &line);
                }
            }
            Block::Heading(text) => {
                // A heading never stands alone at the end of a page.
                self.need(4.0 * self.leading());
                self.y -= size * 1.17 + 4.0;
                self.line(Font::Bold, size + 1.0, MARGIN, &encoded(text));
                self.y -= 1.0;
            }
            Block::Text(text) => {
                self.paragraph(Font::Plain, text, 0.0);
                self.y -= 1.5;
            }
            Block::Code(text) => {
                self.paragraph(Font::Code, text, 10.0);
                self.y -= 1.5;
            }
            Block::Bullets(items) => {
                for item in items {
                    self.need(self.leading());
                    self.y -= self.leading();
                    self.line(Font::Plain, size, MARGIN + 2.0, &encoded("•"));
                    self.y += self.leading();
                    self.paragraph(Font::Plain, item, 10.0);
                }
                self.y -= 1.5;
            }
            Block::Table { columns, rows } => self.table(columns, rows),
        }
    }

    fn table(&mut self, columns: &[(&'static str, f32)], rows: &[Vec<Cell>]) {
        let whole: f32 = columns.iter().map(|(_, share)| share).sum();
        let room = WIDTH - 2.0 * MARGIN - GAP * (columns.len().saturating_sub(1)) as f32;
        let mut places = Vec::new();
        let mut x = MARGIN;
        for (_, share) in columns {
            let width = room * share / whole;
            places.push((x, width));
            x += width + GAP;
        }
        let head: Vec<Cell> = columns
            .iter()
            .map(|(name, _)| Cell {
                text: (*name).to_owned(),
                style: Style::Bold,
            })
            .collect();
        for (i, row) in std::iter::once(&head).chain(rows).enumerate() {
            self.row(row, &places);
            if i == 0 {
                self.below();
            }
        }
        self.below();
    }

    /// A line below the last row.
    fn below(&mut self) {
        self.y -= 2.5;
        let y = self.y;
        if let Some(page) = self.pages.last_mut() {
            page.rule(MARGIN, y, WIDTH - 2.0 * MARGIN);
        }
    }

    fn row(&mut self, row: &[Cell], places: &[(f32, f32)]) {
        let (size, leading) = (self.size - 0.5, self.leading() - 0.5);
        let cells: Vec<_> = row
            .iter()
            .zip(places)
            .map(|(cell, (x, width))| {
                let (font, size) = match cell.style {
                    Style::Plain => (Font::Plain, size),
                    Style::Bold => (Font::Bold, size),
                    Style::Code => (Font::Code, size - 0.8),
                };
                (
                    font,
                    size,
                    *x,
                    wrapped(font, size, &encoded(&cell.text), *width),
                )
            })
            .collect();
        let lines = cells
            .iter()
            .map(|cell| cell.3.len())
            .max()
            .unwrap_or_default();
        self.need(leading * lines as f32);
        let top = self.y;
        for (font, size, x, lines) in &cells {
            self.y = top;
            for line in lines {
                self.y -= leading;
                self.line(*font, *size, *x, line);
            }
        }
        self.y = top - leading * lines as f32;
    }
}

/// Lines of encoded text that are no wider than a width; a word that is wider is broken.
fn wrapped(font: Font, size: f32, text: &[u8], width: f32) -> Vec<Vec<u8>> {
    let mut lines: Vec<Vec<u8>> = Vec::new();
    let mut line: Vec<u8> = Vec::new();
    for word in text
        .split(|byte| *byte == b' ')
        .filter(|word| !word.is_empty())
    {
        let longer = [
            line.as_slice(),
            if line.is_empty() { b"" } else { b" " },
            word,
        ]
        .concat();
        if font.width(&longer, size) <= width {
            line = longer;
            continue;
        }
        if !line.is_empty() {
            lines.push(std::mem::take(&mut line));
        }
        for byte in word {
            line.push(*byte);
            if line.len() > 1 && font.width(&line, size) > width {
                line.pop();
                lines.push(std::mem::replace(&mut line, vec![*byte]));
            }
        }
    }
    if !line.is_empty() {
        lines.push(line);
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_fit_and_no_word_is_lost() {
        let text = "The quick brown fox and a-word-that-is-far-too-long-for-any-line jumps";
        let lines = wrapped(Font::Plain, 9.0, text.as_bytes(), 80.0);
        assert!(
            lines
                .iter()
                .all(|line| Font::Plain.width(line, 9.0) <= 80.0)
        );
        let letters = |bytes: &[u8]| bytes.iter().filter(|b| **b != b' ').count();
        assert_eq!(
            lines.iter().map(|line| letters(line)).sum::<usize>(),
            letters(text.as_bytes())
        );
    }
}
