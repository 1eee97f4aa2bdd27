use std::ops::Range;

use super::{Describe, Dispatch, Operand, Params, Space, Step, Tensor, Variant, elementwise, read, write};
use crate::cpu::{Memory, Real, Rowwise, rows_of};

/// Inverted dropout (Srivastava et al. 2014, scaled in training as PyTorch does).
///
/// ```text
/// out = x · mask / (1 − p),   mask ∈ {0, 1} kept with probability 1 − p; 1 where x is not finite
/// ```
///
/// The mask is a pure function of the model's key, the update, the layer, row and column. The same
/// operation on dy is therefore the backward pass.
#[derive(Clone, Debug)]
pub struct Dropout {
    pub x: Tensor,
    pub out: Tensor,
    pub p: f64,
    pub layer: u32,
}

/// PCG-RXS-M-XS (Jarzynski and Olano 2020, "Hash Functions for GPU Rendering").
fn pcg(seed: u32) -> u32 {
    let state = seed.wrapping_mul(747796405).wrapping_add(2891336453);
    let word = ((state >> ((state >> 28) + 4)) ^ state).wrapping_mul(277803737);
    (word >> 22) ^ word
}

/// Whether dropout keeps an element.
pub fn keep(p: f64, key: u32, layer: u32, number: u32, row: u32, column: u32) -> bool {
    let stream = pcg(pcg(pcg(key) ^ layer) ^ number);
    pcg(pcg(stream ^ row) ^ column) >= threshold(p)
}

/// A draw below this is dropped.
fn threshold(p: f64) -> u32 {
    (p * 2f64.powi(32)) as u32
}

/// What a value that is kept is multiplied by, `1 / (1 − p)`.
fn scale(p: f64) -> f64 {
    1.0 / (1.0 - p)
}

/// What a kernel knows of it: layer, threshold and scale; nothing is dropped where there is none.
pub(super) fn numbers(dropout: Option<&Dropout>) -> [u32; 3] {
    dropout
        .map_or([0; 3], |dropout| [dropout.layer, threshold(dropout.p), (scale(dropout.p) as f32).to_bits()])
}

/// As a part of what [`Describe::shapes`] has.
pub(super) fn shown(dropout: Option<&Dropout>) -> String {
    dropout.map_or(String::new(), |dropout| format!(", dropout {}", dropout.p))
}

impl Dropout {
    pub(super) fn hyper(&self) -> Tensor {
        Tensor::alone(Space::Hyper, self.x.models, 1, 4)
    }
}

impl Rowwise for Dropout {
    fn output(&self) -> Tensor {
        self.out
    }

    #[inline(always)]
    fn write_rows<T: Real>(
        &self,
        out: &mut [T],
        rows: Range<usize>,
        model: usize,
        memory: &Memory<T>,
        step: &Step,
    ) {
        let scale = T::of(scale(self.p));
        let key = memory.row(self.hyper(), model, 0)[3].to_u32().unwrap_or(0);
        for (out, row) in rows_of(out, self.out).zip(rows) {
            for (column, (y, &x)) in out.iter_mut().zip(memory.row(self.x, model, row)).enumerate() {
                let keep = keep(self.p, key, self.layer, step.number, row as u32, column as u32);
                *y = if keep || !x.is_finite() { x * scale } else { T::zero() };
            }
        }
    }
}

impl Describe for Dropout {
    fn operands(&self) -> Vec<Operand> {
        vec![read("x", self.x), read("hyper", self.hyper()), write("out", self.out)]
    }

    fn flops(&self) -> u64 {
        self.out.elements()
    }

    fn dispatch(&self, variant: Variant) -> Dispatch {
        let [layer, threshold, scale] = numbers(Some(self));
        let numbers = [self.out.rows as u32, self.out.cols as u32, layer, threshold, scale];
        let params = Params::new(&[self.x, self.hyper(), self.out], &numbers);
        elementwise("dropout", "main", params, self.out, variant)
    }

    fn shapes(&self) -> String {
        format!("p = {} of {}×{}", self.p, self.out.rows, self.out.cols)
    }
}
