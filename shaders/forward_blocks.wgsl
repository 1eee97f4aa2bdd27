// A layer forward in a large minibatch, by workgroups that own LANES vec4-columns of a block of rows: x is normalized
// as it is loaded, from the statistics that the layer before left of its blocks, and dropped; the product with bias and
// function is stored, and where batch normalization follows the statistics of its block.

struct Params {
    x: View, order: View, weight: View, bias: View, z: View, moments: View,
    parts: View, stats: View, log: View, gamma: View, beta: View,    // of x
    rows: u32, features: u32, cols: u32, biased: u32, block: u32,
    eps: f32, layer: u32, threshold: u32, scale: f32,                // of x
}

@group(1) @binding(0) var<uniform> p: Params;
@group(1) @binding(1) var<storage, read_write> scratch: array<vec4f>; // activations and statistics
@group(1) @binding(2) var<storage, read_write> log: array<vec4f>;
@group(1) @binding(3) var<storage, read> params: array<vec4f>;
@group(1) @binding(4) var<storage, read> order: array<u32>;
@group(1) @binding(5) var<storage, read> inputs: array<u32>;
@group(1) @binding(6) var<storage, read> affine: array<vec4f>;        // center, then scale
@group(1) @binding(7) var<storage, read> hyper: array<vec4f>;

var<workgroup> tiles: array<vec4f, TILES>;
var<workgroup> of_x: array<vec4f, CACHE>; // what normalizes each vec4-column: high, scale, shift

// xhat * gamma + beta = (x - high) * scale + shift
fn row_of_layer(m: u32, r: u32, c: u32) -> vec4f {
    var x = row_of_x(m, r, c);
    if NORM_X != 0u {
        x = (x - of_x[3u * c]) * of_x[3u * c + 1u] + of_x[3u * c + 2u];
        if NORM_X == 1u {
            x = value(x);
        }
        x = pad(x, c, p.features);
    }
    if DROPOUT_X == 1u {
        x = dropped(x, stream_of(hyper[m].w, p.layer), r, c, p.threshold, p.scale);
    }
    return x;
}

fn factor(number: u32, m: u32, r: u32, c: u32) -> vec4f {
    if number == 0u {
        return row_of_layer(m, r, c);
    }
    return params[at(p.weight, m, r, c)];
}

fn part_of(m: u32, r: u32, c: u32) -> vec4f {
    return scratch[at(p.parts, m, r, c)];
}

// The first workgroup keeps the statistics, for the host and for the backward pass.
fn merge_x(m: u32, lane: u32, keeps: bool) {
    for (var c = lane; c < p.x.ld; c += LANES * SPLITS) {
        let first = part_of(m, 0u, c);
        let mean = weighted_means(m, c, first, 0u, 1u) / f32(p.rows);
        let of_column = of_blocks(first, mean, weighted_squares(m, c, first, mean, 0u, 1u));
        let scale = params[at(p.gamma, m, 0u, c)] / sqrt(of_column.variance + p.eps);
        of_x[3u * c] = of_column.high;
        of_x[3u * c + 1u] = scale;
        of_x[3u * c + 2u] = params[at(p.beta, m, 0u, c)] - of_column.low * scale;
        if keeps {
            scratch[at(p.stats, m, 0u, c)] = of_column.high;
            scratch[at(p.stats, m, 1u, c)] = of_column.low;
            scratch[at(p.stats, m, 2u, c)] = of_column.variance;
            log[at(p.log, m, 0u, c)] = of_column.high;
            log[at(p.log, m, 1u, c)] = of_column.low;
            log[at(p.log, m, 2u, c)] = of_column.variance;
        }
    }
}

// What the statistics are of.
fn x_of(m: u32, r: u32, c: u32) -> vec4f {
    return scratch[at(p.z, m, r, c)];
}

fn store(m: u32, r: u32, c: u32, end: u32, sum: vec4f) {
    if r >= end || c >= p.z.ld {
        return;
    }
    var z = sum;
    if p.biased == 1u {
        z += params[at(p.bias, m, 0u, c)];
    }
    if VALUE == 1u {
        z = value(z);
    }
    scratch[at(p.z, m, r, c)] = pad(z, c, p.cols);
}

@compute @workgroup_size(LANES * SPLITS)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
    let m = group.z;
    let col = group.x * LANES;
    let first = group.y * p.block;
    let end = min(first + p.block, p.rows);
    if NORM_X != 0u {
        merge_x(m, lane, group.x == 0u && group.y == 0u);
    }
    let shape = Shape(HEIGHT, LANES, SPLITS / HEIGHT);
    for (var row = first; row < end; row += 4u * HEIGHT) {
        let left = Factor(0u, false, row / 4u, HEIGHT, p.rows - 1u);
        let sum = product(m, lane, shape, left, Factor(1u, false, col, LANES, p.cols - 1u), p.features);
        if lane < HEIGHT * LANES {
            let r = row + lane / LANES * 4u;
            store(m, r, col + lane % LANES, end, sum.r0);
            store(m, r + 1u, col + lane % LANES, end, sum.r1);
            store(m, r + 2u, col + lane % LANES, end, sum.r2);
            store(m, r + 3u, col + lane % LANES, end, sum.r3);
        }
    }
    if NORM == 0u {
        return;
    }
    storageBarrier();
    let c = min(col + lane % LANES, p.z.ld - 1u);
    let of_column = moments(m, lane % LANES, lane / LANES, c, first, end);
    if lane < LANES && col + lane < p.z.ld {
        scratch[at(p.moments, m, 3u * group.y, c)] = of_column.high;
        scratch[at(p.moments, m, 3u * group.y + 1u, c)] = of_column.low;
        scratch[at(p.moments, m, 3u * group.y + 2u, c)] = of_column.variance;
    }
}
