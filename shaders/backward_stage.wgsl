// Before the kernels of stages of the backward pass: what they bind, and what they have in common.

@group(1) @binding(0) var<uniform> p: Params;
@group(1) @binding(1) var<storage, read_write> scratch: array<vec4f>; // activations, gradients, statistics
@group(1) @binding(2) var<storage, read_write> params: array<vec4f>;
@group(1) @binding(3) var<storage, read_write> moment1: array<vec4f>;
@group(1) @binding(4) var<storage, read_write> moment2: array<vec4f>;
@group(1) @binding(5) var<storage, read> hyper: array<vec4f>;
@group(1) @binding(6) var<storage, read> order: array<u32>;
@group(1) @binding(7) var<storage, read> inputs: array<u32>;
@group(1) @binding(8) var<storage, read> affine: array<vec4f>;        // center, then scale

var<workgroup> tiles: array<vec4f, TILES>;

fn statistics(v: View, m: u32, c: u32) -> Moments {
    return Moments(scratch[at(v, m, 0u, c)], scratch[at(v, m, 1u, c)], scratch[at(v, m, 2u, c)]);
}

// What normalizes a column of x: see loaded.wgsl.
fn read_norm(m: u32, c: u32, first: u32) {
    let scale = scratch[at(p.x_scales, m, 0u, c)];
    keep_norm(first, scratch[at(p.stats, m, 0u, c)], scale, scratch[at(p.x_scales, m, 1u, c)]);
}

// Batch normalization of z, as forward.
fn applied(stats: View, scales: View, m: u32, c: u32, z: vec4f) -> vec4f {
    return (z - scratch[at(stats, m, 0u, c)]) * scratch[at(scales, m, 0u, c)] + scratch[at(scales, m, 1u, c)];
}

// What batch normalization's backward pass reads.
fn x_of(m: u32, r: u32, c: u32) -> vec4f {
    return scratch[at(p.z, m, r, c)];
}

fn dy_of(m: u32, r: u32, c: u32) -> vec4f {
    return scratch[at(p.dx, m, r, c)];
}

fn store_weight(m: u32, r: u32, c: u32, gradient: vec4f) {
    if r < p.outputs && c < p.theta.ld {
        update(m, at(p.theta, m, r, c), gradient, true);
    }
}

// A weight from dyᵀ x, by the block that begins with vec4-row `row` and vec4-column `col`.
fn update_block(m: u32, row: u32, col: u32, lane: u32) {
    let shape = shape_of(BLOCK_ROWS, BLOCK);
    let left = Factor(0u, true, row, BLOCK_ROWS, p.of_out.ld - 1u);
    var sum = product(m, lane, shape, left, Factor(1u, true, col, BLOCK, p.x.ld - 1u), p.rows);
    if lane < shape.down * shape.across {
        for (var i = 0u; i < 4u * WIDE * WIDE; i++) {
            let r = 4u * row + row_of(shape, lane, i / WIDE);
            store_weight(m, r, col + column_of(shape, lane, i % WIDE), sum[i / WIDE][i % WIDE]);
        }
    }
}
