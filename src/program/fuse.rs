//! Fusion: a program rewritten so that fewer dispatches move less. Each rule matches operations that follow
//! one another, where what the first writes is read by the next alone.

use crate::ops::{
    BatchNorm, BatchNormGradient, BatchNormReduce, BatchNormTrain, LossTotal, MatMul, Op, Product,
};

use super::Program;

/// Minibatches up to this many rows are normalized in one dispatch, by invocations that own whole columns;
/// larger ones keep the reduction and the pass over the matrix apart, as the latter has more to share out.
const ROWS_OF_A_COLUMN: usize = 1024;

/// Applies the rules from the first operation to the last. Of what is fused they make no more.
pub fn fuse(program: Program) -> Program {
    up_to(ROWS_OF_A_COLUMN, program)
}

/// The same with whole columns of any length.
pub fn whole_columns(program: Program) -> Program {
    up_to(usize::MAX, program)
}

fn up_to(rows_of_a_column: usize, program: Program) -> Program {
    let Program { mode, rows, ops, labels, .. } = program;
    let mut fused = Program::new(mode, rows, vec![], vec![]);
    let mut at = 0;
    while at < ops.len() {
        let (op, count) = rewrite(&ops[at..], rows_of_a_column);
        // The layer is that of the operation which takes the activation in.
        let takes = |op: &Op| !matches!(op, Op::Activation(_) | Op::ActivationBackward(_));
        let main = ops[at..at + count].iter().position(takes).unwrap_or(0);
        fused.ops.push(op);
        fused.labels.push(labels[at + main].clone());
        at += count;
    }
    fused
}

/// What the first operations become, and how many of them.
fn rewrite(ops: &[Op], most: usize) -> (Op, usize) {
    match ops {
        // Forward: statistics, normalization and activation of a minibatch.
        [Op::ColumnStats(stats), Op::BatchNorm(norm), rest @ ..] if stats.x.rows <= most => {
            let (norm, count) = with_activation(norm, rest);
            (BatchNormTrain { stats: stats.clone(), norm }.into(), 1 + count)
        }
        // Forward, with running statistics or in large minibatches: normalization and activation.
        [Op::BatchNorm(norm), rest @ ..] => {
            let (norm, count) = with_activation(norm, rest);
            (norm.into(), count)
        }
        // Backward: slope of the activation, gradients of gamma and beta, gradient of the input.
        [Op::ActivationBackward(slope), Op::BatchNormReduce(_), Op::BatchNormBackward(norm), ..]
            if norm.reduce.dy == slope.dx && slope.y.rows <= most =>
        {
            let reduce = BatchNormReduce {
                dy: slope.dy,
                slope: Some((slope.function, slope.y)),
                ..norm.reduce.clone()
            };
            let mut norm = norm.clone();
            norm.reduce = reduce;
            (BatchNormGradient(norm).into(), 3)
        }
        [Op::BatchNormReduce(reduce), Op::BatchNormBackward(norm), ..] if reduce.x.rows <= most => {
            (BatchNormGradient(norm.clone()).into(), 2)
        }
        // Forward: product, bias and activation.
        [Op::MatMul(product), Op::Activation(activation), ..]
            if activation.x == product.out && product.function.is_none() =>
        {
            let function = Some(activation.function);
            (MatMul { function, out: activation.out, ..product.clone() }.into(), 2)
        }
        // Backward: product and slope of the activation, where no batch normalization takes the slope.
        [Op::MatMul(product), Op::ActivationBackward(slope), rest @ ..]
            if product.product == Product::AB
                && slope.dy == product.out
                && product.slope.is_none()
                && !matches!(rest, [Op::BatchNormReduce(_), ..]) =>
        {
            let of_y = Some((slope.function, slope.y));
            (MatMul { slope: of_y, out: slope.dx, ..product.clone() }.into(), 2)
        }
        // The metrics of each row and their sum.
        [Op::Loss(loss), Op::ColumnSum(sum), ..] if loss.logits.rows <= most => {
            (LossTotal { loss: loss.clone(), sum: sum.clone() }.into(), 2)
        }
        _ => (ops[0].clone(), 1),
    }
}

/// A batch normalization with the activation that follows, if one does; and how many operations that is.
fn with_activation(norm: &BatchNorm, rest: &[Op]) -> (BatchNorm, usize) {
    match rest {
        [Op::Activation(activation), ..] if activation.x == norm.out && norm.function.is_none() => {
            let function = Some(activation.function);
            (BatchNorm { function, out: activation.out, ..norm.clone() }, 2)
        }
        _ => (norm.clone(), 1),
    }
}
