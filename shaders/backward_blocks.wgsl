// A stage of the backward pass in a large minibatch. Some workgroups update a layer's weight and bias, or gamma and
// beta, from the gradient of what it passed on and from x. Others, each with WIDE blocks of rows and LANES vec4-columns,
// take the gradient through the weight of the layer before, whose output x is, and leave it with its sums in each
// block. The gradient goes through a batch normalization where it is loaded, with the sums of all blocks.

struct Params {
    of_out: View, z_of_out: View, terms_of_out: View, order: View,    // of the weight that is updated
    theta: View, bias: View, gamma: View, beta: View,
    x: View, stats: View, x_scales: View,                             // what the layer before passed on,
    dy: View, parts: View, terms: View,                               // and its gradient
    weight: View, dx: View, sums: View,                               // what it was passed
    z: View, z_stats: View, z_scales: View,
    blocks: u32, across: u32, outputs: u32, features: u32, biased: u32,
    rows: u32, block: u32, depth: u32, cols: u32, across_input: u32,
    x_eps: f32, x_layer: u32, x_threshold: u32, x_scale: f32,
    eps: f32, layer: u32, threshold: u32, scale: f32,
}

// Of a vec4-column, gradients.wgsl's dx in terms of dy and x:
//   dx = scale * dy + slope * (x - high) + shift.
// norms has those of a piece of dy's columns; or those of a weight's block, and then what is kept of its columns of x.
struct Terms { scale: vec4f, high: vec4f, slope: vec4f, shift: vec4f }

// Where the function comes first, x is its value.
fn through(terms: Terms, dy: vec4f, x: vec4f) -> vec4f {
    let dx = terms.scale * dy + terms.slope * (x - terms.high) + terms.shift;
    if NORM == 2u {
        return dx * slope(x);
    }
    return dx;
}

fn terms_of(i: u32) -> Terms {
    return Terms(norms[4u * i], norms[4u * i + 1u], norms[4u * i + 2u], norms[4u * i + 3u]);
}

// Column c is the i-th of the weight's block.
fn gradient_of_out(m: u32, r: u32, c: u32, i: u32) -> vec4f {
    let dy = scratch[at(p.of_out, m, r, c)];
    if NORM_OUT == 0u {
        return dy;
    }
    return through(terms_of(i), dy, scratch[at(p.z_of_out, m, r, c)]);
}

fn factor(number: u32, m: u32, r: u32, c: u32) -> vec4f {
    switch number {
        case 0u { return gradient_of_out(m, r, c, c % BLOCK); }
        case 1u { return row_of_layer(m, r, c, 4u * BLOCK + 3u * (c % BLOCK)); }
        case 2u {
            let dy = scratch[at(p.dy, m, r, c)];
            if NORM_X == 0u {
                return dy;
            }
            return through(terms_of(c % (CACHE / 4u)), dy, scratch[at(p.x, m, r, c)]);
        }
        default { return params[at(p.weight, m, r, c)]; }
    }
}

// What takes the columns of a weight's block through batch normalization.
fn read_norms(m: u32, row: u32, col: u32, lane: u32) {
    if NORM_OUT != 0u && lane < 4u * BLOCK {
        let c = min(row + lane / 4u, p.of_out.ld - 1u);
        norms[lane] = scratch[at(p.terms_of_out, m, lane % 4u, c)];
    }
    if NORM_X != 0u && lane < BLOCK {
        let c = min(col + lane, p.x.ld - 1u);
        read_norm(m, c, 4u * BLOCK + 3u * lane);
    }
}

// dyᵀ x in blocks; those at the left have the bias, or gamma and beta, too.
fn update_weight(m: u32, block: u32, lane: u32) {
    let row = block / p.across * BLOCK_ROWS;
    let col = block % p.across * BLOCK;
    read_norms(m, row, col, lane);
    update_block(m, row, col, lane);
    if col > 0u {
        return;
    }
    let c = min(row + lane % LANES, p.of_out.ld - 1u);
    let mine = lane < LANES && row + lane < p.of_out.ld;
    if NORM_OUT != 0u && mine {
        update(m, at(p.gamma, m, 0u, c), scratch[at(p.terms_of_out, m, 4u, c)], false);
        update(m, at(p.beta, m, 0u, c), scratch[at(p.terms_of_out, m, 5u, c)], false);
    }
    if p.biased == 1u {
        var of_slice = vec4f();
        for (var r = lane / LANES; r < p.rows; r += SPLITS) {
            of_slice += gradient_of_out(m, r, c, lane % LANES);
        }
        let of_bias = merge(lane % LANES, lane / LANES, of_slice);
        if mine {
            update(m, at(p.bias, m, 0u, c), of_bias, false);
        }
    }
}

