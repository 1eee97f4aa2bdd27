//! Products with the batch normalization that follows, where one workgroup has all rows.

use super::{Mode, Program};
use crate::ops::*;

/// A fused training program whose products by lanes, of few rows, are one with the batch normalization of what they write,
/// and with that which their gradient goes through.
pub fn in_columns(program: Program) -> Program {
    // Elsewhere what is normalized may take the place of what was multiplied.
    if program.mode != Mode::Train {
        return program;
    }
    let Program { ops, labels, .. } = &program;
    let mut joined = Program { ops: vec![], labels: vec![], ..program.clone() };
    let mut at = 0;
    while at < ops.len() {
        let (op, count) = join(&ops[at..]).map_or_else(|| (ops[at].clone(), 1), |op| (op, 2));
        joined.ops.push(op);
        joined.labels.push(labels[at].clone());
        at += count;
    }
    joined
}

/// What the first two operations become, if one dispatch can be both.
fn join(ops: &[Op]) -> Option<Op> {
    let [Op::MatMul(product), next, ..] = ops else { return None };
    let alone = product.bias.is_none() && product.function.is_none() && product.slope.is_none();
    let by_lanes = matches!(product.tile, Some(Tile::Lanes { .. }));
    if !alone || !by_lanes || product.out.rows > ROWS_OF_A_PRODUCT {
        return None;
    }
    match next {
        Op::BatchNormTrain(norm) if product.product == Product::ABt && norm.stats.x == product.out => {
            Some(MatMulNorm { product: product.clone(), norm: norm.clone() }.into())
        }
        Op::BatchNormGradient(BatchNormGradient(norm))
            if product.product == Product::AB && norm.reduce.dy == product.out =>
        {
            let product = MatMul { slope: norm.reduce.slope, ..product.clone() };
            let mut norm = norm.clone();
            norm.reduce.slope = None;
            Some(MatMulThroughNorm { product, gradient: BatchNormGradient(norm) }.into())
        }
        _ => None,
    }
}
