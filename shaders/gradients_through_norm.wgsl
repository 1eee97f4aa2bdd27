// Both gradients of a layer's product in one dispatch: see weight_gradient.wgsl. out = a b goes on through the dropout
// and the batch normalization before the layer, and the function between or before them: what makes a column has all rows of
// it, reads back what it wrote itself, and writes over it.

struct Params {
    a: View, b: View, extra: View, out: View, weight: View, bias: View,
    x: View, stats: View, gamma: View, dgamma: View, dbeta: View,
    rows: u32, depth: u32, cols: u32, biased: u32, of_out: u32, of_weight: u32,
    eps: f32, layer: u32, threshold: u32, scale: f32,
}

@group(1) @binding(6) var<storage, read> x: array<vec4f>;
@group(1) @binding(7) var<storage, read> stats: array<vec4f>; // rows: high, low, variance

fn x_rows(m: u32, c: u32) -> Rows {
    return column_rows(p.x, m, c);
}

fn dy_rows(m: u32, c: u32) -> Rows {
    return column_rows(p.out, m, c);
}

fn y_rows(m: u32, c: u32) -> Rows {
    return column_rows(p.extra, m, c);
}

fn x_of(place: u32) -> vec4f {
    return x[place];
}

// In the loops over rows: among the sums of a product, which are unrolled, the slope would take long to compile.
fn dy_of(place: u32, place_of_y: u32) -> vec4f {
    if NORM == 2u || DROPOUT == 1u || FUNCTION == 3u {
        return out[place];
    }
    return out[place] * slope(extra[place_of_y]);
}

// Dropout and the slope of the function after it come before the loops, as a mask takes long to make. Where x was kept, the
// function's value is x by what was left of it.
fn drop_column(m: u32, c: u32) {
    if DROPOUT == 0u || c >= p.out.ld {
        return;
    }
    let mask = mask_of(hyper[model(m)].w, p.layer, p.threshold, p.scale);
    let gradients = dy_rows(m, c);
    let extras = y_rows(m, c);
    let rows = p.rows;
    for (var r = 0u; r < rows; r++) {
        let place = nth(gradients, r);
        var dy = dropped(out[place], mask, r, c);
        if NORM == 1u && FUNCTION != 3u {
            dy *= slope(extra[nth(extras, r)] / mask.scale);
        }
        out[place] = dy;
    }
}

// Where the function came before batch normalization, x is its value.
fn passed_on(dx: vec4f, place_of_x: u32) -> vec4f {
    if NORM == 2u && FUNCTION != 3u {
        return dx * slope(x[place_of_x]);
    }
    return dx;
}

// b is where all parameters are.
fn gamma_of(m: u32, c: u32) -> vec4f {
    return b[at(p.gamma, m, 0u, c)];
}

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) lane: u32) {
    let turn = turn(p.of_out, p.of_weight, group, groups);
    if turn.first || BESIDE == 0u {
        all_rows(vec3u(turn.number, 0u, group.z), lane, false);
        drop_column(group.z, LANES * turn.number + lane);
        through_column(group.z, lane, 0u, LANES * turn.number + lane);
    } else {
        of_weight(turn.number, groups.x, group.z, lane);
    }
}
