//! One row through batch normalization with the statistics of a minibatch, of the population, pooled, and of moving
//! averages, and through the network that batch normalization is folded into.
//! `cargo run --example inference` writes examples/figures/inference.svg.

use std::path::Path;

use minilote::data::Inputs;
use minilote::model::{Layer, Model, Source, Statistics};
use minilote::plot::{self, Plot, Series, Shape, Spacing, save};
use minilote::train::{Config, Predictor, Sizes, Trainer, TrainingData};
use minilote::{Device, Result};
use ndarray::{Array1, Array2, ArrayView1, Axis, concatenate};

const EPOCHS: usize = 10;
/// The unit of the first hidden layer that is watched.
const UNIT: usize = 0;
const SOURCES: [(&str, Source); 4] = [
    ("population", Source::Population),
    ("pooled", Source::Pooled),
    ("ema", Source::Ema),
    ("pytorch", Source::Pytorch),
];

struct Trained {
    data: TrainingData,
    /// With the population's statistics.
    model: Model,
    /// Of each of the sources.
    statistics: [Vec<Statistics>; 4],
    /// The unit's deviation under each of the sources, by epoch.
    deviations: [Vec<(f64, f64)>; 4],
}

/// A network 30-8-8-1 on the table of breast cancer.
async fn train() -> Result<Trained> {
    let config = Config { target: Some("diagnosis".into()), hidden: Sizes(vec![8, 8]), ..Config::default() };
    let data = TrainingData::read(Path::new("examples/data/breast_cancer.csv"), &config)?;
    let mut trainer = Trainer::new(data.clone(), config, &Device::Cpu).await?;
    let (mut statistics, mut deviations) = ([const { vec![] }; 4], [const { vec![] }; 4]);
    for epoch in 1..=EPOCHS {
        trainer.epoch().await?;
        for (i, (_, source)) in SOURCES.into_iter().enumerate() {
            statistics[i] = trainer.statistics(source).await?;
            deviations[i].push((epoch as f64, statistics[i][0].variance[UNIT].sqrt()));
        }
    }
    let parameters = trainer.parameters().await?;
    let model = trainer.model_of(parameters, statistics[0].clone(), Source::Population);
    Ok(Trained { data, model, statistics, deviations })
}

/// The network's outputs for some rows, with given statistics or else those of the rows themselves, as in training.
fn forward(model: &Model, rows: &Array2<f64>, statistics: Option<&[Statistics]>) -> Array2<f64> {
    let mut parameters = model.parameters.iter();
    let mut next = || parameters.next().expect("parameters of each layer");
    let mut given = statistics.map(|all| all.iter());
    let mut x = rows.clone();
    for layer in &model.spec.layers {
        x = match *layer {
            Layer::Linear { bias, .. } => {
                let y = x.dot(&next().t());
                if bias { y + next() } else { y }
            }
            Layer::BatchNorm { eps, .. } => {
                let (mean, variance) = match given.as_mut().and_then(Iterator::next) {
                    Some(of) => (Array1::from(of.mean.clone()), Array1::from(of.variance.clone())),
                    None => (x.mean_axis(Axis(0)).expect("a row"), x.var_axis(Axis(0), 0.0)),
                };
                (x - mean) / variance.mapv(|v| (v + eps).sqrt()) * next() + next()
            }
            Layer::Activation { .. } => x.mapv(|x| x.max(0.0)),
            Layer::Dropout { .. } => x,
        };
    }
    x
}

impl Trained {
    fn inputs(&self) -> &Array2<f64> {
        let Inputs::Real(inputs) = &self.data.inputs else { unreachable!("a table") };
        inputs
    }

    /// The test row that the network is the least sure of, `[1, 30]`.
    fn unsure(&self) -> Array2<f64> {
        let rows = self.data.split.test.iter().map(|&row| self.inputs().select(Axis(0), &[row as usize]));
        let size = |row: &Array2<f64>| forward(&self.model, row, Some(&self.statistics[0]))[(0, 0)].abs();
        rows.min_by(|a, b| size(a).total_cmp(&size(b))).expect("test rows")
    }

    /// The row's outputs in 100 minibatches of so many rows, the others of which are the next of the training rows.
    fn in_minibatches(&self, row: &Array2<f64>, rows: usize) -> Vec<f64> {
        let train = &self.data.split.train;
        let output = |i: usize| {
            let others = (1..rows).map(|j| train[(i * (rows - 1) + j) % train.len()] as usize);
            let others = self.inputs().select(Axis(0), &others.collect::<Vec<_>>());
            forward(&self.model, &concatenate![Axis(0), row.view(), others], None)[(0, 0)]
        };
        (0..100).map(output).collect()
    }

