//! The figures of one run, or of several laid over one another.

use minilote::Task;
use minilote::plot::{Axis, Plot, Series, Shape, Spacing};
use minilote::train::{Config, Roc, ScheduleKind};
use serde_json::Value;

use super::files::{Run, at};
use crate::cli::report::number;

/// Points of a long line, and dots, at the most.
const POINTS: usize = 400;
const DOTS: usize = 1000;
/// A longer name is cut where it stands at an axis.
const NAME: usize = 22;

/// What the loss is, with its unit.
pub fn loss_name(task: Task) -> &'static str {
    match task {
        Task::Regression => "squared error (standardized)",
        Task::Binary | Task::Classification => "cross-entropy (nats)",
    }
}

fn epochs_axis() -> Axis {
    Axis::new("epoch", Spacing::Linear)
}

/// What is known of each epoch.
struct Curve {
    title: &'static str,
    /// The unit.
    axis: Axis,
    /// Keys of the log for training and validation.
    keys: [&'static str; 2],
    /// From the log's value, for a run.
    shown: fn(&Run, f64) -> f64,
}

fn measures(task: Task) -> [Curve; 2] {
    let loss = Curve {
        title: "loss",
        axis: Axis::new(loss_name(task), Spacing::Either),
        keys: ["/loss", "/valid_loss"],
        shown: |_, loss| loss,
    };
    let metric = if task == Task::Regression {
        Curve {
            title: "RMSE",
            axis: Axis::new("RMSE (units of the target)", Spacing::Either),
            keys: ["/loss", "/valid_loss"],
            shown: |run, loss| loss.sqrt() / scale(run),
        }
    } else {
        Curve {
            title: "accuracy",
            axis: Axis::new("accuracy (%)", Spacing::Linear),
            keys: ["/accuracy", "/valid_accuracy"],
            shown: |_, accuracy| 100.0 * accuracy,
        }
    };
    [loss, metric]
}

/// What a regression's target was multiplied by.
fn scale(run: &Run) -> f64 {
    run.model.target.as_ref().map_or(1.0, |target| target.affine().1[0])
}

fn of_epochs(run: &Run, key: &str, shown: impl Fn(f64) -> f64) -> Vec<(f64, f64)> {
    let point = |line: &Value| Some((at(line, "/epoch")?, shown(at(line, key)?)));
    run.epochs.iter().filter_map(point).collect()
}

/// What was logged of each update, by epochs, as means of as many neighbors as the figure needs; nothing in runs
/// of versions that did not note how many updates an epoch has.
fn of_updates(run: &Run, column: usize) -> Vec<(f64, f64)> {
    let Some(each) = run.updates_per_epoch() else { return vec![] };
    let mean =
        |of: &[[f64; 3]], column: usize| of.iter().map(|step| step[column]).sum::<f64>() / of.len() as f64;
    let size = run.steps.len().div_ceil(POINTS).max(1);
    run.steps.chunks(size).map(|some| (mean(some, 0) / each, mean(some, column))).collect()
}

fn line(name: impl Into<String>, style: usize, points: Vec<(f64, f64)>) -> Series {
    Series { name: name.into(), style, shape: Shape::Line, points }
}

/// Loss, metric and learning rate by epoch.
pub fn curves(runs: &[Run]) -> Vec<Plot> {
    let mut plots = vec![];
    let task = runs[0].model.spec.task;
    let mark = match runs {
        [run] => run.score("/best_epoch").map(|epoch| (epoch, format!("best: epoch {epoch}"))),
        _ => None,
    };
    let mut push = |title: String, y: Axis, mut series: Vec<Series>| {
        series.retain(|series| !series.points.is_empty());
        if !series.is_empty() {
            let title = match series.as_slice() {
                [only] if only.name != runs[0].name => format!("{title}, {}", only.name),
                _ => title,
            };
            let mark = mark.clone();
            plots.push(Plot { title, x: epochs_axis(), y, series, mark, diagonal: None });
        }
    };
    for Curve { title, axis, keys, shown } in measures(task) {
        let points = |run: &Run, key| of_epochs(run, key, |value| shown(run, value));
        let named = ["training", "validation"];
        if let [run] = runs {
            let mut series: Vec<Series> = vec![];
            if title == "loss" {
                series.push(Series { shape: Shape::Thin, ..line("minibatches", 5, of_updates(run, 2)) });
            }
            series.extend((0..2).map(|part| line(named[part], part, points(run, keys[part]))));
            push(capital(title), axis, series);
            continue;
        }
        for (part, key) in named.iter().zip(keys) {
            let of_run = |(style, run): (usize, &Run)| line(&run.name, style, points(run, key));
            push(
                capital(&format!("{part} {title}")),
                axis.clone(),
                runs.iter().enumerate().map(of_run).collect(),
            );
        }
    }
    let rate = |(style, run): (usize, &Run)| {
        let updates = of_updates(run, 1);
        let points = if updates.is_empty() { of_epochs(run, "/lr", |lr| lr) } else { updates };
        line(&run.name, style, points)
    };
    let falls_to_0 = |run: &Run| run.train.config.schedule == ScheduleKind::Cosine;
    let spacing = if runs.iter().any(falls_to_0) { Spacing::Linear } else { Spacing::Either };
    let axis = Axis::new("learning rate", spacing);
    push("Learning rate".into(), axis, runs.iter().enumerate().map(rate).collect());
    plots
}

/// The loss by what it took: examples seen, updates, seconds of training. Of several runs it is that of validation,
/// where there is one.
pub fn costs(runs: &[Run]) -> Vec<Plot> {
    let [Curve { axis, keys, .. }, _] = measures(runs[0].model.spec.task);
    let validates = runs.iter().all(|run| run.epochs.iter().any(|line| at(line, keys[1]).is_some()));
    let plot = |name: &str| {
        let of_key = |run: &Run, key: &str| of_cost(run, name, key);
        let (part, series): (&str, Vec<Series>) = match runs {
            [run] => (
                "Loss",
                (0..2).map(|i| line(["training", "validation"][i], i, of_key(run, keys[i]))).collect(),
            ),
            _ => {
                let key = keys[usize::from(validates)];
                let of_run = |(style, run): (usize, &Run)| line(&run.name, style, of_key(run, key));
                let part = if validates { "Validation loss" } else { "Training loss" };
                (part, runs.iter().enumerate().map(of_run).collect())
            }
        };
        let series = series.into_iter().filter(|series| !series.points.is_empty()).collect();
        Plot::new(&format!("{part} by {name}"), Axis::new(name, Spacing::Linear), axis.clone(), series)
    };
    ["examples", "updates", "seconds"].map(plot).into_iter().filter(|plot| !plot.series.is_empty()).collect()
}

/// A number of the log by the examples, updates or seconds up to the end of its epoch.
fn of_cost(run: &Run, cost: &str, key: &str) -> Vec<(f64, f64)> {
    let mut sum = 0.0;
    let point = |line: &Value| {
        sum += match cost {
            "examples" => at(line, "/rows")?,
            "updates" => run.updates_of(at(line, "/rows")?)?,
            _ => at(line, "/seconds")?,
        };
        Some((sum, at(line, key)?))
    };
    run.epochs.iter().filter_map(point).collect()
}

/// The ROC curve of binary classifications, or predicted against true values of one regression.
pub fn predictions(runs: &[Run]) -> Vec<Plot> {
    let (roc, values) = (roc(runs), if let [run] = runs { values(run) } else { None });
    roc.into_iter().chain(values).collect()
}

fn roc(runs: &[Run]) -> Option<Plot> {
    let of_run = |(style, run): (usize, &Run)| {
        let Roc { points, area } = run.predictions.as_ref()?.roc()?;
        let (count, stride) = (points.len(), points.len().div_ceil(POINTS));
        let kept = |i: usize| i.is_multiple_of(stride) || i == count - 1;
        let points = points.into_iter().enumerate().filter(|(i, _)| kept(*i)).map(|(_, point)| point);
        Some(line(format!("{}: AUC {}", run.name, number(area)), style, points.collect()))
    };
    let series: Vec<Series> = runs.iter().enumerate().filter_map(of_run).collect();
    let title = match series.as_slice() {
        [] => return None,
        [only] => {
            let class = runs[0].model.classes().get(1)?;
            let area = only.name.rsplit(' ').next().unwrap_or_default();
            format!("ROC curve of {class:?}, {} rows: AUC {area}", runs[0].scored())
        }
        _ => "ROC curves".into(),
    };
    let [x, y] = ["false positive rate", "true positive rate"].map(|name| Axis::new(name, Spacing::Linear));
    Some(Plot { title, x, y, series, mark: None, diagonal: Some(1.0) })
}

fn values(run: &Run) -> Option<Plot> {
    let rows = run.predictions.as_ref().filter(|_| run.model.spec.task == Task::Regression)?;
    let (count, stride) = (rows.targets.len(), rows.targets.len().div_ceil(DOTS).max(1));
    let pairs = rows.targets.iter().copied().zip(rows.predictions.iter().copied());
    let series =
        Series { name: "row".into(), style: 0, shape: Shape::Dots, points: pairs.step_by(stride).collect() };
    let some = if stride > 1 { format!(", one in {stride}") } else { String::new() };
    let target = cut(&run.model.schema.target.name);
    Some(Plot {
        title: format!("Predicted against true values, {count} {} rows{some}", run.scored()),
        x: Axis::new(&format!("true {target}"), Spacing::Linear),
        y: Axis::new(&format!("predicted {target}"), Spacing::Linear),
        series: vec![series],
        mark: None,
        diagonal: Some(1.0),
    })
}

/// Mean and deviation of each batch normalization's units by epoch.
pub fn statistics(run: &Run) -> Vec<Plot> {
    let percentiles = ["15th percentile of units", "median unit", "85th percentile of units"];
    let plot = |(place, (layer, features)): (usize, (usize, usize)), what: &str| {
        let points = |i: usize| {
            let key = format!("/layers/{place}/{what}/{i}");
            run.statistics.iter().filter_map(|line| Some((at(line, "/epoch")?, at(line, &key)?))).collect()
        };
        let series = (0..3).map(|i| line(percentiles[i], [1, 0, 2][i], points(i))).collect();
        let y = Axis::new(what, if what == "deviation" { Spacing::Either } else { Spacing::Linear });
        let title = format!("Layer {layer}, batch norm of {features}: {what}");
        Plot { title, x: epochs_axis(), y, series, mark: None, diagonal: None }
    };
    let layers = run.model.spec.batch_norms().enumerate().filter(|_| !run.statistics.is_empty());
    layers.flat_map(|layer| ["mean", "deviation"].map(|what| plot(layer, what))).collect()
}

/// The norms of each layer's weight, and of its gradient, by epoch.
pub fn norms(run: &Run) -> Vec<Plot> {
    let weights = run.model.spec.parameters().into_iter().filter(|parameter| parameter.decayed);
    let names: Vec<String> = weights.map(|parameter| parameter.name).collect();
    let plot = |(what, title): (&str, &str)| {
        let points = |layer: usize| {
            let key = format!("/layers/{layer}/{what}");
            run.norms.iter().filter_map(|line| Some((at(line, "/epoch")?, at(line, &key)?))).collect()
        };
        let of_layer = |(layer, name): (usize, &String)| line(name, layer, points(layer));
        let series: Vec<Series> = names.iter().enumerate().map(of_layer).collect();
        let y = Axis::new("Euclidean norm", Spacing::Either);
        Plot { title: title.into(), x: epochs_axis(), y, series, mark: None, diagonal: None }
    };
    let mut plots: Vec<Plot> =
        [("weight", "Weights"), ("gradient", "Gradients of the last minibatch's loss")].map(plot).into();
    plots.retain(|plot| plot.series.iter().any(|series| !series.points.is_empty()));
    plots
}

/// Whether a norm of the weights before a batch normalization has no effect on the network's function.
pub fn is_scale_free(config: &Config) -> bool {
    use minilote::model::Norm;
    use minilote::ops::Function;
    config.norm == Norm::Before || config.norm == Norm::After && config.activation == Function::Relu
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or(String::new(), |first| first.to_uppercase().to_string() + letters.as_str())
}

fn cut(name: &str) -> String {
    if name.chars().count() <= NAME {
        return name.into();
    }
    name.chars().take(NAME - 1).collect::<String>() + "…"
}
