//! Under- and overfitting by the strength of L2 regularization and by the size of the hidden layer, as one sweep: 100 rows
//! of `y = sin(π x₁) cos(π x₂) + noise`, with two more features that mean nothing.
//! `cargo run --example regularization` writes examples/figures/regularization.svg.

use std::f64::consts::PI;
use std::path::Path;

use minilote::data::{Feature, FeatureKind, Inputs, Missing, Schema, Split, Standardize, Target, TargetKind};
use minilote::model::Norm;
use minilote::ops::Function;
use minilote::plot::{self, Plot, Series, Shape, Spacing, save};
use minilote::sweep::{Grid, passes, sweep};
use minilote::train::{Config, Epoch, Observer, Sizes, TrainingData, Validation};
use minilote::{Device, Result, Task};
use ndarray::{Array1, Array2, Array3, Array4, ArrayView1, ArrayView2, Axis, s};

/// Rows to train on and to validate on.
const ROWS: (u32, u32) = (100, 1000);
/// Units of the hidden layer.
const HIDDEN: [usize; 7] = [1, 2, 4, 8, 16, 32, 64];
/// On the logarithmic axis of the figure there is no 0; the least is as good as none.
const LAMBDA: [f64; 8] = [0.001, 0.01, 0.1, 1.0, 3.0, 10.0, 30.0, 100.0];
const SEEDS: usize = 3;
/// The place of 32 units.
const WIDE: usize = 5;

/// The function at random places, with noise of deviation 0.3.
fn data() -> Result<TrainingData> {
    let mut state = 1u64;
    let mut random = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 33) as f64 / f64::from(1u32 << 31)
    };
    let rows = ROWS.0 + ROWS.1;
    let x = Array2::from_shape_simple_fn((rows as usize, 4), &mut random);
    let y = Array1::from_iter(x.outer_iter().map(|x| {
        let noise = (0..12).map(|_| random()).sum::<f64>() - 6.0;
        (PI * x[0]).sin() * (PI * x[1]).cos() + 0.3 * noise
    }));
    let feature = |i: usize| Feature { name: format!("x{i}"), kind: FeatureKind::Numeric { fill: None } };
    let schema = Schema {
        features: (1..=4).map(feature).collect(),
        target: Target { name: "y".into(), kind: TargetKind::Value },
        missing: Missing::Refuse,
    };
    let split = Split { train: (0..ROWS.0).collect(), valid: (ROWS.0..rows).collect(), test: vec![] };
    TrainingData::new(Task::Regression, schema, Inputs::Real(x), y, split, Standardize::Standard, vec![])
}

/// The losses of each model's last epoch, on training and validation rows: training does not stop at the best.
struct Last(Vec<[f64; 2]>);

impl Observer for Last {
    fn epoch(&mut self, epoch: &Epoch, valid: Option<&Validation>, _: bool) -> Result<()> {
        self.0[epoch.model] = [epoch.loss, valid.map_or(f64::NAN, |valid| valid.loss)];
        Ok(())
    }
}

/// Both losses as means over the seeds, of each size and each lambda.
async fn losses() -> Result<Array3<f64>> {
    let base = Config {
        norm: Norm::None,
        activation: Function::Tanh,
        epochs: 200,
        patience: 0,
        ..Config::default()
    };
    let hidden = HIDDEN.map(|units| Sizes(vec![units])).into();
    let grid = Grid { hidden, lambda: LAMBDA.into(), lr: vec![0.01], seeds: SEEDS };
    let (data, configs) = (data()?, grid.configs(&base)?);
    let passes = passes(&data, &configs, &Device::Cpu)?;
    let mut last = Last(vec![[f64::NAN; 2]; configs.len()]);
    sweep(&data, &configs, &passes, &Device::Cpu, &mut last).await?;
    let of_seeds = Array4::from_shape_fn((HIDDEN.len(), LAMBDA.len(), SEEDS, 2), |(h, l, seed, part)| {
        last.0[(h * LAMBDA.len() + l) * SEEDS + seed][part]
    });
    Ok(of_seeds.mean_axis(Axis(2)).unwrap_or_default())
}

/// Where a line is the lowest.
fn lowest(line: ArrayView1<f64>) -> usize {
    (0..line.len()).min_by(|&a, &b| line[a].total_cmp(&line[b])).unwrap_or_default()
}

fn axes(name: &str) -> (plot::Axis, plot::Axis) {
    let loss = "squared error (standardized)";
    (plot::Axis::new(name, Spacing::Log), plot::Axis::new(loss, Spacing::Linear))
}

/// Losses of a slice of the sweep by what changes in it, with a mark at the lowest validation loss.
fn plot(title: &str, name: &str, x: &[f64], losses: ArrayView2<f64>) -> Plot {
    let of = |(part, name): (usize, &str)| {
        let points = x.iter().copied().zip(losses.column(part).iter().copied()).collect();
        Series::new(name, part, Shape::Line, points)
    };
    let series = ["training", "validation"].into_iter().enumerate().map(of).collect();
    let best = x[lowest(losses.column(1))];
    let (x, y) = axes(name);
    Plot { mark: Some((best, format!("lowest at {best}"))), ..Plot::new(title, x, y, series) }
}

fn main() -> Result<()> {
    pollster::block_on(async {
        let losses = losses().await?;
        println!("training loss / validation loss, by units (down) and lambda (across)");
        println!("    {}", LAMBDA.map(|lambda| format!("{lambda:>12}")).concat());
        for (units, of_size) in HIDDEN.iter().zip(losses.outer_iter()) {
            let cells = of_size.outer_iter().map(|loss| format!("{:>6.2} /{:4.2}", loss[0], loss[1]));
            println!("{units:4}{}", cells.collect::<String>());
        }
        let sizes = HIDDEN.map(|units| units as f64);
        let by_size = |part: usize, title: &str| {
            let of = |(style, l): (usize, usize)| {
                let points =
                    sizes.iter().copied().zip(losses.slice(s![.., l, part]).iter().copied()).collect();
                Series::new(&format!("lambda {}", LAMBDA[l]), style, Shape::Line, points)
            };
            let series = [0, 3, 5, 7].into_iter().enumerate().map(of).collect();
            let (x, y) = axes("hidden units");
            Plot::new(title, x, y, series)
        };
        let plots = [
            plot("By lambda, 32 hidden units", "lambda", &LAMBDA, losses.slice(s![WIDE, .., ..])),
            plot("By hidden units, lambda 0.001", "hidden units", &sizes, losses.slice(s![.., 0, ..])),
            by_size(0, "All sizes: training loss"),
            by_size(1, "All sizes: validation loss"),
        ];
        save(Path::new("examples/figures/regularization.svg"), &plots, 2)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What fits the training rows better does not fit others better: both lambda and the size have a best value.
    #[test]
    fn lambda_and_size_have_a_best_value_between_the_ends() {
        let losses = pollster::block_on(losses()).unwrap();
        for (line, from) in [(losses.slice(s![WIDE, .., ..]), 0), (losses.slice(s![..;-1, 0, ..]), 0)] {
            let (train, valid) = (line.column(0), line.column(1));
            let (best, last) = (lowest(valid), valid.len() - 1);
            // From overfitting through the best to underfitting.
            assert!(valid[from] > 1.5 * valid[best] && valid[last] > 1.1 * valid[best], "{valid}");
            assert!(train[0] < 0.5 * train[best] && train[best] < 0.9 * train[last], "{train}");
        }
    }
}
