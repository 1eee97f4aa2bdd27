//! The first experiment of Ioffe and Szegedy (2015): a network 784-100-100-100-10 of sigmoids in minibatches of 60 rows,
//! with and without batch normalization, on Fashion-MNIST (the paper: MNIST).
//! `cargo run --example batch_norm -- [FOLDER] [UPDATES]` writes examples/figures/batch_norm.svg. FOLDER holds
//! Fashion-MNIST's four files; where there are none, the 8×8 digits of examples/data stand in.

use std::path::Path;

use minilote::data::{Inputs, Split};
use minilote::model::{Init, Layer, Norm, Source};
use minilote::ops::Function;
use minilote::plot::{Axis, Plot, Series, Shape, Spacing, save};
use minilote::sweep::{Grid, passes, sweep};
use minilote::train::{Batch, Config, OptimizerKind, Part, Predictor, Rows, Sizes, Trainer, TrainingData};
use minilote::{Device, Result};

/// Where Debian's dataset-fashion-mnist puts it.
const FOLDER: &str = "/usr/share/datasets/fashion-mnist";
/// Rows to train on, in epochs of 100 updates, and to test on, at the most.
const ROWS: (usize, usize) = (6000, 2000);
/// Learning rate and updates of the curves.
const RATE: f64 = 0.3;
const UPDATES: usize = 2000;
/// Learning rates of which the highest that trains is sought, in so many updates each.
const RATES: [f64; 8] = [0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0];
const FIRST: usize = 300;
/// An accuracy that both come to.
const GOAL: f64 = 0.8;
const NORMS: [(&str, Norm); 2] = [("without batch norm", Norm::None), ("with batch norm", Norm::Before)];

fn config(norm: Norm) -> Config {
    Config {
        hidden: Sizes(vec![100, 100, 100]),
        activation: Function::Sigmoid,
        init: Init::Xavier,
        norm,
        batch: Some(Batch::Rows(60)),
        optimizer: OptimizerKind::Sgd,
        lr: Some(RATE),
        patience: 0,
        test: Part::Fraction(0.0),
        ..Config::default()
    }
}

/// Fashion-MNIST with its test images as rows to validate, or digits.
fn data(folder: &Path) -> Result<TrainingData> {
    let [train, test] = ["train", "t10k"].map(|part| folder.join(format!("{part}-images-idx3-ubyte.gz")));
    let config = config(Norm::Before);
    if !train.exists() {
        let config = Config { target: Some("digit".into()), ..config };
        return TrainingData::read(Path::new("examples/data/digits.csv"), &config);
    }
    let mut data = TrainingData::read(&train, &Config { valid: Part::File(test), ..config })?;
    let rows = [&data.split.train[..ROWS.0], &data.split.valid[..ROWS.1]].concat();
    data.inputs = data.inputs.select(&rows);
    data.targets = rows.iter().map(|&row| data.targets[row as usize]).collect();
    let [train, all] = [ROWS.0, ROWS.0 + ROWS.1].map(|row| row as u32);
    data.split = Split { train: (0..train).collect(), valid: (train..all).collect(), test: vec![] };
    Ok(data)
}

/// By updates.
#[derive(Default)]
struct Curves {
    accuracy: Vec<(f64, f64)>,
    /// The 15th, 50th and 85th percentile, over rows that are not trained on, of the input of a sigmoid of the last hidden
    /// layer.
    percentiles: [Vec<(f64, f64)>; 3],
}

async fn train(data: &TrainingData, norm: Norm, updates: usize) -> Result<Curves> {
    let held_out: Inputs = data.inputs.select(&data.split.valid);
    let mut trainer = Trainer::new(data.clone(), config(norm), &Device::Cpu).await?;
    let mut curves = Curves::default();
    while trainer.updates() < updates {
        trainer.epoch().await?;
        let at = trainer.updates() as f64;
        let statistics = trainer.moving(Source::Ema);
        let accuracy = trainer.evaluate(Rows::Valid, &statistics).await?.accuracy;
        curves.accuracy.push((at, accuracy.unwrap_or_default()));

        // The network up to its last sigmoid, batch normalization folded into the linear layers.
        let parameters = trainer.parameters().await?;
        let mut model = trainer.model_of(parameters, statistics, Source::Ema).fold();
        let is_sigmoid = |layer: &Layer| matches!(layer, Layer::Activation { .. });
        let end = model.spec.layers.iter().rposition(is_sigmoid).unwrap_or_default();
        model.spec.layers.truncate(end);
        model.parameters.truncate(model.spec.parameters().len());
        let outputs = Predictor::prepared(&model, &held_out, &Device::Cpu).await?.outputs().await?;
        let mut inputs = outputs.column(0).to_vec();
        inputs.sort_by(f64::total_cmp);
        for (curve, share) in curves.percentiles.iter_mut().zip([0.15, 0.5, 0.85]) {
            curve.push((at, inputs[(share * inputs.len() as f64) as usize]));
        }
    }
    Ok(curves)
}

