use std::ops::Range;

use super::aligned::Aligned;
use super::pool::{free, parts, share_items};
use super::{Memory, Real, Twin};
use crate::ops::{Step, Tensor};

/// Matrices with at least this many elements are shared out over threads: some ten microseconds of one.
const ELEMENTS_FOR_THREADS: usize = 1 << 15;

/// A twin that writes one matrix a model, each row by itself.
pub trait Rowwise: Sync {
    /// What it writes.
    fn output(&self) -> Tensor;

    /// Writes some rows of a model, the first of which `out` begins with. To be inlined always, as [`Twin::write`].
    fn write_rows<T: Real>(
        &self,
        out: &mut [T],
        rows: Range<usize>,
        model: usize,
        memory: &Memory<T>,
        step: &Step,
    );
}

impl<T: Real, W: Rowwise> Twin<T, 1> for W {
    fn outputs(&self) -> [Tensor; 1] {
        [self.output()]
    }

    #[inline(always)]
    fn write(&self, [out]: [&mut [T]; 1], memory: &Memory<T>, step: &Step) {
        let tensor = self.output();
        for model in 0..tensor.models {
            let start = tensor.at(model, 0, step.slot as usize);
            let out = &mut out[start..][..tensor.rows * tensor.ld()];
            if out.len() < ELEMENTS_FOR_THREADS {
                self.write_rows(out, 0..tensor.rows, model, memory, step);
                continue;
            }
            let count = tensor.rows.div_ceil(parts());
            let shares = out.chunks_mut(count * tensor.ld()).enumerate();
            share_items(shares, |(part, out)| {
                let rows = part * count..tensor.rows.min((part + 1) * count);
                pulp::Arch::new().dispatch(Share { twin: self, out, rows, model, memory, step });
            });
        }
    }
}

/// Elements up to which each thread has a copy: in f32 half a MiB, half of most second caches.
const ELEMENTS_TO_COPY: usize = 1 << 17;

impl<T: Real> Memory<T> {
    /// Runs the twin on every thread, each for a copy of its own, if the threads are free and the matrix is one that they
    /// would share: writing to rows that another core has read, and reading rows that it has written, takes longer than
    /// doing all of it.
    pub fn run_for_each(&mut self, twin: &impl Rowwise, step: &Step) {
        let tensor = twin.output();
        let size = tensor.rows * tensor.ld();
        if tensor.models > 1 || !(ELEMENTS_FOR_THREADS..=ELEMENTS_TO_COPY).contains(&size) || !free() {
            return self.run(twin, step);
        }
        let mut copies = std::mem::take(&mut self.copies);
        copies.resize(parts() - 1, Aligned::default());
        copies.iter_mut().for_each(|copy| copy.grow(size));
        let mut space = std::mem::take(&mut self.spaces[tensor.space.index()]);
        let first = &mut space[tensor.at(0, 0, step.slot as usize)..][..size];
        let all = std::iter::once(first).chain(copies.iter_mut().map(|copy| &mut copy[..size]));
        share_items(all, |out| {
            pulp::Arch::new().dispatch(Share {
                twin,
                out,
                rows: 0..tensor.rows,
                model: 0,
                memory: self,
                step,
            });
        });
        self.spaces[tensor.space.index()] = space;
        (self.copies, self.copied) = (copies, Some(tensor));
    }

    /// A model's matrix as [`Memory::matrix`] has it: the copy of a part's thread, if there is one.
    pub fn copy(&self, tensor: Tensor, model: usize, part: usize) -> &[T] {
        match self.copies.get(part.wrapping_sub(1)) {
            Some(copy) if self.copied == Some(tensor) => &copy[..tensor.rows * tensor.ld()],
            _ => self.matrix(tensor, model),
        }
    }
}

/// A thread's rows, for [`pulp`] to compile.
struct Share<'a, T, W> {
    twin: &'a W,
    out: &'a mut [T],
    rows: Range<usize>,
    model: usize,
    memory: &'a Memory<T>,
    step: &'a Step,
}

impl<T: Real, W: Rowwise> pulp::NullaryFnOnce for Share<'_, T, W> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        self.twin.write_rows(self.out, self.rows, self.model, self.memory, self.step);
    }
}

#[cfg(test)]
mod tests {
    use super::super::Data;
    use super::*;
    use crate::ops::{Activation, Function, Optimizer, Rule, Space};