    /// The outputs for the test rows of this network with the population's statistics, and of the folded one.
    async fn folded(&self) -> Result<Vec<(f64, f64)>> {
        let rows = self.data.inputs.select(&self.data.split.test);
        let mut outputs = vec![];
        for model in [&self.model, &self.model.fold()] {
            outputs.push(Predictor::prepared(model, &rows, &Device::Cpu).await?.outputs().await?);
        }
        Ok(outputs[0].iter().copied().zip(outputs[1].iter().copied()).collect())
    }
}

fn deviation(values: &[f64]) -> f64 {
    ArrayView1::from(values).std(1.0)
}

fn main() -> Result<()> {
    pollster::block_on(async {
        let trained = train().await?;
        let model = &trained.model;
        let row = trained.unsure();
        println!("one row, unit {UNIT} of layer 1   mean   deviation   normalized   output of the network");
        let x = row.row(0).dot(&model.parameters[0].row(UNIT));
        let mut lines = vec![];
        for (i, ((name, _), statistics)) in SOURCES.iter().zip(&trained.statistics).enumerate() {
            let (mean, deviation) = (statistics[0].mean[UNIT], statistics[0].variance[UNIT].sqrt());
            let output = forward(model, &row, Some(statistics))[(0, 0)];
            println!("{name:28} {mean:7.3} {deviation:11.3} {:12.3} {output:23.3}", (x - mean) / deviation);
            lines.push(Series::new(name, i, Shape::Line, vec![(0.0, output), (99.0, output)]));
        }
        let spread = |rows| deviation(&trained.in_minibatches(&row, rows));
        let outputs = trained.in_minibatches(&row, 32);
        let [low, high] =
            [f64::min, f64::max].map(|of| outputs.iter().copied().reduce(of).unwrap_or(f64::NAN));
        println!("in 100 minibatches of 32 {:>51}", format!("{low:.3} to {high:.3}"));
        let folded = trained.folded().await?;
        let difference = folded.iter().map(|(plain, folded)| (plain - folded).abs()).fold(0.0, f64::max);
        println!("largest difference that folding makes, of all test rows {difference:20.1e}");

        let dots = outputs.iter().enumerate().map(|(i, output)| (i as f64, *output)).collect();
        lines.insert(0, Series::new("minibatch of 32", 5, Shape::Dots, dots));
        let sizes = [2, 4, 8, 16, 32, 64, 128, 256].map(|rows| (rows as f64, spread(rows)));
        let of = |(i, points): (usize, Vec<_>)| Series::new(SOURCES[i].0, i, Shape::Line, points);
        let axes = |x, y, spacing| [x, y].map(|name| plot::Axis::new(name, spacing));
        let plot = |title, [x, y]: [plot::Axis; 2], series| Plot::new(title, x, y, series);
        let plots = [
            plot(
                "One row by what it is normalized with",
                axes("minibatch", "output", Spacing::Linear),
                lines,
            ),
            plot(
                "How much its output depends on the others",
                axes("rows of the minibatch", "deviation of the output", Spacing::Log),
                vec![Series::new("100 minibatches", 5, Shape::Line, sizes.into())],
            ),
            plot(
                "A unit's deviation, by source",
                axes("epoch", "deviation", Spacing::Linear),
                trained.deviations.into_iter().enumerate().map(of).collect(),
            ),
            Plot {
                diagonal: Some(1.0),
                ..plot(
                    "Folded, all test rows",
                    axes("output with population statistics", "output when folded", Spacing::Linear),
                    vec![Series::new("row", 0, Shape::Dots, folded)],
                )
            },
        ];
        save(Path::new("examples/figures/inference.svg"), &plots, 2)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// In a minibatch a row's output depends on the others, the less the more they are; in inference it does not, and
    /// folding does not change it.
    #[test]
    fn inference_does_not_depend_on_other_rows() {
        let trained = pollster::block_on(train()).unwrap();
        let row = trained.unsure();
        let spread = |rows| deviation(&trained.in_minibatches(&row, rows));
        assert!(spread(8) > 0.5 && spread(256) < 0.2 * spread(8), "{} {}", spread(8), spread(256));
        let output = |statistics| forward(&trained.model, &row, Some(statistics))[(0, 0)];
        let outputs = trained.statistics.each_ref().map(|statistics| output(statistics));
        assert!(deviation(&outputs) < 0.2 * spread(32), "{outputs:?}");

        let folded = pollster::block_on(trained.folded()).unwrap();
        for ((plain, folded), &place) in folded.into_iter().zip(&trained.data.split.test) {
            let alone = trained.inputs().select(Axis(0), &[place as usize]);
            let by_hand = forward(&trained.model, &alone, Some(&trained.statistics[0]))[(0, 0)];
            let bound = 1e-5 * (1.0 + by_hand.abs());
            assert!(
                (plain - by_hand).abs() < bound && (folded - by_hand).abs() < bound,
                "{plain} {folded} {by_hand}"
            );
        }
    }
}
