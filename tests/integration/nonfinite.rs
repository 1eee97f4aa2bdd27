//! NaN and infinity in data, weights, gradients and statistics, at random steps: found in the chunk in which they
//! arise, named, and kept out of all that is kept.

use std::ops::ControlFlow;
use std::path::Path;

use minilote::data::{Inputs, epoch_order};
use minilote::gpu::GpuDevice;
use minilote::model::{Layer, Model, Norm, Source};
use minilote::ops::{Function, Space, Variant};
use minilote::train::{
    Config, End, Group, OptimizerKind, ScheduleKind, Sizes, StepRecord, Trainer, TrainingData, train,
};
use minilote::{Device, Error};
use ndarray::Array2;
use pollster::block_on;
use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};

use crate::{devices, gpu};

const BAD: [f64; 3] = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY];

/// The backends, and the GPU's other shape of kernels, which trains in stages.
fn all_devices() -> Vec<(String, Device)> {
    let mut all = devices();
    let staged = |gpu: GpuDevice| ("GPU in stages".to_string(), Device::Gpu(gpu.with_variant(Variant::Gpu)));
    all.extend(gpu().map(staged));
    all
}

/// A trainer of every optimizer, with batch normalization or without, on every backend; `spoil` may change its data.
fn each(spoil: impl Fn(&mut TrainingData, &Config, f64, &mut ChaCha8Rng), test: impl Fn(Spoiled)) {
    let mut random = ChaCha8Rng::seed_from_u64(11);
    for (name, device) in all_devices() {
        for (optimizer, norm, activation, dropout) in [
            (OptimizerKind::Sgd, Norm::None, Function::Relu, 0.0),
            (OptimizerKind::Momentum, Norm::Before, Function::Tanh, 0.0),
            (OptimizerKind::Adam, Norm::After, Function::Relu, 0.0),
            (OptimizerKind::Adamw, Norm::Before, Function::Relu, 0.5),
            (OptimizerKind::Adam, Norm::None, Function::Sigmoid, 0.0),
        ] {
            for bad in BAD {
                let config = Config { optimizer, norm, activation, dropout, ..cancer() };
                let mut data = read(&config);
                spoil(&mut data, &config, bad, &mut random);
                let name = format!("{name}, {optimizer:?}, norm {norm:?}, {activation}, {bad}");
                let trainer = block_on(Trainer::new(data, config, &device)).unwrap();
                let random = ChaCha8Rng::seed_from_u64(random.random());
                test(Spoiled { name, trainer, bad, random });
            }
        }
    }
}

struct Spoiled {
    name: String,
    trainer: Trainer,
    bad: f64,
    random: ChaCha8Rng,
}

fn cancer() -> Config {
    Config { target: Some("diagnosis".into()), hidden: Sizes(vec![16, 8]), ..Config::default() }
}

fn read(config: &Config) -> TrainingData {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/data/breast_cancer.csv");
    TrainingData::read(&path, config).unwrap()
}

impl Spoiled {
    /// Trains up to a chunk's end after some random step.
    fn some_steps(&mut self) {
        let last = self.random.random_range(1..20);
        while self.trainer.updates() < last {
            let end = |records: &[StepRecord]| match records.last() {
                Some(record) if record.step >= last => ControlFlow::Break(()),
                _ => ControlFlow::Continue(()),
            };
            block_on(self.trainer.epoch_with(end)).unwrap();
        }
    }

