//! Products by lanes with what can be one dispatch with them: the batch normalization that follows, where one workgroup has
//! all rows, and the other gradient of a layer.

use super::{Mode, Program};
use crate::ops::*;

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
        let (op, count) = join(&ops[at..]).unwrap_or_else(|| (ops[at].clone(), 1));
        joined.ops.push(op);
        joined.labels.push(labels[at].clone());
        at += count;
    }
    joined
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

/// What the first operations become, if one dispatch can be all of them, and how many they are.
fn join(ops: &[Op]) -> Option<(Op, usize)> {
    let by_lanes = |product: &MatMul| matches!(product.tile, Some(Tile::Lanes { .. }));
    let few = |product: &MatMul| product.out.rows <= ROWS_OF_A_PRODUCT;
    let [Op::MatMul(first), rest @ ..] = ops else { return None };
    if !by_lanes(first) {
        return None;
    }
    match (first.product, rest) {
        (Product::ABt, [Op::BatchNormTrain(norm), ..]) => {
            let alone = first.bias.is_none() && first.function.is_none();
            let all = alone && few(first) && norm.stats.x == first.out;
            all.then(|| (MatMulNorm { product: first.clone(), norm: norm.clone() }.into(), 2))
        }
        (Product::AtB, [Op::ColumnSum(bias), Op::MatMul(input), rest @ ..]) => {
            gradients(first, Some(bias), input, rest)
        }
        (Product::AtB, [Op::MatMul(input), rest @ ..]) => gradients(first, None, input, rest),
        _ => None,
    }
}

/// Both gradients of a layer, and that which the second goes through. Those of large tiles are left alone: llvmpipe goes
/// through what a workgroup does not take part in, and does nothing there, which takes longer than a dispatch then.
fn gradients(weight: &MatMul, bias: Option<&ColumnSum>, input: &MatMul, rest: &[Op]) -> Option<(Op, usize)> {
    let of_x = |slope: Option<(Function, Tensor)>| slope.is_none_or(|(_, y)| y == weight.b);
    let small = |product: &MatMul| product.tile == Some(Tile::Lanes { double: false });
    if input.product != Product::AB
        || !small(weight)
        || !small(input)
        || input.a != weight.a
        || !of_x(input.slope)
    {
        return None;
    }
    let mut all =
        MatMulGradients { weight: weight.clone(), bias: bias.cloned(), input: input.clone(), norm: None };
    let mut count = 2 + usize::from(bias.is_some());
    if let [Op::BatchNormGradient(BatchNormGradient(norm)), ..] = rest
        && norm.reduce.dy == input.out
        && input.out.rows <= ROWS_OF_A_PRODUCT
        && input.slope.is_none()
        && of_x(norm.reduce.slope)
    {
        all.norm = Some(BatchNormGradient(norm.clone()));
        count += 1;
    }
    Some((all.into(), count))
}
