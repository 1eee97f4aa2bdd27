//! The tables of one run, or of several side by side.

use minilote::Task;
use minilote::model::{Model, Parameter};
use minilote::train::ClassScores;
use ndarray::Array2;
use serde_json::Value;

use super::files::{Run, at};
use super::page::{Cell, paragraph, table};
use crate::cli::report::{number, percent};

/// A confusion matrix of more classes than this is left to predictions.csv.
const CLASSES: usize = 50;
/// Rows of a long log that are shown.
const EPOCHS: usize = 200;

/// Columns whose importance is shown.
const COLUMNS: usize = 50;

/// A number for people.
pub type Show = fn(f64) -> String;

/// A mean with its deviation, as JSON of [`minilote::sweep::Mean`].
pub fn spread(value: &Value, show: Show) -> String {
    let Some(mean) = value["mean"].as_f64() else { return "–".into() };
    match value["deviation"].as_f64() {
        Some(deviation) => format!("{} ± {}", show(mean), show(deviation)),
        None => show(mean),
    }
}

/// A number, or why there is none.
fn shown(value: Option<f64>) -> String {
    match value {
        None => "–".into(),
        Some(value) if value.is_finite() => number(value),
        Some(_) => "not finite".into(),
    }
}

/// Values by name, a column a run; with `compare` those that differ come first, marked.
fn by_run(runs: &[Run], names: &str, mut rows: Vec<(String, Vec<String>)>, compare: bool) -> String {
    let differs = |values: &[String]| compare && values.iter().any(|value| *value != values[0]);
    rows.sort_by_key(|(_, values)| !differs(values));
    let mut head = vec![Cell::text(names)];
    head.extend(runs.iter().map(|run| Cell::new(&run.name)));
    let row = |(name, values): &(String, Vec<String>)| {
        let mark = if differs(values) { "≠ " } else { "" };
        let cells =
            values.iter().map(|value| if differs(values) { Cell::strong(value) } else { Cell::new(value) });
        std::iter::once(Cell::text(format!("{mark}{name}"))).chain(cells).collect()
    };
    table(&head, &rows.iter().map(row).collect::<Vec<_>>())
}

/// Settings as in the configuration file, with the defaults that depend on others written out.
pub fn settings(run: &Run) -> Vec<(String, String)> {
    let config = &run.train.config;
    let data = run.train.data.as_ref().map_or("–".into(), |data| data.display().to_string());
    let mut all = vec![("data".to_string(), data), ("device".into(), run.train.device.clone())];
    let Ok(Value::Object(values)) = serde_json::to_value(config) else { return all };
    all.extend(values.iter().map(|(key, value)| {
        let text = match (key.as_str(), value) {
            ("lr", _) => config.learning_rate().to_string(),
            ("weight-decay", _) => config.decay().to_string(),
            ("batch", Value::Null) => run.score("/batch").map_or("default".into(), |rows| rows.to_string()),
            (_, Value::Null) => "–".into(),
            (_, Value::String(text)) => text.clone(),
            (_, other) => other.to_string(),
        };
        (key.clone(), text)
    }));
    all
}

/// The configurations of several runs.
pub fn configurations(runs: &[Run]) -> String {
    let all: Vec<Vec<(String, String)>> = runs.iter().map(settings).collect();
    let row = |i: usize| (all[0][i].0.clone(), all.iter().map(|settings| settings[i].1.clone()).collect());
    by_run(runs, "setting", (0..all[0].len()).map(row).collect(), runs.len() > 1)
}

