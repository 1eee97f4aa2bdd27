//! The CPU backend: runs the operations' twins on host memory. In `f32` it is the backend of a
//! machine without an adapter; in `f64` it is the oracle that every kernel is tested against.

mod aligned;
mod columns;
mod copies;
mod in_place;
mod lanes;
mod models;
mod out;
mod pool;
mod product;
mod replicas;
mod rows;
mod split;
mod tiles;

use std::sync::Arc;

use num_traits::{Float, NumAssign};

use crate::ops::{Op, Operand, Space, Step, Tensor};
use crate::program::{Plan, Program};
use aligned::Aligned;
pub use columns::{Columnwise, Down, Part, Strip, Wide};
use in_place::{Task, Weight};
pub use models::Models;
pub(crate) use pool::{LINE, part_of, parts, share_items};
pub use product::product;
pub(crate) use product::{product_of, side_by_side};
pub use rows::Rowwise;
pub(crate) use split::Share;
pub(crate) use tiles::Descent;

/// `f32` or `f64`.
pub trait Real: Float + NumAssign + Default + lanes::Lanes + Send + Sync + std::fmt::Debug + 'static {
    /// The nearest value.
    fn of(value: f64) -> Self;

    /// A byte's value.
    fn of_byte(byte: u8) -> Self;

    /// `eˣ`, in a form that loops over it vectorize.
    fn exponential(self) -> Self;

    /// Runs an operation's twin. Not generic, so that the twins are compiled with this crate and not again with each
    /// that uses it.
    fn run(op: &Op, memory: &mut Memory<Self>, step: &Step);

    /// Runs what moves a weight in place.
    fn run_weight(weight: &Weight, memory: &mut Memory<Self>, step: &Step);

    /// Runs what a thread has of an operation.
    fn run_part(op: &Op, memory: &mut Memory<Self>, step: &Step, share: &Share);
}

impl Real for f32 {
    fn of(value: f64) -> f32 {
        value as f32
    }

    fn of_byte(byte: u8) -> f32 {
        byte.into()
    }

    /// To 2 units in the last place: `2ⁿ · e^r` with r in ±ln(2)/2 and e^r by its series. A NaN stays one.
    #[inline(always)]
    fn exponential(self) -> f32 {
        // Beyond these the result is 0 or infinite; comparisons leave a NaN as it is.
        let x = if self > 89.0 { 89.0 } else { self };
        let x = if x < -104.0 { -104.0 } else { x };
        // Adding 1.5·2²³ leaves a whole number in the low bits.
        const ROUND: f32 = 12_582_912.0;
        let rounded = x * std::f32::consts::LOG2_E + ROUND;
        let n = rounded - ROUND;
        // ln(2) in two parts, so that n · ln(2) loses nothing.
        let r = (x - n * 0.693_359_4) + n * 2.121_944_4e-4;
        let series = [1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0];
        let mut power = 1.0 / 5040.0;
        for term in series {
            power = power * r + term;
        }
        // 2ⁿ in two factors, as 2¹²⁸ and the subnormal numbers are out of the exponent's reach.
        let n = rounded.to_bits().wrapping_sub(ROUND.to_bits()) as i32;
        let two_to = |n: i32| f32::from_bits((n.wrapping_add(127) << 23) as u32);
        power * two_to(n >> 1) * two_to(n.wrapping_sub(n >> 1))
    }

    fn run(op: &Op, memory: &mut Memory<f32>, step: &Step) {
        op.run(memory, step);
    }

    fn run_weight(weight: &Weight, memory: &mut Memory<f32>, step: &Step) {
        memory.run(weight, step);
    }

    fn run_part(op: &Op, memory: &mut Memory<f32>, step: &Step, share: &Share) {
        op.run_part(memory, step, share);
    }
}

impl Real for f64 {
    fn of(value: f64) -> f64 {
        value
    }

    fn of_byte(byte: u8) -> f64 {
        byte.into()
    }

    fn exponential(self) -> f64 {
        self.exp()
    }

    fn run(op: &Op, memory: &mut Memory<f64>, step: &Step) {
        op.run(memory, step);
    }

    fn run_weight(weight: &Weight, memory: &mut Memory<f64>, step: &Step) {
        memory.run(weight, step);
    }

    fn run_part(op: &Op, memory: &mut Memory<f64>, step: &Step, share: &Share) {
        op.run_part(memory, step, share);
    }
}

/// The spaces of the data set: they come first, by [`Space::index`].
#[derive(Clone, Default)]
struct Data<T> {
    spaces: [Aligned<T>; Space::Order.index()],
    bytes: Vec<u8>,
}

/// The spaces of a session, on the host.
pub struct Memory<T> {
    /// One for all models that [`Models`] has.
    data: Arc<Data<T>>,
    /// By [`Space::index`]; those of the data set are empty.
    spaces: Vec<Aligned<T>>,
    order: Vec<u32>,
    /// What threads other than the first have of a tensor: see [`Memory::run_for_each`].
    copies: Vec<Aligned<T>>,
    /// None once its space is written to.
    copied: Option<Tensor>,
}

