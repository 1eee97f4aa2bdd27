//! What the kernels of a layer's whole share of a step have in common; see `shaders/stage.wgsl`.

use super::{BatchNormTrain, Describe, Dropout, Gather, MatMul, Op, Operand, Space, Tensor, Tile, read};

/// Workgroups of a stage own columns with all their rows up to this many of them; of larger minibatches they own blocks
/// of rows, as a large GPU would be left short of workgroups.
pub const ROWS_IN_STAGES: usize = 256;

/// Invocations of a workgroup: WebGPU's default limit.
const INVOCATIONS: usize = 256;

/// vec4-columns that a workgroup owns with all their rows: few, so that narrow layers have many workgroups.
const LANES: usize = 2;

/// Invocations along the rows and along the columns of a tile of the kernels for large minibatches.
const ALONG: usize = 8;

/// Sides of a weight's block, in vec4s, where it is updated beside the gradient of an input.
const BLOCK: usize = 8;

/// Of a sum, staged at a time, or twice as much.
const DEPTH: usize = 4;

/// What a product is passed, as its kernel loads it: from the data set, or what the layer before made, which that one's
/// batch normalization and dropout then take to what is not written.
#[derive(Clone, Debug, Default)]
pub struct Loaded {
    pub gather: Option<Gather>,
    pub norm: Option<NormOnLoad>,
    pub dropout: Option<Dropout>,
}

/// A layer's batch normalization, done by those who load what it is of.
///
/// ```text
/// moments [M, 3 · blocks, columns]: of each block of rows as in [`super::ColumnStats`]; the first who loads merges them
/// scales  [M, 2, columns]: scale, shift: out = f((x − high) · scale + shift)
/// ```
#[derive(Clone, Debug)]
pub struct NormOnLoad {
    pub norm: BatchNormTrain,
    pub moments: Tensor,
    pub scales: Tensor,
}

impl NormOnLoad {
    /// Rows of moments and of scales for so many rows of a minibatch.
    pub fn rows(rows: usize) -> [usize; 2] {
        [3 * rows.div_ceil(rows_of_block(rows)), 2]
    }
}

impl Loaded {
    /// The operations that make it, in order.
    pub fn parts(&self) -> Vec<Op> {
        let gather = self.gather.clone().map(Op::from).into_iter();
        let norm = self.norm.iter().map(|norm| norm.norm.clone().into());
        gather.chain(norm).chain(self.dropout.clone().map(Op::from)).collect()
    }

    /// Where it lies for a product that is passed `x`, and the order of rows where it lies in the data set.
    pub(super) fn places(&self, x: Tensor) -> [Tensor; 2] {
        if let Some(gather) = &self.gather {
            return [gather.inputs, gather.order];
        }
        let of_dropout = self.dropout.as_ref().map(|dropout| dropout.x);
        [self.norm.as_ref().map(|norm| norm.norm.norm.x).or(of_dropout).unwrap_or(x); 2]
    }

    /// What is read of it, beside what normalizes it.
    pub(super) fn operands(&self, x: Tensor) -> Vec<Operand> {
        let mut operands = match &self.gather {
            Some(gather) => gather.sources(),
            None => vec![read("x", self.places(x)[0])],
        };
        operands.extend(self.dropout.as_ref().map(|dropout| read("hyper", dropout.hyper())));
        operands
    }

    /// Spaces of order, data set and affine map; where nothing is gathered the bindings hold another, unread.
    pub(super) fn sources(&self) -> [Space; 3] {
        let Some(gather) = &self.gather else { return [Space::Hyper; 3] };
        let affine = if gather.inputs.space == Space::Bytes { Space::Affine } else { Space::Hyper };
        [Space::Order, gather.inputs.space, affine]
    }

    /// `GATHER` of `shaders/stage.wgsl`.
    pub(super) fn gathers(&self) -> (&'static str, f64) {
        let bytes = |gather: &Gather| gather.inputs.space == Space::Bytes;
        ("GATHER", self.gather.as_ref().map_or(0.0, |gather| if bytes(gather) { 2.0 } else { 1.0 }))
    }

