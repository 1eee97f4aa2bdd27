//! Fused and staged programs against the same programs with every operation by itself.

use minilote::data::Inputs;
use minilote::gpu::Gpu;
use minilote::model::{Init, Norm, Spec, Statistics, initialize};
use minilote::ops::{Function, Rule, Space, Step, Variant};
use minilote::program::{DataShape, Mode, Plan};
use minilote::{Device, Engine, Task};
use ndarray::Array2;
use pollster::block_on;

use crate::devices;

const FEATURES: usize = 7;

/// A network with minibatches of so many rows out of a data set of as many; training, statistics and an
/// evaluation of at most 5 rows.
struct Net {
    spec: Spec,
    models: usize,
    rows: usize,
    bytes: bool,
    rule: Rule,
}

impl Net {
    fn new(hidden: &[usize], function: Function, norm: Norm, dropout: f64) -> Net {
        let spec = Spec::mlp(Task::Classification, FEATURES, hidden, 3, function, norm, dropout);
        Net { spec, models: 1, rows: 12, bytes: false, rule: Rule::Sgd }
    }

    fn modes(&self) -> [(Mode, usize); 3] {
        [(Mode::Train, self.rows), (Mode::Statistics, self.rows), (Mode::Evaluate, self.rows.min(5))]
    }

    fn plan(&self) -> Plan {
        let features = self.spec.inputs();
        let data = DataShape { examples: self.rows, features, bytes: self.bytes, places: self.rows };
        Plan::new(&self.spec, self.models, data, self.rule, &self.modes().into(), 4)
    }

    /// The log of four training steps, a statistics pass and an evaluation, and the parameters of every model
    /// after them.
    fn results(&self, plan: Plan, device: &Device) -> Vec<f64> {
        let [train, statistics, evaluate] = self.modes().map(|(mode, n)| plan.program(mode, n));
        let mut engine = block_on(Engine::new(device, plan)).unwrap();
        let value = |(row, column): (usize, usize)| ((row * 31 + column * 17 + row * column) % 23) as f64;
        let inputs = Array2::from_shape_fn((self.rows, self.spec.inputs()), value);
        let affine = (vec![10.5; self.spec.inputs()], vec![1.0 / 7.0; self.spec.inputs()]);
        match self.bytes {
            true => engine.write_inputs(&Inputs::Bytes(inputs.mapv(|value| value as u8)), &affine),
            false => engine.write_inputs(&Inputs::Real(inputs.mapv(|value| value / 7.0 - 1.5)), &affine),
        }
        engine.write(Space::Targets, &(0..self.rows).map(|row| (row % 3) as f64).collect::<Vec<_>>());
        engine.write(Space::Hyper, &[0.1, 0.01, 0.02, 5.0].repeat(self.models));
        let order: Vec<u32> = (0..self.rows as u32).rev().collect();
        engine.write_order([&order[..]].repeat(self.models));
        engine.write_parameters([&initialize(&self.spec, Init::He, 3)[..]].repeat(self.models));
        let start = |(_, n): (usize, usize)| Statistics { mean: vec![0.1; n], variance: vec![0.7; n] };
        let running: Vec<_> = self.spec.batch_norms().map(start).collect();
        engine.write_statistics([&running[..]].repeat(self.models));
        let step = |slot| Step {
            slot,
            number: slot + 1,
            lr_factor: 1.0,
            corrections: [0.9f64, 0.999].map(|beta| 1.0 - beta.powi(slot as i32 + 1)),
            ..Step::default()
        };
        let steps: Vec<_> = (0..4).map(|slot| (train, step(slot))).collect();
        let mut all = block_on(engine.run(&steps)).unwrap();
        for program in [statistics, evaluate] {
            all.extend(block_on(engine.run(&[(program, step(0))])).unwrap());
        }
        let specs = vec![&self.spec; self.models];
        all.extend(
            block_on(engine.read_parameters(Space::Params, specs)).unwrap().into_iter().flatten().flatten(),
        );
        all
    }

