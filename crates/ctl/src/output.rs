//! Tables and JSON on stdout, complaints on stderr.

use std::io::{self, ErrorKind, Write};

use serde::Serialize;

/// What a command returns: whether all is well, or why it could not be done.
pub type Outcome = Result<bool, String>;

/// Rows under a heading, each column as wide as its widest entry.
#[derive(Debug)]
pub struct Table {
    columns: Vec<(&'static str, Align)>,
    rows: Vec<Vec<String>>,
}

/// On which side a column's entries are flush.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Align {
    /// Text.
    Left,
    /// Numbers.
    Right,
}

impl Table {
    /// Without rows.
    pub fn new(columns: &[(&'static str, Align)]) -> Table {
        Table { columns: columns.to_vec(), rows: Vec::new() }
    }

    /// Adds a row; its entries are harmless to a terminal from here on.
    pub fn add(&mut self, row: impl IntoIterator<Item = String>) {
        self.rows.push(row.into_iter().map(|entry| printable(&entry)).collect());
    }

    /// Its lines, the heading first.
    pub fn lines(&self) -> Vec<String> {
        let heading: Vec<String> = self.columns.iter().map(|(name, _)| (*name).to_owned()).collect();
        let rows = || std::iter::once(&heading).chain(&self.rows);
        let width = |at: usize| rows().filter_map(|row| row.get(at)).map(|s| s.chars().count()).max();
        let widths: Vec<usize> = (0..self.columns.len()).map(|at| width(at).unwrap_or(0)).collect();
        let line = |row: &Vec<String>| {
            let cells = row.iter().zip(&widths).zip(&self.columns);
            let cells: Vec<String> = cells
                .map(|((entry, width), (_, align))| match align {
                    Align::Left => format!("{entry:width$}"),
                    Align::Right => format!("{entry:>width$}"),
                })
                .collect();
            cells.join("  ").trim_end().to_owned()
        };
        rows().map(line).collect()
    }
}

/// Text that others chose, such as a path in an image, without what a terminal would obey.
pub fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

/// The first twelve characters of an id or digest, or all of it.
pub fn shortened(id: &str, whole: bool) -> String {
    let id = id.strip_prefix("sha256:").filter(|_| !whole).unwrap_or(id);
    let hexadecimal = id.len() > 20 && id.bytes().all(|b| b.is_ascii_hexdigit());
    match hexadecimal && !whole {
        true => id.chars().take(12).collect(),
        false => id.to_owned(),
    }
}

/// Writes lines to stdout.
///
/// # Errors
/// In words, unless whoever reads has enough.
pub fn print(lines: &[String]) -> Result<(), String> {
    let text: String = lines.iter().flat_map(|line| [line.as_str(), "\n"]).collect();
    write(text.as_bytes())
}

/// Writes bytes to stdout.
///
/// # Errors
/// As [`print`].
pub fn write(bytes: &[u8]) -> Result<(), String> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        Err(e) if e.kind() == ErrorKind::BrokenPipe => std::process::exit(0),
        Err(e) => Err(format!("write to stdout: {e}")),
        Ok(()) => Ok(()),
    }
}

/// Writes a value as JSON, on one line.
///
/// # Errors
/// As [`print`].
pub fn print_json(value: &impl Serialize) -> Result<(), String> {
    let json = serde_json::to_string(value).map_err(|e| format!("write JSON: {e}"))?;
    print(&[json])
}

/// Says on stderr what is wrong.
pub fn complain(why: &str) {
    let _ = writeln!(io::stderr(), "wamrctl: {}", printable(why));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_entry() {
        let mut table = Table::new(&[("NAME", Align::Left), ("KIB", Align::Right)]);
        table.add(["a".to_owned(), "12345".to_owned()]);
        table.add(["longer".to_owned(), "1".to_owned()]);
        assert_eq!(table.lines(), ["NAME      KIB", "a       12345", "longer      1"]);
    }

    #[test]
    fn a_guest_s_names_cannot_command_the_terminal() {
        let mut table = Table::new(&[("NAME", Align::Left)]);
        table.add(["a\x1b[2Jb\nc".to_owned()]);
        assert_eq!(table.lines(), ["NAME", "a?[2Jb?c"]);
    }

    #[test]
    fn long_hexadecimal_names_are_shortened_and_others_are_not() {
        let digest = format!("sha256:{}", "ab".repeat(32));
        assert_eq!(shortened(&digest, false), "abababababab");
        assert_eq!(shortened(&digest, true), digest);
        assert_eq!(shortened("my-container-with-a-long-name", false), "my-container-with-a-long-name");
    }
}
