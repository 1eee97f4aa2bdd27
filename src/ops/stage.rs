//! What the kernels of a layer's whole share of a step have in common; see `shaders/stage.wgsl`.

use super::{Access, Dropout, Gather, MatMul, Space, Tensor, Tile};

/// Invocations of a workgroup: WebGPU's default limit.
const INVOCATIONS: usize = 256;

/// vec4-columns that a workgroup owns with all their rows: few, so that narrow layers have many workgroups.
pub(super) const LANES: usize = 2;

/// Sides of a weight's block, in vec4s, where it is updated beside the gradient of an input.
pub(super) const BLOCK: usize = 8;

/// Of a sum, staged at a time.
const DEPTH: usize = 4;

/// Of a tile with all of so many rows, of columns or of a weight, in vec4s: no higher than they are.
pub(super) fn height(rows: usize) -> usize {
    rows.div_ceil(4).next_power_of_two().clamp(4, 16)
}

/// Constants of `shaders/stage.wgsl` and `shaders/columns.wgsl` for minibatches of so many rows and blocks of weights
/// with so many vec4s of rows and of columns.
pub(super) fn constants(
    gather: Option<&Gather>,
    dropout: Option<&Dropout>,
    rows: usize,
    norm: f64,
    [block_rows, block]: [usize; 2],
) -> Vec<(&'static str, f64)> {
    let height = height(rows);
    // Staging both factors, then handing over a slice's tile of four vec4s a lane.
    let tiles = |[rows, cols]: [usize; 2]| {
        let slices = INVOCATIONS / (rows * cols);
        (slices * DEPTH * (rows + cols)).max(4 * rows * cols)
    };
    let tiles = tiles([height, LANES]).max(tiles([block_rows, block]));
    let mut constants = given(gather, dropout, norm);
    constants.extend(sizes([("HEIGHT", height), ("DEPTH", DEPTH), ("TILES", tiles)]));
    constants.extend(sizes([
        ("LANES", LANES),
        ("SPLITS", INVOCATIONS / LANES),
        ("BLOCK_ROWS", block_rows),
        ("BLOCK", block),
        ("WIDE", 1),
    ]));
    constants
}

/// Spaces of order, data set and affine map; where nothing is gathered the bindings hold another, unread.
pub(super) fn sources(gather: Option<&Gather>) -> [Space; 3] {
    let Some(gather) = gather else { return [Space::Hyper; 3] };
    let affine = if gather.inputs.space == Space::Bytes { Space::Affine } else { Space::Hyper };
    [Space::Order, gather.inputs.space, affine]
}

/// Invocations along the rows and along the columns of a tile of the kernels for large minibatches.
const ALONG: usize = 8;

/// The square tiles of a kernel for large minibatches, as large as suits what it multiplies.
#[derive(Clone, Copy)]
pub(super) struct Square {
    /// Fours of rows and of columns to an invocation: two, as the largest tile of a product by itself has, where such
    /// tiles fill a GPU.
    pub wide: usize,
}

impl Square {
    /// Of a kernel with these products.
    pub fn of<'a>(products: impl IntoIterator<Item = &'a MatMul>) -> Square {
        Square { wide: if Tile::fill(products) { 2 } else { 1 } }
    }

    /// Of a tile, in vec4s.
    pub fn side(self) -> usize {
        ALONG * self.wide
    }

    /// Workgroups for the rows of a minibatch, each with whole tiles.
    pub fn down(self, rows: usize) -> usize {
        rows.div_ceil(self.wide * rows_of_block(rows))
    }

    /// Workgroups for so many columns.
    pub fn across(self, columns: usize) -> usize {
        columns.div_ceil(4 * self.side())
    }

    /// vec4s of shared memory of all slices' tiles of both factors, staged so deep.
    fn tiles(self, depth: usize) -> usize {
        INVOCATIONS / (ALONG * ALONG) * depth * 2 * self.side()
    }

    /// vec4s for what takes so many columns through batch normalization, `each` for a vec4-column: those of all columns, or
    /// of a piece of them that there is room for, beside a sum's tiles and what is merged.
    pub fn cache(self, columns: usize, each: usize) -> usize {
        let room = SHARED - self.tiles(DEPTH) - INVOCATIONS;
        each * columns.div_ceil(4).min(room / each)
    }

    /// Constants of `shaders/stage.wgsl` and `shaders/columns.wgsl`, with so many vec4s of shared memory for batch
    /// normalization.
    pub fn constants(
        self,
        gather: Option<&Gather>,
        dropout: Option<&Dropout>,
        norm: f64,
        cache: usize,
    ) -> Vec<(&'static str, f64)> {
        // As deep as there is room for.
        let fits = self.tiles(2 * DEPTH) + INVOCATIONS + cache <= SHARED;
        let depth = if fits { 2 * DEPTH } else { DEPTH };
        // A slice hands over four rows of all its invocations at a time.
        let tiles = self.tiles(depth).max(4 * self.wide * ALONG * ALONG);
        let side = self.side();
        let mut constants = given(gather, dropout, norm);
        constants.extend(sizes([("HEIGHT", side), ("DEPTH", depth), ("TILES", tiles)]));
        constants.extend(sizes([("LANES", side), ("SPLITS", INVOCATIONS / side), ("CACHE", cache)]));
        constants.extend(sizes([("BLOCK_ROWS", side), ("BLOCK", side), ("WIDE", self.wide)]));
        constants
    }
}

/// Blocks of rows at the most: every workgroup merges the statistics of all.
const BLOCKS: usize = 64;

/// Rows of a block of a large minibatch: whole tiles of the smaller kind.
pub(super) fn rows_of_block(rows: usize) -> usize {
    let tile = 4 * ALONG;
    rows.div_ceil(tile).div_ceil(BLOCKS) * tile
}

/// vec4s of shared memory that WebGPU promises.
const SHARED: usize = 1024;

fn sizes<const N: usize>(sizes: [(&'static str, usize); N]) -> [(&'static str, f64); N] {
    sizes.map(|(name, size)| (name, size as f64))
}

/// Constants that follow from what is done.
fn given(gather: Option<&Gather>, dropout: Option<&Dropout>, norm: f64) -> Vec<(&'static str, f64)> {
    let gathers = gather.map_or(0.0, |gather| if gather.inputs.space == Space::Bytes { 2.0 } else { 1.0 });
    let dropout = f64::from(dropout.is_some());
    vec![("GATHER", gathers), ("NORM", norm), ("DROPOUT", dropout)]
}

/// What the kernels of a layer forward bind.
pub(super) fn forward_bindings(gather: Option<&Gather>) -> Vec<(Space, Access)> {
    let own = [(Space::Joint, Access::Write), (Space::Log, Access::Write), (Space::Params, Access::Read)];
    let given = sources(gather).into_iter().chain([Space::Hyper]).map(|space| (space, Access::Read));
    own.into_iter().chain(given).collect()
}

/// Where x and the order lie.
pub(super) fn x_and_order(gather: Option<&Gather>, x: Tensor) -> [Tensor; 2] {
    gather.map_or([x; 2], |gather| [gather.inputs, gather.order])
}
