use super::activation::code;
use super::dropout::numbers as of_dropout;
use super::optimizer::rule_constants;
use super::stage::{Square, rows_of_block};
use super::{
    Access, ActivationBackward, Backward, BatchNormGradient, BatchNormTrain, Describe, Dispatch, Dropout,
    Function, Op, Operand, Space, Step, Tensor, Variant, flops_of, read, words, write,
};
use crate::cpu::{Memory, Real};

/// A stage of the backward pass in one dispatch in large minibatches: as [`Backward`], but the gradient of a layer's
/// input is left before it goes through batch normalization, with the sums of its blocks of rows. The next stage merges
/// those and takes it through as it is loaded, and so does the stage after with the layer's weight, whose gamma and beta
/// it updates.
#[derive(Clone, Debug)]
pub struct BackwardBlocks {
    /// The weight and the input, whose batch normalization is the next stages'.
    pub stage: Backward,
    /// The batch normalization that the weight passes on to, if it does.
    pub of_out: Option<NormInBlocks>,
    /// That of x, which the weight was passed and whose gradient the input's begins with.
    pub of_x: Option<(BatchNormTrain, NormInBlocks)>,
    /// The dropout of x.
    pub dropout: Option<Dropout>,
    /// The batch normalization and sums of what the input came from.
    pub of_input: Option<NormInBlocks>,
}

/// The gradient of a batch normalization that is taken through it where it is loaded.
///
/// ```text
/// sums  [M, 2 · blocks, columns]   of dgamma and dbeta, of each block in turn
/// terms [M, 6, columns]            scale, high, slope, shift; dgamma, dbeta
/// dx = scale · dy + slope · (x − high) + shift
/// ```
#[derive(Clone, Debug)]
pub struct NormInBlocks {
    pub norm: BatchNormGradient,
    /// The activation before it.
    pub slope: Option<ActivationBackward>,
    /// The gradient as it lies: of the normalization's output.
    pub dy: Tensor,
    pub sums: Tensor,
    pub terms: Tensor,
}

/// See [`BackwardBlocks::views`].
struct Views {
    all: Vec<Tensor>,
    dx: Tensor,
    nothing: Tensor,
}

impl NormInBlocks {
    /// Rows of the sums, and of the terms.
    pub fn rows(rows: usize) -> [usize; 2] {
        [2 * rows.div_ceil(rows_of_block(rows)), 6]
    }

    /// What was normalized.
    fn z(&self) -> Tensor {
        self.norm.0.reduce.x
    }

    /// gamma and beta.
    fn params(&self) -> [Tensor; 2] {
        [self.norm.0.reduce.dgamma, self.norm.0.reduce.dbeta]
            .map(|gradient| Tensor { space: Space::Params, ..gradient })
    }

    fn eps(&self) -> u32 {
        (self.norm.0.reduce.eps as f32).to_bits()
    }

    /// `NORM` of the shader, and the function whose slope is taken.
    fn form(&self) -> (f64, Option<Function>) {
        match &self.slope {
            Some(slope) => (2.0, Some(slope.function)),
            None => (1.0, self.norm.0.reduce.slope.map(|(function, _)| function)),
        }
    }
}

impl BackwardBlocks {
    /// The operations that it does, in order: their twins are its own. A gradient goes through batch normalization
    /// where the kernel leaves it.
    pub fn parts(&self) -> Vec<Op> {
        let mut stage = self.stage.clone();
        let mut parts = vec![];
        let input = stage.input.take();
        parts.extend(stage.parts());
        if let Some(norm) = &self.of_out {
            let [dgamma, dbeta] = [norm.norm.0.reduce.dgamma, norm.norm.0.reduce.dbeta];
            parts.extend([dgamma, dbeta].map(|gradient| stage.update(gradient, false).into()));
        }
        if let Some(input) = input {
            parts.push(input.product.into());
            parts.extend(input.dropout.map(Op::from));
            parts.extend(input.norm.map(Op::from));
            parts.extend(input.slope.map(Op::from));
        }
        parts
    }

    pub(super) fn run<T: Real>(&self, memory: &mut Memory<T>, step: &Step) {
        self.parts().iter().for_each(|part| part.run(memory, step));
    }

    /// Where the gradient of the input lies.
    fn dx(&self) -> Option<Tensor> {
        let of_norm = self.of_input.as_ref().map(|norm| norm.dy);
        of_norm.or(self.stage.input.as_ref().map(|input| input.dx()))
    }

