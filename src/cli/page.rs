//! The bench's report: one HTML file with all that it shows.

use super::growth::{self, Point};
use super::plot;

const STYLE: &str = "\
:root{color-scheme:light dark;--ground:#fff;--ink:#1b1e22;--faint:#d5d9de;--band:#1b1e2214;
--batch:#0066a8;--width:#c24e00;--depth:#007a58;--models:#a23b86}
@media(prefers-color-scheme:dark){:root{--ground:#14171b;--ink:#e5e8ec;--faint:#39404a;--band:#e5e8ec1f;
--batch:#5cb6f0;--width:#f0a050;--depth:#3fcf9f;--models:#ea9bd0}}
body{margin:0 auto;padding:1rem;max-width:72rem;background:var(--ground);color:var(--ink);
font:16px/1.5 system-ui,sans-serif}
h1,h2{line-height:1.2}p{margin:.4rem 0}.scroll{overflow-x:auto;margin:1rem 0}
table{border-collapse:collapse;font-size:.875rem;font-variant-numeric:tabular-nums}
th,td{padding:.25rem .6rem;border-bottom:1px solid var(--faint);text-align:right;white-space:nowrap}
.text{text-align:left}
.figures{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,24rem),1fr));gap:1rem}
figure{margin:0;max-width:36rem}figcaption{font-weight:600}figure>svg{display:block;width:100%;height:auto}
svg text{font:13px system-ui,sans-serif;fill:var(--ink)}.ground{fill:var(--ground)}.grid{stroke:var(--faint)}
.band{fill:var(--band)}.diagonal{stroke:var(--ink);stroke-dasharray:4 4}polyline{fill:none;stroke-width:2}
.batch{stroke:var(--batch)}.width{stroke:var(--width)}.depth{stroke:var(--depth)}.models{stroke:var(--models)}
.marker.batch{fill:var(--batch)}.marker.width{fill:var(--width)}.marker.depth{fill:var(--depth)}
.marker.models{fill:var(--models)}
";

/// What a report shows; the tables begin with their heads.
pub struct Page<'a> {
    pub machine: String,
    /// Sentences on the devices.
    pub limits: Vec<String>,
    pub steps: Vec<Vec<String>>,
    /// Columns of text at the beginning of `steps`.
    pub texts: usize,
    /// Sentences on the steps.
    pub notes: Vec<String>,
    pub growth: &'a [Point],
}

impl Page<'_> {
    pub fn html(&self) -> String {
        let paragraphs = |lines: &[String]| -> String {
            lines.iter().map(|line| format!("<p>{}</p>\n", escape(line))).collect()
        };
        let mut html = format!(
            "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
             <title>minilote bench</title>\n<style>\n{STYLE}</style>\n<h1>minilote bench</h1>\n<p>{}</p>\n{}",
            escape(&self.machine),
            paragraphs(&self.limits)
        );
        if self.steps.len() > 1 {
            html += &format!("<h2>Training steps</h2>\n{}", table(&self.steps, self.texts));
            html += &paragraphs(&self.notes);
        }
        if !self.growth.is_empty() {
            html += &self.growth();
        }
        html + "</html>\n"
    }

    fn growth(&self) -> String {
        let mut devices: Vec<&str> = self.growth.iter().map(|point| point.device.as_str()).collect();
        devices.dedup();
        let figure = |device: &&str| {
            let points: Vec<&Point> = self.growth.iter().filter(|point| point.device == **device).collect();
            let caption = escape(device);
            format!("<figure>\n<figcaption>{caption}</figcaption>\n{}</figure>\n", plot::growth(&points))
        };
        format!(
            "<h2>Growth</h2>\n<p>The time of a training step as one size of the network grows, over the base's: \
             measured, beside the limit that follows from the step's FLOPs, bytes and dispatches and from what \
             the device does at the most. On the dashed line a step keeps its share of the limit; the band is a \
             factor of {}. {}.</p>\n<div class=\"figures\">\n{}</div>\n{}",
            growth::TARGET,
            escape(&growth::summary(self.growth)),
            devices.iter().map(figure).collect::<String>(),
            table(&growth::cells(self.growth), growth::TEXTS),
        )
    }
}

/// A table that scrolls by itself where the page is narrower.
fn table(lines: &[Vec<String>], texts: usize) -> String {
    let row = |tag: &str, cells: &[String]| {
        let class = |column| if column < texts { " class=\"text\"" } else { "" };
        let cell =
            |(column, cell): (usize, &String)| format!("<{tag}{}>{}</{tag}>", class(column), escape(cell));
        format!("<tr>{}</tr>\n", cells.iter().enumerate().map(cell).collect::<String>())
    };
    let mut html = String::from("<div class=\"scroll\"><table>\n");
    for (number, cells) in lines.iter().enumerate() {
        html += &row(if number == 0 { "th" } else { "td" }, cells);
    }
    html + "</table></div>\n"
}

/// Text as HTML.
pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
