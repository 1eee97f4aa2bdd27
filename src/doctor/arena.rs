//! Runs operations alone, on the kernels and on the f64 twin, and compares.

use std::collections::BTreeMap;

use rand::rngs::ChaCha8Rng;
use rand::{RngExt, SeedableRng};

use crate::cpu::Cpu;
use crate::gpu::shaders::merges;
use crate::gpu::{Gpu, GpuDevice};
use crate::model::Spec;
use crate::ops::*;
use crate::program::{DataShape, Form, Layout, Mode, Plan, Program};
use crate::{Result, Task};

/// Largest difference from the twin, relative to the largest value of the output: a sum of 1000
/// products in f32 is off by up to 1000 · 6e-8 = 6e-5 where every rounding errs the same way, and
/// drivers' exp and tanh by about 1e-5.
pub const TOLERANCE: f64 = 1e-4;

/// Elements between operands and between models.
const GAP: usize = 8;

/// Rows of a data set; the row after them is NaN, and every gap of the order points there.
pub const EXAMPLES: usize = 50;

/// The step that all cases run as.
pub const STEP: Step = Step {
    first: 5,
    slot: 1,
    number: 3,
    lr_factor: 0.5,
    corrections: [0.271, 0.002997001],
    next: 0,
    model: 0,
};

/// What an output is compared by.
#[derive(Clone, Copy, Debug)]
pub enum Measure {
    /// The largest value.
    Values,
    /// Differences of numbers of this size.
    Terms(f64),
    /// Mean in two parts and variance, of one minibatch or of its blocks: the sum of the parts, relative to the
    /// deviation.
    Statistics,
}

/// An operation, and what it writes that is compared.
pub struct Case {
    /// The operation.
    pub op: Op,
    /// What is compared, and by what.
    pub outputs: Vec<(Tensor, Measure)>,
}

/// Many operations as one program, their operands side by side in few spaces, between gaps of NaNs: a
/// read beside an operand shows up in the outputs, a write beside one overwrites a NaN.
pub struct Arena {
    /// All operands of reals.
    pub reals: BTreeMap<Space, Vec<f32>>,
    /// [`Space::Order`].
    pub order: Vec<u32>,
    /// [`Space::Bytes`].
    pub bytes: Vec<u8>,
    /// In the order in which they run.
    pub cases: Vec<Case>,
    /// Where operands come from.
    pub random: ChaCha8Rng,
}

/// What an operation came to in one shape of its kernels, over all its cases.
pub struct Line {
    /// Name of the operation.
    pub op: &'static str,
    /// The shape of its kernel.
    pub variant: Variant,
    /// Whether the kernel merges sums within subgroups.
    pub subgroups: bool,
    /// So many cases.
    pub cases: usize,
    /// The largest difference from the twin, relative as [`Measure`] says; NaN if one is no number.
    pub worst: f64,
    /// Each difference above [`TOLERANCE`], padding that is not zero, and elements beside operands that were
    /// overwritten.
    pub failures: Vec<String>,
}

impl Line {
    /// Whether the other is of the same operation in the same shape.
    pub(super) fn is_like(&self, other: &Line) -> bool {
        (self.op, self.variant, self.subgroups) == (other.op, other.variant, other.subgroups)
    }

    /// Takes another's cases in.
    pub(super) fn add(&mut self, other: Line) {
        self.cases += other.cases;
        self.worst = larger(self.worst, other.worst);
        self.failures.extend(other.failures);
    }
}

/// The larger one, or NaN if either is.
fn larger(a: f64, b: f64) -> f64 {
    if a.is_nan() || b.is_nan() { f64::NAN } else { a.max(b) }
}

impl Default for Arena {
    fn default() -> Arena {
        Arena::new()
    }
}

impl Arena {
    /// None yet.
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

    /// Room for an output.
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

    /// An operand's value.
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

    /// Adds an operation whose outputs are compared by their values.
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
    ///
    /// # Errors
    /// As for [`Gpu::new`] and [`Gpu::run`].
    pub async fn run(&self, gpu: &GpuDevice) -> Result<BTreeMap<Space, Vec<f32>>> {
        let mut session = Gpu::new(gpu.clone(), self.plan()).await?;
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
        Ok(results)
    }

