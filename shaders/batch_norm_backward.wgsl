// The gradients of batch normalization; where an activation y = f(...) follows it, dy is its gradient and is
// multiplied by the slope.

struct Params { x: View, dy: View, stats: View, y: View, gamma: View, dgamma: View, dbeta: View, out: View, rows: u32, cols: u32, eps: f32 }

@group(1) @binding(0) var<uniform> p: Params;
@group(1) @binding(1) var<storage, read> x: array<vec4f>;
@group(1) @binding(2) var<storage, read> dy: array<vec4f>;
@group(1) @binding(3) var<storage, read> stats: array<vec4f>;       // rows: high, low, variance
@group(1) @binding(4) var<storage, read> y: array<vec4f>;
@group(1) @binding(5) var<storage, read_write> grads: array<vec4f>; // reduce, both
@group(1) @binding(5) var<storage, read> given: array<vec4f>;        // main: the same buffer
@group(1) @binding(6) var<storage, read> params: array<vec4f>;
@group(1) @binding(7) var<storage, read_write> out: array<vec4f>;   // dx

fn x_rows(m: u32, c: u32) -> Rows {
    return column_rows(p.x, m, c);
}

fn dy_rows(m: u32, c: u32) -> Rows {
    return column_rows(p.dy, m, c);
}

fn y_rows(m: u32, c: u32) -> Rows {
    return column_rows(p.y, m, c);
}

fn x_of(place: u32) -> vec4f {
    return x[place];
}

fn dy_of(place: u32, place_of_y: u32) -> vec4f {
    if FUNCTION == 3u {
        return dy[place];
    }
    return dy[place] * slope(y[place_of_y]);
}

fn passed_on(dx: vec4f, _place_of_x: u32) -> vec4f {
    return dx;
}

fn gamma_of(m: u32, c: u32) -> vec4f {
    return params[at(p.gamma, m, 0u, c)];
}

@compute @workgroup_size(LANES, SPLITS)
fn reduce(@builtin(global_invocation_id) id: vec3u, @builtin(local_invocation_id) local: vec3u) {
    let c = min(id.x, p.x.ld - 1u);
    let sums = column_sums(statistics(id.z, c), id.z, local.x, local.y, c, 0u, p.rows);
    if local.y == 0u && id.x < p.x.ld {
        store_sums(sums, id.z, c);
    }
}

// LANES by SPLITS invocations, all along the matrix.
@compute @workgroup_size(LANES, SPLITS)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32, @builtin(num_workgroups) groups: vec3u) {
    let m = group.z;
    for (var i = group.x * LANES * SPLITS + lane; i < p.rows * p.out.ld; i += groups.x * LANES * SPLITS) {
        let c = i % p.out.ld;
        let sums = Sums(given[at(p.dgamma, m, 0u, c)], given[at(p.dbeta, m, 0u, c)]);
        let r = i / p.out.ld;
        let of_row = gradient(of_all_rows(statistics(m, c), sums, gamma_of(m, c), m, c), r);
        out[at(p.out, m, r, c)] = pad(of_row, c, p.cols);
    }
}

// Both at once.
@compute @workgroup_size(LANES, SPLITS)
fn both(@builtin(global_invocation_id) id: vec3u, @builtin(local_invocation_id) local: vec3u) {
    through_column(id.z, local.x, local.y, id.x);
}
