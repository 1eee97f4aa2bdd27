// Ioffe and Szegedy 2015, the gradients below figure 1, with xhat recomputed:
//   dbeta = sum(dy),  dgamma = sum(dy * xhat),
//   dx = gamma / sqrt(variance + eps) * (dy - dbeta / n - xhat * dgamma / n).

struct Params { x: View, dy: View, stats: View, gamma: View, dgamma: View, dbeta: View, dx: View, rows: u32, cols: u32, eps: f32 }

@group(1) @binding(0) var<uniform> p: Params;
@group(1) @binding(1) var<storage, read> x: array<vec4f>;
@group(1) @binding(2) var<storage, read> dy: array<vec4f>;
@group(1) @binding(3) var<storage, read> stats: array<vec4f>; // rows: high, low, variance
@group(1) @binding(4) var<storage, read_write> grads: array<vec4f>;      // reduce
@group(1) @binding(4) var<storage, read> sums: array<vec4f>;             // dx: the same buffer
@group(1) @binding(5) var<storage, read> params: array<vec4f>;
@group(1) @binding(6) var<storage, read_write> dx: array<vec4f>;

fn normalized(m: u32, r: u32, c: u32) -> vec4f {
    let centered = (x[at(p.x, m, r, c)] - stats[at(p.stats, m, 0u, c)]) - stats[at(p.stats, m, 1u, c)];
    return centered / sqrt(stats[at(p.stats, m, 2u, c)] + p.eps);
}

@compute @workgroup_size(LANES, SPLITS)
fn reduce(@builtin(global_invocation_id) id: vec3u, @builtin(local_invocation_id) local: vec3u) {
    let c = min(id.x, p.x.ld - 1u);
    var dgamma = vec4f();
    var dbeta = vec4f();
    for (var r = local.y; r < p.rows; r += SPLITS) {
        let g = dy[at(p.dy, id.z, r, c)];
        dgamma += g * normalized(id.z, r, c);
        dbeta += g;
    }
    dgamma = merge(local.x, local.y, dgamma);
    dbeta = merge(local.x, local.y, dbeta);
    if local.y == 0u && id.x < p.x.ld {
        grads[at(p.dgamma, id.z, 0u, c)] = dgamma;
        grads[at(p.dbeta, id.z, 0u, c)] = dbeta;
    }
}

// LANES by SPLITS invocations, all along the matrix.
@compute @workgroup_size(LANES, SPLITS)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32, @builtin(num_workgroups) groups: vec3u) {
    let m = group.z;
    let n = f32(p.rows);
    for (var i = group.x * LANES * SPLITS + lane; i < p.rows * p.dx.ld; i += groups.x * LANES * SPLITS) {
        let r = i / p.dx.ld;
        let c = i % p.dx.ld;
        let scale = params[at(p.gamma, m, 0u, c)] / sqrt(stats[at(p.stats, m, 2u, c)] + p.eps);
        let means = sums[at(p.dbeta, m, 0u, c)] / n + normalized(m, r, c) * sums[at(p.dgamma, m, 0u, c)] / n;
        dx[at(p.dx, m, r, c)] = pad(scale * (dy[at(p.dy, m, r, c)] - means), c, p.cols);
    }
}