    /// Runs all cases on the twin and on the device in these shapes of kernels, with subgroups and without where
    /// that makes a difference, and compares.
    ///
    /// # Errors
    /// As for [`Arena::run`].
    pub async fn check(&self, gpu: &GpuDevice, variants: &[Variant]) -> Result<Vec<Line>> {
        let mut twin = Cpu::<f64>::new(self.plan());
        for (&space, values) in &self.reals {
            twin.memory.load(space, 0, &values.iter().map(|&value| value as f64).collect::<Vec<_>>());
        }
        twin.memory.load_order(&self.order);
        twin.memory.load_bytes(0, &self.bytes);
        twin.run(&[(0, STEP)]);

        let merging = |case: &Case| merges(case.op.describe().dispatch(gpu.variant()).shader);
        let mut devices = vec![gpu.clone()];
        devices.extend(
            (gpu.has_subgroups() && self.cases.iter().any(merging)).then(|| gpu.clone().without_subgroups()),
        );
        let mut lines = vec![];
        for (device, &variant) in devices.iter().flat_map(|gpu| variants.iter().map(move |v| (gpu, v))) {
            let device = device.clone().with_variant(variant);
            let results = self.run(&device).await?;
            lines.extend(self.compare(&device, &results, &twin));
        }
        Ok(lines)
    }

    fn compare(&self, gpu: &GpuDevice, results: &BTreeMap<Space, Vec<f32>>, twin: &Cpu<f64>) -> Vec<Line> {
        let variant = gpu.variant();
        let empty = |op: &Op| {
            let subgroups = gpu.has_subgroups() && merges(op.describe().dispatch(variant).shader);
            Line { op: op.name(), variant, subgroups, cases: 0, worst: 0.0, failures: vec![] }
        };
        let mut guards: BTreeMap<Space, Vec<bool>> = BTreeMap::new();
        let mut lines: BTreeMap<&str, Line> = BTreeMap::new();
        for Case { op, outputs } in &self.cases {
            let line = lines.entry(op.name()).or_insert_with(|| empty(op));
            line.cases += 1;
            for &(tensor, measure) in outputs {
                let (kernel, twin) = (&results[&tensor.space], twin.memory.get(tensor.space));
                let name = || format!("{} of {} models", op.describe().shapes(), tensor.models);
                let guard = guards.entry(tensor.space).or_insert_with(|| {
                    self.reals[&tensor.space].iter().map(|value| value.is_nan()).collect()
                });
                for (model, row) in rows(tensor) {
                    let start = slot_at(tensor, model, row);
                    guard[start..start + tensor.ld()].fill(false);
                    let padding = &kernel[start + tensor.cols..start + tensor.ld()];
                    if padding.iter().any(|&value| value != 0.0) {
                        line.failures.push(format!("{}: padding {padding:?} of row {row}", name()));
                    }
                }
                let error = error(tensor, measure, kernel, twin);
                line.worst = larger(line.worst, error);
                if error.is_nan() || error > TOLERANCE {
                    line.failures.push(format!("{}: {:?} off by {error:.1e}", name(), tensor.space));
                }
            }
        }
        for (space, guard) in guards {
            let written = |(i, guarded): (usize, bool)| guarded && results[&space][i].is_finite();
            let count = guard.into_iter().enumerate().filter(|&place| written(place)).count();
            if count > 0 {
                let failure = format!("{count} elements beside the operands of {space:?} written");
                lines.values_mut().for_each(|line| line.failures.push(failure.clone()));
            }
        }
        lines.into_values().collect()
    }
}

/// A number of mean 0 and deviation 1: the sum of three uniform ones.
pub fn normal(random: &mut ChaCha8Rng) -> f64 {
    (0..3).map(|_| 2.0 * random.random::<f64>() - 1.0).sum()
}

/// A session of a single program of these operations.
pub fn plan(ops: Vec<Op>, spaces: BTreeMap<Space, usize>) -> Plan {
    let labels = vec![String::new(); ops.len()];
    let programs = vec![Program::new(Mode::Train, 1, ops, labels)];
    let spec = Spec { task: Task::Regression, layers: vec![] };
    let layout = Layout::new(&spec, 1);
    let data = DataShape { examples: 1, features: 1, bytes: false, places: 1 };
    let (rule, form) = (Rule::Sgd, Form::Plain);
    Plan {
        spec,
        models: 1,
        at_once: usize::MAX,
        data,
        layout,
        rule,
        form,
        programs,
        record: 4,
        slots: 1,
        spaces,
    }
}

/// Model and row of every row of a tensor.
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
            let of_rows = |first: usize| {
                let starts = (first..tensor.rows).step_by(3).map(|row| slot_at(tensor, model, row));
                starts.flat_map(|start| start..start + tensor.cols).collect::<Vec<_>>()
            };
            let variance = largest(&of_rows(2)).max(tiny);
            for i in of_rows(0) {
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
