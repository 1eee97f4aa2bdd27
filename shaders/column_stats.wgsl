// Mean and biased variance of each column of a minibatch, by the corrected two-pass algorithm:
//   high = sum(x) / n,  low = sum(x - high) / n,  mean = high + low,
//   variance = sum((x - high)^2) / n - low^2.
// The mean stays in two parts, so that a column of mean 1e4 and deviation 1 loses nothing.

struct Params { x: View, stats: View, log: View, rows: u32, cols: u32 }

@group(1) @binding(0) var<uniform> p: Params;
@group(1) @binding(1) var<storage, read> x: array<vec4f>;
@group(1) @binding(2) var<storage, read_write> stats: array<vec4f>; // rows: high, low, variance
@group(1) @binding(3) var<storage, read_write> log: array<vec4f>;   // the same, for the host

@compute @workgroup_size(LANES, SPLITS)
fn main(@builtin(global_invocation_id) id: vec3u, @builtin(local_invocation_id) local: vec3u) {
    let c = min(id.x, p.x.ld - 1u);
    let n = f32(p.rows);

    var sum = vec4f();
    for (var r = local.y; r < p.rows; r += SPLITS) {
        sum += x[at(p.x, id.z, r, c)];
    }
    let high = merge(local.x, local.y, sum) / n;

    var rest = vec4f();
    var squares = vec4f();
    for (var r = local.y; r < p.rows; r += SPLITS) {
        let d = x[at(p.x, id.z, r, c)] - high;
        rest += d;
        squares += d * d;
    }
    let low = merge(local.x, local.y, rest) / n;
    let corrected = merge(local.x, local.y, squares) / n - low * low;
    // Not max(): that may turn a NaN into 0.
    let variance = select(corrected, vec4f(), corrected < vec4f());

    if local.y == 0u && id.x < p.x.ld {
        stats[at(p.stats, id.z, 0u, c)] = high;
        stats[at(p.stats, id.z, 1u, c)] = low;
        stats[at(p.stats, id.z, 2u, c)] = variance;
        log[at(p.log, id.z, 0u, c)] = high;
        log[at(p.log, id.z, 1u, c)] = low;
        log[at(p.log, id.z, 2u, c)] = variance;
    }
}
