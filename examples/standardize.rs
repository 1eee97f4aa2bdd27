//! Two features of different ranges, [0.1, 1.33] and [50, 200], before and after standardization: contours of the loss, the
//! ratio of its Hessian's eigenvalues, and the steps of gradient descent to a given error.
//! `cargo run --example standardize` writes examples/figures/standardize.svg.

use std::ops::ControlFlow;
use std::path::Path;

use minilote::data::{Feature, FeatureKind, Inputs, Missing, Schema, Split, Standardize, Target, TargetKind};
use minilote::plot::{Axis, Plot, Series, Shape, Spacing, ellipse, save};
use minilote::train::{Batch, Config, OptimizerKind, Sizes, StepRecord, Trainer, TrainingData};
use minilote::{Device, Result, Task};
use ndarray::{Array1, Array2, s};

const ROWS: usize = 200;
/// The error to come to: what the loss is above its least value, as a share of the target's variance.
const GOAL: f64 = 0.05;
const MODES: [(&str, Standardize); 2] =
    [("as measured", Standardize::None), ("standardized", Standardize::Standard)];

/// A linear target of both features, which count about the same.
fn data(mode: Standardize) -> Result<TrainingData> {
    // An irrational number's multiples, without what stands before the point, are spread evenly.
    let spread = |i: usize, step: f64| (i as f64 * step).fract();
    let features = [(0.1, 1.33, 0.618034), (50.0, 200.0, 0.414214)];
    let x = Array2::from_shape_fn((ROWS, 2), |(i, j)| {
        let (low, high, step) = features[j];
        low + (high - low) * spread(i, step)
    });
    let y = Array1::from_shape_fn(ROWS, |i| 3.0 * x[(i, 0)] + 0.025 * x[(i, 1)] + spread(i, 0.754878) - 0.5);
    let feature = |name: &str| Feature { name: name.into(), kind: FeatureKind::Numeric { fill: None } };
    let schema = Schema {
        features: ["small", "large"].map(feature).into(),
        target: Target { name: "y".into(), kind: TargetKind::Value },
        missing: Missing::Refuse,
    };
    let split = Split { train: (0..ROWS as u32).collect(), ..Split::default() };
    TrainingData::new(Task::Regression, schema, Inputs::Real(x), y, split, mode, vec![])
}

/// Eigenvalues and, in columns, eigenvectors of a symmetric matrix, by Jacobi's rotations.
fn eigen(mut a: Array2<f64>) -> (Array1<f64>, Array2<f64>) {
    let n = a.nrows();
    let mut vectors = Array2::eye(n);
    for (p, q) in (0..30).flat_map(|_| (0..n).flat_map(|q| (0..q).map(move |p| (p, q)))) {
        let (sin, cos) = (0.5 * (2.0 * a[(p, q)]).atan2(a[(q, q)] - a[(p, p)])).sin_cos();
        let mut turn = Array2::eye(n);
        (turn[(p, p)], turn[(p, q)], turn[(q, p)], turn[(q, q)]) = (cos, sin, -sin, cos);
        a = turn.t().dot(&a).dot(&turn);
        vectors = vectors.dot(&turn);
    }
    (a.diag().to_owned(), vectors)
}

struct Found {
    /// Largest over smallest eigenvalue of the Hessian.
    ratio: f64,
    rate: f64,
    /// To the goal.
    steps: usize,
    /// Step and error.
    curve: Vec<(f64, f64)>,
    /// Both weights.
    path: Vec<(f64, f64)>,
    contours: Vec<(f64, f64)>,
}

