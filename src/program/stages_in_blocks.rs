//! Stages of large minibatches, whose workgroups own blocks of rows: a layer's normalization is done by those that read
//! what it passes on, from the statistics of all blocks, and so is the way of its gradient through it.

use super::stages::{ELEMENTS, GAP};
use crate::ops::*;

/// An operation, and the places of those that give it its label.
type Staged = (Op, Vec<usize>);

/// Places in the scratch, one behind the other.
struct Places {
    end: usize,
}

impl Places {
    /// So many rows for the columns of a matrix.
    fn take(&mut self, of: Tensor, rows: usize) -> Tensor {
        let tensor = Tensor { offset: self.end, ..Tensor::alone(of.space, of.models, rows, of.cols) };
        self.end = tensor.end(1).saturating_add(GAP);
        tensor
    }
}

/// The same stages by blocks of rows, which leave what they do from the place `end` of the scratch on; none if layers
/// differ in how they are normalized, or if all scratch is too much.
pub fn in_blocks(staged: Vec<Staged>, end: usize) -> Option<Vec<Staged>> {
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
    let mut places = Places { end };
    let mut before: Option<(Forward, Option<Tensor>)> = None;
    let mut behind = hidden.iter().rev();
    // Of the layer whose gradient goes on, and of the one after it.
    let (mut of_x, mut of_out) = (None, None);
    let mut blocked = vec![];
    for (op, at) in staged {
        let op = match op {
            Op::Forward(layer) => {
                let z = layer.product.out;
                let rows = ForwardBlocks::rows_of_moments(z.rows);
                let moments = layer.norm.as_ref().map(|_| places.take(z, rows));
                let (norm, dropout) = match before.replace((layer.clone(), moments)) {
                    Some((before, moments)) => (before.norm.zip(moments), before.dropout),
                    None => (None, None),
                };
                ForwardBlocks { gather: layer.gather, norm, dropout, product: layer.product, moments }.into()
            }
            Op::Backward(stage) => {
                // The first stage is the gradient of the last layer's input alone.
                let x = if stage.weight.is_some() { behind.next() } else { None };
                let of_input = stage.input.as_ref().and_then(|input| of_input(input, &mut places));
                let norm = x.and_then(|x| x.norm.clone()).zip(of_x.take());
                let passed_on = norm.as_ref().map(|(_, gradient): &(_, NormInBlocks)| gradient.clone());
                let dropout = x.and_then(|x| x.dropout.clone());
                of_x = of_input.clone();
                let of_out = std::mem::replace(&mut of_out, passed_on);
                BackwardBlocks { stage, of_out, of_x: norm, dropout, of_input }.into()
            }
            other => other,
        };
        blocked.push((op, at));
    }
    (places.end <= ELEMENTS).then_some(blocked)
}

/// The batch normalization that a gradient goes through later.
fn of_input(input: &InputGradient, places: &mut Places) -> Option<NormInBlocks> {
    let (norm, dy) = (input.norm.clone()?, input.product.out);
    let [sums, terms] = NormInBlocks::rows(dy.rows).map(|rows| places.take(dy, rows));
    Some(NormInBlocks { norm, slope: input.slope.clone(), dy, sums, terms })
}

fn forward(op: &Op) -> Option<&Forward> {
    if let Op::Forward(forward) = op { Some(forward) } else { None }
}
