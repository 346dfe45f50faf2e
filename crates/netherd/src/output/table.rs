//! Tables for people: columns under headings, two spaces apart, numbers to the right.

use super::style::{Accent, Style};

/// Which side of its column a cell keeps to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Align {
    Left,
    Right,
}

/// A table that is filled row by row and rendered when its widths are known.
#[derive(Debug)]
pub struct Table {
    columns: Vec<(&'static str, Align)>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub fn new(columns: &[(&'static str, Align)]) -> Table {
        Table { columns: columns.to_vec(), rows: Vec::new() }
    }

    /// Adds a row; cells that are missing are empty, and cells beyond the last column are dropped.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        let mut row: Vec<String> = cells.into_iter().take(self.columns.len()).collect();
        row.resize(self.columns.len(), String::new());
        self.rows.push(row);
    }

    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The table as lines that end in a newline and have no blanks before it.
    ///
    /// An empty cell is shown as `-`, so that a row has something in every column. Cells have blanks of their
    /// own: programs take `--json`.
    pub fn render(&self, style: Style) -> String {
        let mut widths: Vec<usize> = self.columns.iter().map(|(name, _)| width(name)).collect();
        for row in &self.rows {
            for (slot, cell) in widths.iter_mut().zip(row) {
                *slot = (*slot).max(width(cell).max(1));
            }
        }
        let mut text = String::new();
        let headings = self.columns.iter().map(|(name, _)| *name);
        self.line(&mut text, headings, &widths, style, Accent::Bold);
        for row in &self.rows {
            let cells = row.iter().map(|cell| if cell.is_empty() { "-" } else { cell.as_str() });
            self.line(&mut text, cells, &widths, style, Accent::Plain);
        }
        text
    }

    fn line<'a>(
        &self,
        text: &mut String,
        cells: impl Iterator<Item = &'a str>,
        widths: &[usize],
        style: Style,
        accent: Accent,
    ) {
        let mut line = String::new();
        for (index, cell) in cells.enumerate() {
            if index > 0 {
                line.push_str("  ");
            }
            let blanks = " ".repeat(widths[index].saturating_sub(width(cell)));
            match self.columns[index].1 {
                Align::Left => {
                    line.push_str(&style.paint(accent, cell));
                    line.push_str(&blanks);
                }
                Align::Right => {
                    line.push_str(&blanks);
                    line.push_str(&style.paint(accent, cell));
                }
            }
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
}

/// Columns of a terminal that `text` takes; all we print is narrow.
fn width(text: &str) -> usize {
    text.chars().count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ports() -> Table {
        let mut table = Table::new(&[("PORT", Align::Left), ("RX", Align::Right)]);
        table.row(["web".to_owned(), "7".to_owned()]);
        table.row(["database".to_owned(), "12345".to_owned()]);
        table.row([String::new()]);
        table
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        assert_eq!(
            ports().render(Style::PLAIN),
            "PORT         RX\n\
             web           7\n\
             database  12345\n\
             -             -\n"
        );
    }

    #[test]
    fn colours_do_not_change_the_layout() {
        let coloured = ports().render(Style::COLOURED);
        assert!(coloured.starts_with("\x1b[1mPORT\x1b[0m         \x1b[1mRX\x1b[0m\n"));
        let stripped = coloured.replace("\x1b[1m", "").replace("\x1b[0m", "");
        assert_eq!(stripped, ports().render(Style::PLAIN));
    }

    #[test]
    fn a_row_never_has_more_cells_than_there_are_columns() {
        let mut table = Table::new(&[("A", Align::Left)]);
        table.row(["1".to_owned(), "2".to_owned()]);
        assert_eq!(table.render(Style::PLAIN), "A\n1\n");
    }
}
