//! Reports of runs and of the bench, each an HTML file that needs nothing beside it; `minilote report`.

pub mod bench;
mod curves;
mod figures;
mod files;
mod page;
mod sweep;
mod tables;
mod text;

use std::fs;
use std::path::{Path, PathBuf};

use minilote::files::write_whole;
use minilote::plot::Plot;
use minilote::{Error, Result, Task};
use serde_json::Value;

use super::{print, run};
use files::Run;
use page::{escape, heading, page, paragraph};

const EXAMPLES: &str = "\
Examples:
  minilote report runs/flowers-1
  minilote report runs/flowers-1 runs/flowers-2 --out comparison.html
  minilote report runs/flowers-3    # a sweep

The file opens without a network connection, in a light or a dark theme, on a phone and on paper. Points of its
figures show their values where the pointer rests.";

/// Write a run's report, a sweep's, or several runs side by side, as one HTML file
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Report {
    /// Directories of runs, or of one sweep
    #[arg(required = true, value_name = "RUN")]
    runs: Vec<PathBuf>,

    /// The file to write [default: report.html in the run's directory, or for several runs in this one]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

impl Report {
    pub fn run(&self) -> Result<u8> {
        let html = self.html()?;
        let out = match (&self.out, self.runs.as_slice()) {
            (Some(out), _) => out.clone(),
            (None, [run]) => run.join(run::REPORT),
            (None, _) => PathBuf::from(run::REPORT),
        };
        write_page(&out, &html, "--out")?;
        print(&format!("report: {}\n", out.display()))?;
        Ok(0)
    }

    fn html(&self) -> Result<String> {
        if let [only] = self.runs.as_slice()
            && is_sweep(only)
        {
            return of_sweep(only);
        }
        if let Some(sweep) = self.runs.iter().find(|run| is_sweep(run)) {
            return Err(Error::file(
                sweep,
                "this is a sweep, which is reported by itself, without other runs",
            ));
        }
        let runs: Vec<Run> = self.runs.iter().map(|run| Run::read(run)).collect::<Result<_>>()?;
        let is_regression = |run: &&Run| run.model.spec.task == Task::Regression;
        let (values, classes): (Vec<&Run>, Vec<&Run>) = runs.iter().partition(is_regression);
        if let ([value, ..], [class, ..]) = (values.as_slice(), classes.as_slice()) {
            let (value, class) = (&value.name, &class.name);
            return Err(Error::Config(format!(
                "{value} predicts a value and {class} classes, so that their losses can't be compared: report them apart"
            )));
        }
        Ok(html(&runs))
    }
}

/// Writes a page where there is none but what minilote wrote; `flag` names another file.
///
/// # Errors
/// [`Error::File`].
pub fn write_page(path: &Path, html: &str, flag: &str) -> Result<()> {
    let may = |text: String| text.is_empty() || text.contains(page::MARK);
    if path.is_file() && !fs::read_to_string(path).is_ok_and(may) {
        let message = format!("minilote has not written this file: name another by {flag} FILE");
        return Err(Error::file(path, message));
    }
    write_whole(path, html.as_bytes())
}

/// Writes the report into a run's directory, or a sweep's.
///
/// # Errors
/// [`Error::File`] if the directory does not hold a whole one.
pub fn write(directory: &Path) -> Result<()> {
    let html = if is_sweep(directory) { of_sweep(directory)? } else { html(&[Run::read(directory)?]) };
    write_whole(&directory.join(run::REPORT), html.as_bytes())
}

/// Whether a directory is a sweep's, as far as its files say.
fn is_sweep(directory: &Path) -> bool {
    let is_there = |file: &str| directory.join(file).is_file();
    !is_there(run::CONFIG) && (is_there(run::LEADERBOARD) || is_there(run::BEST))
}

fn of_sweep(directory: &Path) -> Result<String> {
    let (title, body) = sweep::page(directory)?;
    Ok(page(&title, &body))
}

/// The report of one run or of several.
fn html(runs: &[Run]) -> String {
    match runs {
        [run] => page(&format!("minilote: {}", run.name), &one(runs, run)),
        _ => page(&format!("minilote: {} runs", runs.len()), &several(runs)),
    }
}

fn several(runs: &[Run]) -> String {
    let mut body = heading("Scores") + &tables::scores(runs);
    body += &heading("Curves");
    body += &paragraph(text::AVERAGES);
    body += &grid(&[figures::curves(runs), figures::costs(runs)].concat());
    let predictions = figures::predictions(runs);
    if !predictions.is_empty() {
        body += &(heading("Predictions") + &grid(&predictions));
    }
    body += &heading("Configurations");
    body += &paragraph("What differs comes first, with ≠ and in bold.");
    body + &tables::configurations(runs)
}

fn one(runs: &[Run], run: &Run) -> String {
    let mut body = page::words(&text::words(run));
    body += &diagnosis("Diagnosis", &run.summary["diagnosis"]);
    body += &heading("Scores");
    body += &tables::scores(runs);
    if let Some(points) = run.summary["learning_curve"]["points"].as_array() {
        body += &heading("Learning curve");
        body += &paragraph(text::LEARNING_CURVE);
        body += &grid(&curves::learning(points, run.model.spec.task));
    }
    body += &heading("Curves");
    body += &paragraph(&format!("{} {}", text::axis(run), text::AVERAGES));
    body += &grid(&[figures::curves(runs), figures::costs(runs)].concat());
    body += &details("All epochs as a table", &tables::epochs(run));
    body += &heading("Predictions");
    body += &paragraph(&text::scored(run));
    body += &tables::confusion(run).unwrap_or_default();
    body += &grid(&figures::predictions(runs));
    if let Some(columns) = run.summary["importance"].as_array() {
        body += &heading("Columns");
        body += &text::importance(run);
        body += &tables::importance(columns);
    }
    if let Some(sources) = tables::sources(run) {
        body += &heading("Batch normalization");
        body += &paragraph(text::SOURCES);
        body += &sources;
        body += &paragraph(&text::statistics(run));
        body += &grid(&figures::statistics(run));
    }
    body += &heading("Weights");
    body += &text::regularization(run);
    body += &paragraph(&text::norms(run));
    body += &tables::norms(&run.model, run.start().as_deref());
    body += &grid(&figures::norms(run));
    body += &heading("Repeat the run");
    body += &text::commands(run);
    body + &details("All settings", &tables::configurations(runs))
}

/// The verdict with its evidence, and the next experiment; nothing in runs of versions without them.
fn diagnosis(name: &str, of: &Value) -> String {
    let text = |key: &str| of[key].as_str();
    let (Some(verdict), Some(next), Some(command)) = (text("verdict"), text("next"), text("command")) else {
        return String::new();
    };
    let evidence = of["evidence"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let items: String = evidence.map(|line| format!("<li>{}</li>\n", escape(line))).collect();
    let (next, command) = (escape(next), escape(command));
    format!(
        "<h2>{name}: {}</h2>\n<ul>\n{items}</ul>\n<p>Next: {next}.</p>\n<pre>{command}</pre>\n",
        escape(verdict)
    )
}

fn grid(plots: &[Plot]) -> String {
    if plots.is_empty() {
        return String::new();
    }
    format!("<div class=\"figures\">\n{}</div>\n", plots.iter().map(Plot::figure).collect::<String>())
}

fn details(summary: &str, inner: &str) -> String {
    format!("<details>\n<summary>{summary}</summary>\n{inner}</details>\n")
}
