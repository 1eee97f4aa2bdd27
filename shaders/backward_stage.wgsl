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

// A bias, of the columns of dy that a block of the weight has.
fn update_bias(m: u32, row: u32, lane: u32) {
    let c = row + lane;
    if p.biased == 1u && lane < BLOCK_ROWS && c < p.of_out.ld {
        var of_bias = vec4f();
        for (var r = 0u; r < p.rows; r++) {
            of_bias += scratch[at(p.of_out, m, r, c)];
        }
        update(m, at(p.bias, m, 0u, c), of_bias, false);
    }
}
