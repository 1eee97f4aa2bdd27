//! Small networks whose programs run in several forms and on several devices, to compare.

use ndarray::Array2;

use crate::data::Inputs;
use crate::model::{Init, Norm, Spec, Statistics, initialize};
use crate::ops::{Function, Rule, Space, Step};
use crate::program::{DataShape, Mode, Plan};
use crate::{Device, Engine, Result, Task};

/// Columns of the data set.
pub const FEATURES: usize = 7;

/// Minibatches that begin at places of their own in the order.
const SHIFTS: usize = 3;

/// A network with minibatches of so many rows out of a data set of as many; training, statistics and an
/// evaluation of at most 5 rows.
pub struct Net {
    /// The layers.
    pub spec: Spec,
    /// Trained side by side, all with the same weights and rows.
    pub models: usize,
    /// Of a minibatch, and of the data set.
    pub rows: usize,
    /// Whether the data set is of bytes.
    pub bytes: bool,
    /// The optimizer.
    pub rule: Rule,
    /// Training steps.
    pub steps: u32,
    /// Of which so many run at a time.
    pub chunk: usize,
}

impl Net {
    /// A classification into 3 classes, by SGD, of 12 rows in 4 steps.
    pub fn new(hidden: &[usize], function: Function, norm: Norm, dropout: f64) -> Net {
        let spec = Spec::mlp(Task::Classification, FEATURES, hidden, 3, function, norm, dropout);
        Net { spec, models: 1, rows: 12, bytes: false, rule: Rule::Sgd, steps: 4, chunk: 64 }
    }

    fn modes(&self) -> [(Mode, usize); 3] {
        [(Mode::Train, self.rows), (Mode::Statistics, self.rows), (Mode::Evaluate, self.rows.min(5))]
    }

    /// Its programs, every operation by itself.
    pub fn plan(&self) -> Plan {
        let features = self.spec.inputs();
        let data = DataShape { examples: self.rows, features, bytes: self.bytes, places: self.rows + SHIFTS };
        Plan::new(&self.spec, self.models, data, self.rule, &self.modes().into(), self.steps as usize)
    }

    /// The log of its training steps, a statistics pass and an evaluation, and the parameters of every model
    /// after them.
    ///
    /// # Errors
    /// As for [`Engine::new`] and [`Engine::run`].
    pub async fn results(&self, plan: Plan, device: &Device) -> Result<Vec<f64>> {
        let [train, statistics, evaluate] = self.modes().map(|(mode, n)| plan.program(mode, n));
        let mut engine = Engine::new(device, plan).await?;
        let value = |(row, column): (usize, usize)| ((row * 31 + column * 17 + row * column) % 23) as f64;
        let inputs = Array2::from_shape_fn((self.rows, self.spec.inputs()), value);
        let affine = (vec![10.5; self.spec.inputs()], vec![1.0 / 7.0; self.spec.inputs()]);
        match self.bytes {
            true => engine.write_inputs(&Inputs::Bytes(inputs.mapv(|value| value as u8)), None, &affine),
            false => {
                engine.write_inputs(&Inputs::Real(inputs.mapv(|value| value / 7.0 - 1.5)), None, &affine);
            }
        }
        engine.write(Space::Targets, &(0..self.rows).map(|row| (row % 3) as f64).collect::<Vec<_>>());
        engine.write(Space::Hyper, &[0.1, 0.01, 0.02, 5.0].repeat(self.models));
        let rows = self.rows as u32;
        let order: Vec<u32> = (0..rows + SHIFTS as u32).rev().map(|place| place % rows).collect();
        engine.write_order([&order[..]].repeat(self.models));
        engine.write_parameters([&initialize(&self.spec, Init::He, 3)[..]].repeat(self.models));
        let start = |(_, n): (usize, usize)| Statistics { mean: vec![0.1; n], variance: vec![0.7; n] };
        let running: Vec<_> = self.spec.batch_norms().map(start).collect();
        engine.write_statistics([&running[..]].repeat(self.models));
        let step = |before: u32| Step {
            slot: before % self.chunk as u32,
            number: before + 1,
            first: before % SHIFTS as u32,
            lr_factor: 1.0,
            corrections: [0.9f64, 0.999].map(|beta| 1.0 - beta.powi(before as i32 + 1)),
            ..Step::default()
        };
        let steps: Vec<_> = (0..self.steps).map(|before| (train, step(before))).collect();
        let mut all = vec![];
        for chunk in steps.chunks(self.chunk) {
            all.extend(engine.run(chunk).await?);
        }
        for program in [statistics, evaluate] {
            all.extend(engine.run(&[(program, step(0))]).await?);
        }
        let specs = vec![&self.spec; self.models];
        let parameters = engine.read_parameters(Space::Params, specs).await?;
        all.extend(parameters.into_iter().flatten().flatten());
        Ok(all)
    }