impl<T: Real> Memory<T> {
    /// All spaces of a plan, zeroed.
    pub fn new(plan: &Plan) -> Memory<T> {
        let mut data = Data::default();
        for (&space, &elements) in plan.spaces.iter().filter(|(space, _)| space.is_shared()) {
            match space {
                Space::Bytes => data.bytes = vec![0; elements],
                _ => data.spaces[space.index()] = Aligned::zeroed(elements),
            }
        }
        Memory::over(Arc::new(data), plan)
    }

    /// All spaces of a plan but those of the data set, zeroed.
    fn over(data: Arc<Data<T>>, plan: &Plan) -> Memory<T> {
        let mut memory = Memory { data, spaces: vec![], order: vec![], copies: vec![], copied: None };
        let mut spaces = plan.spaces.clone();
        spaces.retain(|space, _| !space.is_shared());
        // The parts of a stage pass on what a GPU's kernel keeps to itself, and none shares a place here.
        for part in plan.programs.iter().flat_map(Program::kernels).flat_map(Op::parts) {
            let operands = part.describe().operands();
            for Operand { tensor, .. } in operands.iter().filter(|operand| !operand.tensor.space.is_shared())
            {
                let size = spaces.entry(tensor.space).or_insert(0);
                *size = tensor.end(plan.slots).max(*size);
            }
        }
        for (space, elements) in spaces {
            let index = space.index();
            memory.spaces.resize(memory.spaces.len().max(index + 1), Aligned::default());
            match space {
                Space::Order => memory.order = vec![0; elements],
                _ => memory.spaces[index] = Aligned::zeroed(elements),
            }
        }
        memory
    }

    /// A space of reals; empty if no program uses it.
    pub fn get(&self, space: Space) -> &[T] {
        let spaces = if space.is_shared() { &self.data.spaces[..] } else { &self.spaces };
        spaces.get(space.index()).map_or(&[], |space| space)
    }

    /// A space that is not of the data set, to be overwritten; empty if no program uses it.
    fn get_mut(&mut self, space: Space) -> &mut [T] {
        self.copied = self.copied.filter(|copied| copied.space != space);
        self.spaces.get_mut(space.index()).map_or(&mut [], |space| space)
    }

    /// The data set's bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.data.bytes
    }

    /// Overwrites a space of reals from a place on.
    pub fn load(&mut self, space: Space, start: usize, values: &[f64]) {
        let spaces = match space.is_shared() {
            true => &mut Arc::make_mut(&mut self.data).spaces[..],
            false => &mut self.spaces,
        };
        self.copied = self.copied.filter(|copied| copied.space != space);
        let to = spaces.get_mut(space.index()).map_or(&mut [][..], |space| space);
        to[start..][..values.len()].iter_mut().zip(values).for_each(|(to, &value)| *to = T::of(value));
    }

    /// Overwrites the data set's bytes from a place on.
    pub fn load_bytes(&mut self, start: usize, values: &[u8]) {
        Arc::make_mut(&mut self.data).bytes[start..][..values.len()].copy_from_slice(values);
    }

    /// Overwrites the order from its beginning.
    pub fn load_order(&mut self, values: &[u32]) {
        self.order[..values.len()].copy_from_slice(values);
    }

    /// The values of a row, padding left out. Not of the log, whose rows depend on the step.
    pub fn row(&self, tensor: Tensor, model: usize, row: usize) -> &[T] {
        &self.get(tensor.space)[tensor.at(model, row, 0)..][..tensor.cols]
    }

    /// A model's matrix from its first element to the end of its last row.
    pub fn matrix(&self, tensor: Tensor, model: usize) -> &[T] {
        &self.get(tensor.space)[tensor.at(model, 0, 0)..tensor.at(model, tensor.rows, 0)]
    }

    /// A model's rows, padding left out.
    pub fn rows(&self, tensor: Tensor, model: usize) -> impl Iterator<Item = &[T]> {
        self.matrix(tensor, model).chunks_exact(tensor.ld()).map(move |row| &row[..tensor.cols])
    }

    /// The rows of the data set that a minibatch comes from.
    pub fn sources(&self, order: Tensor, model: usize, step: &Step) -> &[u32] {
        &self.order[order.at(model, 0, 0) + step.first as usize..]
    }

    /// Runs a twin, compiled for the widest vectors that the processor has.
    pub fn run<const N: usize>(&mut self, twin: &impl Twin<T, N>, step: &Step) {
        let indices = twin.outputs().map(|tensor| tensor.space.index());
        self.copied = self.copied.filter(|copied| !indices.contains(&copied.space.index()));
        let mut lent =
            indices.map(|index| self.spaces.get_mut(index).map(std::mem::take).unwrap_or_default());
        let out = lent.each_mut().map(|space| &mut space[..]);
        pulp::Arch::new().dispatch(Job { twin, out, memory: self, step });
        for (index, lent) in indices.into_iter().zip(lent) {
            if let Some(space) = self.spaces.get_mut(index) {
                *space = lent;
            }
        }
    }
}

