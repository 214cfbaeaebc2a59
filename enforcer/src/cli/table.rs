//! Plain tables for people.

use crate::audit::record::shown;

/// Columns as wide as their widest cell, two spaces apart; nothing for no rows.
pub(super) fn table<const N: usize>(
    title: &str,
    head: [&str; N],
    rows: impl IntoIterator<Item = [String; N]>,
) -> String {
    let rows: Vec<[String; N]> = rows.into_iter().map(|row| row.map(|cell| plain(&cell))).collect();
    if rows.is_empty() {
        return format!("\n{title}: none\n");
    }
    let mut widths = head.map(|cell| cell.chars().count());
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |cells: Vec<&str>| {
        let cells = cells.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        format!("  {}", cells.collect::<Vec<_>>().join("  ")).trim_end().to_owned() + "\n"
    };
    let mut text = format!("\n{title}\n") + &line(head.to_vec());
    for row in &rows {
        text += &line(row.iter().map(String::as_str).collect());
    }
    text
}

/// A cell as it may be shown on a terminal: names come from elsewhere.
fn plain(cell: &str) -> String {
    if cell.is_empty() {
        return "-".to_owned();
    }
    shown(cell)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_cells_are_plain() {
        let rows = [["a", "1"], ["long", "\u{1b}[2J"], ["", "3"]];
        let text = table("Things", ["name", "n"], rows.map(|row| row.map(str::to_owned)));
        assert_eq!(text, "\nThings\n  name  n\n  a     1\n  long  ?[2J\n  -     3\n");
        assert_eq!(table("Things", ["name"], []), "\nThings: none\n");
    }
}
