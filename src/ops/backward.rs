use std::collections::BTreeSet;

use super::activation::code;
use super::dropout::numbers as of_dropout;
use super::optimizer::rule_constants;
use super::stage::{BLOCK, LANES, constants, height, sources, x_and_order};
use super::{
    Access, ActivationBackward, BatchNormGradient, ColumnSum, Describe, Dispatch, Dropout, Gather, MatMul,
    Op, Operand, Optimizer, Space, Step, Tensor, Variant, flops_of, read, words, write,
};
use crate::cpu::{Memory, Real};

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
    /// Where x comes from, if not from an activation.
    pub gather: Option<Gather>,
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
    /// The activation before the batch normalization, or before dropout alone.
    pub slope: Option<ActivationBackward>,
}

impl Backward {
    /// Whether the gradient goes through the weight that is updated.
    fn of_one_layer(&self) -> bool {
        let products = self.weight.as_ref().zip(self.input.as_ref());
        products.is_some_and(|(weight, input)| weight.product.out.offset == input.product.b.offset)
    }

    /// The operations that it does, in order: their twins are its own.
    pub fn parts(&self) -> Vec<Op> {
        let [of_weight, of_input] = [self.parts_of_weight(), self.parts_of_input()];
        if self.of_one_layer() { [of_input, of_weight].concat() } else { [of_weight, of_input].concat() }
    }

    fn parts_of_weight(&self) -> Vec<Op> {
        let mut parts = vec![];
        if let Some(WeightUpdate { gather, product, bias }) = &self.weight {
            parts.extend(gather.clone().map(Op::from));
            parts.push(product.clone().into());
            parts.extend(bias.clone().map(Op::from));
            parts.push(self.update(product.out, true).into());
            parts.extend(bias.as_ref().map(|bias| self.update(bias.out, false).into()));
        }
        parts
    }

