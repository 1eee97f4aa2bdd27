// A layer forward: product, bias and function, and where batch normalization follows the statistics of the
// minibatch and the normalization, and where dropout does that, by workgroups that own LANES vec4-columns with all
// their rows.

struct Params {
    x: View, order: View, weight: View, bias: View, z: View, stats: View, log: View, gamma: View, beta: View, out: View,
    dropped: View, rows: u32, features: u32, cols: u32, biased: u32, eps: f32, layer: u32, threshold: u32, scale: f32,
}

fn factor(number: u32, m: u32, r: u32, c: u32) -> vec4f {
    if number == 0u {
        return row_of_x(m, r, c);
    }
    return params[at(p.weight, m, r, c)];
}

// What the next layer takes.
fn drop_some(m: u32, r: u32, c: u32, y: vec4f) {
    if DROPOUT == 1u {
        scratch[at(p.dropped, m, r, c)] = dropped(y, stream_of(hyper[m].w, p.layer), r, c, p.threshold, p.scale);
    }
}

fn store(m: u32, r: u32, c: u32, sum: vec4f) {
    if r >= p.rows || c >= p.z.ld {
        return;
    }
    var z = sum;
    if p.biased == 1u {
        z += params[at(p.bias, m, 0u, c)];
    }
    if NORM != 1u {
        z = value(z);
    }
    z = pad(z, c, p.cols);
    scratch[at(p.z, m, r, c)] = z;
    if NORM == 0u {
        drop_some(m, r, c, z);
    }
}

@compute @workgroup_size(LANES * SPLITS)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
    let m = group.z;
    let col = group.x * LANES;
    let shape = shape_of(HEIGHT, LANES);
    for (var row = 0u; row < p.rows; row += 4u * HEIGHT) {
        let left = Factor(0u, false, row / 4u, HEIGHT, p.rows - 1u);
        var sum = product(m, lane, shape, left, Factor(1u, false, col, LANES, p.cols - 1u), p.features);
        if lane < shape.down * shape.across {
            for (var i = 0u; i < 4u * WIDE * WIDE; i++) {
                store(m, row + row_of(shape, lane, i / WIDE), col + column_of(shape, lane, i % WIDE), sum[i / WIDE][i % WIDE]);
            }
        }
    }
    if NORM == 0u {
        return;
    }
    storageBarrier();
    let split = lane / LANES;
    let c = min(col + lane % LANES, p.z.ld - 1u);
    let of_column = moments(m, lane % LANES, split, c, 0u, p.rows);
    if col + lane % LANES >= p.z.ld {
        return;
    }
    if split == 0u {
        keep_statistics(of_column, m, c);
    }
    for (var r = split; r < p.rows; r += SPLITS) {
        var y = params[at(p.gamma, m, 0u, c)] * normalized(of_column, x_of(m, r, c), p.eps) + params[at(p.beta, m, 0u, c)];
        if NORM == 1u {
            y = value(y);
        }
        y = pad(y, c, p.cols);
        scratch[at(p.out, m, r, c)] = y;
        drop_some(m, r, c, y);
    }
}
