//! Stages: a fused training program rewritten for GPUs, where every dispatch waits for the one before and
//! takes microseconds however small it is. A layer's whole share of the forward pass becomes one operation, and
//! in the backward pass the update of a layer one with the gradient that the layer before waits for:
//!
//! ```text
//! L × Forward, LossTotal, L + 1 × Backward:  (gradient L), (update L, gradient L − 1), …, (update 2), (update 1)
//! narrow layers           L × Backward:      (gradient L, update L), …, (gradient 2, update 2), (update 1)
//! linked                  the last and the next step's first in one: (update 1, Forward 1)
//! ```

use std::collections::{BTreeMap, BTreeSet};

use super::stages_in_blocks::in_blocks;
use super::{Mode, Program, fuse};
use crate::ops::*;

/// Workgroups that take a gradient through their columns of a weight then update those, where a column takes no more
/// multiply-adds than so many, 512 units at 128 rows, or twice as many if there are at least [`MANY_UNITS`] columns. That saves
/// a stage, and bytes, but the gradient of the layer before waits for the update: the eight columns of a workgroup, by the 128
/// multiply-adds a clock that a core of a GPU does at the most, for 4,096 clocks, about as long as a dispatch takes.
const NARROW: usize = 1 << 16;

/// A first layer is linked from step to step where a unit takes no more multiply-adds than so many for its update: in 784
/// columns those of 167 rows. There is one for a step. Wider ones would wait longer for the few workgroups of a pass forward
/// than a dispatch and the bytes take, if they have fewer units than so many, of which 64 workgroups have eight each: those
/// keep most GPUs busy.
const LINKED: usize = 1 << 17;
const MANY_UNITS: usize = 512;

/// Elements that all scratch may take, which is bound as one: 4 GiB. A device may bind less, see
/// [`crate::gpu::GpuDevice::rewrite`].
pub(super) const ELEMENTS: usize = 1 << 30;

/// Elements between tensors, which nothing reads or writes.
pub(super) const GAP: usize = 16;

/// An operation, and the places of those that give it its label.
pub(super) type Staged = (Op, Vec<usize>);

/// A training program in stages, those of more than [`ROWS_IN_STAGES`] rows by blocks of them; it stays as it was if its
/// operations are in an order that no stage has, if its layers differ in how they are normalized, or if all scratch is too
/// much.
pub fn stage(program: Program) -> Program {
    if program.mode != Mode::Train {
        return program;
    }
    let large = program.rows > ROWS_IN_STAGES;
    let whole = if large { fuse::whole_columns(program.clone()) } else { program.clone() };
    let operands = |(op, _): &Staged| op.describe().operands();
    let used = |ops: Vec<Staged>| ops.iter().flat_map(operands).map(|operand| operand.tensor.space).collect();
    let used = stages(&whole.ops, large, 0).map(used);
    let joined = used.and_then(|used| joined(whole.ops, &used));
    let Some(mut staged) = joined.and_then(|(ops, end)| stages(&ops, large, end)) else { return program };
    let link = if large { None } else { link(&mut staged) };
    let label = |at: &Vec<usize>| {
        let mut labels: Vec<_> = at.iter().map(|&at| whole.labels[at].as_str()).collect();
        labels.dedup();
        labels.join(", ")
    };
    let labels = staged.iter().map(|(_, at)| label(at)).collect();
    let ops = staged.into_iter().map(|(op, _)| op).collect();
    Program { ops, labels, link, ..program }
}

/// Makes the first layer's pass and its update halves of a link, and returns the whole of it; none if the layer is large.
fn link(staged: &mut [Staged]) -> Option<Op> {
    let [(first, _), .., (last, _)] = staged else { return None };
    let (Op::Forward(forward), Op::Backward(update)) = (&*first, &*last) else { return None };
    let [units, rows, features] = update.weight.as_ref()?.product.sizes();
    if update.input.is_some() || features * rows > LINKED && units < MANY_UNITS {
        return None;
    }
    let link = Link { update: update.clone(), forward: forward.clone(), updates: true, passes: true };
    *first = Link { updates: false, ..link.clone() }.into();
    *last = Link { passes: false, ..link.clone() }.into();
    Some(link.into())
}

/// The operations with all scratch side by side, and where that of the given spaces ends, which the others lie behind;
/// none if an operation does not take part or they are too much.
fn joined(mut ops: Vec<Op>, used: &BTreeSet<Space>) -> Option<(Vec<Op>, usize)> {
    let mut sizes = BTreeMap::new();
    for op in &mut ops {
        for tensor in tensors(op)?.into_iter().filter(|tensor| matches!(tensor.space, Space::Scratch(_))) {
            let size = sizes.entry((!used.contains(&tensor.space), tensor.space)).or_insert(0);
            *size = tensor.end(1).max(*size);
        }
    }
    let (mut end, mut end_of_used) = (GAP, GAP);
    for ((behind, _), size) in &mut sizes {
        (*size, end) = (end, size.saturating_add(end).saturating_add(GAP));
        end_of_used = if *behind { end_of_used } else { end };
    }
    for op in &mut ops {
        for tensor in tensors(op)? {
            let place = (!used.contains(&tensor.space), tensor.space);
            tensor.offset += sizes.get(&place).copied().unwrap_or(0);
        }
    }
    (end_of_used <= ELEMENTS).then_some((ops, end_of_used))
}