    /// Constants of `shaders/loaded.wgsl`, with so many vec4s of shared memory for batch normalization.
    pub(super) fn constants(&self, cache: usize) -> [(&'static str, f64); 4] {
        let before = |norm: &NormOnLoad| norm.norm.norm.function.is_some();
        let norm = self.norm.as_ref().map_or(0.0, |norm| if before(norm) { 1.0 } else { 2.0 });
        let dropout = f64::from(self.dropout.is_some());
        [self.gathers(), ("NORM_X", norm), ("DROPOUT_X", dropout), ("CACHE", cache as f64)]
    }

    /// As [`Op::shapes`] has it.
    pub(super) fn shapes(&self) -> String {
        let gather = if self.gather.is_some() { "gathered " } else { "" };
        let norm = self.norm.as_ref();
        let norm = norm.map_or(String::new(), |norm| format!("batch norm {}, ", norm.norm.shapes()));
        gather.to_string()
            + &norm
            + &self.dropout.as_ref().map_or(String::new(), |d| format!("dropout {}, ", d.p))
    }
}

/// The tiles of a kernel's sums.
#[derive(Clone, Copy)]
pub(super) struct Tiles {
    /// vec4s of rows.
    height: usize,
    /// vec4s of columns.
    pub lanes: usize,
    /// Fours of rows and of columns to an invocation: two, as the largest tile of a product by itself has, where such
    /// tiles fill a GPU.
    wide: usize,
}

impl Tiles {
    /// Of the outputs of these products for a minibatch of so many rows.
    pub fn of<'a>(rows: usize, products: impl IntoIterator<Item = &'a MatMul>) -> Tiles {
        if rows <= ROWS_IN_STAGES { Tiles::of_columns(rows) } else { Tiles::square(products) }
    }

    /// Few columns with all of so many rows, no higher than they are.
    pub fn of_columns(rows: usize) -> Tiles {
        let height = rows.div_ceil(4).next_power_of_two().clamp(8, 16);
        Tiles { height, lanes: LANES, wide: 1 }
    }

    /// As large as suits the products of a large minibatch.
    pub fn square<'a>(products: impl IntoIterator<Item = &'a MatMul>) -> Tiles {
        let wide = if Tile::fill(products) { 2 } else { 1 };
        Tiles { height: ALONG * wide, lanes: ALONG * wide, wide }
    }

    /// Blocks of a weight beside columns of an input.
    pub fn block() -> Tiles {
        Tiles { height: BLOCK, lanes: BLOCK, wide: 1 }
    }

    /// Rows of a weight that make these columns, of so many features or of some at a time.
    pub fn of_weight(self, features: usize) -> Tiles {
        let lanes = features.div_ceil(4).next_power_of_two().clamp(8, 32);
        Tiles { height: self.lanes, lanes, wide: 1 }
    }

    /// vec4s of rows and of columns.
    pub fn sides(self) -> [usize; 2] {
        [self.height, self.lanes]
    }

    /// Workgroups for the rows of a minibatch, each with whole blocks.
    pub fn down(self, rows: usize) -> usize {
        rows.div_ceil(self.wide * rows_of_block(rows))
    }

    /// Workgroups for so many columns.
    pub fn across(self, columns: usize) -> usize {
        columns.div_ceil(4 * self.lanes)
    }

    /// vec4s of shared memory that a sum takes: both factors of all slices, staged so deep, then four rows of all
    /// invocations of a slice, which it hands over at a time.
    fn staged(self, depth: usize) -> usize {
        let lanes = self.height * self.lanes / (self.wide * self.wide);
        let slices = INVOCATIONS / lanes;
        (slices * depth * (self.height + self.lanes)).max(4 * self.wide * lanes)
    }

    /// vec4s for what takes so many columns through batch normalization, `each` for a vec4-column: those of all columns, or
    /// of a piece of them that there is room for, beside a sum's tiles and what is merged.
    pub fn cache(self, columns: usize, each: usize) -> usize {
        let room = SHARED - self.staged(DEPTH) - INVOCATIONS;
        each * columns.div_ceil(4).min(room / each)
    }

    /// Constants of `shaders/stage.wgsl` and `shaders/columns.wgsl`, for sums in these tiles and in such blocks of a weight,
    /// beside so many vec4s of shared memory.
    pub fn constants(
        self,
        block: Tiles,
        dropout: Option<&Dropout>,
        norm: f64,
        beside: usize,
    ) -> Vec<(&'static str, f64)> {
        let tiles = |depth| self.staged(depth).max(block.staged(depth));
        // As deep as there is room for.
        let fits = tiles(2 * DEPTH) + INVOCATIONS + beside <= SHARED;
        let depth = if fits { 2 * DEPTH } else { DEPTH };
        let sizes = [
            ("HEIGHT", self.height),
            ("LANES", self.lanes),
            ("SPLITS", INVOCATIONS / self.lanes),
            ("WIDE", self.wide),
            ("BLOCK_ROWS", block.height),
            ("BLOCK", block.lanes),
            ("DEPTH", depth),
            ("TILES", tiles(depth)),
        ];
        let mut constants = vec![("NORM", norm), ("DROPOUT", f64::from(dropout.is_some()))];
        constants.extend(sizes.map(|(name, size)| (name, size as f64)));
        constants
    }
}

/// Blocks of rows at the most: every workgroup merges the statistics of all.
const BLOCKS: usize = 64;

/// Rows of a block: all of a small minibatch; of a large one whole tiles of the smaller kind.
pub(super) fn rows_of_block(rows: usize) -> usize {
    let tile = 4 * ALONG;
    if rows <= ROWS_IN_STAGES { rows } else { rows.div_ceil(tile).div_ceil(BLOCKS) * tile }
}

/// vec4s of shared memory that WebGPU promises.
const SHARED: usize = 1024;
