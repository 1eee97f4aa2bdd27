//! The whole trainer against PyTorch, from the same weights over the same rows in the same order.
//! `tests/fixtures/pytorch.py` made the fixture.

use std::collections::BTreeMap;
use std::path::PathBuf;

use minilote::data::{Feature, FeatureKind};
use minilote::data::{Inputs, Missing, Schema, Split, Standardize, Target, TargetKind};
use minilote::model::{Norm, Source};
use minilote::ops::Function;
use minilote::train::{Batch, Betas, Config, OptimizerKind, Sizes, Trainer, TrainingData};
use minilote::{Device, Task};
use ndarray::{Array1, Array2};
use safetensors::{Dtype, SafeTensors};

use crate::devices;

/// Tensors of the fixture by name, as numbers.
struct Fixture(BTreeMap<String, Vec<f64>>);

fn fixture_path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

impl Fixture {
    fn read() -> Fixture {
        let bytes = std::fs::read(fixture_path("pytorch_net.safetensors")).unwrap();
        let tensors = SafeTensors::deserialize(&bytes).unwrap();
        let numbers = |name: &str| {
            let view = tensors.tensor(name).unwrap();
            match view.dtype() {
                Dtype::F32 => {
                    view.data().as_chunks().0.iter().map(|&b| f32::from_le_bytes(b).into()).collect()
                }
                Dtype::F64 => view.data().as_chunks().0.iter().map(|&b| f64::from_le_bytes(b)).collect(),
                _ => view.data().as_chunks().0.iter().map(|&b| i64::from_le_bytes(b) as f64).collect(),
            }
        };
        Fixture(tensors.names().into_iter().map(|name| (name.to_string(), numbers(name))).collect())
    }

    fn get(&self, name: &str) -> &[f64] {
        self.0.get(name).unwrap_or_else(|| panic!("no {name} in the fixture"))
    }
}

/// One of PyTorch's runs: where its tensors are, and the configuration that repeats it.
struct Run {
    name: &'static str,
    prefix: &'static str,
    task: Task,
    config: Config,
}

fn plain(hidden: &[usize], activation: Function, norm: Norm, batch: usize) -> Config {
    Config {
        hidden: Sizes(hidden.to_vec()),
        activation,
        norm,
        batch: Some(Batch::Rows(batch)),
        standardize: Standardize::None,
        stats: Source::Pytorch,
        ..Config::default()
    }
}

fn runs() -> Vec<Run> {
    let net = plain(&[16, 12], Function::Tanh, Norm::Before, 16);
    let classify = |name, config| Run { name, prefix: "", task: Task::Classification, config };
    let with = |optimizer, lr| Config { optimizer, lr: Some(lr), ..net.clone() };
    let adam = |adam_eps| Config { adam_eps, betas: Betas(0.9, 0.999), ..with(OptimizerKind::Adam, 0.003) };
    vec![
        classify("sgd", with(OptimizerKind::Sgd, 0.1)),
        classify("sgd_l2", Config { lambda: 0.9, ..with(OptimizerKind::Sgd, 0.1) }),
        classify("momentum", with(OptimizerKind::Momentum, 0.02)),
        classify("nesterov", Config { nesterov: true, ..with(OptimizerKind::Momentum, 0.02) }),
        classify("adam", adam(1e-6)),
        classify("adam8", adam(1e-8)),
        classify("adamw", Config { optimizer: OptimizerKind::Adamw, weight_decay: Some(0.01), ..adam(1e-6) }),
        Run {
            name: "binary",
            prefix: "binary.",
            task: Task::Binary,
            config: Config {
                optimizer: OptimizerKind::Sgd,
                lr: Some(0.2),
                ..plain(&[9], Function::Sigmoid, Norm::After, 8)
            },
        },
        Run {
            name: "regression",
            prefix: "regression.",
            task: Task::Regression,
            config: Config {
                optimizer: OptimizerKind::Sgd,
                lr: Some(0.05),
                ..plain(&[8], Function::Relu, Norm::None, 8)
            },
        },
    ]
}

fn data(fixture: &Fixture, run: &Run) -> TrainingData {
    let targets = Array1::from_vec(fixture.get(&format!("{}y", run.prefix)).to_vec());
    let x = fixture.get(&format!("{}x", run.prefix)).to_vec();
    let (rows, width) = (targets.len(), x.len() / targets.len());
    let inputs = Inputs::Real(Array2::from_shape_vec((rows, width), x).unwrap());
    let numeric = |i| Feature { name: format!("x{i}"), kind: FeatureKind::Numeric { fill: None } };
    let kind = match run.task {
        Task::Binary => TargetKind::Classes(vec!["no".into(), "yes".into()]),
        Task::Classification => TargetKind::Classes(vec!["a".into(), "b".into(), "c".into()]),
        Task::Regression => TargetKind::Value,
    };
    let schema = Schema {
        features: (0..width).map(numeric).collect(),
        target: Target { name: "y".into(), kind },
        missing: Missing::Refuse,
    };
    let split = Split { train: (0..rows as u32).collect(), ..Split::default() };
    TrainingData::new(run.task, schema, inputs, targets, split, Standardize::None, vec![]).unwrap()
}

