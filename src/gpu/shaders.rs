//! The kernels' sources, by the stem of their file. What several kernels need stands before them:
//! WGSL has no includes.

const COMMON: &str = include_str!("../../shaders/common.wgsl");
const COLUMNS: &str = include_str!("../../shaders/columns.wgsl");

macro_rules! shaders {
    ($($stem:literal: $($prelude:ident)*;)*) => {
        /// Stem and sources, in order, of every kernel.
        pub const SHADERS: &[(&str, &[&str])] = &[
            $(($stem, &[COMMON, $($prelude,)* include_str!(concat!("../../shaders/", $stem, ".wgsl"))])),*
        ];
    };
}

shaders! {
    "activation": ;
    "batch_norm": ;
    "batch_norm_backward": COLUMNS;
    "column_stats": COLUMNS;
    "column_sum": COLUMNS;
    "dropout": ;
    "gather": ;
    "loss": ;
    "matmul": ;
    "matmul_direct": ;
    "optimizer": ;
}

/// The whole source of a kernel.
///
/// Panics if there is none of that stem.
pub fn source(stem: &str) -> String {
    let found = SHADERS.iter().find(|(name, _)| *name == stem);
    let (_, parts) = found.unwrap_or_else(|| panic!("no shader {stem}"));
    parts.concat()
}
