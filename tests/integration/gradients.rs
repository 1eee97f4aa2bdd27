//! Backward passes of the f64 twin against differences of its forward passes: each operation alone,
//! then whole networks with their update.
//!
//! Differences are central and of fourth order, `(8·(f(h) − f(−h)) − (f(2h) − f(−2h))) / 12h`: with
//! h = 1e-4 both their truncation (h⁴/30 · f⁽⁵⁾) and the rounding of f64 (1e-16 / h) are below 1e-11 of
//! the functions here. A relu whose input lies within 2h of its kink would be off by far more than
//! the limit; the fixed seeds have none.

use std::collections::{BTreeMap, BTreeSet};

use minilote::cpu::Cpu;
use minilote::data::Inputs;
use minilote::doctor::{normal, plan, rows};
use minilote::model::{Init, Layer, Norm, Spec, initialize};
use minilote::ops::*;
use minilote::program::{DataShape, METRICS, Mode, Plan};
use minilote::{Device, Engine, Task};
use ndarray::Array2;
use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};

/// ‖gradient − differences‖ relative to the larger of the two.
const LIMIT: f64 = 1e-7;

const H: f64 = 1e-4;

const MODELS: usize = 3;

/// The derivative at 0 of a function of a shift.
fn slope(mut f: impl FnMut(f64) -> f64) -> f64 {
    let mut difference = |h| f(h) - f(-h);
    (8.0 * difference(H) - difference(2.0 * H)) / (12.0 * H)
}

fn relative(gradient: &[f64], differences: &[f64]) -> f64 {
    let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|v| v * v).sum::<f64>().sqrt();
    let off = norm(&mut gradient.iter().zip(differences).map(|(a, b)| a - b));
    let size = norm(&mut gradient.iter().copied()).max(norm(&mut differences.iter().copied()));
    if size == 0.0 { off } else { off / size }
}

/// Operations on tensors that lie alone in their spaces, numbered in order.
struct Bench {
    tensors: u16,
    spaces: BTreeMap<Space, usize>,
    /// Spaces that are not random.
    fixed: BTreeMap<Space, Vec<f64>>,
    failures: Vec<String>,
}

impl Bench {
    fn tensor(&mut self, rows: usize, cols: usize) -> Tensor {
        self.tensors += 1;
        let tensor = Tensor::alone(Space::Scratch(self.tensors), MODELS, rows, cols);
        self.spaces.insert(tensor.space, tensor.end(1));
        tensor
    }

    /// Compares, for each (x, dx), what `backward` writes to dx with the differences in x of
    /// `Σ dy · y`, y being what `forward` writes; all else is random.
    fn check(
        &mut self,
        name: &str,
        [forward, backward]: [Vec<Op>; 2],
        (y, dy): (Tensor, Tensor),
        pairs: &[(Tensor, Tensor)],
    ) {
        let mut random = ChaCha8Rng::seed_from_u64(3);
        let step = Step { number: 2, ..Step::default() };
        self.spaces.extend([(Space::Hyper, 4 * MODELS), (Space::Order, 12 * MODELS), (Space::Targets, 12)]);
        let mut sessions = [forward, backward].map(|ops| Cpu::<f64>::new(plan(ops, self.spaces.clone())));
        let mut values = BTreeMap::new();
        for (&space, &size) in self.spaces.iter().filter(|(space, _)| **space != Space::Order) {
            let value = |i: usize| match space {
                Space::Targets => (i % 2) as f64,
                Space::Hyper => 17.0 + i as f64,
                _ => normal(&mut random),
            };
            let random = (0..size).map(value).collect::<Vec<f64>>();
            values.insert(space, self.fixed.get(&space).cloned().unwrap_or(random));
        }
        let order: Vec<u32> = (0..12 * MODELS as u32).map(|place| place * 5 % 12).collect();
        for session in &mut sessions {
            values.iter().for_each(|(&space, values)| session.memory.load(space, 0, values));
            session.memory.load_order(&order);
        }
        let [mut forward, mut backward] = sessions;
        forward.run(&[(0, step)]);
        // The backward pass may use what the forward pass wrote.
        for &space in self.spaces.keys().filter(|&&space| matches!(space, Space::Scratch(_))) {
            backward.memory.load(space, 0, forward.memory.get(space));
        }
        backward.run(&[(0, step)]);
        for &(x, dx) in pairs {
            let (mut gradient, mut differences) = (vec![], vec![]);
            for (model, row) in rows(x) {
                gradient.extend_from_slice(backward.memory.row(dx, model, row));
                for c in 0..x.cols {
                    let i = x.at(model, row, 0) + c;
                    differences.push(slope(|shift| {
                        let mut shifted = values[&x.space].clone();
                        shifted[i] += shift;
                        forward.memory.load(x.space, 0, &shifted);
                        forward.run(&[(0, step)]);
                        let terms = rows(y).flat_map(|(model, row)| {
                            let (y, dy) =
                                (forward.memory.row(y, model, row), forward.memory.row(dy, model, row));
                            y.iter().zip(dy).map(|(y, dy)| y * dy)
                        });
                        terms.sum()
                    }));
                }
            }
            forward.memory.load(x.space, 0, &values[&x.space]);
            let error = relative(&gradient, &differences);
            println!("{name}: {error:.1e}");
            if error.is_nan() || error > LIMIT {
                self.failures.push(format!("{name}, {:?}: off by {error:.1e}", x.space));
            }
        }
    }
}

