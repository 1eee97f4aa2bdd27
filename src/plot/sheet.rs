//! Figures as an SVG file.

use std::fmt::Write;
use std::path::Path;

use super::{LETTER, Plot, STYLE, Series, WIDTH, escape, named, sample};
use crate::Result;
use crate::files::write_whole;

/// Around figures and between them.
const GAP: f64 = 16.0;
/// Of the title and of each row of the legend.
const ROW: f64 = 18.0;

/// Figures beside one another, so many in a row, as a whole SVG file that follows the theme of the browser. The figures
/// of a row should be of one height. A title has room for about 55 letters.
pub fn sheet(plots: &[Plot], columns: usize) -> String {
    let columns = columns.clamp(1, plots.len().max(1));
    let mut body = String::new();
    let mut top = GAP;
    for row in plots.chunks(columns) {
        let mut bottom = top;
        let legends: Vec<(String, f64)> = row.iter().map(|plot| legend(&plot.series)).collect();
        let rows = legends.iter().map(|(_, rows)| *rows).fold(0.0, f64::max);
        for (column, (plot, (legend, _))) in row.iter().zip(legends).enumerate() {
            let left = GAP + column as f64 * (WIDTH + GAP);
            let (below, height) = (ROW * (1.0 + rows) + 4.0, plot.height());
            let _ = write!(
                body,
                "<g transform=\"translate({left} {top})\">\n\
                 <text class=\"title\" y=\"13\">{}</text>\n{legend}{}</g>\n",
                escape(&plot.title),
                plot.svg(&format!(" y=\"{below}\" width=\"{WIDTH}\" height=\"{height}\""))
            );
            bottom = bottom.max(top + below + height);
        }
        top = bottom + GAP;
    }
    let width = GAP + columns as f64 * (WIDTH + GAP);
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width}\" height=\"{top}\" viewBox=\"0 0 {width} {top}\">\n\
         <style>\n{STYLE}\n.title {{ font-weight: 600 }}\n.ground {{ fill: var(--ground) }}\n</style>\n\
         <rect class=\"ground\" width=\"{width}\" height=\"{top}\"/>\n{body}</svg>\n"
    )
}

/// Writes a [`sheet`].
///
/// # Errors
/// [`crate::Error::File`] if it can't be written.
pub fn save(path: &Path, plots: &[Plot], columns: usize) -> Result<()> {
    write_whole(path, sheet(plots, columns).as_bytes())
}

/// Names of several series below the title, and how many rows they take.
fn legend(series: &[Series]) -> (String, f64) {
    let (mut text, mut left, mut row) = (String::new(), 0.0, 1.0);
    let named = named(series);
    if named.is_empty() {
        return (text, 0.0);
    }
    for series in named {
        let width = 34.0 + LETTER * series.name.chars().count() as f64;
        if left > 0.0 && left + width > WIDTH {
            (left, row) = (0.0, row + 1.0);
        }
        let (sample, name) = (sample(series), escape(&series.name));
        let _ = writeln!(
            text,
            "<g transform=\"translate({left} {})\">{sample}<text x=\"34\" y=\"9\">{name}</text></g>",
            row * ROW + 4.0
        );
        left += width + GAP;
    }
    (text, row)
}
