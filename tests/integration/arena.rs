//! Runs operations alone, on the kernels and on the f64 twin, and compares.

use std::collections::BTreeMap;

use minilote::Task;
use minilote::cpu::Cpu;
use minilote::gpu::{Gpu, GpuDevice};
use minilote::model::Spec;
use minilote::ops::*;
use minilote::program::{DataShape, Form, Layout, Mode, Plan, Program};
use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};

/// Largest difference from the twin, relative to the largest value of the output: a sum of 1000
/// products in f32 is off by up to 1000 · 6e-8 = 6e-5 where every rounding errs the same way, and
/// drivers' exp and tanh by about 1e-5.
const TOLERANCE: f64 = 1e-4;

/// Elements between operands and between models.
const GAP: usize = 8;

/// Rows of a data set; the row after them is NaN, and every gap of the order points there.
pub const EXAMPLES: usize = 50;

pub const STEP: Step =
    Step { first: 5, slot: 1, number: 3, lr_factor: 0.5, corrections: [0.271, 0.002997001] };

/// What an output is compared by.
#[derive(Clone, Copy)]
pub enum Measure {
    Values,
    /// Differences of numbers of this size.
    Terms(f64),
    /// Mean in two parts and variance: the sum of the parts, relative to the deviation.
    Statistics,
}

pub struct Case {
    pub op: Op,
    pub outputs: Vec<(Tensor, Measure)>,
}

/// Many operations as one program, their operands side by side in few spaces, between gaps of NaNs: a
/// read beside an operand shows up in the outputs, a write beside one overwrites a NaN.
pub struct Arena {
    pub reals: BTreeMap<Space, Vec<f32>>,
    pub order: Vec<u32>,
    pub bytes: Vec<u8>,
    pub cases: Vec<Case>,
    pub random: ChaCha8Rng,
}

impl Arena {
    pub fn new() -> Arena {
        let random = ChaCha8Rng::seed_from_u64(7);
        let mut arena = Arena { reals: BTreeMap::new(), order: vec![], bytes: vec![], cases: vec![], random };
        // These have fixed places. Key 2^24 - 1 is the largest that an f32 holds with all below it.
        let keys = [5.0, 16777215.0, 123456.0];
        let hyper = keys.iter().flat_map(|key| [0.1 + key / 1e9, 0.3, 0.2, *key]).chain([f32::NAN; GAP]);
        arena.reals.insert(Space::Hyper, hyper.collect());
        let affine = (0..2000).map(|_| arena.random.random()).chain([f32::NAN; GAP]).collect();
        arena.reals.insert(Space::Affine, affine);
        arena
    }

    /// Room for a tensor: NaNs, with NaNs before, after and between its models.
    pub fn place(&mut self, space: Space, models: usize, rows: usize, cols: usize) -> Tensor {
        let stride = rows * cols.next_multiple_of(4) + GAP;
        let extend = |offset| (offset + GAP, offset + GAP + models * stride);
        let offset = match space {
            Space::Order => {
                let (offset, end) = extend(self.order.len());
                self.order.resize(end, EXAMPLES as u32);
                offset
            }
            Space::Bytes => {
                let (offset, end) = extend(self.bytes.len());
                self.bytes.resize(end, 255);
                offset
            }
            _ => {
                let reals = self.reals.entry(space).or_default();
                let (offset, end) = extend(reals.len());
                reals.resize(end, f32::NAN);
                offset
            }
        };
        Tensor { offset, stride, ..Tensor::alone(space, models, rows, cols) }
    }

    /// Fills a tensor with the values at (model, row, column); its padding is zero.
    pub fn fill(&mut self, tensor: Tensor, mut value: impl FnMut(&mut ChaCha8Rng, [usize; 3]) -> f64) {
        let reals = self.reals.get_mut(&tensor.space).unwrap();
        for (model, row) in rows(tensor) {
            let to = &mut reals[tensor.at(model, row, 0)..][..tensor.ld()];
            to.fill(0.0);
            (0..tensor.cols).for_each(|c| to[c] = value(&mut self.random, [model, row, c]) as f32);
        }
    }

    /// A random operand; `role` keeps operands of one operation in different spaces.
    pub fn input(&mut self, role: u16, models: usize, rows: usize, cols: usize) -> Tensor {
        let tensor = self.place(Space::Scratch(role), models, rows, cols);
        self.fill(tensor, |random, _| normal(random));
        tensor
    }

    pub fn output(&mut self, role: u16, models: usize, rows: usize, cols: usize) -> Tensor {
        self.place(Space::Scratch(100 + role), models, rows, cols)
    }

