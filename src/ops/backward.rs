use std::collections::BTreeSet;

use super::activation::code;
use super::dropout::{numbers as of_dropout, shown};
use super::optimizer::rule_constants;
use super::stage::{Loaded, Tiles};
use super::{
    Access, ActivationBackward, BatchNormBackward, BatchNormGradient, ColumnSum, Describe, Dispatch, Dropout,
    Function, MatMul, Op, Operand, Optimizer, Params, Space, Tensor, Variant, flops_of, read, write,
};

/// A stage of the backward pass in one dispatch: the update of one layer, and the gradient that the layer before waits
/// for. Either the gradient goes through another weight, by workgroups beside those of the update; or through the one that
/// is updated, whose columns a workgroup then owns: it takes the gradient through them first.
#[derive(Clone, Debug)]
pub struct Backward {
    pub weight: Option<WeightUpdate>,
    pub input: Option<InputGradient>,
    /// Without range: how every parameter of the stage is updated.
    pub optimizer: Optimizer,
}

/// The gradient of a weight (of the form AtB), with that of its bias, and their update.
#[derive(Clone, Debug)]
pub struct WeightUpdate {
    pub x: Loaded,
    pub product: MatMul,
    pub bias: Option<ColumnSum>,
}

/// The gradient of a layer's input (of the form AB), and through the dropout, batch normalization and activation
/// that the input came from, with the update of gamma and beta.
#[derive(Clone, Debug)]
pub struct InputGradient {
    pub product: MatMul,
    pub dropout: Option<Dropout>,
    pub norm: Option<BatchNormGradient>,
    /// What that normalization was applied by: see [`super::NormOnLoad`].
    pub scales: Option<Tensor>,
    /// The activation before the batch normalization, or before dropout alone.
    pub slope: Option<ActivationBackward>,
}

/// Without a weight.
const NOTHING: Loaded = Loaded { gather: None, norm: None, dropout: None };

impl Backward {
    /// Whether the gradient goes through the weight that is updated.
    fn of_one_layer(&self) -> bool {
        let products = self.weight.as_ref().zip(self.input.as_ref());
        products.is_some_and(|(weight, input)| weight.product.out.offset == input.product.b.offset)
    }

    /// What the weight was passed.
    pub(super) fn x(&self) -> &Loaded {
        self.weight.as_ref().map_or(&NOTHING, |weight| &weight.x)
    }

    /// The operations that it does, in order: their twins are its own.
    pub fn parts(&self) -> Vec<Op> {
        let [of_weight, of_input] = [self.parts_of_weight(), self.parts_of_input()];
        if self.of_one_layer() { [of_input, of_weight].concat() } else { [of_weight, of_input].concat() }
    }

    fn parts_of_weight(&self) -> Vec<Op> {
        let mut parts = vec![];
        if let Some(WeightUpdate { x, product, bias }) = &self.weight {
            parts.extend(x.gather.clone().map(Op::from));
            parts.push(product.clone().into());
            parts.extend(bias.clone().map(Op::from));
            parts.push(self.update(product.out, true).into());
            parts.extend(bias.as_ref().map(|bias| self.update(bias.out, false).into()));
        }
        parts
    }

    fn parts_of_input(&self) -> Vec<Op> {
        let mut parts = vec![];
        if let Some(InputGradient { product, dropout, norm, slope, .. }) = &self.input {
            parts.push(product.clone().into());
            parts.extend(dropout.clone().map(Op::from));
            if let Some(norm) = norm {
                parts.push(norm.clone().into());
                let reduce = &norm.0.reduce;
                parts.extend([reduce.dgamma, reduce.dbeta].map(|place| self.update(place, false).into()));
            }
            parts.extend(slope.clone().map(Op::from));
        }
        parts
    }

    /// The update of the parameter whose gradient this is.
    pub(super) fn update(&self, gradient: Tensor, decayed: bool) -> Optimizer {
        Optimizer::of_one(self.optimizer.rule, gradient, decayed)
    }