/// Accuracy at the best epoch of the first updates, by learning rate.
async fn rates(data: &TrainingData, norm: Norm) -> Result<Vec<(f64, f64)>> {
    let per_epoch = data.split.train.len().div_ceil(60);
    let base = Config { epochs: FIRST.div_ceil(per_epoch), ..config(norm) };
    let grid = Grid { hidden: vec![base.hidden.clone()], lambda: vec![0.0], lr: RATES.into(), seeds: 1 };
    let configs = grid.configs(&base)?;
    let passes = passes(data, &configs, &Device::Cpu)?;
    let trained = sweep(data, &configs, &passes, &Device::Cpu, &mut ()).await?.trained;
    let accuracy = |model: &minilote::sweep::Trained| {
        let valid = model.outcome.as_ref().ok().and_then(|outcome| outcome.valid);
        (model.config.learning_rate(), valid.and_then(|valid| valid.accuracy).unwrap_or_default())
    };
    Ok(trained.iter().map(accuracy).collect())
}

/// The highest learning rate with which half of the rows or more are classified right.
fn highest(rates: &[(f64, f64)]) -> f64 {
    rates.iter().filter(|(_, accuracy)| *accuracy >= 0.5).map(|(rate, _)| *rate).fold(0.0, f64::max)
}

/// Updates until the goal is first seen to be reached.
fn updates_to(curves: &Curves) -> f64 {
    curves.accuracy.iter().find(|at| at.1 >= GOAL).map_or(f64::INFINITY, |at| at.0)
}

fn main() -> Result<()> {
    pollster::block_on(async {
        let arguments: Vec<String> = std::env::args().skip(1).collect();
        let data = data(Path::new(arguments.first().map_or(FOLDER, String::as_str)))?;
        let updates = arguments.get(1).and_then(|text| text.parse().ok()).unwrap_or(UPDATES);
        let Split { train: rows, valid, .. } = &data.split;
        println!("{} rows to train on, {} to test on; updates at the rate {RATE}", rows.len(), valid.len());
        println!("                     updates to {GOAL}   accuracy at the end   highest rate that trains");
        let (mut accuracies, mut by_rate, mut units) = (vec![], vec![], vec![]);
        for (style, (name, norm)) in NORMS.into_iter().enumerate() {
            let curves = train(&data, norm, updates).await?;
            let rates = rates(&data, norm).await?;
            let last = curves.accuracy.last().map_or(f64::NAN, |at| at.1);
            println!("{name:18} {:16} {last:21.3} {:26}", updates_to(&curves), highest(&rates));
            accuracies.push(Series::new(name, style, Shape::Line, curves.accuracy));
            by_rate.push(Series::new(name, style, Shape::Line, rates));
            let names = ["15th percentile", "median", "85th percentile"];
            let of = |(i, points)| Series::new(names[i], [2, 0, 1][i], Shape::Line, points);
            let series = curves.percentiles.into_iter().enumerate().map(of).collect();
            let [x, y] = ["update", "input"].map(|name| Axis::new(name, Spacing::Linear));
            units.push(Plot::new(&format!("A sigmoid of the last hidden layer, {name}"), x, y, series));
        }
        let axis = |name| Axis::new(name, Spacing::Linear);
        let title = format!("Accuracy within {FIRST} updates");
        let mut plots = vec![
            Plot::new("Accuracy on test rows", axis("update"), axis("accuracy"), accuracies),
            Plot::new(&title, Axis::new("learning rate", Spacing::Log), axis("accuracy"), by_rate),
        ];
        plots.extend(units);
        save(Path::new("examples/figures/batch_norm.svg"), &plots, 2)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// With batch normalization the same accuracy takes fewer updates, and higher learning rates train.
    #[test]
    fn batch_norm_trains_faster_and_at_higher_rates() {
        pollster::block_on(async {
            let data = data(Path::new(FOLDER)).unwrap();
            let [mut updates, mut rate] = [[0.0; 2]; 2];
            for (i, (_, norm)) in NORMS.into_iter().enumerate() {
                updates[i] = updates_to(&train(&data, norm, UPDATES / 2).await.unwrap());
                rate[i] = highest(&rates(&data, norm).await.unwrap());
            }
            assert!(2.0 * updates[1] <= updates[0], "{updates:?}");
            assert!(rate[0] > 0.0 && rate[1] > 2.0 * rate[0], "{rate:?}");
        });
    }
}
