// The loss of each row of a minibatch, with the gradient of the mean over its rows, and what the
// log wants of each row: (loss, correct, logits that are not finite, 0).

override LANES: u32;

struct Params { logits: View, order: View, targets: View, gradient: View, metrics: View, rows: u32, cols: u32 }

@group(1) @binding(0) var<uniform> p: Params;
@group(1) @binding(1) var<storage, read> logits: array<vec4f>;
@group(1) @binding(2) var<storage, read> order: array<u32>;
@group(1) @binding(3) var<storage, read> targets: array<f32>;
@group(1) @binding(4) var<storage, read_write> gradient: array<vec4f>;
@group(1) @binding(5) var<storage, read_write> metrics: array<vec4f>;

fn wanted(m: u32, r: u32) -> f32 {
    let source = order[4u * (p.order.offset + m * p.order.stride) + current.first + r];
    return targets[4u * p.targets.offset + source];
}

// A float is infinite or NaN where all bits of its exponent are set; asked of the bits, since a
// compiler may assume that floats are finite.
fn broken(z: vec4f) -> f32 {
    let exponent = bitcast<vec4u>(z) & vec4u(0x7f800000u);
    return dot(select(vec4f(), vec4f(1), exponent == vec4u(0x7f800000u)), vec4f(1));
}

// -log softmax(z)[t] = log(sum(exp(z - max))) - (z[t] - max)
@compute @workgroup_size(LANES)
fn softmax_cross_entropy(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
    for (var r = id.x; r < p.rows; r += groups.x * LANES) {
        let start = at(p.logits, id.z, r, 0u);
        let wanted_class = u32(wanted(id.z, r));
        var best = logits[start].x;
        var best_class = 0u;
        var bad = 0.0;
        for (var k = 0u; k < p.cols; k++) {
            let z = logits[start + k / 4u][k % 4u];
            if z > best {
                best = z;
                best_class = k;
            }
        }
        var sum = 0.0;
        for (var c = 0u; c < p.logits.ld; c++) {
            bad += broken(logits[start + c]);
            sum += dot(pad(exp(logits[start + c] - best), c, p.cols), vec4f(1));
        }
        for (var c = 0u; c < p.logits.ld; c++) {
            let hot = select(vec4f(), vec4f(1), vec4u(4u * c) + vec4u(0, 1, 2, 3) == vec4u(wanted_class));
            let g = (exp(logits[start + c] - best) / sum - hot) / f32(p.rows);
            gradient[at(p.gradient, id.z, r, c)] = pad(g, c, p.cols);
        }
        let loss = log(sum) - (logits[start + wanted_class / 4u][wanted_class % 4u] - best);
        metrics[at(p.metrics, id.z, r, 0u)] = vec4f(loss, f32(best_class == wanted_class), bad, 0.0);
    }
}

// log(1 + exp(z)) - y z, without overflow
@compute @workgroup_size(LANES)
fn binary_cross_entropy(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
    for (var r = id.x; r < p.rows; r += groups.x * LANES) {
        let z = logits[at(p.logits, id.z, r, 0u)].x;
        let y = wanted(id.z, r);
        let loss = max(z, 0.0) - z * y + log(1.0 + exp(-abs(z)));
        let g = (1.0 / (1.0 + exp(-z)) - y) / f32(p.rows);
        gradient[at(p.gradient, id.z, r, 0u)] = vec4f(g, 0.0, 0.0, 0.0);
        metrics[at(p.metrics, id.z, r, 0u)] =
            vec4f(loss, f32((z > 0.0) == (y > 0.5)), broken(vec4f(z, 0.0, 0.0, 0.0)), 0.0);
    }
}

// (z - y)^2
@compute @workgroup_size(LANES)
fn squared_error(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
    for (var r = id.x; r < p.rows; r += groups.x * LANES) {
        let z = logits[at(p.logits, id.z, r, 0u)].x;
        let d = z - wanted(id.z, r);
        gradient[at(p.gradient, id.z, r, 0u)] = vec4f(2.0 * d / f32(p.rows), 0.0, 0.0, 0.0);
        metrics[at(p.metrics, id.z, r, 0u)] = vec4f(d * d, 0.0, broken(vec4f(z, 0.0, 0.0, 0.0)), 0.0);
    }
}