    /// An operand made of others.
    pub fn derive(
        &mut self,
        role: u16,
        [models, rows, cols]: [usize; 3],
        value: impl FnMut(&mut ChaCha8Rng, [usize; 3]) -> f64,
    ) -> Tensor {
        let tensor = self.place(Space::Scratch(role), models, rows, cols);
        self.fill(tensor, value);
        tensor
    }

    pub fn get(&self, tensor: Tensor, model: usize, row: usize, c: usize) -> f64 {
        self.reals[&tensor.space][tensor.at(model, row, 0) + c] as f64
    }

    /// Row numbers of the data set for each row of the minibatch that [`STEP`] takes.
    pub fn order(&mut self, models: usize, rows: usize) -> Tensor {
        let first = STEP.first as usize;
        let order = self.place(Space::Order, models, 1, first + rows);
        for model in 0..models {
            for place in &mut self.order[order.at(model, 0, 0) + first..][..rows] {
                *place = self.random.random_range(0..EXAMPLES as u32);
            }
        }
        order
    }

    pub fn case(&mut self, op: impl Into<Op>, outputs: &[Tensor]) {
        let outputs = outputs.iter().map(|&tensor| (tensor, Measure::Values)).collect();
        self.cases.push(Case { op: op.into(), outputs });
    }

    fn plan(&self) -> Plan {
        let mut spaces: BTreeMap<Space, usize> =
            self.reals.iter().map(|(&space, values)| (space, values.len())).collect();
        // A session reads back what is no larger than the log.
        spaces.insert(Space::Log, spaces.values().copied().max().unwrap_or(0));
        spaces.insert(Space::Order, self.order.len());
        spaces.insert(Space::Bytes, self.bytes.len());
        plan(self.cases.iter().map(|case| case.op.clone()).collect(), spaces)
    }

    /// Runs all cases on a device and reads all spaces.
    pub fn run(&self, gpu: &GpuDevice, variant: Variant) -> BTreeMap<Space, Vec<f32>> {
        let device = gpu.clone().with_variant(variant);
        let results = pollster::block_on(async {
            let mut session = Gpu::new(device, self.plan()).await?;
            for (&space, values) in &self.reals {
                session.write(space, bytemuck::cast_slice(values));
            }
            session.write(Space::Order, bytemuck::cast_slice(&self.order));
            session.write(Space::Bytes, &self.bytes);
            session.run(&[(0, STEP)]).await?;
            let mut results = BTreeMap::new();
            for &space in self.reals.keys() {
                results.insert(space, session.read(space).await?);
            }
            Ok::<_, minilote::Error>(results)
        });
        results.unwrap_or_else(|error| panic!("{variant:?}: {error}"))
    }

    /// Runs all cases on the twin and in both variants, and compares.
    pub fn check(&self) {
        self.check_in(&[Variant::Gpu, Variant::Software]);
    }

    /// [`Arena::check`] in these variants.
    pub fn check_in(&self, variants: &[Variant]) {
        let Some(gpu) = crate::gpu() else { return };
        let mut twin = Cpu::<f64>::new(self.plan());
        for (&space, values) in &self.reals {
            twin.memory.load(space, &values.iter().map(|&value| value as f64).collect::<Vec<_>>());
        }
        twin.memory.load_order(&self.order);
        twin.memory.load_bytes(&self.bytes);
        twin.run(&[(0, STEP)]);

        let mut failures = vec![];
        let merges = |case: &Case| {
            case.op.describe().dispatch(gpu.variant()).constants.iter().any(|(name, _)| *name == "SPLITS")
        };
        let mut devices = vec![gpu.clone()];
        devices.extend(
            (gpu.has_subgroups() && self.cases.iter().any(merges)).then(|| gpu.clone().without_subgroups()),
        );
        for (device, &variant) in devices.iter().flat_map(|gpu| variants.iter().map(move |v| (gpu, v))) {
            let results = self.run(device, variant);
            self.compare(variant, &results, &twin, &mut failures);
        }
        assert!(
            failures.is_empty(),
            "{} failures\n{}",
            failures.len(),
            failures[..failures.len().min(40)].join("\n")
        );
    }