    fn memory(spaces: &[(Space, Vec<f32>)]) -> Memory<f32> {
        let data = std::sync::Arc::new(Data::default());
        let mut memory = Memory { data, spaces: vec![], order: vec![], copies: vec![], copied: None };
        for (space, values) in spaces {
            memory.spaces.resize(memory.spaces.len().max(space.index() + 1), Aligned::default());
            memory.spaces[space.index()] = Aligned::zeroed(values.len());
            memory.spaces[space.index()].copy_from_slice(values);
        }
        memory
    }

    fn values(count: usize) -> Vec<f32> {
        (0..count).map(|i| (i * 7919 % 1000) as f32 / 250.0 - 2.0).collect()
    }

    #[test]
    fn rows_that_threads_share_are_all_written_and_padding_is_not() {
        let x = Tensor::alone(Space::Scratch(0), 2, 701, 61);
        let out = Tensor { space: Space::Scratch(1), ..x };
        let mut memory = memory(&[(x.space, values(x.end(1))), (out.space, vec![9.0; out.end(1)])]);
        memory.run(&Activation { function: Function::Relu, x, out }, &Step::default());
        let ld = x.ld();
        for (i, (got, x)) in memory.get(out.space).iter().zip(memory.get(x.space)).enumerate() {
            assert_eq!(*got, if i % ld < 61 { x.max(0.0) } else { 9.0 }, "element {i}");
        }
    }

    #[test]
    fn copies_of_threads_are_the_matrix_until_its_space_is_written_to() {
        let x = Tensor::alone(Space::Scratch(0), 1, 701, 61);
        let out = Tensor { space: Space::Scratch(1), ..x };
        let mut memory = memory(&[(x.space, values(x.end(1))), (out.space, vec![9.0; out.end(1)])]);
        let activation = |function| Activation { function, x, out };
        let expected = |memory: &Memory<f32>, of: fn(f32) -> f32| {
            for part in 0..parts() {
                let rows = memory.copy(out, 0, part).chunks(out.ld()).zip(memory.matrix(x, 0).chunks(x.ld()));
                let mut values = rows.flat_map(|(out, x)| out[..61].iter().zip(x));
                assert!(values.all(|(out, &x)| (out - of(x)).abs() < 1e-6), "part {part}");
            }
        };
        // Until the threads are free: other tests have them, too.
        while parts() > 1 && memory.copied != Some(out) {
            memory.run_for_each(&activation(Function::Relu), &Step::default());
        }
        expected(&memory, |x| x.max(0.0));
        memory.run(&activation(Function::Tanh), &Step::default());
        expected(&memory, f32::tanh);
        assert_eq!(memory.copied, None);
    }

    #[test]
    fn parameters_that_threads_share_are_all_updated_with_their_own_decay() {
        const COUNT: usize = 80_000;
        const DECAYED: usize = 40_004;
        let theta = Tensor::alone(Space::Params, 1, 1, COUNT);
        let (params, grads, moment) = (values(COUNT), values(COUNT + 1), values(COUNT + 2));
        let mut memory = memory(&[
            (Space::Params, params.clone()),
            (Space::Grads, grads.clone()),
            (Space::Moment1, moment.clone()),
            (Space::Hyper, vec![0.5, 0.25, 0.125, 0.0]),
        ]);
        let rule = Rule::Momentum { momentum: 0.5, nesterov: false };
        let step = Step { lr_factor: 1.0, ..Step::default() };
        // The last of the decayed elements are of no matrix that is named.
        let weights = vec![Tensor { rows: 101, cols: 347, ..theta }, Tensor { rows: 9, cols: 4, ..theta }];
        memory.run(&Optimizer { rule, theta, decayed: DECAYED, weights }, &step);
        for i in 0..COUNT {
            let (l2, decay) = if i < DECAYED { (0.25, 0.125) } else { (0.0, 0.0) };
            let u = 0.5 * moment[i] + (grads[i] + l2 * params[i]);
            assert_eq!(memory.get(Space::Moment1)[i], u, "moment {i}");
            assert_eq!(
                memory.get(Space::Params)[i],
                params[i] * (1.0 - 0.5 * decay) - 0.5 * u,
                "parameter {i}"
            );
        }
    }
}
