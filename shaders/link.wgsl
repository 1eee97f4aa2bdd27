// The first layer between two steps, by workgroups that own LANES vec4-columns of its output: they update the rows of the
// weight that make those, and the bias, from dy and x, then take the next minibatch forward through them.

struct Params {
    of_out: View, x: View, order: View, theta: View, bias: View, z: View, moments: View,
    rows: u32, outputs: u32, features: u32, biased: u32, updates: u32, passes: u32,
}

fn factor(number: u32, m: u32, r: u32, c: u32) -> vec4f {
    switch number {
        case 0u { return scratch[at(p.of_out, m, r, c)]; }
        case 1u { return row_of_data(m, current.first, r, c); }
        case 2u { return row_of_data(m, select(current.first, current.next, p.updates == 1u), r, c); }
        default { return params[at(p.theta, m, r, c)]; }
    }
}

@compute @workgroup_size(LANES * SPLITS)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
    let m = group.z;
    let col = group.x * LANES;
    if p.updates == 1u {
        for (var of_weight = 0u; of_weight < p.theta.ld; of_weight += BLOCK) {
            update_block(m, col, of_weight, lane);
        }
        update_bias(m, col, lane);
    }
    if p.passes == 0u {
        return;
    }
    // The weight is as the next step finds it.
    storageBarrier();
    let shape = shape_of(HEIGHT, LANES);
    for (var row = 0u; row < p.rows; row += 4u * HEIGHT) {
        let left = Factor(2u, false, row / 4u, HEIGHT, p.rows - 1u);
        var sum = product(m, lane, shape, left, Factor(3u, false, col, LANES, p.outputs - 1u), p.features);
        store_tile(m, lane, shape, row, col, p.rows, &sum);
    }
    if NORM == 1u {
        storageBarrier();
        keep_moments(m, col, lane, 0u, p.rows, 0u);
    }
}
