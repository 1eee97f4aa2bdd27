// dy = a b, times the slope of an activation where there is one, and dx through batch normalization, in one dispatch: what
// makes a column of dy has all rows of it, and reads back what it wrote itself. See product_lanes.wgsl.

struct Params {
    a: View, b: View, extra: View, out: View, x: View, stats: View, gamma: View, dgamma: View, dbeta: View, dx: View,
    rows: u32, depth: u32, cols: u32, eps: f32,
}

@group(1) @binding(5) var<storage, read> x: array<vec4f>;
@group(1) @binding(6) var<storage, read> stats: array<vec4f>; // rows: high, low, variance
@group(1) @binding(7) var<storage, read_write> grads: array<vec4f>;
@group(1) @binding(8) var<storage, read_write> dx: array<vec4f>;

fn x_rows(m: u32, c: u32) -> Rows {
    return column_rows(p.x, m, c);
}

fn dy_rows(m: u32, c: u32) -> Rows {
    return column_rows(p.out, m, c);
}

fn y_rows(m: u32, c: u32) -> Rows {
    return Rows();
}

fn x_of(place: u32) -> vec4f {
    return x[place];
}

// The slope is in it.
fn dy_of(place: u32, place_of_y: u32) -> vec4f {
    return out[place];
}

// b is where all parameters are.
fn gamma_of(m: u32, c: u32) -> vec4f {
    return b[at(p.gamma, m, 0u, c)];
}

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
    all_rows(group, lane, false);
    through_column(group.z, lane, 0u, LANES * group.x + lane);
}
