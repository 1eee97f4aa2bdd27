// Before the kernel of a product of few columns, z = x w^T + bias, of which a lane has whole rows. A workgroup is a vector of eight
// lanes, as those of product_lanes.wgsl: a value of w is loaded by one lane, and the others have it from that.

override OUTPUTS: u32; // vec4-columns of z, at most 4

// 32 rows from the first on, of which a lane has every eighth.
fn product(m: u32, first: u32, lane: u32) {
    let x_rows = column_rows(p.x, m, 0u);
    let w_rows = column_rows(p.w, m, 0u);
    let last = vec2u(p.rows, p.cols) - 1u;
    let depth = p.x.ld;
    var z: array<vec4f, 16>; // [vec4-column][row]
    for (var k = 0u; k < depth; k++) {
        var of_x: array<vec4f, 4>;
        for (var q = 0u; q < 4u; q++) {
            of_x[q] = x[nth(x_rows, min(first + 8u * q + lane, last.x)) + k];
        }
        var of_w: vec4f;
        for (var c = 0u; c < OUTPUTS; c++) {
            if c % 2u == 0u {
                of_w = w[nth(w_rows, min(4u * c + lane, last.y)) + k];
            }
            let j = 4u * (c % 2u);
            let columns = mat4x4f(
                from_lane(of_w, lane, j), from_lane(of_w, lane, j + 1u),
                from_lane(of_w, lane, j + 2u), from_lane(of_w, lane, j + 3u),
            );
            for (var q = 0u; q < 4u; q++) {
                z[4u * c + q] += of_x[q] * columns;
            }
        }
    }
    let z_rows = column_rows(p.logits, m, 0u);
    for (var c = 0u; c < OUTPUTS; c++) {
        let bias = w[at(p.bias, m, 0u, c)];
        for (var q = 0u; q < 4u; q++) {
            let r = first + 8u * q + lane;
            if r < p.rows {
                logits[nth(z_rows, r) + c] = pad(z[4u * c + q] + bias, c, p.cols);
            }
        }
    }
}