/// Largest differences from PyTorch's f64: of losses (relative), parameters and running statistics.
#[derive(Debug)]
struct Distance {
    loss: f64,
    parameter: f64,
    statistic: f64,
}

fn distance(fixture: &Fixture, run: &Run, device: &Device) -> Distance {
    let data = data(fixture, run);
    let spec = Trainer::spec(&data, &run.config).unwrap();
    let mut config = run.config.clone();
    if run.prefix.is_empty() {
        config.init_weights = Some(fixture_path("pytorch_init.safetensors"));
    }
    let rows = data.targets.len();
    let orders = fixture.get(&format!("{}order", run.prefix)).to_vec();
    let mut trainer = pollster::block_on(Trainer::new(data, config, device)).unwrap();
    let parameters = spec.parameters();
    if !run.prefix.is_empty() {
        let initial = parameters.iter().map(|parameter| {
            let values = fixture.get(&format!("{}init.{}", run.prefix, parameter.name)).to_vec();
            Array2::from_shape_vec((parameter.rows, parameter.cols), values).unwrap()
        });
        trainer.set_parameters(&initial.collect::<Vec<_>>()).unwrap();
    }
    let mut losses = vec![];
    for order in orders.chunks(rows) {
        let order: Vec<u32> = order.iter().map(|&row| row as u32).collect();
        let collect = |records: &[minilote::train::StepRecord]| {
            losses.extend(records.iter().map(|record| record.loss));
            std::ops::ControlFlow::Continue(())
        };
        pollster::block_on(trainer.epoch_in_order(&order, collect)).unwrap();
    }

    // The long runs of the classifier carry their own prefix.
    let run_prefix = if run.prefix.is_empty() { format!("{}.", run.name) } else { run.prefix.to_string() };
    let expected = fixture.get(&format!("{run_prefix}losses"));
    assert_eq!(losses.len(), expected.len(), "{}", run.name);
    let relative = |(a, b): (&f64, &f64)| (a - b).abs() / b.abs();
    let absolute = |a: &[f64], b: &[f64]| {
        assert_eq!(a.len(), b.len(), "{}", run.name);
        a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max)
    };
    let loss = losses.iter().zip(expected).map(relative).fold(0.0, f64::max);
    let of_final = |name: &str| fixture.get(&format!("{run_prefix}final.{name}"));
    let learned = pollster::block_on(trainer.parameters()).unwrap();
    let parameter = parameters
        .iter()
        .zip(&learned)
        .map(|(parameter, values)| absolute(values.as_slice().unwrap(), of_final(&parameter.name)))
        .fold(0.0, f64::max);
    let statistic = spec
        .batch_norms()
        .zip(trainer.moving(Source::Pytorch))
        .map(|((layer, _), statistics)| {
            let mean = absolute(&statistics.mean, of_final(&format!("{layer}.running_mean")));
            mean.max(absolute(&statistics.variance, of_final(&format!("{layer}.running_var"))))
        })
        .fold(0.0, f64::max);
    Distance { loss, parameter, statistic }
}

/// Both are the same arithmetic in another order: what differs is rounding, here around 1e-14.
#[test]
fn the_f64_twin_is_pytorch() {
    let fixture = Fixture::read();
    for run in runs() {
        let distance = distance(&fixture, &run, &Device::Twin);
        println!("{:<10} f64 twin {distance:?}", run.name);
        assert!(
            distance.loss < 1e-8 && distance.parameter < 1e-8 && distance.statistic < 1e-8,
            "{}",
            run.name
        );
    }
}

#[test]
fn f32_stays_near_pytorchs_f64() {
    let fixture = Fixture::read();
    for (device_name, device) in devices() {
        for run in runs().iter().filter(|run| run.name != "adam8") {
            let distance = distance(&fixture, run, &device);
            println!("{:<10} {device_name} {distance:?}", run.name);
            let near = distance.loss < 1e-4 && distance.parameter < 1e-3 && distance.statistic < 1e-4;
            assert!(near, "{} on {device_name}: {distance:?}", run.name);
        }
    }
}

/// Adam's epsilon of 1e-8 amplifies the rounding of gradients near zero: PyTorch's own f32 is the measure.
#[test]
fn adams_small_epsilon_is_no_worse_than_pytorchs_f32() {
    let fixture = Fixture::read();
    let (single, double) = (fixture.get("adam8.f32.losses"), fixture.get("adam8.losses"));
    let pytorch = single.iter().zip(double).map(|(a, b)| (a - b).abs() / b.abs()).fold(0.0, f64::max);
    let run = runs().into_iter().find(|run| run.name == "adam8").unwrap();
    for (device_name, device) in devices() {
        let ours = distance(&fixture, &run, &device).loss;
        println!(
            "adam8 {device_name}: {ours:.2e}, PyTorch's f32: {pytorch:.2e}, ratio {:.2}",
            ours / pytorch
        );
        assert!(ours <= 3.0 * pytorch, "{device_name}: {ours:.2e} against PyTorch's {pytorch:.2e}");
    }
}