    fn compare(
        &self,
        variant: Variant,
        results: &BTreeMap<Space, Vec<f32>>,
        twin: &Cpu<f64>,
        failures: &mut Vec<String>,
    ) {
        let mut guards: BTreeMap<Space, Vec<bool>> = BTreeMap::new();
        let mut worst: BTreeMap<String, f64> = BTreeMap::new();
        for Case { op, outputs } in &self.cases {
            for &(tensor, measure) in outputs {
                let (kernel, twin) = (&results[&tensor.space], twin.memory.get(tensor.space));
                let name = format!(
                    "{} {:?} of {} models, {variant:?}",
                    op.name(),
                    op.describe().shapes(),
                    tensor.models
                );
                let guard = guards.entry(tensor.space).or_insert_with(|| {
                    self.reals[&tensor.space].iter().map(|value| value.is_nan()).collect()
                });
                for (model, row) in rows(tensor) {
                    let start = slot_at(tensor, model, row);
                    guard[start..start + tensor.ld()].fill(false);
                    let padding = &kernel[start + tensor.cols..start + tensor.ld()];
                    if padding.iter().any(|&value| value != 0.0) {
                        failures.push(format!("{name}: padding {padding:?} of row {row}"));
                    }
                }
                let error = error(tensor, measure, kernel, twin);
                let worst = worst.entry(format!("{} {:?}", op.name(), variant)).or_insert(0.0);
                *worst = worst.max(error);
                if error.is_nan() || error > TOLERANCE {
                    failures.push(format!("{name}: {:?} off by {error:.1e}", tensor.space));
                }
            }
        }
        for (space, guard) in guards {
            let written = |(i, guarded): (usize, bool)| guarded && results[&space][i].is_finite();
            let count = guard.into_iter().enumerate().filter(|&place| written(place)).count();
            if count > 0 {
                failures
                    .push(format!("{variant:?}: {count} elements beside the operands of {space:?} written"));
            }
        }
        worst.iter().for_each(|(name, error)| println!("worst error of {name}: {error:.1e}"));
    }
}

/// A number of mean 0 and deviation 1: the sum of three uniform ones.
pub fn normal(random: &mut ChaCha8Rng) -> f64 {
    (0..3).map(|_| 2.0 * random.random::<f64>() - 1.0).sum()
}

/// A session of a single program of these operations.
pub fn plan(ops: Vec<Op>, spaces: BTreeMap<Space, usize>) -> Plan {
    let labels = vec![String::new(); ops.len()];
    let programs = vec![Program { mode: Mode::Train, rows: 1, ops, labels }];
    let spec = Spec { task: Task::Regression, layers: vec![] };
    let layout = Layout::new(&spec, 1);
    let data = DataShape { examples: 1, features: 1, bytes: false, places: 1 };
    let (rule, form) = (Rule::Sgd, Form::Plain);
    Plan { spec, models: 1, data, layout, rule, form, programs, record: 4, slots: 1, spaces }
}

pub fn rows(tensor: Tensor) -> impl Iterator<Item = (usize, usize)> {
    (0..tensor.models).flat_map(move |model| (0..tensor.rows).map(move |row| (model, row)))
}

fn slot_at(tensor: Tensor, model: usize, row: usize) -> usize {
    tensor.at(model, row, STEP.slot as usize)
}

/// Largest relative error of an output. Where the twin is not finite, the kernel must not be, either.
fn error(tensor: Tensor, measure: Measure, kernel: &[f32], twin: &[f64]) -> f64 {
    let cells: Vec<usize> = rows(tensor)
        .flat_map(|(model, row)| (0..tensor.cols).map(move |c| slot_at(tensor, model, row) + c))
        .collect();
    let largest = |cells: &[usize]| {
        cells.iter().map(|&i| twin[i].abs()).filter(|value| value.is_finite()).fold(0.0, f64::max)
    };
    let difference = |kernel: f64, twin: f64| match (kernel.is_finite(), twin.is_finite()) {
        (true, true) => (kernel - twin).abs(),
        (false, false) => 0.0,
        _ => f64::INFINITY,
    };
    let tiny = f32::MIN_POSITIVE as f64;
    if let Measure::Statistics = measure {
        let (ld, mut worst) = (tensor.ld(), 0.0f64);
        for model in 0..tensor.models {
            let start = slot_at(tensor, model, 0);
            let of_row = |row| (start + row * ld..start + row * ld + tensor.cols).collect::<Vec<_>>();
            let variance = largest(&of_row(2)).max(tiny);
            for i in of_row(0) {
                let mean = difference(kernel[i] as f64 + kernel[i + ld] as f64, twin[i] + twin[i + ld]);
                let spread = difference(kernel[i + 2 * ld] as f64, twin[i + 2 * ld]);
                worst = worst.max(mean / variance.sqrt()).max(spread / variance);
            }
        }
        return worst;
    }
    let scale = if let Measure::Terms(size) = measure { size } else { 0.0 }.max(largest(&cells)).max(tiny);
    cells.iter().map(|&i| difference(kernel[i] as f64, twin[i])).fold(0.0, f64::max) / scale
}