/// What an operation reads and writes, if it takes part.
fn tensors(op: &mut Op) -> Option<Vec<&mut Tensor>> {
    Some(match op {
        Op::Gather(Gather { inputs, order, out }) => vec![inputs, order, out],
        Op::MatMul(MatMul { a, b, bias, slope, out, .. }) => {
            let extra = bias.iter_mut().chain(slope.iter_mut().map(|(_, y)| y));
            [a, b, out].into_iter().chain(extra).collect()
        }
        Op::BatchNormTrain(BatchNormTrain { stats, norm }) => {
            let BatchNorm { x, stats: given, gamma, beta, out, .. } = norm;
            vec![&mut stats.x, &mut stats.stats, &mut stats.log, x, given, gamma, beta, out]
        }
        Op::LossTotal(LossTotal { loss, sum }) => {
            vec![&mut loss.logits, &mut loss.metrics, &mut sum.x, &mut sum.out]
        }
        Op::ColumnSum(ColumnSum { x, out }) => vec![x, out],
        Op::Dropout(Dropout { x, out, .. }) => vec![x, out],
        Op::BatchNormGradient(BatchNormGradient(BatchNormBackward { reduce, gamma, dx })) => {
            let BatchNormReduce { x, dy, stats, slope, dgamma, dbeta, .. } = reduce;
            let y = slope.iter_mut().map(|(_, y)| y);
            [x, dy, stats, dgamma, dbeta, gamma, dx].into_iter().chain(y).collect()
        }
        Op::ActivationBackward(ActivationBackward { y, dy, dx, .. }) => vec![y, dy, dx],
        Op::Optimizer(_) => vec![],
        _ => return None,
    })
}

/// Places in the scratch, one behind the other.
pub(super) struct Places {
    end: usize,
}

impl Places {
    /// So many rows for the columns of a matrix.
    pub fn take(&mut self, of: Tensor, rows: usize) -> Tensor {
        let tensor = Tensor { offset: self.end, ..Tensor::alone(of.space, of.models, rows, of.cols) };
        self.end = tensor.end(1).saturating_add(GAP);
        tensor
    }
}

/// A layer forward, and the place of its first operation.
struct Layer {
    product: MatMul,
    norm: Option<BatchNormTrain>,
    dropout: Option<Dropout>,
    at: usize,
}

impl Layer {
    /// Function, normalization and the function after that.
    fn form(&self) -> (Option<Function>, Option<Option<Function>>) {
        (self.product.function, self.norm.as_ref().map(|norm| norm.norm.function))
    }
}

/// Takes the operations from the front, stage by stage. What stages leave of normalization lies from the place `end` of
/// the scratch on. None if the operations are in another order, or if a kernel would need two functions.
fn stages(all: &[Op], large: bool, end: usize) -> Option<Vec<Staged>> {
    let [Op::Gather(gather), ops @ ..] = all else { return None };
    let (layers, ops) = layers(ops);
    let [Op::LossTotal(loss), ops @ .., Op::Optimizer(optimizer)] = ops else { return None };
    let [hidden @ .., last] = &layers[..] else { return None };
    let alike = hidden.windows(2).all(|pair| pair[0].form() == pair[1].form());
    let two = |layer: &Layer| matches!(layer.form(), (Some(_), Some(Some(_))));
    if !alike || hidden.iter().any(two) || last.form() != (None, None) || last.dropout.is_some() {
        return None;
    }
    let mut places = Places { end };
    let norm_of = |layer: &Layer| {
        let norm = layer.norm.clone()?;
        let z = layer.product.out;
        let [moments, scales] = NormOnLoad::rows(z.rows).map(|rows| places.take(z, rows));
        Some(NormOnLoad { norm, moments, scales })
    };
    let norms: Vec<Option<NormOnLoad>> = layers.iter().map(norm_of).collect();
    // What each layer is passed.
    let of_hidden = |(layer, norm): (&Layer, &Option<NormOnLoad>)| {
        let (norm, dropout) = (norm.clone(), layer.dropout.clone());
        Loaded { gather: None, norm, dropout }
    };
    let mut passed = vec![Loaded { gather: Some(gather.clone()), ..Loaded::default() }];
    passed.extend(hidden.iter().zip(&norms).map(of_hidden));
    let forward = |((layer, x), norm): ((&Layer, &Loaded), &Option<NormOnLoad>)| {
        let (x, product) = (x.clone(), layer.product.clone());
        let moments = norm.as_ref().map(|norm| norm.moments);
        (Forward { x, product, moments }.into(), vec![layer.at])
    };
    let mut staged: Vec<Staged> = layers.iter().zip(&passed).zip(&norms).map(forward).collect();
    let at = |ops: &[Op]| all.len() - 1 - ops.len();
    staged.push((loss.clone().into(), vec![at(ops) - 1]));
    let backward = backward(ops, at, !large && narrow(ops), passed, optimizer)?;
    if large {
        staged.extend(in_blocks(backward, &mut places));
    } else {
        staged.extend(backward.into_iter().map(|(stage, at)| (stage.into(), at)));
    }
    (places.end <= ELEMENTS).then_some(staged)
}

