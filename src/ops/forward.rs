use super::activation::code;
use super::dropout::numbers;
use super::stage::{Loaded, Tiles, rows_of_block};
use super::{
    Access, Describe, Dispatch, MatMul, Op, Operand, Params, Space, Tensor, Variant, flops_of, read, write,
};

/// A layer forward in one dispatch: the batch normalization and dropout of the layer before, as its output is loaded,
/// then [`MatMul`] of the form ABt, and the statistics of blocks of rows of what it writes. The first layer takes its rows
/// from the data set.
#[derive(Clone, Debug)]
pub struct Forward {
    pub x: Loaded,
    pub product: MatMul,
    /// Where batch normalization follows: see [`super::NormOnLoad`].
    pub moments: Option<Tensor>,
}

impl Forward {
    /// The operations that it does, in order: their twins are its own.
    pub fn parts(&self) -> Vec<Op> {
        let mut parts = self.x.parts();
        parts.push(self.product.clone().into());
        parts
    }
}

impl Describe for Forward {
    fn operands(&self) -> Vec<Operand> {
        let mut operands = self.x.operands(self.product.a);
        operands.extend([read("weight", self.product.b), write("z", self.product.out)]);
        operands.extend(self.product.bias.map(|bias| read("bias", bias)));
        operands.extend(self.moments.map(|moments| write("moments", moments)));
        if let Some(norm) = &self.x.norm {
            // All but x, and what is not written.
            let of_norm = norm.norm.operands().into_iter();
            operands.extend(of_norm.filter(|operand| !matches!(operand.name, "x" | "out")));
            operands.extend([read("moments", norm.moments), write("scales", norm.scales)]);
        }
        operands
    }

    fn bindings(&self) -> Vec<(Space, Access)> {
        let own = [(Space::Joint, Access::Write), (Space::Log, Access::Write), (Space::Params, Access::Read)];
        let given = self.x.sources().into_iter().chain([Space::Hyper]);
        own.into_iter().chain(given.map(|space| (space, Access::Read))).collect()
    }

    fn flops(&self) -> u64 {
        flops_of(&self.parts())
    }

    fn dispatch(&self, _: Variant) -> Dispatch {
        let MatMul { a, b, bias, function, out: z, .. } = self.product;
        let [x, order] = self.x.places(a);
        let norm = self.x.norm.as_ref();
        // Without batch normalization its places hold z.
        let of_norm = norm.map_or([z; 6], |of_x| {
            let (stats, norm) = (&of_x.norm.stats, &of_x.norm.norm);
            [of_x.moments, stats.stats, stats.log, norm.gamma, norm.beta, of_x.scales]
        });
        let own = [x, order, b, bias.unwrap_or(z), z, self.moments.unwrap_or(z)];
        let views: Vec<_> = own.into_iter().chain(of_norm).collect();
        let eps = norm.map_or(0.0, |norm| norm.norm.norm.eps as f32);
        let sizes = [z.rows, a.cols, z.cols, bias.is_some().into(), rows_of_block(z.rows)];
        let mut numbers_of = sizes.map(|size| size as u32).to_vec();
        numbers_of.push(eps.to_bits());
        numbers_of.extend(numbers(self.x.dropout.as_ref()));
        let tiles = Tiles::of(z.rows, [&self.product]);
        // High, scale and shift; of one column where there is no normalization.
        let cache = tiles.cache(if norm.is_some() { a.cols } else { 1 }, 3);
        let mut constants = tiles.constants(tiles, None, f64::from(self.moments.is_some()), cache);
        constants.extend(self.x.constants(cache));
        constants.extend([
            ("NORM_OUT", 0.0),
            ("VALUE", f64::from(function.is_some())),
            code(function.or(norm.and_then(|norm| norm.norm.norm.function))),
        ]);
        Dispatch {
            shader: "forward",
            entry: "main",
            constants,
            params: Params::new(&views, &numbers_of),
            workgroups: [tiles.across(z.cols) as u32, tiles.down(z.rows) as u32, z.models as u32],
        }
    }

    fn shapes(&self) -> String {
        let rows = self.product.out.rows;
        let block = rows_of_block(rows);
        let moments = match self.moments {
            Some(_) if block < rows => format!(", moments of {block} rows"),
            Some(_) => ", moments".into(),
            None => String::new(),
        };
        self.x.shapes() + &self.product.shapes() + &moments
    }
}