/// Trains a linear model from weights of 0 by gradient descent, at the rate 1 / largest eigenvalue.
async fn descend(mode: Standardize) -> Result<Found> {
    let data = data(mode)?;
    let Inputs::Real(features) = &data.inputs else { unreachable!("a table") };
    // The mean of (x · p − y)² over rows x of features and a 1 for the bias: its Hessian is 2 XᵀX / rows.
    let mut x = Array2::ones((ROWS, 3));
    x.slice_mut(s![.., ..2]).assign(features);
    let form = x.t().dot(&x) / ROWS as f64;
    let (values, vectors) = eigen(form.clone());
    let (low, high) = values.iter().fold((f64::MAX, 0.0f64), |(low, high), v| (low.min(*v), high.max(*v)));
    let best = vectors.dot(&(vectors.t().dot(&x.t().dot(&data.targets)) / ROWS as f64 / &values));
    let least = (x.dot(&best) - &data.targets).mapv(|d| d * d).sum() / ROWS as f64;
    let variance = data.targets.var(0.0);

    let rate = 0.5 / high;
    let config = Config {
        hidden: Sizes(vec![]),
        batch: Some(Batch::Full),
        optimizer: OptimizerKind::Sgd,
        lr: Some(rate),
        ..Config::default()
    };
    let mut trainer = Trainer::new(data, config, &Device::Cpu).await?;
    trainer.set_parameters(&[Array2::zeros((1, 2)), Array2::zeros((1, 1))])?;
    let (mut curve, mut path, mut error, mut next) = (vec![], vec![], f64::INFINITY, 1);
    while error > GOAL {
        if trainer.updates() + 1 >= next {
            next = 1 + next * 9 / 8;
            let weights = &trainer.parameters().await?[0];
            path.push((weights[(0, 0)], weights[(0, 1)]));
        }
        let observe = |records: &[StepRecord]| {
            // An f32 tells no smaller one from 0.
            error = ((records[0].loss - least) / variance).max(1e-6);
            ControlFlow::Continue(())
        };
        trainer.epoch_with(observe).await?;
        if path.len() > curve.len() {
            curve.push((trainer.updates() as f64, error));
        }
    }
    let center = (best[0], best[1]);
    let plane = [[form[(0, 0)], form[(0, 1)]], [form[(1, 0)], form[(1, 1)]]];
    let weights = best.slice(s![..2]);
    let start = weights.dot(&form.slice(s![..2, ..2]).dot(&weights));
    let gap = [(f64::NAN, f64::NAN)];
    let contours =
        [0.02, 0.1, 0.4, 1.0].map(|share| [&ellipse(center, plane, share * start)[..], &gap].concat());
    let steps = trainer.updates() - 1;
    Ok(Found { ratio: high / low, rate, steps, curve, path, contours: contours.concat() })
}

fn main() -> Result<()> {
    pollster::block_on(async {
        println!("features       largest / smallest eigenvalue       rate   steps to an error of {GOAL}");
        let (mut plots, mut curves) = (vec![], vec![]);
        for (style, (name, mode)) in MODES.into_iter().enumerate() {
            let found = descend(mode).await?;
            println!("{name:14} {:29.1} {:10.2e} {:12}", found.ratio, found.rate, found.steps);
            curves.push(Series::new(name, style, Shape::Line, found.curve));
            let mut plane = |title: &str, spacing| {
                let axis = |name: &str| Axis::new(name, spacing);
                let series = vec![
                    Series::new("", 5, Shape::Thin, found.contours.clone()),
                    Series::new("gradient descent", style, Shape::Line, found.path.clone()),
                ];
                let axes = (axis("weight of the small feature"), axis("weight of the large one"));
                plots.push(Plot::new(title, axes.0, axes.1, series));
            };
            plane(&format!("Features {name}, both axes in one unit"), Spacing::Equal);
            if mode == Standardize::None {
                plane("The same, each axis in its own", Spacing::Linear);
            }
        }
        let [x, y] = ["step", "error (share of variance)"].map(|name| Axis::new(name, Spacing::Log));
        plots.push(Plot::new("Error before each step", x, y, curves));
        save(Path::new("examples/figures/standardize.svg"), &plots, 2)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Standardized features have round contours, and gradient descent needs few steps.
    #[test]
    fn standardization_saves_steps() {
        let [raw, standardized] = MODES.map(|(_, mode)| pollster::block_on(descend(mode)).unwrap());
        assert!(raw.ratio > 1e5 && standardized.ratio < 1.5, "{} {}", raw.ratio, standardized.ratio);
        assert!(raw.steps > 10_000 && standardized.steps < 10, "{} {}", raw.steps, standardized.steps);
        // The Hessian says how many: the error of the eigenvector of the smallest eigenvalue falls the slowest.
        assert!(raw.steps < 2 * raw.ratio as usize, "{} {}", raw.steps, raw.ratio);
    }
}