    /// The operations of a training step.
    pub fn train(&self, plan: &Plan) -> Vec<&'static str> {
        let program = &plan.programs[plan.program(Mode::Train, self.rows)];
        program.ops.iter().map(|op| op.name()).collect()
    }
}

/// The largest difference, relative to the largest value of b; infinite if one is no number. Panics if there are not
/// as many of one as of the other.
pub fn difference(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    let largest = b.iter().fold(0.0, |max: f64, value| max.max(value.abs()));
    let off = a.iter().zip(b).map(|(a, b)| (a - b).abs());
    off.fold(0.0, |max: f64, off| if off.is_nan() { f64::INFINITY } else { max.max(off) }) / largest
}

/// Training steps in stages, of every kind, at sizes around those of tiles, slices and workgroups.
pub fn staged() -> Vec<Net> {
    let functions = [Function::Relu, Function::Tanh, Function::Sigmoid];
    let adam = Rule::Adam { beta1: 0.9, beta2: 0.999, eps: 1e-3 };
    let [momentum, nesterov] = [false, true].map(|nesterov| Rule::Momentum { momentum: 0.9, nesterov });
    let mut nets = vec![];
    for (i, norm) in [Norm::None, Norm::Before, Norm::After].into_iter().enumerate() {
        for (j, rows) in [2, 3, 12, 63, 65, 255].into_iter().enumerate() {
            // At 255 rows too wide to take gradients through weights that are then updated.
            let hidden = [&[9, 65][..], &[1, 65], &[65, 4, 31], &[130], &[], &[8, 258]][(i + j) % 6];
            let net = Net::new(hidden, functions[(i + j) % 3], norm, [0.0, 0.0, 0.3][(i + j / 2) % 3]);
            let rule = [Rule::Sgd, adam, momentum, nesterov][j % 4];
            let (models, bytes) = ([1, 3][j % 2], (i + j) % 2 == 0);
            nets.push(Net { models, rows, bytes, rule, ..net });
        }
    }
    // Inputs of more than a slice's depth, and of several blocks; too much for a unit to link steps, or for a
    // gradient through columns that are then updated, but where there are many.
    for (rows, hidden, models, bytes) in
        [(60, &[20, 20][..], 2, true), (255, &[20], 1, false), (255, &[515, 258], 1, true)]
    {
        let spec = Spec::mlp(Task::Classification, 520, hidden, 3, Function::Relu, Norm::Before, 0.0);
        nets.push(Net { spec, models, rows, bytes, ..Net::new(&[], Function::Relu, Norm::Before, 0.0) });
    }
    // By blocks of rows: the last one of a single row or not whole, or blocks of several tiles; layers wider than
    // shared memory has room for; and models enough for the largest tiles.
    for (i, (rows, norm, models, hidden)) in [
        (257, Norm::Before, 3, &[9, 6, 70][..]),
        (300, Norm::After, 1, &[33, 5]),
        (257, Norm::None, 3, &[9]),
        (257, Norm::Before, 1, &[690, 5]),
        (257, Norm::After, 3, &[6, 9, 4]),
        (2100, Norm::After, 1, &[5, 690]),
        (300, Norm::Before, 3, &[130]),
        (300, Norm::Before, 26, &[70, 345]),
    ]
    .into_iter()
    .enumerate()
    {
        let net = Net::new(hidden, functions[(i + 1) % 3], norm, [0.3, 0.0][i % 2]);
        let rule = [adam, Rule::Sgd, momentum][i % 3];
        nets.push(Net { models, rows, bytes: i % 2 == 0, rule, steps: 3, ..net });
    }
    nets
}
