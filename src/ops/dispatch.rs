use super::{Tensor, Variant};

/// One dispatch of a kernel.
#[derive(Clone, Debug)]
pub struct Dispatch {
    /// Stem of the file in `shaders/`.
    pub shader: &'static str,
    pub entry: &'static str,
    /// Values of the shader's `override` constants.
    pub constants: Vec<(&'static str, f64)>,
    pub params: Params,
    pub workgroups: [u32; 3],
}

/// A shader's `Params` struct: views of tensors first, then numbers.
#[derive(Clone, Debug)]
pub struct Params {
    views: Vec<Tensor>,
    numbers: Vec<u32>,
}

impl Params {
    pub(super) fn new(views: &[Tensor], numbers: &[u32]) -> Params {
        Params { views: views.to_vec(), numbers: numbers.to_vec() }
    }

    /// Word by word, as the first of the models that run is this one.
    pub fn words(&self, model: usize) -> Vec<u32> {
        let views = self.views.iter().flat_map(|tensor| tensor.view(model));
        views.chain(self.numbers.iter().copied()).collect()
    }
}

impl Dispatch {
    /// The value of a constant, if the shader has it.
    fn constant(&self, name: &str) -> Option<u32> {
        self.constants.iter().find(|(given, _)| *given == name).map(|(_, value)| *value as u32)
    }

    /// Invocations of a workgroup in each direction, as the shader declares them.
    pub fn workgroup(&self) -> [u32; 3] {
        let size = |name| self.constant(name).unwrap_or(1);
        match self.shader {
            "matmul" | "matmul_direct" => ["ACROSS", "DOWN", "SLICES"].map(size),
            "forward" | "backward" | "backward_blocks" | "link" => [size("LANES") * size("SPLITS"), 1, 1],
            "loss" | "matmul_loss" => [size("SPLITS"), 1, 1],
            "matmul_lanes" | "matmul_gradients" => [8, 1, 1],
            _ => [size("LANES"), size("SPLITS"), 1],
        }
    }

    /// Bytes that the invocations of a workgroup share, as the shader and what stands before it declare them.
    pub fn shared(&self) -> u32 {
        let size = |name| self.constant(name).unwrap_or(1);
        let merged = match (self.shader, self.entry) {
            // These are given sums.
            ("batch_norm" | "batch_norm_backward", "main") => 0,
            _ => self.constant("SPLITS").map_or(0, |splits| splits * size("LANES")),
        };
        let staged = match self.shader {
            "matmul" => {
                size("SLICES") * size("DEPTH") * (size("DOWN") * size("TALL") + size("ACROSS") * size("WIDE"))
            }
            "matmul_lanes"
            | "matmul_norm"
            | "matmul_loss"
            | "matmul_gradients"
            | "gradients_through_norm" => 8,
            _ => self.constant("TILES").unwrap_or(0) + self.constant("CACHE").unwrap_or(0),
        };
        16 * (merged + staged)
    }
}

/// A kernel over every `vec4` of a matrix, of which a workgroup takes a share, so any size fits: on a GPU as few as there are
/// lanes, on a software adapter enough that what it does before them counts little, if there are 16 workgroups for its
/// threads.
pub(super) fn elementwise(
    shader: &'static str,
    entry: &'static str,
    params: Params,
    over: Tensor,
    variant: Variant,
) -> Dispatch {
    let (lanes, share) = match variant {
        Variant::Gpu => (64, 64),
        Variant::Software => (8, 512),
    };
    let all = over.rows * over.ld() / 4;
    let at_least = all.div_ceil(lanes).min(16);
    let groups = all.div_ceil(share).max(at_least).clamp(1, 4096);
    Dispatch {
        shader,
        entry,
        constants: vec![("LANES", lanes as f64)],
        params,
        workgroups: [groups as u32, 1, over.models as u32],
    }
}

/// A kernel that reduces the rows of each column: `LANES` columns (of `vec4`s) by `SPLITS` slices
/// of the rows, merged in a fixed order.
pub(super) fn columnwise(
    shader: &'static str,
    entry: &'static str,
    params: Params,
    over: Tensor,
    variant: Variant,
) -> Dispatch {
    let (lanes, splits) = match variant {
        Variant::Gpu => (8, 32),
        Variant::Software => (8, 1),
    };
    Dispatch {
        shader,
        entry,
        constants: vec![("LANES", lanes as f64), ("SPLITS", splits as f64)],
        params,
        workgroups: [(over.ld() / 4).div_ceil(lanes) as u32, 1, over.models as u32],
    }
}

/// A kernel of `columnwise` workgroups that go along a matrix as [`elementwise`] ones do.
pub(super) fn along(columnwise: Dispatch, over: Tensor) -> Dispatch {
    let size = |(name, value): &(&str, f64)| if matches!(*name, "LANES" | "SPLITS") { *value } else { 1.0 };
    let lanes: f64 = columnwise.constants.iter().map(size).product();
    let groups = (over.rows * over.ld() / 4).div_ceil(lanes as usize).clamp(1, 4096);
    Dispatch { workgroups: [groups as u32, 1, over.models as u32], ..columnwise }
}