    /// What the weight was passed, as it lies.
    fn x(&self) -> Option<Tensor> {
        let weight = self.stage.weight.as_ref()?;
        let of_norm = self.of_x.as_ref().map(|(_, norm)| norm.z());
        let of_dropout = self.dropout.as_ref().map(|dropout| dropout.x);
        let of_data = weight.gather.as_ref().map(|gather| gather.inputs);
        of_data.or(of_norm).or(of_dropout).or(Some(weight.product.b))
    }

    /// The gradient of what the weight passed on, as it lies.
    fn of_out(&self) -> Option<Tensor> {
        let weight = self.stage.weight.as_ref()?;
        Some(self.of_out.as_ref().map_or(weight.product.a, |norm| norm.dy))
    }

    /// The gradient that the input's begins with, as it lies.
    fn dy(&self) -> Option<Tensor> {
        let of_norm = self.of_x.as_ref().map(|(_, norm)| norm.dy);
        of_norm.or(self.stage.input.as_ref().map(|input| input.product.a))
    }

    /// What the slope of the input's function is taken of, where no batch normalization follows it.
    fn y(&self) -> Option<(Function, Tensor)> {
        let input = self.stage.input.as_ref()?;
        input.product.slope.or(input.slope.as_ref().map(|slope| (slope.function, slope.y)))
    }

    /// The kernel's views in its order; where it has no use for one it is `nothing`.
    fn views(&self) -> Views {
        let nothing = Tensor { rows: 0, ..self.stage.optimizer.theta };
        let (weight, input) = (self.stage.weight.as_ref(), self.stage.input.as_ref());
        let of = |tensor: Option<Tensor>| tensor.unwrap_or(nothing);
        let order = weight.and_then(|weight| weight.gather.as_ref()).map(|gather| gather.order);
        let theta = weight.map(|weight| weight.product.out);
        let bias = weight.and_then(|weight| weight.bias.as_ref()).map(|bias| bias.out);
        let [z_of_out, terms, gamma, beta] = self.of_out.as_ref().map_or([nothing; 4], |norm| {
            let [gamma, beta] = norm.params();
            [norm.z(), norm.terms, gamma, beta]
        });
        let mut all = vec![of(self.of_out()), z_of_out, terms, of(order), of(theta), of(bias), gamma, beta];
        let [stats, gamma, beta, parts, terms] =
            self.of_x.as_ref().map_or([nothing; 5], |(BatchNormTrain { stats, norm }, gradient)| {
                [stats.stats, norm.gamma, norm.beta, gradient.sums, gradient.terms]
            });
        all.extend([of(self.x()), stats, gamma, beta, of(self.dy()), parts, terms]);
        let dx = of(self.dx());
        all.extend([of(input.map(|input| input.product.b)), dx]);
        // Without batch normalization z is what the function's slope is taken of.
        let y = self.y().map_or(dx, |(_, y)| y);
        all.extend(self.of_input.as_ref().map_or([nothing, y, nothing, nothing, nothing], |norm| {
            let [gamma, beta] = norm.params();
            [norm.sums, norm.z(), norm.norm.0.reduce.stats, gamma, beta]
        }));
        Views { all, dx, nothing }
    }

    /// Of batch normalization and functions: `NORM`, and names and values of other constants.
    fn form(&self) -> (f64, Vec<(&'static str, f64)>) {
        let norm = |norm: Option<&NormInBlocks>| norm.map_or(0.0, |norm| norm.form().0);
        let of_x = self.of_x.as_ref().map(|(_, norm)| norm);
        let (of_out, of_input) = (self.of_out.as_ref(), self.of_input.as_ref());
        let any = of_out.or(of_x).or(of_input);
        let function = any.map_or(self.y().map(|(function, _)| function), |norm| norm.form().1);
        let dropout = f64::from(self.dropout.is_some());
        let constants = vec![
            ("NORM_OUT", norm(of_out)),
            ("NORM_X", norm(of_x)),
            ("DROPOUT_X", dropout),
            ("VALUE", 0.0),
            code(function),
        ];
        // Where there is an input it says whether that was normalized, else what the others are.
        (norm(if self.stage.input.is_some() { of_input } else { any }), constants)
    }
}

impl Describe for BackwardBlocks {
    fn operands(&self) -> Vec<Operand> {
        let mut operands = vec![];
        let updated = |operands: &mut Vec<Operand>, gradient: Tensor| {
            let update = self.stage.update(gradient, false);
            operands.extend(update.operands().into_iter().filter(|operand| operand.name != "grads"));
        };
        if let (Some(weight), Some(of_out), Some(x)) = (&self.stage.weight, self.of_out(), self.x()) {
            operands.push(read("dy of weight", of_out));
            match &weight.gather {
                Some(gather) => operands.extend(gather.sources()),
                None => operands.push(read("x", x)),
            }
            updated(&mut operands, weight.product.out);
            weight.bias.iter().for_each(|bias| updated(&mut operands, bias.out));
        }
        if let Some(norm) = &self.of_out {
            operands.extend([read("z of weight", norm.z()), read("terms of weight", norm.terms)]);
            norm.params().into_iter().for_each(|place| updated(&mut operands, place));
        }
        if let Some((norm, gradient)) = &self.of_x {
            operands.extend([read("stats", norm.stats.stats), read("parts", gradient.sums)]);
            operands.extend([norm.norm.params(), write("terms", gradient.terms)]);
        }
        operands.extend(self.dropout.as_ref().map(|dropout| read("hyper", dropout.hyper())));
        if let (Some(input), Some(dy), Some(dx)) = (&self.stage.input, self.dy(), self.dx()) {
            operands.extend([read("dy", dy), read("weight", input.product.b), write("dx", dx)]);
            operands.extend(input.dropout.as_ref().map(|dropout| read("hyper", dropout.hyper())));
            if self.of_input.is_none() {
                operands.extend(self.y().map(|(_, y)| read("y", y)));
            }
        }
        if let Some(norm) = &self.of_input {
            let [gamma, beta] = norm.params();
            operands.extend([read("z", norm.z()), read("stats of z", norm.norm.0.reduce.stats)]);
            operands.extend([read("gamma", gamma), read("beta", beta), write("sums", norm.sums)]);
        }
        operands
    }

