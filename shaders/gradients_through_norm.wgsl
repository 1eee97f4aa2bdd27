// Both gradients of a layer's product in one dispatch: see weight_gradient.wgsl. out = a b goes on through the batch
// normalization before the layer, and the activation between where there is one, to dx: what makes a column of out has all
// rows of it, and reads back what it wrote itself.

struct Params {
    a: View, b: View, extra: View, out: View, weight: View, bias: View,
    x: View, stats: View, gamma: View, dgamma: View, dbeta: View, dx: View,
    rows: u32, depth: u32, cols: u32, biased: u32, of_out: u32, of_weight: u32, eps: f32,
}

@group(1) @binding(6) var<storage, read> x: array<vec4f>;
@group(1) @binding(7) var<storage, read> stats: array<vec4f>; // rows: high, low, variance
@group(1) @binding(8) var<storage, read_write> dx: array<vec4f>;

fn x_rows(m: u32, c: u32) -> Rows {
    return column_rows(p.x, m, c);
}

fn dy_rows(m: u32, c: u32) -> Rows {
    return column_rows(p.out, m, c);
}

fn y_rows(m: u32, c: u32) -> Rows {
    return column_rows(p.extra, m, c);
}

fn x_of(place: u32) -> vec4f {
    return x[place];
}

// In the loops over rows: among the sums of a product, which are unrolled, the slope would take long to compile.
fn dy_of(place: u32, place_of_y: u32) -> vec4f {
    if FUNCTION == 3u {
        return out[place];
    }
    return out[place] * slope(extra[place_of_y]);
}

// b is where all parameters are.
fn gamma_of(m: u32, c: u32) -> vec4f {
    return b[at(p.gamma, m, 0u, c)];
}

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) lane: u32) {
    let turn = turn(p.of_out, p.of_weight, group, groups);
    if turn.first {
        all_rows(vec3u(turn.number, 0u, group.z), lane, false);
        through_column(group.z, lane, 0u, LANES * turn.number + lane);
    } else {
        of_weight(turn.number, groups.x, group.z, lane);
    }
}
