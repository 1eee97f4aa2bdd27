// Ioffe and Szegedy 2015, the gradients below figure 1, with xhat recomputed and, where an activation
// y = f(...) follows, dy its gradient times the slope:
//   dbeta = sum(dy),  dgamma = sum(dy * xhat),
//   dx = gamma / sqrt(variance + eps) * (dy - dbeta / n - xhat * dgamma / n).

struct Params { x: View, dy: View, stats: View, y: View, gamma: View, dgamma: View, dbeta: View, dx: View, rows: u32, cols: u32, eps: f32 }

@group(1) @binding(0) var<uniform> p: Params;
@group(1) @binding(1) var<storage, read> x: array<vec4f>;
@group(1) @binding(2) var<storage, read> dy: array<vec4f>;
@group(1) @binding(3) var<storage, read> stats: array<vec4f>;       // rows: high, low, variance
@group(1) @binding(4) var<storage, read> y: array<vec4f>;
@group(1) @binding(5) var<storage, read_write> grads: array<vec4f>; // reduce, gradient
@group(1) @binding(5) var<storage, read> sums: array<vec4f>;        // main: the same buffer
@group(1) @binding(6) var<storage, read> params: array<vec4f>;
@group(1) @binding(7) var<storage, read_write> dx: array<vec4f>;

struct Sums { dgamma: vec4f, dbeta: vec4f }

fn normalized(m: u32, r: u32, c: u32) -> vec4f {
    let centered = (x[at(p.x, m, r, c)] - stats[at(p.stats, m, 0u, c)]) - stats[at(p.stats, m, 1u, c)];
    return centered / sqrt(stats[at(p.stats, m, 2u, c)] + p.eps);
}

fn gradient_of_output(m: u32, r: u32, c: u32) -> vec4f {
    if FUNCTION == 3u {
        return dy[at(p.dy, m, r, c)];
    }
    return dy[at(p.dy, m, r, c)] * slope(y[at(p.y, m, r, c)]);
}

fn column_sums(m: u32, lane: u32, split: u32, c: u32) -> Sums {
    var of_slice = Sums();
    for (var r = split; r < p.rows; r += SPLITS) {
        let g = gradient_of_output(m, r, c);
        of_slice.dgamma += g * normalized(m, r, c);
        of_slice.dbeta += g;
    }
    return Sums(merge(lane, split, of_slice.dgamma), merge(lane, split, of_slice.dbeta));
}

fn store_sums(of_column: Sums, m: u32, c: u32) {
    grads[at(p.dgamma, m, 0u, c)] = of_column.dgamma;
    grads[at(p.dbeta, m, 0u, c)] = of_column.dbeta;
}

fn store_dx(of_column: Sums, m: u32, r: u32, c: u32) {
    let n = f32(p.rows);
    let scale = params[at(p.gamma, m, 0u, c)] / sqrt(stats[at(p.stats, m, 2u, c)] + p.eps);
    let means = of_column.dbeta / n + normalized(m, r, c) * of_column.dgamma / n;
    dx[at(p.dx, m, r, c)] = pad(scale * (gradient_of_output(m, r, c) - means), c, p.cols);
}

@compute @workgroup_size(LANES, SPLITS)
fn reduce(@builtin(global_invocation_id) id: vec3u, @builtin(local_invocation_id) local: vec3u) {
    let c = min(id.x, p.x.ld - 1u);
    let of_column = column_sums(id.z, local.x, local.y, c);
    if local.y == 0u && id.x < p.x.ld {
        store_sums(of_column, id.z, c);
    }
}

// LANES by SPLITS invocations, all along the matrix.
@compute @workgroup_size(LANES, SPLITS)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32, @builtin(num_workgroups) groups: vec3u) {
    let m = group.z;
    for (var i = group.x * LANES * SPLITS + lane; i < p.rows * p.dx.ld; i += groups.x * LANES * SPLITS) {
        let c = i % p.dx.ld;
        store_dx(Sums(sums[at(p.dgamma, m, 0u, c)], sums[at(p.dbeta, m, 0u, c)]), m, i / p.dx.ld, c);
    }
}

// Both at once, where the invocations that own a column own all its rows.
@compute @workgroup_size(LANES, SPLITS)
fn gradient(@builtin(global_invocation_id) id: vec3u, @builtin(local_invocation_id) local: vec3u) {
    let c = min(id.x, p.x.ld - 1u);
    let of_column = column_sums(id.z, local.x, local.y, c);
    if id.x >= p.x.ld {
        return;
    }
    if local.y == 0u {
        store_sums(of_column, id.z, c);
    }
    for (var r = local.y; r < p.rows; r += SPLITS) {
        store_dx(of_column, id.z, r, c);
    }
}
