//! Products by lanes with what can be one dispatch with them: where one workgroup has all rows, the batch normalization that
//! follows and dropout, and the same backward; the loss; the gradients of a weight and its bias; and both gradients of a layer.

use super::{Mode, Program};
use crate::ops::*;

/// Rows up to which a product is by whole columns, however few workgroups those are: more rows are shared out between
/// workgroups by themselves.
pub const ROWS_OF_A_PRODUCT: usize = 256;

/// Workgroups that have enough to do for a processor's threads.
const WORKGROUPS: usize = 16;

/// A fused training program whose products by lanes are one with the batch normalization of what they write, if it has few
/// rows, and whose gradients of a layer are one with each other, and with that which they go through.
pub fn in_columns(program: Program) -> Program {
    // Elsewhere what is normalized may take the place of what was multiplied.
    if program.mode != Mode::Train {
        return program;
    }
    let Program { ops, labels, .. } = &program;
    let mut joined = Program { ops: vec![], labels: vec![], ..program.clone() };
    let mut at = 0;
    while at < ops.len() {
        let (op, count) = join(ops, at).unwrap_or_else(|| (ops[at].clone(), 1));
        joined.ops.push(op);
        joined.labels.push(labels[at].clone());
        at += count;
    }
    dropped(joined)
}

/// Dropout joined with the batch normalization before it, where nothing else reads what that puts out.
fn dropped(mut program: Program) -> Program {
    for at in (1..program.ops.len()).rev() {
        let [Op::MatMulNorm(joined), Op::Dropout(dropout)] = &program.ops[at - 1..=at] else { continue };
        let reads = |op: &Op| op.describe().operands().iter().any(|operand| operand.tensor == dropout.x);
        if program.ops[at + 1..].iter().any(reads) || joined.norm.norm.out != dropout.x {
            continue;
        }
        program.ops[at - 1] = MatMulNorm { dropout: Some(dropout.clone()), ..joined.clone() }.into();
        program.ops.remove(at);
        program.labels.remove(at);
    }
    program
}

/// A training program that updates and gathers the next step's minibatch at a time, if a kernel may bind so many buffers.
pub fn ahead(mut program: Program, buffers: u32) -> Program {
    if let [Op::Gather(gather), .., last] = &mut program.ops[..]
        && let Op::Optimizer(update) = last
    {
        let link = UpdateGather { update: update.clone(), gather: gather.clone(), gathers: true };
        if link.bindings().len() as u32 <= buffers {
            *last = UpdateGather { gathers: false, ..link.clone() }.into();
            program.link = Some(link.into());
        }
    }
    program
}

/// What the operations from a place on become, if one dispatch can be all of them, and how many they are.
fn join(all: &[Op], at: usize) -> Option<(Op, usize)> {
    let by_lanes = |product: &MatMul| matches!(product.tile, Some(Tile::Lanes { .. }));
    let [Op::MatMul(first), rest @ ..] = &all[at..] else { return None };
    if !by_lanes(first) {
        return None;
    }
    match (first.product, rest) {
        (Product::ABt, [Op::BatchNormTrain(norm), ..]) => {
            let two = first.function.is_some() && norm.norm.function.is_some();
            let joins = !two && by_columns(first) && norm.stats.x == first.out;
            joins
                .then(|| (MatMulNorm { product: first.clone(), norm: norm.clone(), dropout: None }.into(), 2))
        }
        (Product::ABt, [Op::LossTotal(loss), ..]) => {
            let joins = loss.loss.logits == first.out
                && first.bias.is_some()
                && first.function.is_none()
                && first.out.cols <= MatMulLoss::COLUMNS;
            joins.then(|| (MatMulLoss { product: first.clone(), loss: loss.clone() }.into(), 2))
        }
        (Product::AtB, [Op::ColumnSum(bias), Op::MatMul(input), rest @ ..]) => {
            gradients(first, Some(bias), input, rest, all).or_else(|| with_sum(first, bias))
        }
        (Product::AtB, [Op::ColumnSum(bias), ..]) => with_sum(first, bias),
        (Product::AtB, [Op::MatMul(input), rest @ ..]) => gradients(first, None, input, rest, all),
        (Product::AB, rest) => {
            let (through, count, x) = through(first, rest, all)?;
            let x = x.unwrap_or(through.norm.0.reduce.x);
            let (weight, bias, through) = (None, None, Some(through));
            Some((MatMulGradients { x, weight, bias, input: first.clone(), through }.into(), 1 + count))
        }
        _ => None,
    }
}

