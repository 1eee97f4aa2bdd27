// A stage of the backward pass: the update of a layer's weight and bias from dy and x, and the gradient of the input of
// the layer before, through that one's dropout, batch normalization and function, with the update of gamma and beta: by
// other workgroups, or where it is that layer's own input by those that then update what they took it through.
// Gradients of parameters never reach memory.

struct Params {
    of_out: View, x: View, order: View, theta: View, bias: View, stats: View, x_scales: View,
    dy: View, weight: View, z: View, z_stats: View, z_scales: View, gamma: View, beta: View, dx: View,
    beside: u32, // workgroups that have blocks of the weight and none of the input
    blocks: u32, across: u32, outputs: u32, features: u32, biased: u32, // the weight's
    rows: u32, depth: u32, cols: u32, eps: f32,                         // the input's
    layer: u32, threshold: u32, scale: f32,                             // of its dropout,
    x_layer: u32, x_threshold: u32, x_scale: f32,                       // and of that of what the weight was passed
}

fn factor(number: u32, m: u32, r: u32, c: u32) -> vec4f {
    switch number {
        case 0u { return scratch[at(p.of_out, m, r, c)]; }
        case 1u { return row_of_layer(m, r, c, 3u * (c % BLOCK)); }
        case 2u { return scratch[at(p.dy, m, r, c)]; }
        default { return params[at(p.weight, m, r, c)]; }
    }
}

// dyᵀ x in blocks; those at the left have the bias, too.
fn update_weight(m: u32, block: u32, lane: u32) {
    let row = block / p.across * BLOCK_ROWS;
    let col = block % p.across * BLOCK;
    if NORM_X != 0u && lane < BLOCK {
        read_norm(m, min(col + lane, p.x.ld - 1u), 3u * lane);
    }
    update_block(m, row, col, lane);
    if col == 0u {
        update_bias(m, row, lane);
    }
}

fn store_product(m: u32, r: u32, c: u32, sum: vec4f) {
    if r >= p.rows || c >= p.dx.ld {
        return;
    }
    var dx = sum;
    if DROPOUT == 1u {
        dx = dropped(dx, mask_of(hyper[model(m)].w, p.layer, p.threshold, p.scale), r, c);
    }
    if NORM != 2u && FUNCTION != 3u {
        let z = scratch[at(p.z, m, r, c)];
        if NORM == 1u {
            dx *= slope(value(applied(p.z_stats, p.z_scales, m, c, z)));
        } else {
            dx *= slope(z);
        }
    }
    scratch[at(p.dx, m, r, c)] = pad(dx, c, p.cols);
}

// dy weight in columns with all their rows.
fn gradient_of_input(m: u32, col: u32, lane: u32) {
    let shape = shape_of(HEIGHT, LANES);
    for (var row = 0u; row < p.rows; row += 4u * HEIGHT) {
        let left = Factor(2u, false, row / 4u, HEIGHT, p.rows - 1u);
        var sum = product(m, lane, shape, left, Factor(3u, true, col, LANES, p.weight.ld - 1u), p.depth);
        if lane < shape.down * shape.across {
            for (var i = 0u; i < 4u * WIDE * WIDE; i++) {
                let r = row + row_of(shape, lane, i / WIDE);
                store_product(m, r, col + column_of(shape, lane, i % WIDE), sum[i / WIDE][i % WIDE]);
            }
        }
    }
    if NORM == 0u {
        return;
    }
    storageBarrier();
    let split = lane / LANES;
    let c = min(col + lane % LANES, p.dx.ld - 1u);
    let of_column = statistics(p.z_stats, m, c);
    let gamma = params[at(p.gamma, m, 0u, c)];
    let sums = column_sums(of_column, m, lane % LANES, split, c, 0u, p.rows);
    if col + lane % LANES < p.dx.ld {
        let column = of_all_rows(of_column, sums, gamma, m, c);
        for (var r = split; r < p.rows; r += SPLITS) {
            var dx = gradient(column, r);
            if NORM == 2u && FUNCTION != 3u {
                dx *= slope(x_of(nth(column.x, r)));
            }
            scratch[nth(column.dy, r)] = pad(dx, c, p.cols);
        }
    }
    // Every lane has read gamma.
    storageBarrier();
    if split == 0u && col + lane % LANES < p.dx.ld {
        update(m, at(p.gamma, m, 0u, c), sums.dgamma, false);
        update(m, at(p.beta, m, 0u, c), sums.dbeta, false);
    }
}

@compute @workgroup_size(LANES * SPLITS)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32, @builtin(num_workgroups) groups: vec3u) {
    if group.x >= p.beside {
        gradient_of_input(group.z, (group.x - p.beside) * LANES, lane);
    }
    // Every lane has read its columns of the weight.
    storageBarrier();
    for (var block = group.x; block < p.blocks; block += groups.x) {
        update_weight(group.z, block, lane);
    }
}
