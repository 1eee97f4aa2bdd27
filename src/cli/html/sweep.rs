//! The report of a sweep, from its directory.

use std::path::Path;

use minilote::diagnosis::Setup;
use minilote::model::{Init, Model, initialize};
use minilote::sweep::Grid;
use minilote::train::{Config, Sizes};
use minilote::{Error, Result, Task};
use serde::Deserialize;
use serde_json::Value;

use super::curves::{measures, with_bars};
use super::files::{at, json};
use super::page::{Cell, escape, heading, paragraph, table, words};
use super::tables::{Show, spread};
use super::{grid, tables, text};
use crate::cli::report::{number, percent};
use crate::cli::run;
use minilote::plot::{Axis, Plot, Spacing};

/// Rows of a long leaderboard that are shown.
const ROWS: usize = 200;
/// Lines of a figure: those of the best combinations.
const LINES: usize = 8;

/// What a sweep's leaderboard.json holds, as far as the page needs it; what versions before this one lack is null.
#[derive(Deserialize)]
struct Sweep {
    #[serde(skip)]
    name: String,
    data: String,
    end: String,
    models: usize,
    trained: usize,
    seconds: f64,
    grid: Grid,
    settings: Value,
    best_seed: u64,
    #[serde(default)]
    device: Option<String>,
    #[serde(default)]
    test: Value,
    #[serde(default)]
    diagnosis: Value,
    rows: Vec<Row>,
}

#[derive(Deserialize)]
struct Row {
    hidden: String,
    lambda: f64,
    lr: f64,
    #[serde(default)]
    parameters: Option<f64>,
    #[serde(default)]
    verdict: Option<String>,
    diverged: usize,
    /// The means.
    #[serde(flatten)]
    means: Value,
}

/// The title and the body of the page of a sweep's directory.
///
/// # Errors
/// [`Error::File`] that says what is missing or damaged, and how to get it.
pub fn page(directory: &Path) -> Result<(String, String)> {
    let needed = [run::LEADERBOARD, run::BEST, run::ENVIRONMENT];
    let missing: Vec<&str> = needed.into_iter().filter(|file| !directory.join(file).is_file()).collect();
    if !missing.is_empty() {
        let missing = missing.join(", ");
        return Err(Error::file(
            directory,
            format!("the sweep is incomplete: there is no {missing}; minilote sweep makes a whole one"),
        ));
    }
    let path = directory.join(run::LEADERBOARD);
    let damaged = |error: &dyn std::fmt::Display| {
        Error::file(&path, format!("no leaderboard of minilote sweep: {error}; repeat the sweep"))
    };
    let sweep: Sweep = serde_json::from_value(json(&path)?).map_err(|error| damaged(&error))?;
    let sweep = Sweep { name: directory.display().to_string(), ..sweep };
    let config: Config = serde_json::from_value(sweep.settings.clone()).map_err(|error| damaged(&error))?;
    if sweep.rows.is_empty() {
        return Err(damaged(&"it has no rows"));
    }
    let model = Model::load(&directory.join(run::BEST))?;
    let environment = json(&directory.join(run::ENVIRONMENT))?;
    Ok((format!("minilote: {}", sweep.name), body(&sweep, &config, &model, &environment)))
}

