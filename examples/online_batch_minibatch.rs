//! The same initial weights trained online, in minibatches and in full batch: what each costs in examples, updates and
//! seconds, and how the paths of a model with two parameters oscillate over the contours of its loss.
//! `cargo run --example online_batch_minibatch` writes examples/figures/online_batch_minibatch.svg.

use std::ops::ControlFlow;
use std::path::Path;

use minilote::data::{Feature, FeatureKind, Inputs, Missing, Schema, Split, Standardize, Target, TargetKind};
use minilote::model::Norm;
use minilote::plot::{Axis, Plot, Series, Shape, Spacing, ellipse, save};
use minilote::train::{Batch, Config, OptimizerKind, Rows, Sizes, Trainer, TrainingData};
use minilote::{Device, Result, Task};
use ndarray::{Array1, Array2, array};

/// Rows of a minibatch, and a learning rate that suits it: the mean of more gradients is surer, and bears a longer step.
const RUNS: [(&str, Batch, f64); 3] = [
    ("online", Batch::Rows(1), 0.02),
    ("minibatches of 32", Batch::Rows(32), 0.2),
    ("full batch", Batch::Full, 0.8),
];
/// Training loss to come to, in nats.
const GOAL: f64 = 0.1;
/// Rows of each update of the model with two parameters.
const PATHS: [(&str, usize); 3] = [("online", 1), ("minibatches of 8", 8), ("full batch", 64)];
const UPDATES: usize = 128;

/// After each epoch: examples, updates, seconds of training, loss on the training rows.
type Curve = Vec<[f64; 4]>;

/// A network 64-32-10 on handwritten digits, from weights that only the seed decides.
async fn train(batch: Batch, lr: f64) -> Result<Curve> {
    let config = Config {
        target: Some("digit".into()),
        hidden: Sizes(vec![32]),
        norm: Norm::None, // One row has no variance.
        optimizer: OptimizerKind::Sgd,
        batch: Some(batch),
        lr: Some(lr),
        ..Config::default()
    };
    let data = TrainingData::read(Path::new("examples/data/digits.csv"), &config)?;
    let mut trainer = Trainer::new(data, config, &Device::Cpu).await?;
    let mut curve: Curve = vec![];
    let [mut examples, mut seconds, mut loss] = [0.0, 0.0, f64::INFINITY];
    while loss > GOAL / 2.0 && curve.len() < 1000 {
        let epoch = trainer.epoch().await?;
        examples += epoch.rows as f64;
        seconds += epoch.seconds;
        loss = trainer.evaluate(Rows::Train, &[]).await?.loss;
        curve.push([examples, trainer.updates() as f64, seconds, loss]);
    }
    Ok(curve)
}

/// 64 points near a line.
fn line() -> Result<TrainingData> {
    // The golden ratio's multiples, without what stands before the point, are spread evenly.
    let spread = |i: usize, step: f64| (i as f64 * step).fract();
    let x = Array2::from_shape_fn((64, 1), |(i, _)| 2.0 * spread(i, 0.618034));
    let y = Array1::from_shape_fn(64, |i| 1.5 * x[(i, 0)] - 0.5 + 2.0 * (spread(i, 0.754878) - 0.5));
    let schema = Schema {
        features: vec![Feature { name: "x".into(), kind: FeatureKind::Numeric { fill: None } }],
        target: Target { name: "y".into(), kind: TargetKind::Value },
        missing: Missing::Refuse,
    };
    let split = Split { train: (0..64).collect(), ..Split::default() };
    TrainingData::new(Task::Regression, schema, Inputs::Real(x), y, split, Standardize::None, vec![])
}

/// Weight and bias of y = w x + b before the first and after each of so many updates.
async fn path(rows: usize) -> Result<Vec<(f64, f64)>> {
    let mut data = line()?;
    // An epoch is one update then, of rows that the loop names.
    data.split.train.truncate(rows);
    let config = Config {
        hidden: Sizes(vec![]),
        batch: Some(Batch::Full),
        optimizer: OptimizerKind::Sgd,
        lr: Some(0.15),
        ..Config::default()
    };
    let mut trainer = Trainer::new(data, config, &Device::Cpu).await?;
    trainer.set_parameters(&[array![[-0.5]], array![[2.0]]])?;
    let mut path = vec![(-0.5, 2.0)];
    for update in 0..UPDATES {
        let order: Vec<u32> = (0..rows).map(|i| ((update * rows + i) % 64) as u32).collect();
        trainer.epoch_in_order(&order, |_| ControlFlow::Continue(())).await?;
        let parameters = trainer.parameters().await?;
        path.push((parameters[0][(0, 0)], parameters[1][(0, 0)]));
    }
    Ok(path)
}