    /// Number of the weight's blocks of this kind, and how many lie side by side.
    pub(super) fn blocks(&self, block: Tiles) -> [usize; 2] {
        let [rows, cols] = block.sides().map(|side| 4 * side);
        self.weight.as_ref().map_or([0, 1], |weight| {
            let out = weight.product.out;
            let across = out.cols.div_ceil(cols);
            [out.rows.div_ceil(rows) * across, across]
        })
    }
}

impl InputGradient {
    /// What the last of its parts writes.
    pub(super) fn dx(&self) -> Tensor {
        let of_norm = self.norm.as_ref().map(|norm| norm.0.dx);
        let of_dropout = self.dropout.as_ref().map(|dropout| dropout.out);
        let last = self.slope.as_ref().map(|slope| slope.dx).or(of_norm).or(of_dropout);
        last.unwrap_or(self.product.out)
    }

    /// What the slope of its function is taken of, where no batch normalization follows that.
    pub(super) fn y(&self) -> Option<(Function, Tensor)> {
        self.product.slope.or(self.slope.as_ref().map(|slope| (slope.function, slope.y)))
    }

    /// Views of batch normalization and slope, as far as they exist: z, stats, scales, gamma, beta.
    fn views(&self) -> [Tensor; 5] {
        let dx = self.dx();
        let Some(BatchNormGradient(norm)) = &self.norm else {
            return [self.y().map_or(dx, |(_, y)| y), dx, dx, dx, dx];
        };
        let reduce = &norm.reduce;
        let beta = Tensor { space: Space::Params, ..reduce.dbeta };
        [reduce.x, reduce.stats, self.scales.unwrap_or(dx), norm.gamma, beta]
    }

    /// `NORM` of the shader, and the function whose slope is taken.
    fn form(&self) -> (f64, (&'static str, f64)) {
        let of_norm = self.norm.as_ref().and_then(|norm| norm.0.reduce.slope);
        let before = self.product.slope.or(of_norm).map(|(function, _)| function);
        match (&self.norm, &self.slope) {
            (None, None) => (0.0, code(before)),
            (None, Some(slope)) => (0.0, code(Some(slope.function))),
            (Some(_), None) => (1.0, code(before)),
            (Some(_), Some(slope)) => (2.0, code(Some(slope.function))),
        }
    }
}

impl Describe for Backward {
    fn operands(&self) -> Vec<Operand> {
        let mut operands = vec![];
        let updated = |operands: &mut Vec<Operand>, gradient: Tensor| {
            let update = self.update(gradient, false);
            operands.extend(update.operands().into_iter().filter(|operand| operand.name != "grads"));
        };
        if let Some(WeightUpdate { x, product, bias }) = &self.weight {
            operands.push(read("dy", product.a));
            operands.extend(x.operands(product.b));
            if let Some(norm) = &x.norm {
                operands
                    .extend([read("stats of x", norm.norm.stats.stats), read("scales of x", norm.scales)]);
            }
            updated(&mut operands, product.out);
            bias.iter().for_each(|bias| updated(&mut operands, bias.out));
        }
        if let Some(input) = &self.input {
            operands.extend([read("dy", input.product.a), read("weight", input.product.b)]);
            operands.push(write("dx", input.dx()));
            operands.extend(input.dropout.as_ref().map(|dropout| read("hyper", dropout.hyper())));
            if let Some(BatchNormGradient(BatchNormBackward { reduce, .. })) = &input.norm {
                operands.extend([read("z", reduce.x), read("stats", reduce.stats)]);
                operands.extend(input.scales.map(|scales| read("scales", scales)));
                let gradients = [reduce.dgamma, reduce.dbeta].into_iter();
                gradients.for_each(|gradient| updated(&mut operands, gradient));
            } else {
                operands.extend(input.y().map(|(_, y)| read("y", y)));
            }
        }
        // Of one layer both read its weight, dy and what it was passed; all updates read the rates.
        let mut read = BTreeSet::new();
        operands.retain(|Operand { tensor, access, .. }| {
            *access == Access::Write || read.insert((tensor.space, tensor.offset))
        });
        operands
    }

