//! Times a training step on every backend, interleaved: `cargo bench`.
//!
//! Each round runs an epoch of 32 steps on one backend after the other; the figures are medians over
//! rounds, with the spread from the lowest to the highest.

use std::time::Instant;

use minilote::data::{Feature, FeatureKind, Inputs, Missing, Schema, Split, Standardize, Target, TargetKind};
use minilote::model::Norm;
use minilote::ops::Function;
use minilote::train::{Batch, Config, OptimizerKind, Sizes, Trainer, TrainingData};
use minilote::{Device, Result, Task};
use ndarray::{Array1, Array2};

const ROUNDS: usize = 7;
const STEPS: usize = 32;

/// Bytes that look like noise, with ten classes.
fn images(rows: usize) -> Result<TrainingData> {
    let mut state = 1u32;
    let mut random = || {
        state = state.wrapping_mul(1664525).wrapping_add(1013904223);
        (state >> 24) as u8
    };
    let inputs = Inputs::Bytes(Array2::from_shape_simple_fn((rows, 784), &mut random));
    let targets = Array1::from_shape_simple_fn(rows, || f64::from(random() % 10));
    let schema = Schema {
        features: vec![Feature { name: "pixels".into(), kind: FeatureKind::Pixels { count: 784 } }],
        target: Target {
            name: "class".into(),
            kind: TargetKind::Classes((0..10).map(|i| i.to_string()).collect()),
        },
        missing: Missing::Refuse,
    };
    let split = Split { train: (0..rows as u32).collect(), ..Split::default() };
    TrainingData::new(Task::Classification, schema, inputs, targets, split, Standardize::Standard, vec![])
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn main() -> Result<()> {
    pollster::block_on(async {
        let mut devices = vec![("CPU backend".to_string(), Device::Cpu)];
        match Device::choose("gpu").await {
            Ok((device, _)) => devices.push((device.name(), device)),
            Err(error) => eprintln!("{error}"),
        }
        let nets = [
            ("784-100-100-100-10, batch 60, sigmoid", vec![100, 100, 100], 60, Function::Sigmoid),
            ("784-512-512-10, batch 128, relu", vec![512, 512], 128, Function::Relu),
        ];
        println!(
            "| net, SGD | norm | device | ms a step | lowest – highest | steps/s | GFLOP/s | host µs a dispatch |"
        );
        println!("|---|---|---|---|---|---|---|---|");
        for (name, hidden, batch, activation) in nets {
            for norm in [Norm::Before, Norm::None] {
                let config = Config {
                    hidden: Sizes(hidden.clone()),
                    activation,
                    norm,
                    batch: Batch::Rows(batch),
                    optimizer: OptimizerKind::Sgd,
                    lr: Some(0.01),
                    epochs: usize::MAX / STEPS,
                    ..Config::default()
                };
                let mut trainers = vec![];
                for (_, device) in &devices {
                    let mut trainer = Trainer::new(images(STEPS * batch)?, config.clone(), device).await?;
                    // Warm-up: chunks grow to the whole epoch.
                    for _ in 0..4 {
                        trainer.epoch().await?;
                    }
                    trainers.push((trainer, vec![]));
                }
                let before: Vec<_> = trainers.iter().map(|(trainer, _)| trainer.engine().counts()).collect();
                for _ in 0..ROUNDS {
                    for (trainer, times) in &mut trainers {
                        let started = Instant::now();
                        trainer.epoch().await?;
                        times.push(started.elapsed().as_secs_f64() / STEPS as f64);
                    }
                }
                for (((device, _), (trainer, times)), before) in devices.iter().zip(&mut trainers).zip(before)
                {
                    let seconds = median(times);
                    let plan = trainer.engine().plan();
                    let flops =
                        plan.programs[plan.program(minilote::program::Mode::Train, batch)].cost().flops;
                    let after = trainer.engine().counts();
                    let dispatches = after.dispatches - before.dispatches;
                    let host = (after.host - before.host).as_secs_f64() * 1e6 / dispatches.max(1) as f64;
                    let host = if dispatches > 0 { format!("{host:.2}") } else { "–".into() };
                    println!(
                        "| {name} | {norm:?} | {device} | {:.3} | {:.3} – {:.3} | {:.0} | {:.1} | {host} |",
                        seconds * 1e3,
                        times[0] * 1e3,
                        times[times.len() - 1] * 1e3,
                        1.0 / seconds,
                        flops as f64 / seconds / 1e9,
                    );
                }
            }
        }
        Ok(())
    })
}
