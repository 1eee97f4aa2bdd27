//! What the columns of a table hold, before anybody says what to predict.

use std::collections::BTreeMap;

use minilote::data::{Table, is_missing};
use serde::Serialize;

use super::report::significant;

/// The values of a column are counted if there are at most so many different ones.
const COUNTED: usize = 12;

/// What a column holds.
#[derive(Serialize)]
pub struct Column {
    name: String,
    /// Whether all cells that are there are numbers.
    numeric: bool,
    missing: usize,
    distinct: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    range: Option<Range>,
    /// Rows of each value, where there are few.
    #[serde(skip_serializing_if = "Option::is_none")]
    values: Option<BTreeMap<String, usize>>,
}

#[derive(Serialize)]
struct Range {
    minimum: f64,
    mean: f64,
    maximum: f64,
}

impl Column {
    pub fn all(table: &Table) -> Vec<Column> {
        (0..table.names().len()).map(|column| Column::new(table, column)).collect()
    }

    fn new(table: &Table, column: usize) -> Column {
        let cells = (0..table.rows()).map(|row| table.cell(row, column));
        let present: Vec<&str> = cells.filter(|cell| !is_missing(cell)).collect();
        let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
        present.iter().for_each(|cell| *counts.entry(cell).or_default() += 1);
        let numbers: Option<Vec<f64>> = present.iter().map(|cell| cell.parse().ok()).collect();
        let numbers = numbers.filter(|numbers| !numbers.is_empty());
        Column {
            name: table.names()[column].clone(),
            numeric: numbers.is_some(),
            missing: table.rows() - present.len(),
            distinct: counts.len(),
            range: numbers.map(|numbers| Range {
                minimum: numbers.iter().copied().fold(f64::INFINITY, f64::min),
                mean: numbers.iter().sum::<f64>() / numbers.len() as f64,
                maximum: numbers.iter().copied().fold(f64::NEG_INFINITY, f64::max),
            }),
            values: (counts.len() <= COUNTED)
                .then(|| counts.into_iter().map(|(value, count)| (value.into(), count)).collect()),
        }
    }
}

/// A line for each of the first columns, at most so many, and for the target.
pub fn text(columns: &[Column], most: usize, target: Option<&str>) -> String {
    let width = columns.iter().map(|column| column.name.chars().count()).max().unwrap_or(0).min(40);
    let line = |column: &Column| {
        let kind = if column.numeric { "number" } else { "text" };
        let mut text = format!("  {:width$}  {kind:<6}  {:>6} distinct", column.name, column.distinct);
        if let Some(Range { minimum, mean, maximum }) = &column.range {
            let [minimum, mean, maximum] = [minimum, mean, maximum].map(|value| significant(*value, 6));
            text += &format!(", {minimum} to {maximum}, mean {mean}");
        }
        if let Some(values) = &column.values {
            let counts: Vec<_> = values.iter().map(|(value, count)| format!("{value} ×{count}")).collect();
            text += &format!(": {}", counts.join(", "));
        }
        if column.missing > 0 {
            text += &format!("; {} missing", column.missing);
        }
        text + "\n"
    };
    let (first, rest) = columns.split_at(columns.len().min(most));
    let mut text: String = first.iter().map(line).collect();
    let (targets, others): (Vec<_>, Vec<_>) =
        rest.iter().partition(|column| Some(column.name.as_str()) == target);
    if !others.is_empty() {
        let missing = others.iter().filter(|column| column.missing > 0).count();
        let missing =
            if missing > 0 { format!(", {missing} of them with missing values") } else { String::new() };
        text += &format!("  … and {} more{missing}: see --json\n", others.len());
    }
    text + &targets.into_iter().map(line).collect::<String>()
}
