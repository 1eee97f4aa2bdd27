// out = a b, a b^T or a^T b, for software adapters: eight rows by sixteen columns of out for each
// invocation, straight from storage, without barriers.

// Invocations of a workgroup along the columns and along the rows of out.
override ACROSS: u32;
override DOWN: u32;

// [row][vec4 of columns]
alias Tile = array<array<vec4f, 4>, 8>;

fn row_of(id: vec3u, r: u32) -> u32 {
    return min(8u * id.y + r, p.rows - 1u);
}

fn store(id: vec3u, sum: ptr<function, Tile>) {
    for (var q = 0u; q < 4u; q++) {
        let c = 4u * id.x + q;
        if c < p.out.ld {
            let bias = bias(id.z, c);
            let extras = column_rows(p.extra, id.z, c);
            for (var r = 0u; r < 8u; r++) {
                let row = 8u * id.y + r;
                if row < p.rows {
                    out[at(p.out, id.z, row, c)] = finish(sum[r][q], bias, extras, row, c, p.cols);
                }
            }
        }
    }
}

// Four k at a time. b's rows are clamped where a's padding columns are zero.
@compute @workgroup_size(ACROSS, DOWN)
fn ab(@builtin(global_invocation_id) id: vec3u) {
    var sum: Tile;
    for (var k = 0u; k < p.a.ld; k++) {
        var x: array<vec4f, 8>;
        for (var r = 0u; r < 8u; r++) {
            x[r] = a[at(p.a, id.z, row_of(id, r), k)];
        }
        for (var j = 0u; j < 4u; j++) {
            let row = min(4u * k + j, p.depth - 1u);
            for (var q = 0u; q < 4u; q++) {
                let y = b[at(p.b, id.z, row, min(4u * id.x + q, p.b.ld - 1u))];
                for (var r = 0u; r < 8u; r++) {
                    sum[r][q] += x[r][j] * y;
                }
            }
        }
    }
    store(id, &sum);
}

// Four k at a time, as dot products: columns past the last are clamped and not stored.
@compute @workgroup_size(ACROSS, DOWN)
fn abt(@builtin(global_invocation_id) id: vec3u) {
    var sum: Tile;
    for (var k = 0u; k < p.a.ld; k++) {
        var x: array<vec4f, 8>;
        for (var r = 0u; r < 8u; r++) {
            x[r] = a[at(p.a, id.z, row_of(id, r), k)];
        }
        for (var q = 0u; q < 4u; q++) {
            for (var j = 0u; j < 4u; j++) {
                let y = b[at(p.b, id.z, min(16u * id.x + 4u * q + j, p.cols - 1u), k)];
                for (var r = 0u; r < 8u; r++) {
                    sum[r][q][j] += dot(x[r], y);
                }
            }
        }
    }
    store(id, &sum);
}

@compute @workgroup_size(ACROSS, DOWN)
fn atb(@builtin(global_invocation_id) id: vec3u) {
    var sum: Tile;
    for (var k = 0u; k < p.depth; k++) {
        let x0 = a[at(p.a, id.z, k, min(2u * id.y, p.a.ld - 1u))];
        let x1 = a[at(p.a, id.z, k, min(2u * id.y + 1u, p.a.ld - 1u))];
        for (var q = 0u; q < 4u; q++) {
            let y = b[at(p.b, id.z, k, min(4u * id.x + q, p.b.ld - 1u))];
            for (var r = 0u; r < 4u; r++) {
                sum[r][q] += x0[r] * y;
                sum[r + 4u][q] += x1[r] * y;
            }
        }
    }
    store(id, &sum);
}
