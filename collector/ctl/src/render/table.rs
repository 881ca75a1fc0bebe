//! Aligned columns without lines, fitted to the terminal.

use crate::look::{Look, Shown};
use comfy_table::{
    Attribute, Cell, CellAlignment, Color, ColumnConstraint, ContentArrangement, Table as Grid, presets,
};

/// A column's title and how it behaves.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Column {
    /// As wide as its content.
    Tight(&'static str),
    /// As wide as its content, numbers to the right.
    Number(&'static str),
    /// Shares what is left, and wraps.
    Wide(&'static str),
}

/// One cell; the text is clean.
#[derive(Debug, Clone)]
pub(crate) struct Field {
    text: String,
    shown: Option<Shown>,
}

impl Field {
    /// Plain text.
    pub(crate) fn plain(text: impl Into<String>) -> Field {
        Field { text: text.into(), shown: None }
    }

    /// Text in the colour of a verdict.
    pub(crate) fn painted(shown: Shown, text: impl Into<String>) -> Field {
        Field { text: text.into(), shown: Some(shown) }
    }
}

/// Lines without trailing blanks, header first.
pub(crate) fn table(look: &Look, columns: &[Column], rows: Vec<Vec<Field>>) -> String {
    let mut grid = Grid::new();
    grid.load_style(presets::NOTHING).force_no_tty();
    if look.colour {
        grid.enforce_styling();
    }
    match look.width {
        Some(width) => grid
            .set_content_arrangement(ContentArrangement::Dynamic)
            .set_width(u16::try_from(width).unwrap_or(u16::MAX)),
        None => grid.set_content_arrangement(ContentArrangement::Disabled),
    };
    grid.set_header(columns.iter().map(|column| {
        let (Column::Tight(title) | Column::Number(title) | Column::Wide(title)) = column;
        Cell::new(title).add_attribute(Attribute::Dim)
    }));
    for row in rows {
        grid.add_row(row.into_iter().map(cell));
    }
    for (i, kind) in columns.iter().enumerate() {
        let Some(column) = grid.column_mut(i) else { continue };
        column.set_padding((0, 2));
        match kind {
            Column::Wide(_) => {}
            Column::Tight(_) => {
                column.set_constraint(ColumnConstraint::ContentWidth);
            }
            Column::Number(_) => {
                column.set_constraint(ColumnConstraint::ContentWidth).set_cell_alignment(CellAlignment::Right);
            }
        }
    }
    grid.lines().map(|line| format!("{}\n", line.trim_end())).collect()
}

fn cell(field: Field) -> Cell {
    let cell = Cell::new(field.text);
    match field.shown {
        None => cell,
        Some(Shown::Red) => cell.fg(Color::DarkRed).add_attribute(Attribute::Bold),
        Some(Shown::Amber) => cell.fg(Color::DarkYellow),
        Some(Shown::Green) => cell.fg(Color::DarkGreen),
        Some(Shown::Grey) => cell.fg(Color::DarkGrey),
    }
}