/// The mean angle between successive updates, in degrees: 0 of a straight path, 180 of one to and fro.
fn oscillation(path: &[(f64, f64)]) -> f64 {
    let updates: Vec<_> = path.windows(2).map(|two| (two[1].0 - two[0].0, two[1].1 - two[0].1)).collect();
    let angle = |two: &[(f64, f64)]| {
        let ((a, b), (c, d)) = (two[0], two[1]);
        (a * d - b * c).abs().atan2(a * c + b * d).to_degrees()
    };
    updates.windows(2).map(angle).sum::<f64>() / (updates.len() - 1) as f64
}

/// Contours of the mean of (w x + b − y)², which is (p − p*)ᵀ A (p − p*) above its least value at p* = (w*, b*).
fn contours() -> Result<Series> {
    let data = line()?;
    let Inputs::Real(x) = &data.inputs else { unreachable!("a table") };
    let (x, y) = (x.column(0), &data.targets);
    let mean = |values: Array1<f64>| values.mean().unwrap_or_default();
    let (mean_x, mean_y, square) = (mean(x.to_owned()), mean(y.clone()), mean(&x * &x));
    let w = (mean(&x * y) - mean_x * mean_y) / (square - mean_x * mean_x);
    let best = (w, mean_y - w * mean_x);
    let form = [[square, mean_x], [mean_x, 1.0]];
    let gap = [(f64::NAN, f64::NAN)];
    let points = [0.02, 0.1, 0.3, 0.7, 1.3].map(|level| [&ellipse(best, form, level)[..], &gap].concat());
    Ok(Series::new("", 5, Shape::Thin, points.concat()))
}

/// The cost of coming to the goal.
fn cost(curve: &Curve) -> [f64; 3] {
    let [examples, updates, seconds, _] =
        curve.iter().find(|[.., loss]| *loss <= GOAL).unwrap_or(&[f64::NAN; 4]);
    [*examples, *updates, *seconds]
}

fn main() -> Result<()> {
    pollster::block_on(async {
        let mut curves = vec![];
        println!("to a training loss of {GOAL}     rate   examples   updates   seconds");
        for (name, batch, lr) in RUNS {
            let curve = train(batch, lr).await?;
            let [examples, updates, seconds] = cost(&curve);
            println!("{name:25} {lr:8} {examples:10} {updates:9} {seconds:9.3}");
            curves.push((name, curve));
        }
        let by = |column: usize, title: &str, name: &str| {
            let of = |(style, (name, curve)): (usize, &(&str, Curve))| {
                Series::new(name, style, Shape::Line, curve.iter().map(|at| (at[column], at[3])).collect())
            };
            let [x, y] = [name, "training loss (nats)"].map(|name| Axis::new(name, Spacing::Log));
            let series = curves.iter().enumerate().map(of).collect();
            Plot::new(title, x, y, series)
        };
        let mut series = vec![contours()?];
        println!("\n{UPDATES} updates of y = w x + b   mean angle between updates");
        for (style, (name, rows)) in PATHS.into_iter().enumerate() {
            let path = path(rows).await?;
            println!("{name:26} {:9.1}°", oscillation(&path));
            // The path that hides others is thin.
            let shape = if rows == 1 { Shape::Thin } else { Shape::Line };
            series.push(Series::new(name, style, shape, path));
        }
        let plots = [
            by(0, "64-32-10 on digits, by examples", "examples seen"),
            by(1, "The same by updates", "updates"),
            by(2, "The same by time, as measured", "seconds"),
            Plot::new(
                &format!("Two parameters: {UPDATES} updates from one start"),
                Axis::new("weight", Spacing::Linear),
                Axis::new("bias", Spacing::Equal),
                series,
            ),
        ];
        save(Path::new("examples/figures/online_batch_minibatch.svg"), &plots, 2)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Online training needs the fewest examples, full batch the fewest updates; minibatches lie between.
    #[test]
    fn examples_are_traded_for_updates() {
        let curves = RUNS.map(|(_, batch, lr)| pollster::block_on(train(batch, lr)).unwrap());
        let [online, minibatches, full] = curves.each_ref().map(cost);
        assert!(
            online[0] < minibatches[0] && minibatches[0] < full[0],
            "{online:?} {minibatches:?} {full:?}"
        );
        assert!(
            online[1] > minibatches[1] && minibatches[1] > full[1],
            "{online:?} {minibatches:?} {full:?}"
        );
        assert!(curves.iter().all(|curve| curve.last().unwrap()[3] <= GOAL));
    }

    /// The fewer rows a gradient is of, the more a path oscillates.
    #[test]
    fn fewer_rows_oscillate_more() {
        let [online, minibatches, full] =
            PATHS.map(|(_, rows)| oscillation(&pollster::block_on(path(rows)).unwrap()));
        assert!(online > 80.0 && (30.0..70.0).contains(&minibatches) && full < 5.0);
    }
}