// The terms of a piece of dy's columns from the sums of its blocks; one workgroup keeps them for the next stage.
fn merge_dy(m: u32, lane: u32, start: u32, end: u32, keeps: bool) {
    let n = f32(p.rows);
    for (var c = start + lane; c < end; c += LANES * SPLITS) {
        var sums = Sums();
        for (var r = 0u; r < p.rows; r += p.block) {
            sums.dgamma += scratch[at(p.parts, m, 2u * (r / p.block), c)];
            sums.dbeta += scratch[at(p.parts, m, 2u * (r / p.block) + 1u, c)];
        }
        let of_column = statistics(p.stats, m, c);
        let scale = scratch[at(p.x_scales, m, 0u, c)];
        let share = sums.dgamma / sqrt(of_column.variance + p.x_eps) / n;
        let i = 4u * (c - start);
        norms[i] = scale;
        norms[i + 1u] = of_column.high;
        norms[i + 2u] = -scale * share;
        norms[i + 3u] = scale * (of_column.low * share - sums.dbeta / n);
        if keeps {
            for (var j = 0u; j < 4u; j++) {
                scratch[at(p.terms, m, j, c)] = norms[i + j];
            }
            scratch[at(p.terms, m, 4u, c)] = sums.dgamma;
            scratch[at(p.terms, m, 5u, c)] = sums.dbeta;
        }
    }
}

fn store_product(m: u32, r: u32, c: u32, end: u32, sum: vec4f) {
    if r >= end || c >= p.dx.ld {
        return;
    }
    var dx = sum;
    if DROPOUT == 1u {
        dx = dropped(dx, mask_of(hyper[model(m)].w, p.layer, p.threshold, p.scale), r, c);
    }
    let z = scratch[at(p.z, m, r, c)];
    if NORM == 1u {
        dx *= slope(value(applied(p.z_stats, p.z_scales, m, c, z)));
    } else if NORM == 0u {
        dx *= slope(z);
    }
    scratch[at(p.dx, m, r, c)] = pad(dx, c, p.cols);
}

// dy weight, of some columns and the blocks of rows from `first` on.
fn gradient_of_input(m: u32, col: u32, first: u32, lane: u32) {
    let end = min(first + WIDE * p.block, p.rows);
    let shape = shape_of(HEIGHT, LANES);
    let piece = select(p.dy.ld, CACHE / 4u, NORM_X != 0u);
    for (var row = first; row < end; row += 4u * HEIGHT) {
        let left = Factor(2u, false, row / 4u, HEIGHT, p.rows - 1u);
        let right = Factor(3u, true, col, LANES, p.weight.ld - 1u);
        var sum: Tile;
        for (var c = 0u; c < p.dy.ld; c += piece) {
            let end_of_piece = min(c + piece, p.dy.ld);
            // A piece that is all of dy is merged once.
            if NORM_X != 0u && (row == first || piece < p.dy.ld) {
                merge_dy(m, lane, c, end_of_piece, row == 0u && col == 0u);
            }
            if p.cols > 0u {
                multiply(&sum, m, lane, shape, left, right, 4u * c, min(4u * end_of_piece, p.depth));
            }
        }
        if p.cols == 0u {
            continue;
        }
        add_slices(&sum, lane, shape, p.depth);
        if lane < shape.down * shape.across {
            for (var i = 0u; i < 4u * WIDE * WIDE; i++) {
                let r = row + row_of(shape, lane, i / WIDE);
                store_product(m, r, col + column_of(shape, lane, i % WIDE), end, sum[i / WIDE][i % WIDE]);
            }
        }
    }
    if NORM == 0u || p.cols == 0u {
        return;
    }
    storageBarrier();
    let c = min(col + lane % LANES, p.dx.ld - 1u);
    let of_column = statistics(p.z_stats, m, c);
    for (var start = first; start < end; start += p.block) {
        let sums = column_sums(of_column, m, lane % LANES, lane / LANES, c, start, min(start + p.block, end));
        if lane < LANES && col + lane < p.dx.ld {
            let row = 2u * (start / p.block);
            scratch[at(p.sums, m, row, c)] = sums.dgamma;
            scratch[at(p.sums, m, row + 1u, c)] = sums.dbeta;
        }
    }
}

@compute @workgroup_size(LANES * SPLITS)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
    if group.x < p.blocks {
        update_weight(group.z, group.x, lane);
    } else {
        let i = group.x - p.blocks;
        gradient_of_input(group.z, i % p.across_input * LANES, i / p.across_input * WIDE * p.block, lane);
    }
}
