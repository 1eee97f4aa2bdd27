// A layer forward, by workgroups that own LANES vec4-columns of WIDE blocks of rows: x is normalized as it is loaded, from
// the statistics that the layer before left of its blocks, and dropped; the product with bias and function is stored, and
// where batch normalization follows the statistics of each block.

struct Params {
    x: View, order: View, weight: View, bias: View, z: View, moments: View,
    parts: View, stats: View, log: View, x_gamma: View, x_beta: View, x_scales: View, // of x
    rows: u32, features: u32, outputs: u32, biased: u32, block: u32,
    x_eps: f32, x_layer: u32, x_threshold: u32, x_scale: f32,
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

fn factor(number: u32, m: u32, r: u32, c: u32) -> vec4f {
    if number == 0u {
        return row_of_layer(m, r, c, 3u * (c % (CACHE / 3u)));
    }
    return params[at(p.weight, m, r, c)];
}

fn part_of(m: u32, r: u32, c: u32) -> vec4f {
    return scratch[at(p.parts, m, r, c)];
}

// What applies batch normalization to a piece of x's columns. The first workgroup keeps it, for the backward pass, and the
// statistics for the host, too.
fn merge_x(m: u32, lane: u32, start: u32, end: u32, keeps: bool) {
    for (var c = start + lane; c < end; c += LANES * SPLITS) {
        let first = part_of(m, 0u, c);
        let mean = weighted_means(m, c, first, 0u, 1u) / f32(p.rows);
        let of_column = of_blocks(first, mean, weighted_squares(m, c, first, mean, 0u, 1u));
        let scale = params[at(p.x_gamma, m, 0u, c)] / sqrt(of_column.variance + p.x_eps);
        let shift = params[at(p.x_beta, m, 0u, c)] - of_column.low * scale;
        keep_norm(3u * (c - start), of_column.high, scale, shift);
        if keeps {
            scratch[at(p.stats, m, 0u, c)] = of_column.high;
            scratch[at(p.stats, m, 1u, c)] = of_column.low;
            scratch[at(p.stats, m, 2u, c)] = of_column.variance;
            log[at(p.log, m, 0u, c)] = of_column.high;
            log[at(p.log, m, 1u, c)] = of_column.low;
            log[at(p.log, m, 2u, c)] = of_column.variance;
            scratch[at(p.x_scales, m, 0u, c)] = scale;
            scratch[at(p.x_scales, m, 1u, c)] = shift;
        }
    }
}

@compute @workgroup_size(LANES * SPLITS)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
    let m = group.z;
    let col = group.x * LANES;
    let first = group.y * WIDE * p.block;
    let end = min(first + WIDE * p.block, p.rows);
    let piece = select(p.x.ld, CACHE / 3u, NORM_X != 0u);
    let shape = shape_of(HEIGHT, LANES);
    for (var row = first; row < end; row += 4u * HEIGHT) {
        let left = Factor(0u, false, row / 4u, HEIGHT, p.rows - 1u);
        let right = Factor(1u, false, col, LANES, p.outputs - 1u);
        var sum: Tile;
        for (var c = 0u; c < p.x.ld; c += piece) {
            let end_of_piece = min(c + piece, p.x.ld);
            // A piece that is all of x is merged once.
            if NORM_X != 0u && (row == first || piece < p.x.ld) {
                merge_x(m, lane, c, end_of_piece, row == 0u && group.x == 0u);
            }
            multiply(&sum, m, lane, shape, left, right, 4u * c, min(4u * end_of_piece, p.features));
        }
        add_slices(&sum, lane, shape, p.features);
        store_tile(m, lane, shape, row, col, end, &sum);
    }
    if NORM == 0u {
        return;
    }
    storageBarrier();
    for (var start = first; start < end; start += p.block) {
        keep_moments(m, col, lane, start, min(start + p.block, end), 3u * (start / p.block));
    }
}