    /// Trains on until training diverges, in a step of the last chunk; gives the step and what was not finite.
    fn diverge(&mut self) -> (usize, String) {
        let mut seen = self.trainer.updates();
        for _ in 0..3 {
            let see = |records: &[StepRecord]| {
                seen = records.last().map_or(seen, |record| record.step);
                ControlFlow::Continue(())
            };
            let Err(error) = block_on(self.trainer.epoch_with(see)) else { continue };
            assert_eq!(error.exit_code(), 5, "{}: {error}", self.name);
            let Error::Diverged { step, what, .. } = error else { panic!("{}: {error}", self.name) };
            let chunk = seen + 1..=self.trainer.updates();
            assert!(chunk.contains(&step), "{}: found after {chunk:?}, in step {step}", self.name);
            let statistics =
                [Source::Ema, Source::Pytorch].map(|source| self.trainer.moving(source)).concat();
            let mut values = statistics.iter().flat_map(|s| s.mean.iter().chain(&s.variance));
            assert!(values.all(|value| value.is_finite()), "{}: {statistics:?}", self.name);
            return (step, what);
        }
        panic!("{}: nothing found", self.name);
    }

    fn parameters(&mut self) -> Vec<Array2<f64>> {
        block_on(self.trainer.parameters()).unwrap()
    }

    /// One of the parameters, a place in it, and how an error names it.
    fn some_parameter(&mut self) -> (usize, [usize; 2], String) {
        let spec = Trainer::spec(self.trainer.data(), self.trainer.config()).unwrap();
        let all = spec.parameters();
        let number = self.random.random_range(0..all.len());
        let parameter = &all[number];
        let normalizes = matches!(spec.layers[parameter.layer], Layer::BatchNorm { .. });
        let name = match (normalizes, parameter.name.ends_with("weight")) {
            (true, true) => "gamma",
            (true, false) => "beta",
            (false, true) => "the weight",
            (false, false) => "the bias",
        };
        let place = [parameter.rows, parameter.cols].map(|size| self.random.random_range(0..size));
        (number, place, format!("{name} of layer {} that the step began with", parameter.layer))
    }
}

fn is_finite(values: &Array2<f64>) -> bool {
    values.iter().all(|value| value.is_finite())
}

/// The step of the first epoch that meets a row.
fn step_of(row: u32, data: &TrainingData, config: &Config) -> usize {
    let order = epoch_order(&data.split.train, config.order, config.seed, 0);
    order.iter().position(|&met| met == row).unwrap() / 32 + 1
}

/// Overwrites some cell of the training rows.
fn spoil_cell(data: &mut TrainingData, random: &mut ChaCha8Rng, value: f64) {
    let row = data.split.train[random.random_range(0..data.split.train.len())];
    let Inputs::Real(inputs) = &mut data.inputs else { panic!("a table") };
    let column = random.random_range(0..inputs.ncols());
    inputs[(row as usize, column)] = value;
}

#[test]
fn in_the_data() {
    let spoil = |data: &mut TrainingData, _: &Config, bad, random: &mut ChaCha8Rng| {
        spoil_cell(data, random, bad);
    };
    each(spoil, |mut spoiled| {
        let data = spoiled.trainer.data().clone();
        let Inputs::Real(inputs) = &data.inputs else { panic!("a table") };
        let ((row, column), _) = inputs.indexed_iter().find(|(_, value)| !value.is_finite()).unwrap();
        let column = &data.schema.feature_names()[column];
        let expected = format!("column {column:?} of row {}, as a 32-bit number,", data.lines[row]);
        let step = step_of(row as u32, &data, spoiled.trainer.config());
        assert_eq!(spoiled.diverge(), (step, expected), "{}", spoiled.name);
        assert!(spoiled.parameters().iter().all(is_finite), "{}", spoiled.name);
    });
}

#[test]
fn in_a_target() {
    for (name, device) in all_devices() {
        for (row, bad) in [3, 77, 150].into_iter().zip(BAD) {
            let config = Config { target: Some("progression".into()), ..cancer() };
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/data/diabetes.csv");
            let mut data = TrainingData::read(&path, &config).unwrap();
            let row = data.split.train[row];
            data.targets[row as usize] = bad;
            let line = data.lines[row as usize];
            let step = step_of(row, &data, &config);
            let trainer = block_on(Trainer::new(data, config, &device)).unwrap();
            let random = ChaCha8Rng::seed_from_u64(1);
            let mut spoiled = Spoiled { name: format!("{name}, {bad}"), trainer, bad, random };
            let expected = (step, format!("the target of row {}", line));
            assert_eq!(spoiled.diverge(), expected, "{}", spoiled.name);
            assert!(spoiled.parameters().iter().all(is_finite), "{}", spoiled.name);
        }
    }
}