/// The layers forward, and the operations after them.
fn layers(all: &[Op]) -> (Vec<Layer>, &[Op]) {
    let (mut ops, mut layers) = (all, vec![]);
    while let [Op::MatMul(product), rest @ ..] = ops {
        let (norm, rest) = match rest {
            [Op::BatchNormTrain(norm), rest @ ..] => (Some(norm.clone()), rest),
            _ => (None, rest),
        };
        let (dropout, rest) = dropout(rest);
        let at = 1 + all.len() - ops.len();
        layers.push(Layer { product: product.clone(), norm, dropout, at });
        ops = rest;
    }
    (layers, ops)
}

/// Updates and gradients, stage by stage, with what each layer was passed: none if operations are in another order.
fn backward(
    mut ops: &[Op],
    at: impl Fn(&[Op]) -> usize,
    together: bool,
    mut passed: Vec<Loaded>,
    optimizer: &Optimizer,
) -> Option<Vec<(Backward, Vec<usize>)>> {
    let mut staged = vec![];
    let mut waiting: Option<(WeightUpdate, usize)> = None;
    let mut push = |weight: Option<(WeightUpdate, usize)>, input: Option<(InputGradient, usize)>| {
        let places: Vec<usize> = weight.iter().map(|w| w.1).chain(input.iter().map(|i| i.1)).collect();
        let (weight, input) = (weight.map(|w| w.0), input.map(|i| i.0));
        if weight.is_some() || input.is_some() {
            staged.push((Backward { weight, input, optimizer: optimizer.clone() }, places));
        }
    };
    while !ops.is_empty() {
        let place = at(ops);
        let x = passed.pop()?;
        let scales = x.norm.as_ref().map(|norm| norm.scales);
        let (weight, rest) = weight(ops, x)?;
        let of_input = at(rest);
        let (input, rest) = input(rest, scales);
        ops = rest;
        let (weight, input) = ((weight, place), input.map(|input| (input, of_input)));
        let update = if together { Some(weight) } else { waiting.replace(weight) };
        push(update, input);
    }
    push(waiting, None);
    Some(staged)
}

/// Whether the updates of all layers that a gradient goes through are small.
fn narrow(backward: &[Op]) -> bool {
    let of_weight = |op: &Op| match op {
        Op::MatMul(product @ MatMul { product: Product::AtB, .. }) => Some(product.sizes()),
        _ => None,
    };
    let sizes: Vec<_> = backward.iter().filter_map(of_weight).collect();
    let is_small = |[outputs, rows, inputs]: &[usize; 3]| {
        let most = if *inputs >= MANY_UNITS { 2 * NARROW } else { NARROW };
        outputs * rows <= most
    };
    sizes.split_last().is_some_and(|(_, others)| others.iter().all(is_small))
}

/// Dropout, where it comes first.
fn dropout(ops: &[Op]) -> (Option<Dropout>, &[Op]) {
    match ops {
        [Op::Dropout(dropout), rest @ ..] => (Some(dropout.clone()), rest),
        _ => (None, ops),
    }
}

/// The gradients of a weight, which was passed x, and its bias.
fn weight(ops: &[Op], x: Loaded) -> Option<(WeightUpdate, &[Op])> {
    let [Op::MatMul(product @ MatMul { product: Product::AtB, .. }), rest @ ..] = ops else { return None };
    let (bias, rest) = match rest {
        [Op::ColumnSum(bias), rest @ ..] => (Some(bias.clone()), rest),
        _ => (None, rest),
    };
    Some((WeightUpdate { x, product: product.clone(), bias }, rest))
}

/// The gradient of a layer's input, and of what the input came from; none for the first layer. Of the scales see
/// [`NormOnLoad`].
fn input(ops: &[Op], scales: Option<Tensor>) -> (Option<InputGradient>, &[Op]) {
    let [Op::MatMul(product @ MatMul { product: Product::AB, .. }), rest @ ..] = ops else {
        return (None, ops);
    };
    let (dropout, rest) = dropout(rest);
    let (norm, rest) = match rest {
        [Op::BatchNormGradient(norm), rest @ ..] => (Some(norm.clone()), rest),
        _ => (None, rest),
    };
    let (slope, rest) = match rest {
        [Op::ActivationBackward(slope), rest @ ..] if norm.is_some() || dropout.is_some() => {
            (Some(slope.clone()), rest)
        }
        _ => (None, rest),
    };
    (Some(InputGradient { product: product.clone(), dropout, norm, scales, slope }), rest)
}