    fn train(&self, plan: Plan) -> Vec<&'static str> {
        let program = &plan.programs[plan.program(Mode::Train, self.rows)];
        program.ops.iter().map(|op| op.name()).collect()
    }
}

/// The largest difference, relative to the largest value.
fn difference(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    let largest = b.iter().fold(0.0, |max: f64, value| max.max(value.abs()));
    let off = a.iter().zip(b).map(|(a, b)| (a - b).abs());
    off.fold(0.0, |max: f64, off| if off.is_nan() { f64::INFINITY } else { max.max(off) }) / largest
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
                    let net = Net::new(&[9, 6], function, norm, dropout);
                    let [fused, unfused] = [net.plan().fused(), net.plan()];
                    assert!(fused.programs[0].ops.len() < unfused.programs[0].ops.len());
                    assert!(fused.memory() < unfused.memory());
                    let off = difference(&net.results(fused, &device), &net.results(unfused, &device));
                    assert!(
                        off <= tolerance,
                        "{name}, {function}, norm {norm:?}, dropout {dropout}: {off:.1e}"
                    );
                }
            }
        }
    }
}

fn devices_with(tolerance: f64) -> Vec<(String, Device, f64)> {
    devices().into_iter().map(|(name, device)| (name, device, tolerance)).collect()
}

/// Training steps in stages, of every kind, at sizes around those of tiles, slices and workgroups.
fn staged() -> Vec<Net> {
    let functions = [Function::Relu, Function::Tanh, Function::Sigmoid];
    let adam = Rule::Adam { beta1: 0.9, beta2: 0.999, eps: 1e-3 };
    let [momentum, nesterov] = [false, true].map(|nesterov| Rule::Momentum { momentum: 0.9, nesterov });
    let mut nets = vec![];
    for (i, norm) in [Norm::None, Norm::Before, Norm::After].into_iter().enumerate() {
        for (j, rows) in [2, 3, 12, 63, 65, 255].into_iter().enumerate() {
            let hidden = [&[9, 6][..], &[1, 33], &[65, 4, 31], &[130], &[8, 16], &[]][(i + j) % 6];
            let net = Net::new(hidden, functions[(i + j) % 3], norm, 0.0);
            let rule = [Rule::Sgd, adam, momentum, nesterov][j % 4];
            let (models, bytes) = ([1, 3][j % 2], (i + j) % 2 == 0);
            nets.push(Net { models, rows, bytes, rule, ..net });
        }
    }
    // Inputs of more than a slice's depth, and of several blocks.
    let spec = Spec::mlp(Task::Classification, 301, &[20, 20], 3, Function::Relu, Norm::Before, 0.0);
    nets.push(Net { spec, models: 2, rows: 60, bytes: true, rule: Rule::Sgd });
    nets
}

#[test]
fn staged_and_unfused_programs_agree() {
    for (i, net) in staged().iter().enumerate() {
        let name = || format!("net {i}, {} rows, {:?}, {:?}", net.rows, net.spec.layers, net.rule);
        let exact = net.results(net.plan(), &Device::Twin);
        let plan = net.plan().staged(usize::MAX);
        assert!(net.train(plan.clone()).contains(&"Forward"), "{}", name());
        let off = difference(&net.results(plan.clone(), &Device::Twin), &exact);
        assert!(off <= 1e-13, "f64 twin, {}: {off:.1e}", name());
        let Some(gpu) = crate::gpu() else { continue };
        let gpu = gpu.with_variant(Variant::Gpu);
        for gpu in [gpu.clone(), gpu.without_subgroups()] {
            let subgroups = gpu.has_subgroups();
            let off = difference(&net.results(plan.clone(), &Device::Gpu(gpu)), &exact);
            assert!(off <= 1e-4, "{}, subgroups {subgroups}: {off:.1e}", name());
        }
    }
}

