//! What the kernels of a layer's whole share of a step have in common; see `shaders/stage.wgsl`.

use super::{Access, Dropout, Gather, Space, Tensor};

/// Invocations of a workgroup: WebGPU's default limit.
const INVOCATIONS: usize = 256;

/// vec4-columns that a workgroup owns with all their rows: few, so that narrow layers have many workgroups.
pub(super) const LANES: usize = 2;

/// Sides of a weight's block, in vec4s.
pub(super) const BLOCK: usize = 8;

/// Of a sum, staged at a time.
const DEPTH: usize = 4;

/// Constants of `shaders/stage.wgsl` and `shaders/columns.wgsl` for minibatches of so many rows.
pub(super) fn constants(
    gather: Option<&Gather>,
    dropout: Option<&Dropout>,
    rows: usize,
    norm: f64,
) -> Vec<(&'static str, f64)> {
    // Of a tile, in vec4s: no higher than the minibatch.
    let height = rows.div_ceil(4).next_power_of_two().clamp(4, 16);
    let slices = INVOCATIONS / (LANES * height);
    let of_block = INVOCATIONS / (BLOCK * BLOCK);
    // Staging both factors, then handing over a slice's tile of four vec4s a lane.
    let tiles = (slices * DEPTH * (height + LANES)).max(of_block * DEPTH * 2 * BLOCK).max(4 * BLOCK * BLOCK);
    let mut constants = given(gather, dropout, norm);
    constants.extend(sizes([("HEIGHT", height), ("DEPTH", DEPTH), ("TILES", tiles)]));
    constants.extend(sizes([("LANES", LANES), ("SPLITS", INVOCATIONS / LANES)]));
    constants
}

/// Spaces of order, data set and affine map; where nothing is gathered the bindings hold another, unread.
pub(super) fn sources(gather: Option<&Gather>) -> [Space; 3] {
    let Some(gather) = gather else { return [Space::Hyper; 3] };
    let affine = if gather.inputs.space == Space::Bytes { Space::Affine } else { Space::Hyper };
    [Space::Order, gather.inputs.space, affine]
}

/// Of the kernels for large minibatches, in vec4s: columns and rows of a workgroup's tile.
pub(super) const SIDE: usize = 8;

/// Blocks of rows at the most: every workgroup merges the statistics of all.
const BLOCKS: usize = 64;

/// Rows of a block of a large minibatch: whole tiles.
pub(super) fn rows_of_block(rows: usize) -> usize {
    let tile = 4 * SIDE;
    rows.div_ceil(tile).div_ceil(BLOCKS) * tile
}

/// vec4s of shared memory that WebGPU promises.
const SHARED: usize = 1024;

/// vec4s for what takes so many columns of a large minibatch through batch normalization, `each` for a vec4-column: those
/// of all columns, or of a piece of them that there is room for, beside a sum's tiles and what is merged.
pub(super) fn cache(columns: usize, each: usize) -> usize {
    let room = SHARED - 2 * INVOCATIONS;
    each * columns.div_ceil(4).min(room / each)
}

/// Constants of `shaders/stage.wgsl` and `shaders/columns.wgsl` for large minibatches, with so many vec4s of shared memory
/// for batch normalization.
pub(super) fn constants_of_blocks(
    gather: Option<&Gather>,
    dropout: Option<&Dropout>,
    norm: f64,
    cache: usize,
) -> Vec<(&'static str, f64)> {
    let tiles = |depth| INVOCATIONS / (SIDE * SIDE) * depth * 2 * SIDE;
    // As deep as there is room for.
    let depth = if tiles(2 * DEPTH) + INVOCATIONS + cache <= SHARED { 2 * DEPTH } else { DEPTH };
    let mut constants = given(gather, dropout, norm);
    constants.extend(sizes([
        ("HEIGHT", SIDE),
        ("DEPTH", depth),
        ("TILES", tiles(depth).max(4 * SIDE * SIDE)),
    ]));
    constants.extend(sizes([("LANES", SIDE), ("SPLITS", INVOCATIONS / SIDE), ("CACHE", cache)]));
    constants
}

fn sizes<const N: usize>(sizes: [(&'static str, usize); N]) -> [(&'static str, f64); N] {
    sizes.map(|(name, size)| (name, size as f64))
}

/// Constants that follow from what is done.
fn given(gather: Option<&Gather>, dropout: Option<&Dropout>, norm: f64) -> Vec<(&'static str, f64)> {
    let gathers = gather.map_or(0.0, |gather| if gather.inputs.space == Space::Bytes { 2.0 } else { 1.0 });
    let dropout = f64::from(dropout.is_some());
    vec![("GATHER", gathers), ("NORM", norm), ("DROPOUT", dropout), ("BLOCK", BLOCK as f64)]
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