    fn bindings(&self) -> Vec<(Space, Access)> {
        self.stage.bindings()
    }

    fn flops(&self) -> u64 {
        flops_of(&self.parts())
    }

    fn dispatch(&self, _: Variant) -> Dispatch {
        let optimizer = &self.stage.optimizer;
        let (weight, input) = (self.stage.weight.as_ref(), self.stage.input.as_ref());
        let views = self.views();
        let theta = weight.map_or(Tensor { cols: 0, ..views.nothing }, |weight| weight.product.out);
        let products = weight.map(|weight| &weight.product).into_iter();
        let tile = Square::of(products.chain(input.map(|input| &input.product)));
        let [blocks, across] = self.stage.blocks([tile.side(); 2]);
        let rows = weight.map_or(views.dx.rows, |weight| weight.product.a.rows);
        let block = rows_of_block(rows);
        let cols = input.map_or(0, |_| views.dx.cols);
        let across_input = tile.across(cols).max(1);
        // Without an input there is only what is merged.
        let of_input = input.map_or(self.of_x.is_some().into(), |_| across_input * tile.down(rows));
        let biased = weight.is_some_and(|weight| weight.bias.is_some());
        let depth = input.map_or(0, |input| input.product.a.cols);
        let sizes =
            [blocks, across, theta.rows, theta.cols, biased.into(), rows, block, depth, cols, across_input];
        let mut numbers = sizes.map(|size| size as u32).to_vec();
        let dropout = input.and_then(|input| input.dropout.as_ref());
        numbers.push(self.of_x.as_ref().map_or(0, |(_, norm)| norm.eps()));
        numbers.extend(of_dropout(self.dropout.as_ref()));
        numbers.push(self.of_input.as_ref().map_or(0, NormInBlocks::eps));
        numbers.extend(of_dropout(dropout));
        // Four terms of dy's columns; or those of a weight's block, and three of its columns of x.
        let columns_of_dy = self.of_x.as_ref().map_or(0, |(_, norm)| norm.dy.cols);
        let cache = tile.cache(columns_of_dy, 4).max(7 * tile.side());
        let gather = weight.and_then(|weight| weight.gather.as_ref());
        let (norm, form) = self.form();
        let mut constants = tile.constants(gather, dropout, norm, cache);
        constants.extend(form);
        constants.extend(rule_constants(optimizer.rule));
        Dispatch {
            shader: "backward_blocks",
            entry: "main",
            constants,
            params: words(&views.all, &numbers),
            workgroups: [(blocks + of_input) as u32, 1, optimizer.theta.models as u32],
        }
    }

    fn shapes(&self) -> String {
        let merged = self.of_x.as_ref().map(|(_, norm)| format!("sums of {} blocks", norm.sums.rows / 2));
        let stage = Backward { input: None, ..self.stage.clone() };
        let input = self.stage.input.as_ref().map(|input| {
            let dropout =
                input.dropout.as_ref().map_or(String::new(), |dropout| format!(", dropout {}", dropout.p));
            let sums = if self.of_input.is_some() { ", sums" } else { "" };
            format!("{}{dropout}{sums}", input.product.shapes())
        });
        let weight = self.stage.weight.as_ref().map(|_| stage.shapes());
        weight.into_iter().chain(merged).chain(input).collect::<Vec<_>>().join("; ")
    }
}
