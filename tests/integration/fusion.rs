//! Fused programs against the same programs with every operation by itself.

use std::collections::BTreeSet;

use minilote::data::Inputs;
use minilote::model::{Init, Norm, Spec, Statistics, initialize};
use minilote::ops::{Function, Rule, Space, Step};
use minilote::program::{DataShape, Mode, Plan};
use minilote::{Device, Engine, Task};
use ndarray::Array2;
use pollster::block_on;

use crate::devices;

const ROWS: usize = 12;
const FEATURES: usize = 7;

/// Fused and unfused plans of a network that trains on 12 rows and evaluates 5.
fn plans(spec: &Spec) -> [Plan; 2] {
    let data = DataShape { examples: ROWS, features: FEATURES, bytes: false, places: ROWS };
    let requests = BTreeSet::from([(Mode::Train, ROWS), (Mode::Statistics, ROWS), (Mode::Evaluate, 5)]);
    [Plan::new, Plan::unfused].map(|plan| plan(spec, 1, data, Rule::Sgd, &requests, 4))
}

/// The log of four training steps, a statistics pass and an evaluation, and the parameters after them.
fn results(spec: &Spec, plan: Plan, device: &Device) -> Vec<f64> {
    let [train, statistics, evaluate] = [(Mode::Train, ROWS), (Mode::Statistics, ROWS), (Mode::Evaluate, 5)]
        .map(|(mode, n)| plan.program(mode, n));
    let mut engine = block_on(Engine::new(device, plan)).unwrap();
    let value = |(row, column): (usize, usize)| ((row * 31 + column * 17) % 23) as f64 / 7.0 - 1.5;
    let nothing = (vec![0.0; FEATURES], vec![1.0; FEATURES]);
    engine.write_inputs(&Inputs::Real(Array2::from_shape_fn((ROWS, FEATURES), value)), &nothing);
    engine.write(Space::Targets, &(0..ROWS).map(|row| (row % 3) as f64).collect::<Vec<_>>());
    engine.write(Space::Hyper, &[0.1, 0.01, 0.0, 5.0]);
    engine.write_order(&(0..ROWS as u32).collect::<Vec<_>>());
    engine.write_parameters(&initialize(spec, Init::He, 3));
    let start = |(_, n): (usize, usize)| Statistics { mean: vec![0.1; n], variance: vec![0.7; n] };
    engine.write_statistics(&spec.batch_norms().map(start).collect::<Vec<_>>());
    let step = |slot| Step { slot, number: slot + 1, lr_factor: 1.0, ..Step::default() };
    let steps: Vec<_> = (0..4).map(|slot| (train, step(slot))).collect();
    let mut all = block_on(engine.run(&steps)).unwrap();
    for program in [statistics, evaluate] {
        all.extend(block_on(engine.run(&[(program, step(0))])).unwrap());
    }
    all.extend(block_on(engine.read_parameters(0)).unwrap().into_iter().flatten());
    all
}

#[test]
fn fused_and_unfused_programs_agree() {
    // In f64 the twins of a fused operation are those of its parts: the same arithmetic.
    let mut devices = vec![("f64 twin".to_string(), Device::Twin, 1e-13)];
    devices.extend(devices_with(1e-5));
    for (name, device, tolerance) in devices {
        for function in [Function::Relu, Function::Tanh, Function::Sigmoid] {
            for norm in [Norm::None, Norm::Before, Norm::After] {
                for dropout in [0.0, 0.3] {
                    let spec = Spec::mlp(Task::Classification, FEATURES, &[9, 6], 3, function, norm, dropout);
                    let [fused, unfused] = plans(&spec);
                    assert!(fused.programs[0].ops.len() < unfused.programs[0].ops.len());
                    assert!(fused.memory() < unfused.memory());
                    let (fused, unfused) = (results(&spec, fused, &device), results(&spec, unfused, &device));
                    assert_eq!(fused.len(), unfused.len());
                    let largest = unfused.iter().fold(0.0, |max: f64, value| max.max(value.abs()));
                    for (a, b) in fused.iter().zip(&unfused) {
                        assert!(
                            (a - b).abs() <= tolerance * largest,
                            "{name}, {function}, norm {norm:?}, dropout {dropout}: {a} and {b}"
                        );
                    }
                }
            }
        }
    }
}

fn devices_with(tolerance: f64) -> Vec<(String, Device, f64)> {
    devices().into_iter().map(|(name, device)| (name, device, tolerance)).collect()
}

/// The operations of a training step of reference nets: a regression of the rules shows without a clock.
#[test]
fn reference_nets_have_these_dispatches() {
    let train = |norm, dropout| {
        let spec = Spec::mlp(Task::Classification, FEATURES, &[9, 6], 3, Function::Relu, norm, dropout);
        let [plan, _] = plans(&spec);
        let program = &plan.programs[plan.program(Mode::Train, ROWS)];
        program.ops.iter().map(|op| op.name()).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(
        train(Norm::Before, 0.0),
        "Gather MatMul BatchNormTrain MatMul BatchNormTrain MatMul LossTotal \
         MatMul ColumnSum MatMul BatchNormGradient MatMul MatMul BatchNormGradient MatMul Optimizer"
    );
    assert_eq!(
        train(Norm::None, 0.0),
        "Gather MatMul MatMul MatMul LossTotal \
         MatMul ColumnSum MatMul MatMul ColumnSum MatMul MatMul ColumnSum Optimizer"
    );
    assert_eq!(
        train(Norm::After, 0.2),
        "Gather MatMul BatchNormTrain Dropout MatMul BatchNormTrain Dropout MatMul LossTotal \
         MatMul ColumnSum MatMul Dropout BatchNormGradient ActivationBackward \
         MatMul ColumnSum MatMul Dropout BatchNormGradient ActivationBackward MatMul ColumnSum Optimizer"
    );
}
