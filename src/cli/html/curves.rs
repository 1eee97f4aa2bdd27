//! Figures of means over seeds with their deviations: learning curves.

use minilote::Task;
use serde_json::Value;

use super::figures::loss_name;
use super::files::at;
use minilote::plot::{Axis, Plot, Series, Shape, Spacing};

/// A line through means with their deviations as error bars: `of` gives a place and the mean, as JSON of
/// [`minilote::sweep::Mean`].
pub fn with_bars<'a>(
    name: &str,
    style: usize,
    of: impl Iterator<Item = (f64, &'a Value)>,
    factor: f64,
) -> [Series; 2] {
    let (mut points, mut bars) = (vec![], vec![]);
    for (x, value) in of {
        let Some(mean) = at(value, "/mean").map(|mean| factor * mean) else { continue };
        points.push((x, mean));
        if let Some(deviation) = value["deviation"].as_f64() {
            bars.extend([(x, mean - factor * deviation), (x, mean + factor * deviation)]);
        }
    }
    let series = |shape, points| Series { name: name.into(), style, shape, points };
    [series(Shape::Bars, bars), series(Shape::Line, points)]
}

/// What a model is measured by: the title, the axis, the keys of the training and the validation mean, and what they are
/// multiplied by.
pub fn measures(task: Task) -> Vec<(&'static str, Axis, [&'static str; 2], f64)> {
    let mut all =
        vec![("loss", Axis::new(loss_name(task), Spacing::Either), ["train_loss", "valid_loss"], 1.0)];
    if task != Task::Regression {
        let axis = Axis::new("accuracy (%)", Spacing::Linear);
        all.push(("accuracy", axis, ["train_accuracy", "valid_accuracy"], 100.0));
    }
    all
}

/// Loss and accuracy over the number of training rows.
pub fn learning(points: &[Value], task: Task) -> Vec<Plot> {
    let plot = |(title, y, keys, factor): (&str, Axis, [&str; 2], f64)| {
        let series = |(style, key): (usize, &str)| {
            let of = points.iter().filter_map(move |point| Some((at(point, "/rows")?, &point[key])));
            with_bars(["training", "validation"][style], style, of, factor)
        };
        Plot {
            title: format!("Learning curve: {title}"),
            x: Axis::new("training rows", Spacing::Linear),
            y,
            series: keys.into_iter().enumerate().flat_map(series).collect(),
            mark: None,
            diagonal: None,
        }
    };
    measures(task).into_iter().map(plot).collect()
}
