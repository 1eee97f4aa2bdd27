//! Which part of a step's first layer each thread has, where threads have all else.

use std::ops::Range;

use super::product::units;
use crate::ops::{LossTotal, MatMul, Op, Product, Tensor};
use crate::program::{Mode, Program};

/// A layer whose product has at least so many FLOPs is shared: some ten microseconds of one thread.
const FLOPS_TO_SHARE: usize = 2_000_000;

/// What a thread has of the first layer.
pub struct Share {
    pub weight: Tensor,
    pub units: Range<usize>,
}

/// A training step whose first layer is large, and no other.
pub struct Split {
    pub weight: Tensor,
    /// What the first layer passes on, and the place of the operation that needs all of it.
    pub passed: Tensor,
    pub whole: usize,
    /// The place from which on all operations are the first layer's.
    pub alone: usize,
}

impl Split {
    /// None if threads do not run the program so.
    pub fn of(program: &Program) -> Option<Split> {
        let ops = &program.ops[..];
        let product = |at: &usize| if let Op::MatMul(product) = &ops[*at] { Some(product) } else { None };
        let is_large =
            |product: &MatMul| product.sizes().into_iter().fold(2, usize::saturating_mul) >= FLOPS_TO_SHARE;
        let large: Vec<usize> = (0..ops.len()).filter(|at| product(at).is_some_and(is_large)).collect();
        let last = (0..ops.len()).rev().find(|at| product(at).is_some())?;
        if program.mode != Mode::Train || large != [1, last] {
            return None;
        }
        use Op::{Activation, BatchNorm, BatchNormTrain, ColumnStats, Dropout};
        let by_units = |op: &Op| {
            matches!(op, Activation(_) | Dropout(_) | ColumnStats(_) | BatchNorm(_) | BatchNormTrain(_))
        };
        let whole = (2..last).find(|&at| !by_units(&ops[at]))?;
        let passed = match &ops[whole] {
            Op::MatMul(product) => product.a,
            Op::Loss(loss) | Op::LossTotal(LossTotal { loss, .. }) => loss.logits,
            _ => return None,
        };
        let through = |at: &usize| product(at).is_some_and(|product| product.product == Product::AB);
        let alone = (0..last).rev().find(through).unwrap_or(last);
        Some(Split { weight: product(&1)?.b, passed, whole, alone })
    }

    pub fn units(&self, part: usize) -> Range<usize> {
        units(part, self.weight.rows, self.weight.cols)
    }

    /// Where a tensor of the first layer has a thread's units: rows of the weight, elsewhere columns.
    pub fn places(&self, tensor: Tensor, part: usize, slot: u32) -> impl Iterator<Item = Range<usize>> {
        let units = self.units(part);
        let by_rows = tensor.offset == self.weight.offset && tensor.space == self.weight.space;
        let (rows, width) = if by_rows { (units.clone(), 0..tensor.ld()) } else { (0..tensor.rows, units) };
        rows.map(move |row| tensor.at(0, row, slot as usize)).map(move |at| at + width.start..at + width.end)
    }
}
