// y = f(gamma * (x - mean) / sqrt(variance + eps) + beta): with given statistics over the whole matrix, or
// with those of the minibatch, where the invocations that own a column own all its rows.

struct Params { x: View, stats: View, gamma: View, beta: View, out: View, log: View, rows: u32, cols: u32, eps: f32 }

@group(1) @binding(0) var<uniform> p: Params;
@group(1) @binding(1) var<storage, read> x: array<vec4f>;
@group(1) @binding(2) var<storage, read> params: array<vec4f>;
@group(1) @binding(3) var<storage, read_write> out: array<vec4f>;
@group(1) @binding(4) var<storage, read> given: array<vec4f>;       // rows: high, low, variance
@group(1) @binding(4) var<storage, read_write> stats: array<vec4f>; // train: the same, written
@group(1) @binding(5) var<storage, read_write> log: array<vec4f>;   // train: the same, for the host

fn x_of(m: u32, r: u32, c: u32) -> vec4f {
    return x[at(p.x, m, r, c)];
}

fn normalize(of_column: Moments, m: u32, r: u32, c: u32) {
    let xhat = normalized(of_column, x_of(m, r, c), p.eps);
    let y = params[at(p.gamma, m, 0u, c)] * xhat + params[at(p.beta, m, 0u, c)];
    out[at(p.out, m, r, c)] = pad(value(y), c, p.cols);
}

// LANES by SPLITS invocations, all along the matrix.
@compute @workgroup_size(LANES, SPLITS)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32, @builtin(num_workgroups) groups: vec3u) {
    let m = group.z;
    for (var i = group.x * LANES * SPLITS + lane; i < p.rows * p.out.ld; i += groups.x * LANES * SPLITS) {
        let c = i % p.out.ld;
        let of_column = Moments(given[at(p.stats, m, 0u, c)], given[at(p.stats, m, 1u, c)], given[at(p.stats, m, 2u, c)]);
        normalize(of_column, m, i / p.out.ld, c);
    }
}

@compute @workgroup_size(LANES, SPLITS)
fn train(@builtin(global_invocation_id) id: vec3u, @builtin(local_invocation_id) local: vec3u) {
    let m = id.z;
    let c = min(id.x, p.x.ld - 1u);
    let of_column = moments(m, local.x, local.y, c);
    if id.x >= p.x.ld {
        return;
    }
    if local.y == 0u {
        stats[at(p.stats, m, 0u, c)] = of_column.high;
        stats[at(p.stats, m, 1u, c)] = of_column.low;
        stats[at(p.stats, m, 2u, c)] = of_column.variance;
        log[at(p.log, m, 0u, c)] = of_column.high;
        log[at(p.log, m, 1u, c)] = of_column.low;
        log[at(p.log, m, 2u, c)] = of_column.variance;
    }
    for (var r = local.y; r < p.rows; r += SPLITS) {
        normalize(of_column, m, r, c);
    }
}