#[test]
fn of_each_operation() {
    let mut bench = Bench { tensors: 0, spaces: BTreeMap::new(), fixed: BTreeMap::new(), failures: vec![] };
    let b = &mut bench;
    for function in [Function::Relu, Function::Tanh, Function::Sigmoid] {
        let [x, y, dy, dx] = [(); 4].map(|_| b.tensor(6, 5));
        let ops = [
            vec![Activation { function, x, out: y }.into()],
            vec![ActivationBackward { function, y, dy, dx }.into()],
        ];
        b.check(&format!("{function:?}"), ops, (y, dy), &[(x, dx)]);
    }
    {
        let [x, y, dy, dx] = [(); 4].map(|_| b.tensor(6, 5));
        let dropout = |x, out| vec![Dropout { x, out, p: 0.4, layer: 1 }.into()];
        b.check("Dropout", [dropout(x, y), dropout(dy, dx)], (y, dy), &[(x, dx)]);
    }
    {
        let eps = 1e-5;
        let [x, out, dy, dx] = [(); 4].map(|_| b.tensor(6, 5));
        let [stats, log] = [(); 2].map(|_| b.tensor(3, 5));
        // Two rows of one space.
        let halves = |both: Tensor| [0, 8].map(|offset| Tensor { offset, cols: 5, ..both });
        let [[gamma, beta], [dgamma, dbeta]] = [(); 2].map(|_| halves(b.tensor(1, 13)));
        let reduce = BatchNormReduce { x, dy, stats, slope: None, dgamma, dbeta, eps };
        let ops = [
            vec![
                ColumnStats { x, stats, log }.into(),
                BatchNorm { x, stats, gamma, beta, function: None, out, eps }.into(),
            ],
            vec![reduce.clone().into(), BatchNormBackward { reduce, gamma, dx }.into()],
        ];
        b.check("BatchNorm", ops, (out, dy), &[(x, dx), (gamma, dgamma), (beta, dbeta)]);
    }
    for kind in [LossKind::SoftmaxCrossEntropy, LossKind::BinaryCrossEntropy, LossKind::SquaredError] {
        let outputs = if kind == LossKind::SoftmaxCrossEntropy { 3 } else { 1 };
        let logits = b.tensor(6, outputs);
        let [metrics, dy] = [(); 2].map(|_| b.tensor(6, METRICS));
        // The mean of the losses, which are the first of a row's metrics.
        b.fixed.insert(dy.space, [1.0 / 6.0, 0.0, 0.0, 0.0].repeat(6 * MODELS));
        let (order, targets) =
            (Tensor::alone(Space::Order, MODELS, 1, 12), Tensor::shared(Space::Targets, 1, 12));
        let ops: Vec<Op> = vec![Loss { kind, logits, order, targets, metrics, hyper: None }.into()];
        // The gradient takes the place of the logits.
        b.check(&format!("{kind:?}"), [ops, vec![]], (metrics, dy), &[(logits, logits)]);
    }
    // out = x·wᵀ + bias, x·w and xᵀ·w: each product's gradients are the other two.
    let product = |product, a, b, out| MatMul::new(product, a, b, out).into();
    {
        let (x, dx, w, dw) = (b.tensor(6, 5), b.tensor(6, 5), b.tensor(1, 40), b.tensor(3, 5));
        let (bias, db) = (Tensor { offset: 24, cols: 3, ..w }, b.tensor(1, 3));
        let (w, out, dy) = (Tensor { rows: 3, cols: 5, ..w }, b.tensor(6, 3), b.tensor(6, 3));
        let ops = [
            vec![MatMul { bias: Some(bias), ..MatMul::new(Product::ABt, x, w, out) }.into()],
            vec![
                product(Product::AB, dy, w, dx),
                product(Product::AtB, dy, x, dw),
                ColumnSum { x: dy, out: db }.into(),
            ],
        ];
        b.check("MatMul ABt, ColumnSum", ops, (out, dy), &[(x, dx), (w, dw), (bias, db)]);
    }
    {
        let [x, dx] = [(); 2].map(|_| b.tensor(6, 5));
        let ([w, dw], [out, dy]) = ([(); 2].map(|_| b.tensor(5, 3)), [(); 2].map(|_| b.tensor(6, 3)));
        let backward = vec![product(Product::ABt, dy, w, dx), product(Product::AtB, x, dy, dw)];
        b.check(
            "MatMul AB",
            [vec![product(Product::AB, x, w, out)], backward],
            (out, dy),
            &[(x, dx), (w, dw)],
        );
    }
    {
        let [x, dx] = [(); 2].map(|_| b.tensor(5, 6));
        let ([w, dw], [out, dy]) = ([(); 2].map(|_| b.tensor(5, 3)), [(); 2].map(|_| b.tensor(6, 3)));
        let backward = vec![product(Product::ABt, w, dy, dx), product(Product::AB, x, dy, dw)];
        b.check(
            "MatMul AtB",
            [vec![product(Product::AtB, x, w, out)], backward],
            (out, dy),
            &[(x, dx), (w, dw)],
        );
    }
    assert!(bench.failures.is_empty(), "{}", bench.failures.join("\n"));
}

