//! Stages of the backward pass in large minibatches, whose workgroups own blocks of rows: a gradient goes through a
//! layer's normalization where it is loaded, by the sums of all blocks.

use super::stages::{Places, Staged};
use crate::ops::*;

/// The same stages by blocks of rows, which leave what they do in places of their own.
pub fn in_blocks(backward: Vec<(Backward, Vec<usize>)>, places: &mut Places) -> Vec<Staged> {
    // Of the layer whose gradient goes on, and of the one after it.
    let (mut of_x, mut of_out) = (None, None);
    let mut blocked = |(stage, at): (Backward, Vec<usize>)| {
        let of_input = stage.input.as_ref().and_then(|input| of_input(input, places));
        // The first stage is the gradient of the last layer's input alone.
        let norm: Option<NormInBlocks> = of_x.take();
        of_x = of_input.clone();
        let of_out = std::mem::replace(&mut of_out, norm.clone());
        (BackwardBlocks { stage, of_out, of_x: norm, of_input }.into(), at)
    };
    backward.into_iter().map(&mut blocked).collect()
}

/// The batch normalization that a gradient goes through later.
fn of_input(input: &InputGradient, places: &mut Places) -> Option<NormInBlocks> {
    let (norm, scales, dy) = (input.norm.clone()?, input.scales?, input.product.out);
    let [sums, terms] = NormInBlocks::rows(dy.rows).map(|rows| places.take(dy, rows));
    Some(NormInBlocks { norm, scales, slope: input.slope.clone(), dy, sums, terms })
}
