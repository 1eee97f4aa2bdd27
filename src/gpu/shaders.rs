//! The kernels' sources, by the stem of their file. What several kernels need stands before them:
//! WGSL has no includes. `COLUMNS` comes after those that declare overrides: naga 30 panics on an override that
//! follows an array whose size is one.

const COMMON: &str = include_str!("../../shaders/common.wgsl");
const BACKWARD_STAGE: &str = include_str!("../../shaders/backward_stage.wgsl");
const BACKWARD_NORM: &str = include_str!("../../shaders/backward_norm.wgsl");
const BLOCKS: &str = include_str!("../../shaders/blocks.wgsl");
const COLUMNS: &str = include_str!("../../shaders/columns.wgsl");
const JOINED: &str = include_str!("../../shaders/joined.wgsl");
const GRADIENTS: &str = include_str!("../../shaders/gradients.wgsl");
const FORWARD_STAGE: &str = include_str!("../../shaders/forward_stage.wgsl");
const FUNCTION: &str = include_str!("../../shaders/function.wgsl");
const NO_SUBGROUPS: &str = include_str!("../../shaders/no_subgroups.wgsl");
const SUBGROUPS: &str = include_str!("../../shaders/subgroups.wgsl");
const LANES: &str = include_str!("../../shaders/lanes.wgsl");
const NO_LANES: &str = include_str!("../../shaders/no_lanes.wgsl");
const NORMALIZE: &str = include_str!("../../shaders/normalize.wgsl");
const PRODUCT: &str = include_str!("../../shaders/product.wgsl");
const PRODUCT_ALONE: &str = include_str!("../../shaders/product_alone.wgsl");
const PRODUCT_LANES: &str = include_str!("../../shaders/product_lanes.wgsl");
const PRODUCT_ROWS: &str = include_str!("../../shaders/product_rows.wgsl");
const ROW_LOSS: &str = include_str!("../../shaders/row_loss.wgsl");
const THROUGH_NORM: &str = include_str!("../../shaders/through_norm.wgsl");
const LOADED: &str = include_str!("../../shaders/loaded.wgsl");
const MATMUL_PARAMS: &str = include_str!("../../shaders/matmul_params.wgsl");
const MINIBATCH: &str = include_str!("../../shaders/minibatch.wgsl");
const MASK: &str = include_str!("../../shaders/mask.wgsl");
const MOMENTS: &str = include_str!("../../shaders/moments.wgsl");
const UPDATE_ALL: &str = include_str!("../../shaders/update_all.wgsl");
const WEIGHT_GRADIENT: &str = include_str!("../../shaders/weight_gradient.wgsl");
const STAGE: &str = include_str!("../../shaders/stage.wgsl");
const TURNS: &str = include_str!("../../shaders/turns.wgsl");
const UPDATE: &str = include_str!("../../shaders/update.wgsl");

macro_rules! shaders {
    ($($stem:literal: $($prelude:ident)*;)*) => {
        /// Stem and sources, in order, of every kernel.
        pub const SHADERS: &[(&str, &[&str])] = &[
            $(($stem, &[COMMON, $($prelude,)* include_str!(concat!("../../shaders/", $stem, ".wgsl"))])),*
        ];
    };
}

shaders! {
    "activation": FUNCTION;
    "batch_norm": FUNCTION COLUMNS MOMENTS NORMALIZE BLOCKS;
    "backward": FUNCTION MASK UPDATE STAGE LOADED COLUMNS MOMENTS GRADIENTS BACKWARD_STAGE BACKWARD_NORM;
    "backward_blocks": FUNCTION MASK UPDATE STAGE LOADED COLUMNS MOMENTS GRADIENTS BACKWARD_STAGE BACKWARD_NORM;
    "batch_norm_backward": FUNCTION COLUMNS MOMENTS GRADIENTS THROUGH_NORM;
    "column_stats": COLUMNS MOMENTS;
    "column_sum": COLUMNS;
    "dropout": MASK;
    "forward": FUNCTION MASK STAGE LOADED COLUMNS MOMENTS BLOCKS FORWARD_STAGE;
    "gather": MINIBATCH;
    "gradients_through_norm": FUNCTION MASK JOINED PRODUCT PRODUCT_LANES TURNS WEIGHT_GRADIENT COLUMNS MOMENTS GRADIENTS THROUGH_NORM;
    "limits": ;
    "link": FUNCTION UPDATE STAGE COLUMNS MOMENTS FORWARD_STAGE BACKWARD_STAGE;
    "loss": ROW_LOSS COLUMNS;
    "matmul": FUNCTION MATMUL_PARAMS PRODUCT;
    "matmul_direct": FUNCTION MATMUL_PARAMS PRODUCT;
    "matmul_gradients": FUNCTION PRODUCT PRODUCT_LANES TURNS WEIGHT_GRADIENT;
    "matmul_lanes": FUNCTION MATMUL_PARAMS PRODUCT PRODUCT_LANES PRODUCT_ALONE;
    "matmul_loss": PRODUCT_ROWS ROW_LOSS COLUMNS;
    "matmul_norm": FUNCTION MASK JOINED PRODUCT PRODUCT_LANES PRODUCT_ALONE COLUMNS MOMENTS NORMALIZE;
    "optimizer": UPDATE UPDATE_ALL;
    "update_gather": UPDATE UPDATE_ALL MINIBATCH TURNS;
}

/// The whole source of a kernel, for a device whose subgroups have at least so many invocations; 1 where there are none.
///
/// Panics if there is none of that stem.
pub fn source(stem: &str, subgroup: u32) -> String {
    let merging = merges(stem).then_some([NO_SUBGROUPS, SUBGROUPS][usize::from(subgroup > 1)]);
    let passing = passes(stem).then_some([NO_LANES, LANES][usize::from(subgroup >= VECTOR)]);
    let behind = merging.into_iter().chain(passing);
    parts(stem).iter().copied().chain(behind).collect()
}

/// Invocations of a workgroup that `product_lanes.wgsl` and `product_rows.wgsl` take for one subgroup.
pub const VECTOR: u32 = 8;

/// Whether the workgroups of a kernel are taken for subgroups.
pub fn passes(stem: &str) -> bool {
    [PRODUCT_LANES, PRODUCT_ROWS].iter().any(|by_lanes| parts(stem).contains(by_lanes))
}

/// Whether a kernel merges sums, and so has the constant `SUBGROUP`.
pub fn merges(stem: &str) -> bool {
    parts(stem).contains(&COLUMNS)
}

fn parts(stem: &str) -> &'static [&'static str] {
    let found = SHADERS.iter().find(|(name, _)| *name == stem);
    let (_, parts) = found.unwrap_or_else(|| panic!("no shader {stem}"));
    parts
}