/// The CPU twin of an operation: the same meaning as the kernel, on host memory.
pub trait Twin<T, const N: usize> {
    /// What it writes, each in a space of its own.
    fn outputs(&self) -> [Tensor; N];

    /// Writes to the spaces of the outputs, which the memory lacks meanwhile. To be inlined always: it is
    /// compiled once for each kind of vectors.
    fn write(&self, out: [&mut [T]; N], memory: &Memory<T>, step: &Step);
}

/// A twin's run, for [`pulp`] to compile.
struct Job<'a, T, W, const N: usize> {
    twin: &'a W,
    out: [&'a mut [T]; N],
    memory: &'a Memory<T>,
    step: &'a Step,
}

impl<T: Real, W: Twin<T, N>, const N: usize> pulp::NullaryFnOnce for Job<'_, T, W, N> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        self.twin.write(self.out, self.memory, self.step);
    }
}

/// Rows that begin with the first element, padding left out.
pub fn rows_of<T>(out: &mut [T], tensor: Tensor) -> impl Iterator<Item = &mut [T]> {
    out.chunks_exact_mut(tensor.ld()).map(move |row| &mut row[..tensor.cols])
}

/// A model's rows of an output in its space, padding left out.
pub fn rows_mut<T>(
    space: &mut [T],
    tensor: Tensor,
    model: usize,
    slot: u32,
) -> impl Iterator<Item = &mut [T]> {
    let start = tensor.at(model, 0, slot as usize);
    let matrix = &mut space[start..start + tensor.rows * tensor.ld()];
    matrix.chunks_exact_mut(tensor.ld()).map(move |row| &mut row[..tensor.cols])
}

/// A session on the CPU, in one memory.
pub struct Cpu<T> {
    plan: Plan,
    /// By program: what a step does whose gradients nobody asks for, if there is a quicker way.
    in_place: Arc<Vec<Option<Vec<Task>>>>,
    /// Everything that the programs read and write.
    pub memory: Memory<T>,
}

impl<T: Real> Cpu<T> {
    /// Allocates all that the plan will run.
    pub fn new(plan: Plan) -> Cpu<T> {
        let in_place = Arc::new(plan.programs.iter().map(in_place::tasks).collect());
        Cpu { memory: Memory::new(&plan), plan, in_place }
    }

    /// Another session of the plan over the same data set, all else zeroed.
    fn beside(&self) -> Cpu<T> {
        let memory = Memory::over(self.memory.data.clone(), &self.plan);
        Cpu { plan: self.plan.clone(), memory, in_place: self.in_place.clone() }
    }

    /// What the session was made for.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Runs steps, each by the program of that number; returns their records of the log.
    pub fn run(&mut self, steps: &[(usize, Step)]) -> Vec<f64> {
        self.advance(steps);
        self.records(steps.len())
    }

    /// Runs steps. The last one that trains leaves the gradients of all parameters.
    fn advance(&mut self, steps: &[(usize, Step)]) {
        let last = steps.iter().rposition(|&(program, _)| self.in_place[program].is_some());
        for (i, (program, step)) in steps.iter().enumerate() {
            let Some(tasks) = self.in_place[*program].as_ref().filter(|_| Some(i) != last) else {
                let ops = &self.plan.programs[*program].ops;
                ops.iter().for_each(|op| T::run(op, &mut self.memory, step));
                continue;
            };
            for task in tasks {
                match task {
                    Task::Op(op) => T::run(op, &mut self.memory, step),
                    Task::Weight(weight) => T::run_weight(weight, &mut self.memory, step),
                }
            }
        }
    }

    /// The log's records of so many steps.
    fn records(&self, steps: usize) -> Vec<f64> {
        let log = self.memory.get(Space::Log);
        let length = (steps * self.plan.models * self.plan.record).min(log.len());
        log[..length].iter().map(|value| value.to_f64().unwrap_or(f64::NAN)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exponential_is_right_to_a_few_units() {
        for i in -11_000..9_100 {
            let x = i as f32 * 0.01;
            let (got, exact) = (f64::from(x.exponential()), f64::from(x).exp());
            // Below 2⁻¹²⁶ numbers have fewer digits.
            let allowed = 4e-7 * exact.min(3.5e38) + 2e-45;
            let fits = exact > 3.4e38 && got.is_infinite() || (got - exact).abs() <= allowed;
            assert!(fits, "exp({x}) = {got:e}, not {exact:e}");
        }
        assert!(f32::NAN.exponential().is_nan());
        assert_eq!(f32::INFINITY.exponential(), f32::INFINITY);
        assert_eq!(f32::NEG_INFINITY.exponential(), 0.0);
    }
}