    fn parts_of_input(&self) -> Vec<Op> {
        let mut parts = vec![];
        if let Some(InputGradient { product, dropout, norm, slope }) = &self.input {
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
        let cols = gradient.rows * gradient.ld();
        let theta = Tensor { space: Space::Params, rows: 1, cols, ..gradient };
        Optimizer {
            rule: self.optimizer.rule,
            theta,
            decayed: if decayed { cols } else { 0 },
            weights: vec![],
        }
    }

    /// Number of the weight's blocks of so many vec4s of rows and of columns, and how many lie side by side.
    pub(super) fn blocks(&self, [rows, cols]: [usize; 2]) -> [usize; 2] {
        self.weight.as_ref().map_or([0, 1], |weight| {
            let out = weight.product.out;
            let across = out.cols.div_ceil(4 * cols);
            [out.rows.div_ceil(4 * rows) * across, across]
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

    /// Views of batch normalization and slope, as far as they exist: z, stats, y, gamma, beta.
    fn views(&self) -> [Tensor; 5] {
        let dx = self.dx();
        let after = self.slope.as_ref().map(|slope| slope.y);
        let y = self.product.slope.map(|(_, y)| y).or(after).unwrap_or(dx);
        let Some(BatchNormGradient(norm)) = &self.norm else { return [dx, dx, y, dx, dx] };
        let reduce = &norm.reduce;
        let y = reduce.slope.map_or(y, |(_, y)| y);
        let beta = Tensor { space: Space::Params, ..reduce.dbeta };
        [reduce.x, reduce.stats, y, norm.gamma, beta]
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

impl Backward {
    pub(super) fn run<T: Real>(&self, memory: &mut Memory<T>, step: &Step) {
        self.parts().iter().for_each(|part| part.run(memory, step));
    }
}

impl Describe for Backward {
    fn operands(&self) -> Vec<Operand> {
        let mut operands = vec![];
        let updated = |operands: &mut Vec<Operand>, gradient: Tensor| {
            let update = self.update(gradient, false);
            operands.extend(update.operands().into_iter().filter(|operand| operand.name != "grads"));
        };
        if let Some(WeightUpdate { gather, product, bias }) = &self.weight {
            operands.push(read("dy", product.a));
            match gather {
                Some(gather) => operands.extend(gather.sources()),
                None => operands.push(read("x", product.b)),
            }
            updated(&mut operands, product.out);
            bias.iter().for_each(|bias| updated(&mut operands, bias.out));
        }
        if let Some(input) = &self.input {
            operands.extend([read("dy", input.product.a), read("weight", input.product.b)]);
            operands.push(write("dx", input.dx()));
            operands.extend(input.product.slope.map(|(_, y)| read("y", y)));
            operands.extend(input.dropout.as_ref().map(|dropout| read("hyper", dropout.hyper())));
            if let (None, Some(slope)) = (&input.norm, &input.slope) {
                operands.push(read("y", slope.y));
            }
            if let Some(BatchNormGradient(norm)) = &input.norm {
                let reduce = &norm.reduce;
                operands.extend([read("z", reduce.x), read("stats", reduce.stats)]);
                operands.extend(reduce.slope.map(|(_, y)| read("y", y)));
                for gradient in [reduce.dgamma, reduce.dbeta] {
                    updated(&mut operands, gradient);
                }
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
        let gather = self.weight.as_ref().and_then(|weight| weight.gather.as_ref());
        let own = [Space::Joint, Space::Params, Space::Moment1, Space::Moment2];
        let own = own.map(|space| (space, Access::Write)).into_iter();
        let given = [Space::Hyper].into_iter().chain(sources(gather));
        own.chain(given.map(|space| (space, Access::Read))).collect()
    }

    fn flops(&self) -> u64 {
        flops_of(&self.parts())
    }

    fn dispatch(&self, _: Variant) -> Dispatch {
        let gather = self.weight.as_ref().and_then(|weight| weight.gather.as_ref());
        let nothing = Tensor { rows: 0, ..self.optimizer.theta };
        let mut of_weight = [nothing; 5];
        let mut biased = false;
        if let Some(WeightUpdate { product, bias, .. }) = &self.weight {
            let [x, order] = x_and_order(gather, product.b);
            biased = bias.is_some();
            let bias = bias.as_ref().map_or(nothing, |bias| bias.out);
            of_weight = [product.a, x, order, product.out, bias];
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
        }
        let rows = self.weight.as_ref().map_or(dx.rows, |weight| weight.product.a.rows);
        let block = if self.of_one_layer() { [height(rows.max(out.rows)), LANES] } else { [BLOCK; 2] };
        let [blocks, across] = self.blocks(block);
        let beside = if self.of_one_layer() { 0 } else { blocks };
        let numbers = [beside, blocks, across, out.rows, out.cols, biased.into(), rows, depth, dx.cols];
        let mut numbers = numbers.map(|number| number as u32).to_vec();
        numbers.push(eps.to_bits());
        let dropout = self.input.as_ref().and_then(|input| input.dropout.as_ref());
        numbers.extend(of_dropout(dropout));
        let mut constants = constants(gather, dropout, rows, form.0, block);
        constants.push(form.1);
        constants.extend(rule_constants(self.optimizer.rule));
        let columns = if self.input.is_some() { (dx.ld() / 4).div_ceil(LANES) } else { 0 };
        Dispatch {
            shader: "backward",
            entry: "main",
            constants,
            params: words(&views, &numbers),
            workgroups: [(beside + columns) as u32, 1, self.optimizer.theta.models as u32],
        }
    }

    fn shapes(&self) -> String {
        let bias = |weight: &WeightUpdate| if weight.bias.is_some() { " and bias" } else { "" };
        let weight = self.weight.as_ref().map(|weight| {
            format!("update {}×{}{}", weight.product.out.rows, weight.product.out.cols, bias(weight))
        });
        let input = self.input.as_ref().map(|input| {
            let dropout =
                input.dropout.as_ref().map_or(String::new(), |dropout| format!(", dropout {}", dropout.p));
            let norm = if input.norm.is_some() { ", batch norm" } else { "" };
            format!("{}{dropout}{norm}", input.product.shapes())
        });
        weight.into_iter().chain(input).collect::<Vec<_>>().join("; ")
    }
}
