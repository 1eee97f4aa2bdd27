// z = a b^T and y = gamma * (z - mean) / sqrt(variance + eps) + beta with the statistics of all rows, one of them through a
// function f, and y dropped where there is dropout, in one dispatch: what makes a column of z has all rows of it, and reads
// back what it wrote itself. See product_lanes.wgsl.

struct Params {
    a: View, b: View, extra: View, out: View, stats: View, gamma: View, beta: View, y: View, log: View,
    rows: u32, depth: u32, cols: u32, eps: f32, layer: u32, threshold: u32, scale: f32,
}

@group(1) @binding(5) var<storage, read_write> y: array<vec4f>;
@group(1) @binding(6) var<storage, read_write> stats: array<vec4f>; // rows: high, low, variance
@group(1) @binding(7) var<storage, read_write> log: array<vec4f>;   // the same, for the host

fn x_rows(m: u32, c: u32) -> Rows {
    return column_rows(p.out, m, c);
}

fn x_of(place: u32) -> vec4f {
    return out[place];
}

// b is where all parameters are.
fn gamma_of(m: u32, c: u32) -> vec4f {
    return b[at(p.gamma, m, 0u, c)];
}

fn beta_of(m: u32, c: u32) -> vec4f {
    return b[at(p.beta, m, 0u, c)];
}

var<private> mask: Mask;

fn passed_on(x: vec4f, r: u32, c: u32) -> vec4f {
    var y = x;
    if NORM == 1u {
        y = value(x);
    }
    if DROPOUT == 1u {
        y = dropped(y, mask, r, c);
    }
    return y;
}

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
    all_rows(group, lane, true);
    if DROPOUT == 1u {
        mask = mask_of(hyper[model(group.z)].w, p.layer, p.threshold, p.scale);
    }
    normalize_column(group.z, lane, 0u, LANES * group.x + lane);
}