    fn bindings(&self) -> Vec<(Space, Access)> {
        let own = [Space::Joint, Space::Params, Space::Moment1, Space::Moment2];
        let own = own.map(|space| (space, Access::Write)).into_iter();
        let given = [Space::Hyper].into_iter().chain(self.x().sources());
        own.chain(given.map(|space| (space, Access::Read))).collect()
    }

    fn flops(&self) -> u64 {
        flops_of(&self.parts())
    }

    fn dispatch(&self, _: Variant) -> Dispatch {
        let x = self.x();
        let nothing = Tensor { rows: 0, ..self.optimizer.theta };
        let mut of_weight = [nothing; 7];
        let mut biased = false;
        if let Some(WeightUpdate { product, bias, .. }) = &self.weight {
            let [place, order] = x.places(product.b);
            biased = bias.is_some();
            let bias = bias.as_ref().map_or(nothing, |bias| bias.out);
            let of_norm = x.norm.as_ref().map_or([nothing; 2], |norm| [norm.norm.stats.stats, norm.scales]);
            of_weight = [product.a, place, order, product.out, bias, of_norm[0], of_norm[1]];
        }
        let out = of_weight[3];
        let mut views = of_weight.to_vec();
        let (mut depth, mut dx, mut eps, mut form) = (0, nothing, 0.0, (0.0, code(None)));
        if let Some(input) = &self.input {
            (depth, dx, form) = (input.product.a.cols, input.dx(), input.form());
            eps = input.norm.as_ref().map_or(0.0, |norm| norm.0.reduce.eps as f32);
            views.extend([input.product.a, input.product.b]);
            views.extend(input.views());
            views.push(dx);
        } else {
            views.extend([nothing; 8]);
            form.1 = code(x.norm.as_ref().and_then(|norm| norm.norm.norm.function));
        }
        let rows = self.weight.as_ref().map_or(dx.rows, |weight| weight.product.a.rows);
        let tiles = Tiles::of_columns(rows);
        let block = if self.of_one_layer() { Tiles::of_columns(rows.max(out.rows)) } else { Tiles::block() };
        let [blocks, across] = self.blocks(block);
        let beside = if self.of_one_layer() { 0 } else { blocks };
        let numbers = [beside, blocks, across, out.rows, out.cols, biased.into(), rows, depth, dx.cols];
        let mut numbers = numbers.map(|number| number as u32).to_vec();
        numbers.push(eps.to_bits());
        let dropout = self.input.as_ref().and_then(|input| input.dropout.as_ref());
        numbers.extend([dropout, x.dropout.as_ref()].into_iter().flat_map(of_dropout));
        // What normalizes x in a block's columns.
        let cache = if x.norm.is_some() { 3 * block.lanes } else { 1 };
        let mut constants = tiles.constants(block, dropout, form.0, cache);
        constants.extend(x.constants(cache));
        constants.extend([("NORM_OUT", 0.0), ("VALUE", 0.0), form.1]);
        constants.extend(rule_constants(self.optimizer.rule));
        let columns = if self.input.is_some() { tiles.across(dx.cols) } else { 0 };
        Dispatch {
            shader: "backward",
            entry: "main",
            constants,
            params: Params::new(&views, &numbers),
            workgroups: [(beside + columns) as u32, 1, self.optimizer.theta.models as u32],
        }
    }

    fn shapes(&self) -> String {
        let bias = |weight: &WeightUpdate| if weight.bias.is_some() { " and bias" } else { "" };
        let weight = self.weight.as_ref().map(|weight| {
            format!("update {}×{}{}", weight.product.out.rows, weight.product.out.cols, bias(weight))
        });
        let input = self.input.as_ref().map(|input| {
            let dropout = shown(input.dropout.as_ref());
            let norm = if input.norm.is_some() { ", batch norm" } else { "" };
            format!("{}{dropout}{norm}", input.product.shapes())
        });
        weight.into_iter().chain(input).collect::<Vec<_>>().join("; ")
    }
}
