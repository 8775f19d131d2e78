//! Rows under each other, for people.

/// What is empty, as a dash.
pub(crate) fn dash(text: &str) -> String {
    if text.is_empty() { "-" } else { text }.to_owned()
}

/// Rows under each other; the last column may be of any width.
pub(crate) fn columns<const N: usize>(rows: &[[String; N]]) -> String {
    let width = |column: usize| {
        rows.iter()
            .filter_map(|row| row.get(column))
            .map(|cell| cell.chars().count())
            .max()
            .unwrap_or_default()
    };
    let widths: Vec<usize> = (0..N).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let line: Vec<String> = row
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:<width$}"))
            .collect();
        text.push_str(line.join("  ").trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_under_each_other() {
        let rows = [["APP", "PID"], ["org.example.Chat", "7"]].map(|row| row.map(str::to_owned));
        assert_eq!(columns(&rows), "APP               PID\norg.example.Chat  7\n");
    }
}