#[test]
fn in_a_parameter() {
    each(
        |_, _, _, _| {},
        |mut spoiled| {
            spoiled.some_steps();
            let (number, [row, column], expected) = spoiled.some_parameter();
            let mut parameters = spoiled.parameters();
            parameters[number][(row, column)] = spoiled.bad;
            spoiled.trainer.set_parameters(&parameters).unwrap();
            let step = spoiled.trainer.updates() + 1;
            assert_eq!(spoiled.diverge(), (step, expected), "{}", spoiled.name);
            // None has moved since.
            let same = |a: &f64, b: &f64| a == b || a.is_nan() && b.is_nan();
            for (before, after) in parameters.iter().zip(spoiled.parameters()) {
                assert!(before.iter().zip(&after).all(|(a, b)| same(a, b)), "{}", spoiled.name);
            }
        },
    );
}

/// What a gradient leaves behind is in the optimizer's state, too.
#[test]
fn in_a_moment() {
    let spaces = [Space::Moment1, Space::Moment2];
    for space in spaces {
        each(
            |_, _, _, _| {},
            |mut spoiled| {
                if !spoiled.trainer.engine().plan().spaces.contains_key(&space)
                    || spoiled.trainer.config().rule().moments() <= (space == Space::Moment2) as usize
                {
                    return;
                }
                spoiled.some_steps();
                let (number, [row, column], expected) = spoiled.some_parameter();
                let spec = Trainer::spec(spoiled.trainer.data(), spoiled.trainer.config()).unwrap();
                let engine = spoiled.trainer.engine_mut();
                let place = engine.plan().layout.parameter(&spec.parameters()[number].name);
                let mut moments = block_on(engine.read(space)).unwrap();
                moments[place.at(0, row, 0) + column] = spoiled.bad;
                engine.write(space, &moments);
                // The next step's update takes it to the parameter, which the step after meets.
                let step = spoiled.trainer.updates() + 2;
                assert_eq!(spoiled.diverge(), (step, expected), "{}, {space:?}", spoiled.name);
                for (i, values) in spoiled.parameters().iter().enumerate() {
                    assert_eq!(is_finite(values), i != number, "{}, {space:?}: {i}", spoiled.name);
                }
            },
        );
    }
}

/// Weights of 1e-30, 1e20 and 1e25 times the initial ones: outputs are finite, and so are the gradients of the last two
/// layers, but that of the first is some 1e43.
#[test]
fn in_a_gradient() {
    for (name, device) in all_devices() {
        for optimizer in [OptimizerKind::Sgd, OptimizerKind::Momentum, OptimizerKind::Adam] {
            let config = Config { optimizer, norm: Norm::None, lr: Some(0.01), ..cancer() };
            let trainer = block_on(Trainer::new(read(&config), config, &device)).unwrap();
            let name = format!("{name}, {optimizer:?}");
            let random = ChaCha8Rng::seed_from_u64(5);
            let mut spoiled = Spoiled { name, trainer, bad: 0.0, random };
            spoiled.some_steps();
            let mut parameters = spoiled.parameters();
            for (i, scale) in [1e-30, 1e-30, 1e20, 0.0, 1e25, 0.0].into_iter().enumerate() {
                parameters[i] *= scale;
            }
            spoiled.trainer.set_parameters(&parameters).unwrap();
            let step = spoiled.trainer.updates() + 2;
            // Adam's second moment of a gradient of 1e25 overflows.
            let what = if optimizer == OptimizerKind::Adam {
                "the bias of layer 2"
            } else {
                "the weight of layer 0"
            };
            let expected = (step, format!("{what} that the step began with"));
            assert_eq!(spoiled.diverge(), expected, "{}", spoiled.name);
            let spec = Trainer::spec(spoiled.trainer.data(), spoiled.trainer.config()).unwrap();
            let after = spoiled.parameters();
            let mut last = spec.parameters().into_iter().zip(&after).filter(|(p, _)| p.layer == 4);
            assert!(last.all(|(_, values)| is_finite(values)), "{}", spoiled.name);
        }
    }
}

