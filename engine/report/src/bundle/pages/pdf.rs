//! A PDF file of few objects (ISO 32000-1): pages of text in the standard fonts. It has no date, no identifier and
//! no compression, so that the same pages are the same bytes.

use std::fmt::Write as _;

use super::font::Font;

/// A4, in points.
pub(super) const WIDTH: f32 = 595.28;
pub(super) const HEIGHT: f32 = 841.89;

/// A page's content stream.
#[derive(Clone, Debug, Default)]
pub(super) struct Page(Vec<u8>);

impl Page {
    /// Encoded text with its baseline at a place, counted from the lower left corner.
    pub(super) fn text(&mut self, font: Font, size: f32, (x, y): (f32, f32), encoded: &[u8]) {
        let start = format!(
            "BT /{} {} Tf {} {} Td (",
            font.name(),
            number(size),
            number(x),
            number(y)
        );
        self.0.extend(start.bytes());
        for byte in encoded {
            if matches!(byte, b'(' | b')' | b'\\') {
                self.0.push(b'\\');
            }
            self.0.push(*byte);
        }
        self.0.extend(b") Tj ET\n");
    }

    /// A thin horizontal line.
    pub(super) fn rule(&mut self, x: f32, y: f32, width: f32) {
        let (x, y, end) = (number(x), number(y), number(x + width));
        self.0
            .extend(format!("0.4 w {x} {y} m {end} {y} l S\n").bytes());
    }
}

/// Two decimals, without those that say nothing.
fn number(value: f32) -> String {
    let text = format!("{value:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// The file.
pub(super) fn file(title: &[u8], pages: &[Page]) -> Vec<u8> {
    let mut objects: Vec<Vec<u8>> = Vec::new();
    // 1 catalog, 2 pages, 3 information, then fonts, then each page and its content.
    let first_page = 4 + Font::ALL.len();
    let mut kids = String::new();
    for i in 0..pages.len() {
        let _ = write!(kids, "{} 0 R ", first_page + 2 * i);
    }
    objects.push(b"<< /Type /Catalog /Pages 2 0 R /Lang (en) >>".to_vec());
    objects.push(format!("<< /Type /Pages /Kids [ {kids}] /Count {} >>", pages.len()).into_bytes());
    let mut information = b"<< /Title (".to_vec();
    for byte in title {
        // PDFDocEncoding is ASCII where both are.
        match byte {
            b'(' | b')' | b'\\' => information.extend([b'\\', *byte]),
            b' '..=b'~' => information.push(*byte),
            _ => information.push(b'?'),
        }
    }
    information.extend(b") /Producer (vexp) >>");
    objects.push(information);
    let mut fonts = String::new();
    for (i, font) in Font::ALL.into_iter().enumerate() {
        let _ = write!(fonts, "/{} {} 0 R ", font.name(), 4 + i);
        let base = font.base();
        objects.push(
            format!(
                "<< /Type /Font /Subtype /Type1 /BaseFont /{base} /Encoding /WinAnsiEncoding >>"
            )
            .into_bytes(),
        );
    }
    for (i, page) in pages.iter().enumerate() {
        let content = first_page + 2 * i + 1;
        objects.push(
            format!(
                "<< /Type /Page /Parent 2 0 R /MediaBox [ 0 0 {WIDTH} {HEIGHT} ] \
                 /Resources << /Font << {fonts}>> >> /Contents {content} 0 R >>"
            )
            .into_bytes(),
        );
        let mut stream = format!("<< /Length {} >>\nstream\n", page.0.len()).into_bytes();
        stream.extend(&page.0);
        stream.extend(b"endstream");
        objects.push(stream);
    }
    written(&objects)
}

fn written(objects: &[Vec<u8>]) -> Vec<u8> {
    // The bytes of the second line say that the file is not text (7.5.2).
    let mut file = b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n".to_vec();
    let mut table = String::from("0000000000 65535 f \n");
    for (i, object) in objects.iter().enumerate() {
        let _ = writeln!(table, "{:010} 00000 n ", file.len());
        file.extend(format!("{} 0 obj\n", i + 1).bytes());
        file.extend(object);
        file.extend(b"\nendobj\n");
    }
    let (start, size) = (file.len(), objects.len() + 1);
    file.extend(
        format!("xref\n0 {size}\n{table}trailer\n<< /Size {size} /Root 1 0 R /Info 3 0 R >>\n")
            .bytes(),
    );
    file.extend(format!("startxref\n{start}\n%%EOF\n").bytes());
    file
}