/// The gradients of a weight and its bias.
fn with_sum(weight: &MatMul, bias: &ColumnSum) -> Option<(Op, usize)> {
    let (weight, bias) = (weight.clone(), bias.clone());
    (bias.x == weight.a).then(|| (MatMulSum { weight, bias }.into(), 2))
}

/// Whether a workgroup may take all rows of its columns: if they are few, or if there are workgroups enough for the threads of
/// most processors.
fn by_columns(product: &MatMul) -> bool {
    let across = product.tile.map_or(0, |tile| product.out.cols.div_ceil(tile.block()[1]));
    product.out.rows <= ROWS_OF_A_PRODUCT || product.out.models * across >= WORKGROUPS
}

/// Both gradients of a layer, and what the second goes through. Those of large tiles are left apart: llvmpipe goes
/// through what a workgroup does not take part in, and does nothing there, which takes longer than a dispatch then.
fn gradients(
    weight: &MatMul,
    bias: Option<&ColumnSum>,
    input: &MatMul,
    rest: &[Op],
    all: &[Op],
) -> Option<(Op, usize)> {
    let small = |product: &MatMul| product.tile == Some(Tile::Lanes { double: false });
    let slope_of = input.slope.map(|(_, y)| y);
    if input.product != Product::AB
        || !small(weight)
        || !small(input)
        || input.a != weight.a
        || slope_of.is_some_and(|y| y != weight.b)
    {
        return None;
    }
    let through = through(input, rest, all).filter(|(.., x)| x.is_none_or(|x| x == weight.b));
    let (through, beside) = through.map_or((None, 0), |(through, count, _)| (Some(through), count));
    let count = 2 + usize::from(bias.is_some()) + beside;
    let (weight, bias, input) = (weight.clone(), bias.cloned(), input.clone());
    Some((MatMulGradients { x: weight.b, weight: Some(weight), bias, input, through }.into(), count))
}

/// What the gradient of a layer's input goes through, how many operations that is, and what the layer took in, if a slope is
/// of that.
fn through(input: &MatMul, rest: &[Op], all: &[Op]) -> Option<(ThroughNorm, usize, Option<Tensor>)> {
    let (dropout, rest) = match rest {
        [Op::Dropout(dropout), rest @ ..] if dropout.x == input.out => (Some(dropout), rest),
        _ => (None, rest),
    };
    let [Op::BatchNormGradient(norm), rest @ ..] = rest else { return None };
    let reduce = &norm.0.reduce;
    let dy = dropout.map_or(input.out, |dropout| dropout.out);
    if !by_columns(input) || input.slope.is_some() || reduce.dy != dy {
        return None;
    }
    let mut x = reduce.slope.map(|(_, y)| y);
    if let (Some(y), Some(_)) = (x, dropout) {
        let kept =
            |op: &Op| if let Op::Dropout(of_y) = op { (of_y.x == y).then_some(of_y.out) } else { None };
        x = Some(all.iter().find_map(kept)?);
    }
    let slope = match rest {
        [Op::ActivationBackward(slope), ..]
            if slope.dy == norm.0.dx && slope.y == reduce.x && reduce.slope.is_none() =>
        {
            Some(slope.clone())
        }
        _ => None,
    };
    let count = 1 + usize::from(dropout.is_some()) + usize::from(slope.is_some());
    Some((ThroughNorm { dropout: dropout.cloned(), norm: norm.clone(), slope }, count, x))
}