fn body(sweep: &Sweep, config: &Config, model: &Model, environment: &Value) -> String {
    let Row { lambda, lr, .. } = sweep.rows[0];
    let of_best = Config { lambda, lr: Some(lr), ..config.clone() };
    let mut body = words(&[
        ("Data", format!("{}; {}.", sweep.data, text::columns(model))),
        ("Grid", combinations(sweep)),
        ("Training of the best", text::training(&of_best, None)),
        (
            "End",
            format!("{}: {} of {} models in {:.1} s.", sweep.end, sweep.trained, sweep.models, sweep.seconds),
        ),
        ("Best", best(sweep, model)),
        ("Environment", text::environment(environment)),
    ]);
    body += &super::diagnosis("Diagnosis of the best combination", &sweep.diagnosis);
    body += &heading("Leaderboard");
    body += &paragraph(
        "Combinations by mean validation loss, those with fewer diverged seeds first. Means over seeds with their \
         sample deviations; the seeds share the validation rows, whose chance is not in the deviations.",
    );
    body += &leaderboard(sweep);
    let figures = figures(sweep, model.spec.task);
    if !figures.is_empty() {
        body += &heading("Curves");
        body += &paragraph(&format!(
            "Means over seeds, and one deviation up and down. Lines are of at most {LINES} values, those that lead the \
             leaderboard; what is on neither axis nor legend is as in the best combination.",
        ));
        body += &grid(&figures);
    }
    body += &heading("Weights");
    if sweep.grid.lambda.iter().any(|lambda| *lambda > 0.0) {
        body += &text::scale_free(config, model, "L2");
    }
    body += &paragraph("Euclidean norms of the best model, before its first update and as it was kept.");
    let start = serde_json::from_value(sweep.settings["init"].clone()).unwrap_or(Init::He);
    body += &tables::norms(model, Some(initialize(&model.spec, start, sweep.best_seed)).as_deref());
    body += &heading("Repeat the sweep");
    body + &format!(
        "<p>In the folder where it was started:</p>\n<pre>{}</pre>\n",
        escape(&command(sweep, config))
    )
}

fn command(sweep: &Sweep, config: &Config) -> String {
    let Grid { hidden, lambda, lr, seeds } = &sweep.grid;
    let device = sweep.device.as_deref().unwrap_or("auto");
    Setup { data: &sweep.data, device, config, seeds: *seeds }.sweep(config, hidden, lambda, lr, *seeds)
}

fn combinations(sweep: &Sweep) -> String {
    let Grid { hidden, lambda, lr, seeds } = &sweep.grid;
    let list = |values: &[f64]| values.iter().map(f64::to_string).collect::<Vec<_>>().join(", ");
    let hidden: Vec<String> = hidden.iter().map(minilote::sweep::name).collect();
    let mut text = format!("hidden {}; lambda {}", hidden.join(", "), list(lambda));
    if !lr.is_empty() {
        text += &format!("; learning rate {}", list(lr));
    }
    let count = hidden.len() * lambda.len() * lr.len().max(1);
    text + &format!("; {count} combinations × {seeds} seeds.")
}

fn best(sweep: &Sweep, model: &Model) -> String {
    let Row { hidden, lambda, lr, .. } = &sweep.rows[0];
    let count = model.spec.parameter_count();
    let mut text = format!(
        "hidden {hidden}, lambda {lambda}, learning rate {lr}: {count} parameters; of its seeds, {} has the lowest \
         validation loss, and its model is best.safetensors",
        sweep.best_seed
    );
    if let Some(loss) = at(&sweep.test, "/loss") {
        text += &format!("; on the test rows: loss {}", number(loss));
        text += &at(&sweep.test, "/accuracy")
            .map_or(String::new(), |right| format!(", {} right", percent(right)));
        text += &at(&sweep.test, "/r2").map_or(String::new(), |r2| format!(", R² {}", number(r2)));
    }
    text + "."
}

fn leaderboard(sweep: &Sweep) -> String {
    let means: [(&str, &str, Show); 5] = [
        ("validation loss", "valid_loss", number),
        ("validation accuracy", "valid_accuracy", percent),
        ("training loss", "train_loss", number),
        ("training accuracy", "train_accuracy", percent),
        ("epochs", "epochs", |epochs| format!("{epochs:.0}")),
    ];
    let is_known = |key: &str| sweep.rows.iter().any(|row| row.means[key]["mean"].is_number());
    let means: Vec<_> = means.into_iter().filter(|(_, key, _)| is_known(key)).collect();
    let mut head = vec![Cell::text("rank"), Cell::text("verdict")];
    head.extend(["hidden", "lambda", "lr"].map(Cell::new));
    head.extend(means.iter().map(|(name, ..)| Cell::new(name)));
    head.extend(["parameters", "diverged"].map(Cell::new));
    let row = |(i, row): (usize, &Row)| {
        let verdict = row.verdict.as_deref().unwrap_or("–");
        let mut cells = [(i + 1).to_string().as_str(), verdict].map(Cell::text).to_vec();
        cells.push(Cell::new(&row.hidden));
        cells.extend([row.lambda, row.lr].map(|value| Cell::new(value.to_string())));
        cells.extend(means.iter().map(|(_, key, show)| Cell::new(spread(&row.means[*key], *show))));
        cells.push(Cell::new(row.parameters.map_or("–".into(), |count| count.to_string())));
        cells.push(Cell::new(row.diverged.to_string()));
        cells
    };
    let shown = table(&head, &sweep.rows.iter().take(ROWS).enumerate().map(row).collect::<Vec<_>>());
    match sweep.rows.len().saturating_sub(ROWS) {
        0 => shown,
        more => shown + &paragraph(&format!("{more} more are in {}.", run::LEADERBOARD_CSV)),
    }
}

