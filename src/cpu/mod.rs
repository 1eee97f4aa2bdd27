//! The CPU backend: runs the operations' twins on host memory. In `f32` it is the backend of a
//! machine without an adapter; in `f64` it is the oracle that every kernel is tested against.

mod product;

use std::collections::HashMap;

use num_traits::{Float, NumAssign};

use crate::ops::{Space, Step, Tensor};
use crate::program::Plan;
pub use product::product;

/// `f32` or `f64`.
pub trait Real: Float + NumAssign + Send + Sync + std::fmt::Debug + 'static {
    /// The nearest value.
    fn of(value: f64) -> Self;
}

impl Real for f32 {
    fn of(value: f64) -> f32 {
        value as f32
    }
}

impl Real for f64 {
    fn of(value: f64) -> f64 {
        value
    }
}

/// The spaces of a session, on the host.
pub struct Memory<T> {
    spaces: HashMap<Space, Vec<T>>,
    bytes: Vec<u8>,
    order: Vec<u32>,
}

impl<T: Real> Memory<T> {
    /// All spaces of a plan, zeroed.
    pub fn new(plan: &Plan) -> Memory<T> {
        let mut memory = Memory { spaces: HashMap::new(), bytes: vec![], order: vec![] };
        for (&space, &elements) in &plan.spaces {
            match space {
                Space::Bytes => memory.bytes = vec![0; elements],
                Space::Order => memory.order = vec![0; elements],
                _ => drop(memory.spaces.insert(space, vec![T::zero(); elements])),
            }
        }
        memory
    }

    /// A space of reals; empty if no program uses it.
    pub fn get(&self, space: Space) -> &[T] {
        self.spaces.get(&space).map_or(&[], Vec::as_slice)
    }

    /// The data set's bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Overwrites a space of reals from its beginning.
    pub fn load(&mut self, space: Space, values: &[f64]) {
        let to = self.spaces.get_mut(&space).map_or(&mut [][..], Vec::as_mut_slice);
        to[..values.len()].iter_mut().zip(values).for_each(|(to, &value)| *to = T::of(value));
    }

    /// Overwrites the data set's bytes from their beginning.
    pub fn load_bytes(&mut self, values: &[u8]) {
        self.bytes[..values.len()].copy_from_slice(values);
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

    /// The row of the data set that a row of the minibatch comes from.
    pub fn source(&self, order: Tensor, model: usize, step: &Step, row: usize) -> usize {
        self.order[order.at(model, 0, 0) + step.first as usize + row] as usize
    }

    /// Lends the space of `tensor` out for writing, with the rest of the memory for reading.
    pub fn update(&mut self, tensor: Tensor, write: impl FnOnce(&mut [T], &mut Memory<T>)) {
        let Some(space) = self.spaces.get_mut(&tensor.space) else { return write(&mut [], self) };
        let mut lent = std::mem::take(space);
        write(&mut lent, self);
        self.spaces.insert(tensor.space, lent);
    }
}

/// A session on the CPU.
pub struct Cpu<T> {
    plan: Plan,
    /// Everything that the programs read and write.
    pub memory: Memory<T>,
}

impl<T: Real> Cpu<T> {
    /// Allocates all that the plan will run.
    pub fn new(plan: Plan) -> Cpu<T> {
        Cpu { memory: Memory::new(&plan), plan }
    }

    /// What the session was made for.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Runs steps, each by the program of that number; returns their records of the log.
    pub fn run(&mut self, steps: &[(usize, Step)]) -> Vec<f64> {
        for (program, step) in steps {
            for op in &self.plan.programs[*program].ops {
                op.run(&mut self.memory, step);
            }
        }
        let log = self.memory.get(Space::Log);
        let length = (steps.len() * self.plan.models * self.plan.record).min(log.len());
        log[..length].iter().map(|value| value.to_f64().unwrap_or(f64::NAN)).collect()
    }
}
