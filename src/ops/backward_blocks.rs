use super::activation::code;
use super::dropout::numbers as of_dropout;
use super::optimizer::rule_constants;
use super::stage::{NormOnLoad, Tiles, rows_of_block};
use super::{
    Access, ActivationBackward, Backward, BatchNormGradient, Describe, Dispatch, Function, InputGradient, Op,
    Operand, Params, Space, Tensor, Variant, flops_of, read, write,
};

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
    pub of_x: Option<NormInBlocks>,
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
    /// What it was applied by: see [`NormOnLoad`].
    pub scales: Tensor,
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

    /// Where the gradient of the input lies.
    fn dx(&self) -> Option<Tensor> {
        let of_norm = self.of_input.as_ref().map(|norm| norm.dy);
        of_norm.or(self.stage.input.as_ref().map(|input| input.dx()))
    }

    /// The gradient of what the weight passed on, as it lies.
    fn of_out(&self) -> Option<Tensor> {
        let weight = self.stage.weight.as_ref()?;
        Some(self.of_out.as_ref().map_or(weight.product.a, |norm| norm.dy))
    }

    /// The gradient that the input's begins with, as it lies.
    fn dy(&self) -> Option<Tensor> {
        let of_norm = self.of_x.as_ref().map(|norm| norm.dy);
        of_norm.or(self.stage.input.as_ref().map(|input| input.product.a))
    }

    /// What the slope of the input's function is taken of, where no batch normalization follows it.
    fn y(&self) -> Option<(Function, Tensor)> {
        self.stage.input.as_ref().and_then(InputGradient::y)
    }

    /// What normalizes what the weight was passed.
    fn norm_of_x(&self) -> Option<&NormOnLoad> {
        self.stage.x().norm.as_ref()
    }

    /// The kernel's views in its order; where it has no use for one it is `nothing`.
    fn views(&self) -> Views {
        let nothing = Tensor { rows: 0, ..self.stage.optimizer.theta };
        let (weight, input) = (self.stage.weight.as_ref(), self.stage.input.as_ref());
        let of = |tensor: Option<Tensor>| tensor.unwrap_or(nothing);
        let [x, order] = weight.map_or([nothing; 2], |weight| weight.x.places(weight.product.b));
        let theta = weight.map(|weight| weight.product.out);
        let bias = weight.and_then(|weight| weight.bias.as_ref()).map(|bias| bias.out);
        let [z_of_out, terms, gamma, beta] = self.of_out.as_ref().map_or([nothing; 4], |norm| {
            let [gamma, beta] = norm.params();
            [norm.z(), norm.terms, gamma, beta]
        });
        let mut all = vec![of(self.of_out()), z_of_out, terms, order, of(theta), of(bias), gamma, beta];
        let [stats, scales] =
            self.norm_of_x().map_or([nothing; 2], |norm| [norm.norm.stats.stats, norm.scales]);
        let [parts, terms] = self.of_x.as_ref().map_or([nothing; 2], |norm| [norm.sums, norm.terms]);
        all.extend([x, stats, scales, of(self.dy()), parts, terms]);
        let dx = of(self.dx());
        all.extend([of(input.map(|input| input.product.b)), dx]);
        // Without batch normalization z is what the function's slope is taken of.
        let y = self.y().map_or(dx, |(_, y)| y);
        all.extend(self.of_input.as_ref().map_or([nothing, y, nothing, nothing], |norm| {
            [norm.sums, norm.z(), norm.norm.0.reduce.stats, norm.scales]
        }));
        Views { all, dx, nothing }
    }

    /// Of batch normalization and functions: `NORM`, and names and values of other constants.
    fn form(&self) -> (f64, Vec<(&'static str, f64)>) {
        let norm = |norm: Option<&NormInBlocks>| norm.map_or(0.0, |norm| norm.form().0);
        let [of_out, of_x, of_input] = [&self.of_out, &self.of_x, &self.of_input].map(Option::as_ref);
        let any = of_out.or(of_x).or(of_input);
        let function = any.map_or(self.y().map(|(function, _)| function), |norm| norm.form().1);
        let constants = vec![("NORM_OUT", norm(of_out)), ("VALUE", 0.0), code(function)];
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
        if let (Some(weight), Some(of_out)) = (&self.stage.weight, self.of_out()) {
            operands.push(read("dy of weight", of_out));
            operands.extend(weight.x.operands(weight.product.b));
            updated(&mut operands, weight.product.out);
            weight.bias.iter().for_each(|bias| updated(&mut operands, bias.out));
        }
        if let Some(norm) = &self.of_out {
            operands.extend([read("z of weight", norm.z()), read("terms of weight", norm.terms)]);
            norm.params().into_iter().for_each(|place| updated(&mut operands, place));
        }
        if let Some(norm) = self.norm_of_x() {
            operands.extend([read("stats", norm.norm.stats.stats), read("scales", norm.scales)]);
        }
        if let Some(norm) = &self.of_x {
            operands.extend([read("parts", norm.sums), write("terms", norm.terms)]);
        }
        if let (Some(input), Some(dy), Some(dx)) = (&self.stage.input, self.dy(), self.dx()) {
            operands.extend([read("dy", dy), read("weight", input.product.b), write("dx", dx)]);
            operands.extend(input.dropout.as_ref().map(|dropout| read("hyper", dropout.hyper())));
            if self.of_input.is_none() {
                operands.extend(self.y().map(|(_, y)| read("y", y)));
            }
        }
        if let Some(norm) = &self.of_input {
            operands.extend([read("z", norm.z()), read("stats of z", norm.norm.0.reduce.stats)]);
            operands.extend([read("scales of z", norm.scales), write("sums", norm.sums)]);
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
        let (x, views) = (self.stage.x(), self.views());
        let theta = weight.map_or(Tensor { cols: 0, ..views.nothing }, |weight| weight.product.out);
        let products = weight.map(|weight| &weight.product).into_iter();
        let tiles = Tiles::square(products.chain(input.map(|input| &input.product)));
        let [blocks, across] = self.stage.blocks(tiles);
        let rows = weight.map_or(views.dx.rows, |weight| weight.product.a.rows);
        let block = rows_of_block(rows);
        let cols = input.map_or(0, |_| views.dx.cols);
        let across_input = tiles.across(cols).max(1);
        // Without an input there is only what is merged.
        let of_input = input.map_or(self.of_x.is_some().into(), |_| across_input * tiles.down(rows));
        let biased = weight.is_some_and(|weight| weight.bias.is_some());
        let depth = input.map_or(0, |input| input.product.a.cols);
        let sizes =
            [blocks, across, theta.rows, theta.cols, biased.into(), rows, block, depth, cols, across_input];
        let mut numbers = sizes.map(|size| size as u32).to_vec();
        let dropout = input.and_then(|input| input.dropout.as_ref());
        numbers.push(self.of_x.as_ref().map_or(0, NormInBlocks::eps));
        numbers.extend(of_dropout(x.dropout.as_ref()));
        numbers.push(self.of_input.as_ref().map_or(0, NormInBlocks::eps));
        numbers.extend(of_dropout(dropout));
        // Four terms of dy's columns; or those of a weight's block, and three of its columns of x.
        let columns_of_dy = self.of_x.as_ref().map_or(0, |norm| norm.dy.cols);
        let cache = tiles.cache(columns_of_dy, 4).max(7 * tiles.lanes);
        let (norm, form) = self.form();
        let mut constants = tiles.constants(tiles, dropout, norm, cache);
        constants.extend(x.constants(cache));
        constants.extend(form);
        constants.extend(rule_constants(optimizer.rule));
        Dispatch {
            shader: "backward_blocks",
            entry: "main",
            constants,
            params: Params::new(&views.all, &numbers),
            workgroups: [(blocks + of_input) as u32, 1, optimizer.theta.models as u32],
        }
    }

    fn shapes(&self) -> String {
        let merged = self.of_x.as_ref().map(|norm| format!("sums of {} blocks", norm.sums.rows / 2));
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
