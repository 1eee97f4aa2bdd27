//! Stages of large minibatches, whose workgroups own blocks of rows: a layer's normalization is done by those that read
//! what it passes on, from the statistics of all blocks, and so is the way of its gradient through it.

use super::stages::{ELEMENTS, GAP};
use crate::ops::*;

/// An operation, and the places of those that give it its label.
type Staged = (Op, Vec<usize>);

/// The same stages by blocks of rows, which leave what they do from the place `end` of the scratch on; none if layers
/// differ in how they are normalized, or if that makes it too much.
pub fn in_blocks(staged: Vec<Staged>, mut end: usize) -> Option<Vec<Staged>> {
    let forwards: Vec<Forward> = staged.iter().filter_map(|(op, _)| forward(op)).cloned().collect();
    let [hidden @ .., last] = &forwards[..] else { return None };
    let form = |layer: &Forward| {
        let of_norm = layer.norm.as_ref().map(|norm| norm.norm.function);
        (layer.product.function, of_norm)
    };
    let alike = hidden.windows(2).all(|pair| form(&pair[0]) == form(&pair[1]));
    if !alike || form(last) != (None, None) || last.dropout.is_some() {
        return None;
    }
    let mut place = |of: Tensor, rows: usize| {
        let tensor = Tensor { offset: end, ..Tensor::alone(of.space, of.models, rows, of.cols) };
        end = tensor.end(1).saturating_add(GAP);
        tensor
    };
    let moments: Vec<Option<Tensor>> = forwards
        .iter()
        .map(|layer| {
            let z = layer.product.out;
            layer.norm.as_ref().map(|_| place(z, ForwardBlocks::rows_of_moments(z.rows)))
        })
        .collect();

    let mut blocked = vec![];
    // Of the layer whose gradient goes on, and of the one behind.
    let (mut of_x, mut of_out): (Option<NormInBlocks>, Option<NormInBlocks>) = (None, None);
    let mut layers = 0usize;
    let mut rest = hidden.iter().enumerate().rev();
    for (op, at) in staged {
        let op = match op {
            Op::Forward(Forward { gather, product, .. }) => {
                let before = layers.checked_sub(1).map(|before| (&forwards[before], moments[before]));
                let norm = before.and_then(|(before, moments)| before.norm.clone().zip(moments));
                let dropout = before.and_then(|(before, _)| before.dropout.clone());
                layers += 1;
                ForwardBlocks { gather, norm, dropout, product, moments: moments[layers - 1] }.into()
            }
            Op::Backward(stage) => {
                // The first stage is the gradient of the last layer's input alone.
                let x = if stage.weight.is_some() { rest.next() } else { None };
                let of_input = stage.input.as_ref().and_then(|input| {
                    let norm = input.norm.clone()?;
                    let [sums, terms] =
                        NormInBlocks::rows(input.product.out.rows).map(|rows| place(input.product.out, rows));
                    Some(NormInBlocks {
                        norm,
                        slope: input.slope.clone(),
                        dy: input.product.out,
                        sums,
                        terms,
                    })
                });
                let dropout = x.and_then(|(_, x)| x.dropout.clone());
                let of_this = x.and_then(|(_, x)| x.norm.clone().zip(of_x.take()));
                let passed_on = of_this.as_ref().map(|(_, norm)| norm.clone());
                let op = BackwardBlocks { stage, of_out: of_out.take(), of_x: of_this, dropout, of_input };
                (of_out, of_x) = (passed_on, op.of_input.clone());
                op.into()
            }
            other => other,
        };
        blocked.push((op, at));
    }
    (end <= ELEMENTS).then_some(blocked)
}

fn forward(op: &Op) -> Option<&Forward> {
    if let Op::Forward(forward) = op { Some(forward) } else { None }
}