/// A session of the twin with random data, one training step of 7 rows at a time.
struct Net {
    engine: Engine,
    spec: Spec,
    hyper: Vec<f64>,
}

const EXAMPLES: usize = 12;
const ROWS: usize = 7;
const LR: f64 = 0.1;
const L2: f64 = 0.3;

impl Net {
    fn new(spec: Spec, models: usize) -> Net {
        let mut random = ChaCha8Rng::seed_from_u64(11);
        let (features, task) = (spec.inputs(), spec.task);
        let data = DataShape { examples: EXAMPLES, features, bytes: false, places: EXAMPLES };
        let plan =
            Plan::new(&spec, models, data, Rule::Sgd, &BTreeSet::from([(Mode::Train, ROWS)]), 1).fused();
        let mut engine = pollster::block_on(Engine::new(&Device::Twin, plan)).unwrap();
        let inputs = Array2::from_shape_simple_fn((EXAMPLES, features), || normal(&mut random));
        engine.write_inputs(&Inputs::Real(inputs), None, &(vec![], vec![]));
        let outputs = spec.outputs().max(2) as u32;
        let target = |_| match task {
            Task::Regression => normal(&mut random),
            _ => random.random_range(0..outputs) as f64,
        };
        engine.write(Space::Targets, &(0..EXAMPLES).map(target).collect::<Vec<_>>());
        engine.write_order([&[3, 7, 1, 0, 11, 9, 2, 4, 10, 5, 8, 6][..]].repeat(models));
        let hyper = (0..models).flat_map(|model| [0.0, L2, 0.0, 100.0 + model as f64]).collect();
        Net { engine, spec, hyper }
    }