/// What the runs came to.
pub fn scores(runs: &[Run]) -> String {
    let summary = |pointer: &'static str| move |run: &Run| run.score(pointer);
    let share = |pointer: &'static str| {
        move |run: &Run| {
            run.score(pointer)
                .map(|share| if share.is_finite() { percent(share) } else { shown(Some(share)) })
        }
    };
    let count = |pointer: &'static str| move |run: &Run| run.score(pointer).map(|count| count.to_string());
    let mut rows: Vec<(String, Vec<Option<String>>)> = vec![];
    let mut push = |name: &str, value: &dyn Fn(&Run) -> Option<String>| {
        rows.push((name.into(), runs.iter().map(value).collect()));
    };
    let real = |value: Option<f64>| value.map(|value| shown(Some(value)));
    push("end", &|run| run.summary["end"].as_str().map(String::from));
    push("verdict", &|run| run.summary["diagnosis"]["verdict"].as_str().map(String::from));
    push("epochs", &count("/epochs"));
    push("best epoch", &count("/best_epoch"));
    push("training loss", &|run| real(run.score("/train/loss").or_else(|| best(run, "/loss"))));
    push("training accuracy", &share("/train/accuracy"));
    push("validation loss", &|run| real(summary("/valid/loss")(run)));
    push("validation accuracy", &share("/valid/accuracy"));
    push("test rows", &count("/test/rows"));
    push("test loss", &|run| real(summary("/test/loss")(run)));
    push("test accuracy", &share("/test/accuracy"));
    push("test balanced accuracy", &share("/test/balanced_accuracy"));
    push("test macro F1", &share("/test/macro_f1"));
    for (name, pointer) in [("test R²", "/test/r2"), ("test RMSE", "/test/rmse"), ("test MAE", "/test/mae")]
    {
        push(name, &|run| real(run.score(pointer)));
    }
    for (name, part) in [("validation AUC", "valid"), ("test AUC", "test")] {
        push(name, &|run| {
            let predictions = run.predictions.as_ref().filter(|_| run.scored() == part)?;
            Some(number(predictions.roc()?.area))
        });
    }
    push("training seconds", &|run| real(run.score("/seconds")));
    push("examples a second", &|run| run.score("/examples_per_second").map(|rate| format!("{rate:.0}")));
    rows.retain(|(_, values)| values.iter().any(Option::is_some));
    let texts =
        |values: Vec<Option<String>>| values.into_iter().map(|value| value.unwrap_or("–".into())).collect();
    let rows = rows.into_iter().map(|(name, values)| (name, texts(values))).collect();
    by_run(runs, "score", rows, false)
}

/// A value of the best epoch in the log.
fn best(run: &Run, key: &str) -> Option<f64> {
    let best = run.score("/best_epoch")?;
    at(run.epochs.iter().find(|line| at(line, "/epoch") == Some(best))?, key)
}

/// Rows of each true class by predicted class, shaded by their share of the true class.
pub fn confusion(run: &Run) -> Option<String> {
    let classes = run.model.classes();
    if run.model.spec.task == Task::Regression {
        return None;
    }
    if classes.len() > CLASSES {
        let count = classes.len();
        return Some(paragraph(&format!(
            "{count} classes are too many for a matrix here: see predictions.csv."
        )));
    }
    let counts: Vec<Vec<usize>> = match &run.predictions {
        Some(predictions) => predictions.confusion(classes.len()),
        None => serde_json::from_value(run.summary["test"]["confusion"].clone()).ok()?,
    };
    if counts.len() != classes.len() || counts.iter().any(|counts| counts.len() != classes.len()) {
        return None;
    }
    let mut head = vec![Cell::text("true \\ predicted")];
    head.extend(classes.iter().map(Cell::new));
    head.extend(["recall", "precision", "F1"].map(Cell::new));
    let row = |(counts, scores): (&Vec<usize>, ClassScores)| {
        let all = counts.iter().sum::<usize>().max(1) as f64;
        let mut cells = vec![Cell::text(scores.class)];
        cells.extend(counts.iter().map(|&count| Cell::share(count, count as f64 / all)));
        let shares = [scores.recall, scores.precision, scores.f1];
        cells.extend(shares.map(|share| Cell::new(share.map_or("–".into(), percent))));
        cells
    };
    let rows: Vec<_> = counts.iter().zip(ClassScores::of_each(&counts, classes)).map(row).collect();
    Some(table(&head, &rows))
}

/// What shuffling a column adds to loss and error, the most important columns first.
pub fn importance(columns: &[Value]) -> String {
    let mean = |column: &Value, key: &str| column[key]["mean"].as_f64();
    let largest = columns.iter().filter_map(|column| mean(column, "loss")).fold(0.0, f64::max);
    let errs = columns.iter().any(|column| mean(column, "error").is_some());
    let mut head = vec![Cell::text("column"), Cell::text(""), Cell::new("loss, increase")];
    head.extend(errs.then(|| Cell::new("error, increase")));
    let row = |column: &Value| {
        let loss = mean(column, "loss").unwrap_or(f64::NAN);
        let share = if largest > 0.0 { (loss / largest).clamp(0.0, 1.0) } else { 0.0 };
        let mut cells = vec![Cell::text(column["column"].as_str().unwrap_or("–")), Cell::bar(share)];
        cells.push(Cell::new(spread(&column["loss"], number)));
        cells.extend(errs.then(|| Cell::new(spread(&column["error"], percent))));
        cells
    };
    let shown = table(&head, &columns.iter().take(COLUMNS).map(row).collect::<Vec<_>>());
    match columns.len().saturating_sub(COLUMNS) {
        0 => shown,
        more => {
            shown + &paragraph(&format!("{more} more columns, of less importance, are in importance.csv."))
        }
    }
}

