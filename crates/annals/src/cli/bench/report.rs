//! What is printed: a table for people, or one JSON object a row for programs.

use std::io::{self, Write};

use serde::Serialize;

use super::stats::{Compared, Figure};

/// One line of figures. What a benchmark does not measure is `null`.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(super) struct Row {
    pub(super) bench: &'static str,
    pub(super) case: String,
    /// How many requests are outstanding at a time.
    pub(super) clients: u32,
    pub(super) rate_per_s: Option<f64>,
    pub(super) p50_us: Option<f64>,
    pub(super) p99_us: Option<f64>,
    pub(super) limit_per_s: Option<f64>,
    pub(super) limit_p50_us: Option<f64>,
    pub(super) ratio: Option<f64>,
    pub(super) cpu_us: Option<f64>,
    /// Bytes of a record, or of memory, where that is what is measured.
    pub(super) bytes: Option<f64>,
}

impl Row {
    /// A row for ours beside its limit.
    pub(super) fn compared(
        bench: &'static str,
        case: impl Into<String>,
        clients: u32,
        of: &Compared,
    ) -> Self {
        Self {
            limit_per_s: Some(of.limit.rate_per_s),
            limit_p50_us: of.limit.p50_us,
            ratio: Some(of.ratio),
            ..Self::alone(bench, case, clients, &of.ours)
        }
    }

    /// A row for what is a limit itself.
    pub(super) fn alone(bench: &'static str, case: impl Into<String>, clients: u32, of: &Figure) -> Self {
        Self {
            bench,
            case: case.into(),
            clients,
            rate_per_s: Some(of.rate_per_s),
            p50_us: of.p50_us,
            p99_us: of.p99_us,
            cpu_us: of.cpu_us,
            ..Self::default()
        }
    }

    fn cells(&self) -> [String; 11] {
        let number = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), digits);
        [
            self.bench.to_owned(),
            self.case.clone(),
            self.clients.to_string(),
            number(self.rate_per_s),
            number(self.p50_us),
            number(self.p99_us),
            number(self.limit_per_s),
            number(self.limit_p50_us),
            number(self.ratio),
            number(self.cpu_us),
            number(self.bytes),
        ]
    }
}

const HEADS: [&str; 11] = [
    "bench",
    "case",
    "clients",
    "rate/s",
    "p50 us",
    "p99 us",
    "limit/s",
    "limit p50 us",
    "ratio",
    "cpu us",
    "bytes",
];

/// Writes the rows as a table.
pub(super) fn write_table(out: &mut dyn Write, rows: &[Row]) -> io::Result<()> {
    let mut lines = vec![HEADS.map(str::to_owned)];
    lines.extend(rows.iter().map(Row::cells));
    let width = |column: usize| lines.iter().filter_map(|line| line.get(column)).map(String::len).max();
    let widths: Vec<usize> = (0..HEADS.len()).map(|column| width(column).unwrap_or_default()).collect();
    for line in &lines {
        let cells = line.iter().zip(&widths).enumerate().map(|(column, (cell, width))| match column {
            0 | 1 => format!("{cell:<width$}"),
            _ => format!("{cell:>width$}"),
        });
        writeln!(out, "{}", cells.collect::<Vec<_>>().join("  ").trim_end())?;
    }
    Ok(())
}

/// Writes one JSON object for each row.
pub(super) fn write_json(out: &mut dyn Write, rows: &[Row]) -> io::Result<()> {
    rows.iter().try_for_each(|row| {
        serde_json::to_writer(&mut *out, row)?;
        writeln!(out)
    })
}

/// A number with as many digits as it deserves.
fn digits(value: f64) -> String {
    let decimals = match value.abs() {
        size if size >= 100.0 => 0,
        size if size >= 10.0 => 1,
        _ => 2,
    };
    format!("{value:.decimals$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_line_up_and_json_has_every_field() {
        let figure = Figure { rate_per_s: 12_345.6, p50_us: Some(70.25), p99_us: None, cpu_us: Some(1.5) };
        let compared = Compared {
            limit: Figure { rate_per_s: 20_000.0, ..figure.clone() },
            ours: figure,
            ratio: 0.6172,
        };
        let rows = [Row::compared("append", "8", 1, &compared)];
        let mut table = Vec::new();
        write_table(&mut table, &rows).unwrap();
        assert_eq!(
            String::from_utf8(table).unwrap(),
            "bench   case  clients  rate/s  p50 us  p99 us  limit/s  limit p50 us  ratio  cpu us  bytes\n\
             append  8           1   12346    70.2       -    20000          70.2   0.62    1.50      -\n"
        );
        let mut json = Vec::new();
        write_json(&mut json, &rows).unwrap();
        assert_eq!(
            String::from_utf8(json).unwrap(),
            "{\"bench\":\"append\",\"case\":\"8\",\"clients\":1,\"rate_per_s\":12345.6,\"p50_us\":70.25,\
             \"p99_us\":null,\"limit_per_s\":20000.0,\"limit_p50_us\":70.25,\"ratio\":0.6172,\"cpu_us\":1.5,\
             \"bytes\":null}\n"
        );
    }
}
