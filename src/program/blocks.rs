//! Large minibatches on GPUs that are not put into stages: products leave the statistics of their blocks of rows, so
//! that no dispatch goes over whole columns before they are normalized.

use super::{Mode, Program, ROWS_IN_STAGES};
use crate::ops::{BatchNormMerged, BatchNormTrain, MatMul, MatMulMoments, Op, Product, Space, Tensor};

/// A fused training program of more rows than are staged, with each product and the batch normalization that follows
/// it by blocks of rows.
pub fn in_blocks(program: Program) -> Program {
    if program.mode != Mode::Train || program.rows <= ROWS_IN_STAGES {
        return program;
    }
    let Program { mode, rows, ops, labels, .. } = program;
    let spaces = ops.iter().flat_map(|op| op.describe().operands()).map(|operand| operand.tensor.space);
    let mut scratch =
        spaces.filter_map(|space| if let Space::Scratch(n) = space { Some(n + 1) } else { None }).max();
    let mut blocked = Program::new(mode, rows, vec![], vec![]);
    let mut at = 0;
    while at < ops.len() {
        let (new, count) = match &ops[at..] {
            [Op::MatMul(product), Op::BatchNormTrain(norm), ..] => (pair(product, norm, &mut scratch), 2),
            [Op::MatMul(product), Op::ColumnStats(stats), Op::BatchNorm(norm), ..] => {
                let norm = BatchNormTrain { stats: stats.clone(), norm: norm.clone() };
                (pair(product, &norm, &mut scratch), 3)
            }
            _ => (None, 1),
        };
        let (new, count) = new.map_or_else(|| (vec![ops[at].clone()], 1), |new| (new.to_vec(), count));
        // A product keeps its label, and what normalizes that of the last operation it takes in.
        let last = blocked.labels.len() + new.len();
        blocked.labels.push(labels[at].clone());
        blocked.labels.resize(last, labels[at + count - 1].clone());
        blocked.ops.extend(new);
        at += count;
    }
    blocked
}

/// Both by blocks of rows.
fn pair(product: &MatMul, norm: &BatchNormTrain, scratch: &mut Option<u16>) -> Option<[Op; 2]> {
    if product.product != Product::ABt || product.out != norm.norm.x {
        return None;
    }
    let (block, number) = (MatMulMoments::block(product), scratch.as_mut()?);
    let rows = 3 * product.out.rows.div_ceil(block);
    let moments = Tensor::alone(Space::Scratch(*number), product.out.models, rows, product.out.cols);
    *number += 1;
    let BatchNormTrain { stats, norm } = norm.clone();
    Some([
        MatMulMoments { product: product.clone(), moments }.into(),
        BatchNormMerged { moments, block, stats, norm }.into(),
    ])
}