/// The loss under each source of statistics, and how far it is from the population's.
pub fn sources(run: &Run) -> Option<String> {
    let sources = run.summary["sources"].as_array().filter(|sources| !sources.is_empty())?;
    let mut head = vec![Cell::text("statistics"), Cell::new("loss")];
    for (layer, _) in run.model.spec.batch_norms() {
        head.extend([
            Cell::new(format!("layer {layer}: mean")),
            Cell::new(format!("layer {layer}: variance")),
        ]);
    }
    let row = |source: &Value| {
        let name = source["source"].as_str().unwrap_or("–");
        let used = if run.summary["statistics"] == source["source"] { " (used)" } else { "" };
        let mut cells = vec![Cell::text(format!("{name}{used}")), Cell::new(shown(at(source, "/loss")))];
        for place in 0..run.model.spec.batch_norms().count() {
            let drift = |key| Cell::new(shown(at(source, &format!("/{key}/{place}"))));
            cells.extend(["mean_drift", "variance_drift"].map(drift));
        }
        cells
    };
    Some(table(&head, &sources.iter().map(row).collect::<Vec<_>>()))
}

/// The Euclidean norm of each parameter at the start and in the best epoch.
pub fn norms(model: &Model, start: Option<&[Array2<f64>]>) -> String {
    let norm = |values: &Array2<f64>| values.iter().map(|value| value * value).sum::<f64>().sqrt();
    let row = |(i, parameter): (usize, Parameter)| {
        let begun = start.map(|parameters| norm(&parameters[i]));
        let best = norm(&model.parameters[i]);
        let ratio = begun.filter(|begun| *begun > 0.0).map(|begun| best / begun);
        let shape = if parameter.rows == 1 && !parameter.decayed {
            parameter.cols.to_string()
        } else {
            format!("{} × {}", parameter.rows, parameter.cols)
        };
        let mut cells = vec![Cell::text(parameter.name), Cell::new(shape)];
        cells.extend([begun, Some(best), ratio].map(|value| Cell::new(shown(value))));
        cells
    };
    let head = ["parameter", "shape", "start", "best epoch", "ratio"];
    let head: Vec<Cell> = head
        .iter()
        .enumerate()
        .map(|(i, name)| if i == 0 { Cell::text(name) } else { Cell::new(name) })
        .collect();
    table(&head, &model.spec.parameters().into_iter().enumerate().map(row).collect::<Vec<_>>())
}

/// The log's epochs, of a long one every so many, the best, and the last.
pub fn epochs(run: &Run) -> String {
    let keys = ["/loss", "/accuracy", "/valid_loss", "/valid_accuracy", "/lr", "/seconds"];
    let known: Vec<&str> =
        keys.into_iter().filter(|key| run.epochs.iter().any(|line| at(line, key).is_some())).collect();
    let mut head = vec![Cell::text("epoch")];
    head.extend(known.iter().map(|key| Cell::new(key[1..].replace('_', " "))));
    let (count, stride) = (run.epochs.len(), run.epochs.len().div_ceil(EPOCHS).max(1));
    let best = run.score("/best_epoch");
    let kept = |(i, line): &(usize, &Value)| {
        i.is_multiple_of(stride) || *i == count - 1 || at(line, "/epoch") == best
    };
    let row = |(_, line): (usize, &Value)| {
        let epoch = at(line, "/epoch");
        let mark = if epoch == best { " (best)" } else { "" };
        let mut cells = vec![Cell::text(format!("{}{mark}", epoch.unwrap_or(f64::NAN)))];
        cells.extend(known.iter().map(|key| Cell::new(shown(at(line, key)))));
        cells
    };
    table(&head, &run.epochs.iter().enumerate().filter(kept).map(row).collect::<Vec<_>>())
}
