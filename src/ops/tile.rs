use std::fmt;

use super::{MatMul, Variant};

/// How the kernels of [`super::MatMul`] share out a product: which of them runs, and its constants. All
/// give the same to rounding, and each the same bits every time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Tile {
    /// `matmul.wgsl`: `across × down` invocations of `4·wide` columns by `4·tall` rows of the output,
    /// `slices` times, each over its own `depth` of what is staged through shared memory at once.
    Staged {
        /// 1, 2, 4, 8 or 16.
        across: usize,
        /// 1, 2, 4, 8 or 16.
        down: usize,
        /// 1 or 2.
        wide: usize,
        /// 1 or 2.
        tall: usize,
        /// A multiple of 4.
        depth: usize,
        /// Their sums are added in their order.
        slices: usize,
    },
    /// `matmul_direct.wgsl`: invocations of 16 columns by 8 rows of the output, straight from storage.
    Direct {
        /// Invocations along the columns.
        across: usize,
        /// Along the rows; eight in all run as one vector on a software adapter.
        down: usize,
    },
    /// `matmul_lanes.wgsl`: workgroups of eight invocations and 32 columns of the output, which pass on to each other what
    /// they load.
    Lanes {
        /// 64 rows of the output in place of 32.
        double: bool,
    },
}

/// The staged tile of a block of the output, by `4·wide` columns and `4·tall` rows an invocation. WebGPU
/// promises 256 invocations and 16 KiB of shared memory, 1024 `vec4`s: `(rows + cols)/4 · depth · slices`.
const fn staged(block: [usize; 2], [tall, wide]: [usize; 2], depth: usize, slices: usize) -> Tile {
    let [rows, cols] = block;
    Tile::Staged { across: cols / wide / 4, down: rows / tall / 4, wide, tall, depth, slices }
}

const fn direct(across: usize) -> Tile {
    Tile::Direct { across, down: 8 / across }
}

/// The staged tiles that are tried: small blocks with many slices for few outputs and long sums, large
/// ones for large products.
const STAGED: [Tile; 12] = [
    staged([16, 16], [1, 1], 16, 8),
    staged([16, 16], [1, 1], 8, 16),
    staged([32, 32], [1, 1], 8, 1),
    SMALL,
    SLICED,
    staged([32, 32], [2, 1], 16, 4),
    staged([64, 64], [1, 1], 16, 1),
    staged([64, 64], [2, 1], 16, 1),
    LARGE,
    staged([64, 64], [2, 2], 8, 4),
    staged([128, 64], [2, 2], 8, 1),
    staged([128, 64], [2, 2], 16, 1),
];
const SMALL: Tile = staged([32, 32], [1, 1], 16, 1);
const SLICED: Tile = staged([32, 32], [1, 1], 16, 4);
const LARGE: Tile = staged([64, 64], [2, 2], 8, 1);
const SOFTWARE: [Tile; 6] =
    [direct(1), direct(2), direct(4), direct(8), Tile::Lanes { double: false }, Tile::Lanes { double: true }];

/// Below so many workgroups a GPU has nothing to do while they wait for memory: then sums are sliced.
const FEW: usize = 64;
/// With so many workgroups of large blocks all of it has enough to do.
const MANY: usize = 256;
/// Sums that are worth slicing.
const LONG: usize = 128;
/// Multiplications from which a larger tile of a software adapter saves more than it takes to compile.
const MUCH: usize = 5_000_000;

impl Tile {
    /// What can be tried in place of [`Tile::suited`].
    pub fn candidates(variant: Variant) -> &'static [Tile] {
        match variant {
            Variant::Gpu => &STAGED,
            Variant::Software => &SOFTWARE,
        }
    }

    /// The tile for a product of `models` outputs of these rows and columns, where none was measured.
    pub fn suited(variant: Variant, models: usize, [rows, depth, cols]: [usize; 3]) -> Tile {
        let workgroups = |tile: Tile| tile.workgroups(models, [rows, depth, cols]);
        match variant {
            Variant::Software => direct(cols.div_ceil(16).next_power_of_two().min(8)),
            Variant::Gpu if workgroups(LARGE) >= MANY => LARGE,
            Variant::Gpu if workgroups(SMALL) < FEW && depth >= LONG => SLICED,
            Variant::Gpu => SMALL,
        }
    }

    /// The tile for a product on a software adapter whose vectors are subgroups, where none was measured.
    pub fn suited_to_lanes(models: usize, [rows, depth, cols]: [usize; 3]) -> Tile {
        let multiplications = [models, rows, depth, cols].into_iter().fold(1, usize::saturating_mul);
        Tile::Lanes { double: rows > 32 && multiplications >= MUCH }
    }

    /// Workgroups of a product.
    fn workgroups(self, models: usize, [rows, _, cols]: [usize; 3]) -> usize {
        let [block_rows, block_cols] = self.block();
        models * rows.div_ceil(block_rows) * cols.div_ceil(block_cols)
    }

    /// Whether products that run side by side have enough of the largest tiles for all of a GPU.
    pub fn fill<'a>(products: impl IntoIterator<Item = &'a MatMul>) -> bool {
        let workgroups = |product: &MatMul| LARGE.workgroups(product.out.models, product.sizes());
        products.into_iter().map(workgroups).sum::<usize>() >= MANY
    }

    /// Rows and columns of the output to a workgroup.
    pub fn block(self) -> [usize; 2] {
        match self {
            Tile::Staged { across, down, wide, tall, .. } => [4 * tall * down, 4 * wide * across],
            Tile::Direct { across, down } => [8 * down, 16 * across],
            Tile::Lanes { double } => [if double { 64 } else { 32 }, 32],
        }
    }

    /// Stem of the kernel's file.
    pub(super) fn shader(self) -> &'static str {
        match self {
            Tile::Staged { .. } => "matmul",
            Tile::Direct { .. } => "matmul_direct",
            Tile::Lanes { .. } => "matmul_lanes",
        }
    }

    /// Values of the kernel's `override` constants that are the tile's.
    pub(super) fn constants(self) -> Vec<(&'static str, f64)> {
        let constants = match self {
            Tile::Lanes { double } => vec![("DOUBLE", usize::from(double))],
            Tile::Direct { across, down } => vec![("ACROSS", across), ("DOWN", down)],
            Tile::Staged { across, down, wide, tall, depth, slices } => vec![
                ("ACROSS", across),
                ("DOWN", down),
                ("WIDE", wide),
                ("TALL", tall),
                ("DEPTH", depth),
                ("SLICES", slices),
            ],
        };
        constants.into_iter().map(|(name, value)| (name, value as f64)).collect()
    }
}

/// Block, then what an invocation has of it, then depth and slices: `64x64 of 8x4, depth 16, slices 2`.
impl fmt::Display for Tile {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let [rows, cols] = self.block();
        match self {
            Tile::Lanes { .. } => write!(f, "{rows}x{cols} of {rows}x4"),
            Tile::Direct { .. } => write!(f, "{rows}x{cols} of 8x16"),
            Tile::Staged { wide, tall, depth, slices, .. } => {
                write!(f, "{rows}x{cols} of {}x{}, depth {depth}, slices {slices}", 4 * tall, 4 * wide)
            }
        }
    }
}