/// A value whose square is no f32.
#[test]
fn in_a_statistic() {
    let spoil = |data: &mut TrainingData, config: &Config, bad: f64, random: &mut ChaCha8Rng| {
        if config.norm != Norm::None {
            spoil_cell(data, random, if bad < 0.0 { -1e25 } else { 1e25 });
        }
    };
    each(spoil, |mut spoiled| {
        let spec = Trainer::spec(spoiled.trainer.data(), spoiled.trainer.config()).unwrap();
        let Some((layer, _)) = spec.batch_norms().next() else { return };
        let data = spoiled.trainer.data().clone();
        let Inputs::Real(inputs) = &data.inputs else { panic!("a table") };
        let ((row, _), _) = inputs.indexed_iter().find(|(_, value)| value.abs() > 1e20).unwrap();
        let step = step_of(row as u32, &data, spoiled.trainer.config());
        let expected = (step, format!("a statistic of layer {layer}"));
        assert_eq!(spoiled.diverge(), expected, "{}", spoiled.name);
        assert!(spoiled.parameters().iter().all(is_finite), "{}", spoiled.name);
    });
}

/// The rate grows by 1e38 in the fourth epoch.
#[test]
fn the_last_good_model_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    for (name, device) in all_devices() {
        for optimizer in [OptimizerKind::Sgd, OptimizerKind::Adam] {
            let schedule = ScheduleKind::Step;
            let config = Config { optimizer, schedule, step_epochs: 3, step_factor: 1e38, ..cancer() };
            let mut trainer = block_on(Trainer::new(read(&config), config, &device)).unwrap();
            let outcome = block_on(train(&mut trainer, &mut ())).unwrap();
            let End::Diverged(Error::Diverged { epoch: 4, step, .. }) = outcome.end else {
                panic!("{name}: {:?}", outcome.end)
            };
            assert!((37..=48).contains(&step), "{name}: step {step}");
            assert!(outcome.best_epoch <= 3, "{name}");
            outcome.model.save(&path).unwrap();
            let Model { parameters, statistics, .. } = Model::load(&path).unwrap();
            assert!(parameters.iter().all(is_finite), "{name}");
            let mut statistics = statistics.iter().flat_map(|s| s.mean.iter().chain(&s.variance));
            assert!(statistics.all(|value| value.is_finite()), "{name}");
        }
    }
}

/// One that ended is not named again, for which its parameters would be read every epoch.
#[test]
fn a_model_is_named_once() {
    let Some(gpu) = gpu() else { return };
    let configs = [0, 1].map(|seed| Config { seed, ..cancer() }).to_vec();
    let mut group = block_on(Group::new(read(&configs[0]), configs, &[16, 8], &Device::Gpu(gpu))).unwrap();
    let mut parameters = block_on(group.parameters()).unwrap();
    parameters[0][0][(3, 4)] = f64::NAN;
    group.set_parameters(parameters.iter().map(Vec::as_slice)).unwrap();
    let mut epoch = || {
        let (before, mut chunks) = (group.engine().counts().read_backs, 0);
        let count = |_: &[StepRecord]| {
            chunks += 1;
            ControlFlow::Continue(())
        };
        let epochs = block_on(group.epoch(count)).unwrap();
        assert!(epochs[0].is_err() && epochs[1].is_ok(), "{epochs:?}");
        group.freeze(0);
        group.engine().counts().read_backs - before - chunks
    };
    assert_eq!([epoch(), epoch()], [1, 0]);
}