/// Each measure over lambda, over the size and over the learning rate, where there are several.
fn figures(sweep: &Sweep, task: Task) -> Vec<Plot> {
    let best = &sweep.rows[0];
    let layers = |row: &Row| row.hidden.matches('x').count();
    let shallow = sweep.rows.iter().all(|row| layers(row) == 0);
    let units =
        |row: &Row| row.hidden.parse::<Sizes>().map_or(0.0, |sizes| sizes.0.iter().sum::<usize>() as f64);
    let size = move |row: &Row| if shallow { units(row) } else { row.parameters.unwrap_or(f64::NAN) };
    let least =
        sweep.rows.iter().map(|row| row.lambda).filter(|lambda| *lambda > 0.0).fold(f64::INFINITY, f64::min);
    let place = move |lambda: f64| if lambda > 0.0 || least.is_infinite() { lambda } else { least / 10.0 };
    let zero = sweep.rows.iter().any(|row| row.lambda == 0.0) && least.is_finite();
    let named = |name: &str, value: &dyn std::fmt::Display| format!("{name} {value}");
    let by_hidden = |row: &Row| named("hidden", &row.hidden);
    let by_lambda = |row: &Row| named("lambda", &row.lambda);
    let mut plots =
        figure(sweep, task, "lambda", None, |row| place(row.lambda), by_hidden, |row| row.lr == best.lr);
    if zero {
        let mark = |plot: &mut Plot| plot.mark = Some((place(0.0), "lambda 0".into()));
        plots.iter_mut().for_each(mark);
    }
    let name = if shallow { "hidden units" } else { "parameters" };
    plots.extend(figure(sweep, task, "size", Some(name), size, by_lambda, |row| row.lr == best.lr));
    let of_best = |row: &Row| row.lambda == best.lambda;
    plots.extend(figure(sweep, task, "learning rate", None, |row| row.lr, by_hidden, of_best));
    plots
}

/// Validation and training values of the rows that `kept` takes, over `x`, a line for each name of `line`; no figure of
/// one place.
fn figure(
    sweep: &Sweep,
    task: Task,
    over: &str,
    axis: Option<&str>,
    x: impl Fn(&Row) -> f64,
    line: impl Fn(&Row) -> String,
    kept: impl Fn(&Row) -> bool,
) -> Vec<Plot> {
    let mut rows: Vec<(f64, String, &Row)> =
        sweep.rows.iter().filter(|row| kept(row)).map(|row| (x(row), line(row), row)).collect();
    let mut names: Vec<String> = vec![];
    for (_, name, _) in &rows {
        if !names.contains(name) && names.len() < LINES {
            names.push(name.clone());
        }
    }
    rows.sort_by(|a, b| a.0.total_cmp(&b.0));
    if rows.iter().all(|row| row.0 == rows[0].0) {
        return vec![];
    }
    let plot = |part: usize, (title, y, keys, factor): &(&str, Axis, [&str; 2], f64)| {
        let series = |(style, name): (usize, &String)| {
            let own = rows.iter().filter(move |row| row.1 == *name);
            with_bars(name, style, own.map(|row| (row.0, &row.2.means[keys[part]])), *factor)
        };
        Plot {
            title: format!("{} {title} by {over}", ["Training", "Validation"][part]),
            x: Axis::new(axis.unwrap_or(over), Spacing::Log),
            y: y.clone(),
            series: names.iter().enumerate().flat_map(series).collect(),
            mark: None,
            diagonal: None,
        }
    };
    measures(task).iter().flat_map(|measure| [plot(1, measure), plot(0, measure)]).collect()
}