/// The kernels of stages run without bounds checks: what lies between their tensors is neither read, or NaNs
/// would spread, nor written.
#[test]
fn stages_keep_to_their_tensors() {
    let Some(gpu) = crate::gpu() else { return };
    for net in staged() {
        let mut plan = net.plan().staged(usize::MAX);
        // A session reads back what is no larger than the log.
        let log = plan.spaces[&Space::Log].max(plan.spaces[&Space::Joint]);
        plan.spaces.insert(Space::Log, log);
        let program = plan.program(Mode::Train, net.rows);
        let mut inside = vec![false; plan.spaces[&Space::Joint]];
        for op in &plan.programs[program].ops {
            for operand in op.describe().operands() {
                if let Space::Scratch(_) = operand.tensor.space {
                    inside[operand.tensor.offset..operand.tensor.end(1)].fill(true);
                }
            }
        }
        let nan = f32::NAN.to_bits();
        let all = vec![f32::NAN; inside.len()];
        let mut session = block_on(Gpu::new(gpu.clone().with_variant(Variant::Gpu), plan)).unwrap();
        session.write(Space::Joint, bytemuck::cast_slice(&all));
        if !net.bytes {
            session.write(
                Space::Inputs,
                bytemuck::cast_slice(&vec![0.5f32; net.rows * FEATURES.next_multiple_of(4)]),
            );
        }
        let step = Step { lr_factor: 1.0, corrections: [0.1, 0.001], ..Step::default() };
        let log = block_on(session.run(&[(program, step)])).unwrap();
        assert!(log.iter().all(|value| value.is_finite()), "{} rows, {:?}", net.rows, net.spec.layers);
        let after = block_on(session.read(Space::Joint)).unwrap();
        let parameters = block_on(session.read(Space::Params)).unwrap();
        assert!(parameters.iter().all(|value| value.is_finite()), "{} rows, {:?}", net.rows, net.spec.layers);
        let written = after.iter().zip(&inside).filter(|(value, inside)| !**inside && value.to_bits() != nan);
        assert_eq!(written.count(), 0, "{} rows, {:?}", net.rows, net.spec.layers);
    }
}

/// The operations of a training step of reference nets: a regression of the rules shows without a clock.
#[test]
fn reference_nets_have_these_dispatches() {
    let fused = |norm, dropout| {
        let net = Net::new(&[9, 6], Function::Relu, norm, dropout);
        net.train(net.plan().fused()).join(" ")
    };
    assert_eq!(
        fused(Norm::Before, 0.0),
        "Gather MatMul BatchNormTrain MatMul BatchNormTrain MatMul LossTotal \
         MatMul ColumnSum MatMul BatchNormGradient MatMul MatMul BatchNormGradient MatMul Optimizer"
    );
    assert_eq!(
        fused(Norm::None, 0.0),
        "Gather MatMul MatMul MatMul LossTotal \
         MatMul ColumnSum MatMul MatMul ColumnSum MatMul MatMul ColumnSum Optimizer"
    );
    let with_dropout = "Gather MatMul BatchNormTrain Dropout MatMul BatchNormTrain Dropout MatMul LossTotal \
         MatMul ColumnSum MatMul Dropout BatchNormGradient ActivationBackward \
         MatMul ColumnSum MatMul Dropout BatchNormGradient ActivationBackward MatMul ColumnSum Optimizer";
    assert_eq!(fused(Norm::After, 0.2), with_dropout);
    // Dropout has no stage: the program stays as it is.
    let net = Net::new(&[9, 6], Function::Relu, Norm::After, 0.2);
    assert_eq!(net.train(net.plan().staged(usize::MAX)).join(" "), with_dropout);
    // 2 L + 2 for L layers, with batch normalization and without.
    for hidden in [&[][..], &[9], &[9, 6], &[9, 6, 9]] {
        for norm in [Norm::None, Norm::Before, Norm::After] {
            let net = Net::new(hidden, Function::Relu, norm, 0.0);
            let layers = hidden.len() + 1;
            let expected =
                [vec!["Forward"; layers], vec!["LossTotal"], vec!["Backward"; layers + 1]].concat();
            let expected = if layers == 1 { vec!["Forward", "LossTotal", "Backward"] } else { expected };
            assert_eq!(net.train(net.plan().staged(usize::MAX)), expected);
        }
    }
}