    /// Runs a training step from these parameters; returns the loss of each model.
    fn step(&mut self, parameters: &[f64], lr: f64) -> Vec<f64> {
        self.hyper.chunks_mut(4).for_each(|hyper| hyper[0] = lr);
        self.engine.write(Space::Hyper, &self.hyper);
        self.engine.write(Space::Params, parameters);
        let step =
            Step { first: 2, slot: 0, number: 5, lr_factor: 1.0, corrections: [1.0; 2], ..Step::default() };
        let log = pollster::block_on(self.engine.run(&[(0, step)])).unwrap();
        let plan = self.engine.plan();
        (0..plan.models).map(|model| log[model * plan.record] / ROWS as f64).collect()
    }

    fn read(&mut self, space: Space) -> Vec<f64> {
        pollster::block_on(self.engine.read(space)).unwrap()
    }

    /// The worst error over all parameters, of gradients and of updates with L2.
    fn check(&mut self, name: &str) -> Result<(), String> {
        let layout = self.engine.plan().layout.clone();
        // Nothing at 0 or 1: every parameter must matter.
        let mut random = ChaCha8Rng::seed_from_u64(5);
        let mut theta = vec![0.0; layout.end()];
        for (parameter, start) in self.spec.parameters().iter().zip(initialize(&self.spec, Init::Xavier, 4)) {
            let place = layout.parameter(&parameter.name);
            for (model, row) in rows(place) {
                for c in 0..place.cols {
                    theta[place.at(model, row, 0) + c] = start[(row, c)] + 0.3 * normal(&mut random);
                }
            }
        }
        self.step(&theta, LR);
        let (gradients, updated) = (self.read(Space::Grads), self.read(Space::Params));
        let mut failures = vec![];
        for parameter in self.spec.parameters() {
            let place = layout.parameter(&parameter.name);
            let weight = matches!(self.spec.layers[parameter.layer], Layer::Linear { .. })
                && parameter.name.ends_with("weight");
            let l2 = if weight { L2 } else { 0.0 };
            let mut columns: [Vec<f64>; 4] = Default::default();
            for (model, row) in rows(place) {
                for c in 0..place.cols {
                    let i = place.at(model, row, 0) + c;
                    let mut shifted = |shift, penalty: f64| {
                        let mut theta = theta.clone();
                        theta[i] += shift;
                        // lambda/(2m) · Σ theta² changes by this term only.
                        self.step(&theta, 0.0)[model] + penalty / 2.0 * theta[i] * theta[i]
                    };
                    let numbers = [
                        gradients[i],
                        slope(|shift| shifted(shift, 0.0)),
                        (theta[i] - updated[i]) / LR,
                        slope(|shift| shifted(shift, l2)),
                    ];
                    columns.iter_mut().zip(numbers).for_each(|(column, number)| column.push(number));
                }
            }
            let [gradient, differences, update, penalized] = columns;
            let errors = [relative(&gradient, &differences), relative(&update, &penalized)];
            println!("{name}, {}: {:.1e}, update {:.1e}", parameter.name, errors[0], errors[1]);
            if errors.iter().any(|error| error.is_nan() || *error > LIMIT) {
                failures.push(format!(
                    "{name}, {}: off by {:.1e}, update {:.1e}",
                    parameter.name, errors[0], errors[1]
                ));
            }
        }
        if failures.is_empty() { Ok(()) } else { Err(failures.join("\n")) }
    }
}

#[test]
fn of_whole_networks() {
    let mut failures = vec![];
    for (task, outputs) in [(Task::Classification, 3), (Task::Binary, 1), (Task::Regression, 1)] {
        for function in [Function::Relu, Function::Tanh, Function::Sigmoid] {
            for norm in [Norm::None, Norm::Before, Norm::After] {
                for (models, dropout) in [(1, 0.0), (3, 0.0), (3, 0.3)] {
                    let spec = Spec::mlp(task, 5, &[6, 4], outputs, function, norm, dropout);
                    let name = format!("{task} {function:?} {norm:?}, dropout {dropout}, {models} models");
                    failures.extend(Net::new(spec, models).check(&name).err());
                }
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
