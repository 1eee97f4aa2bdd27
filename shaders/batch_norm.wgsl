// y = gamma * (x - mean) / sqrt(variance + eps) + beta, with a minibatch's statistics or the
// running ones.

override LANES: u32;

struct Params { x: View, stats: View, gamma: View, beta: View, out: View, rows: u32, cols: u32, eps: f32 }

@group(1) @binding(0) var<uniform> p: Params;
@group(1) @binding(1) var<storage, read> x: array<vec4f>;
@group(1) @binding(2) var<storage, read> stats: array<vec4f>; // rows: high, low, variance
@group(1) @binding(3) var<storage, read> params: array<vec4f>;
@group(1) @binding(4) var<storage, read_write> out: array<vec4f>;

@compute @workgroup_size(LANES)
fn main(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
    let m = id.z;
    for (var i = id.x; i < p.rows * p.out.ld; i += groups.x * LANES) {
        let r = i / p.out.ld;
        let c = i % p.out.ld;
        let centered = (x[at(p.x, m, r, c)] - stats[at(p.stats, m, 0u, c)]) - stats[at(p.stats, m, 1u, c)];
        let xhat = centered / sqrt(stats[at(p.stats, m, 2u, c)] + p.eps);
        let y = params[at(p.gamma, m, 0u, c)] * xhat + params[at(p.beta, m, 0u, c)];
        out[at(p.out, m, r, c)] = pad(y, c, p.cols);
    }
}
