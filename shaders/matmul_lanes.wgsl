// out = a b, a b^T or a^T b, for software adapters whose subgroups are vectors of eight lanes: a workgroup is one
// and has 32 by 32 values of out, a lane four columns of them. A lane's load of four values takes as long as many
// multiplications, so those of a are loaded by one lane each, and the others have them from it.

// [row]
alias Tile = array<vec4f, 32>;

fn store(group: vec3u, lane: u32, sum: ptr<function, Tile>) {
    let c = 8u * group.x + lane;
    if c >= p.out.ld {
        return;
    }
    let bias = bias(group.z, c);
    for (var r = 0u; r < 32u; r++) {
        let row = 32u * group.y + r;
        if row < p.rows {
            out[at(p.out, group.z, row, c)] = finish((*sum)[r], bias, group.z, row, c);
        }
    }
}

// Four k of each row of a.
fn load_a(m: u32, first: u32, k: u32) -> Tile {
    var x: Tile;
    for (var r = 0u; r < 32u; r++) {
        x[r] = a[at(p.a, m, min(first + r, p.rows - 1u), min(k, p.a.ld - 1u))];
    }
    return x;
}

// Adds the four k of a that lane j has, times those of b, [k].
fn add(sum: ptr<function, Tile>, x: ptr<function, Tile>, lane: u32, j: u32, y: mat4x4f) {
    for (var r = 0u; r < 32u; r++) {
        (*sum)[r] += y * from_lane((*x)[r], lane, j);
    }
}

// Four k of b, [k][column], where its rows are the sum's index or its columns are. Its rows are clamped where a's padding
// columns are zero, and columns past the last are not stored.
fn load_b(straight: bool, m: u32, c: u32, k: u32) -> mat4x4f {
    var y: mat4x4f;
    for (var i = 0u; i < 4u; i++) {
        if straight {
            y[i] = b[at(p.b, m, min(4u * k + i, p.depth - 1u), min(c, p.b.ld - 1u))];
        } else {
            y[i] = b[at(p.b, m, min(4u * c + i, p.cols - 1u), k)];
        }
    }
    if straight {
        return y;
    }
    return transpose(y);
}

fn along_rows_of_a(group: vec3u, lane: u32, straight: bool) {
    var sum: Tile;
    for (var k = 0u; k < p.a.ld; k += 8u) {
        var x = load_a(group.z, 32u * group.y, k + lane);
        for (var j = 0u; j < min(8u, p.a.ld - k); j++) {
            add(&sum, &x, lane, j, load_b(straight, group.z, 8u * group.x + lane, k + j));
        }
    }
    store(group, lane, &sum);
}

@compute @workgroup_size(8)
fn ab(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
    along_rows_of_a(group, lane, true);
}

@compute @workgroup_size(8)
fn abt(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
    along_rows_of_a(group, lane, false);
}

@compute @workgroup_size(8)
fn atb(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
    let c = min(8u * group.x + lane, p.b.ld - 1u);
    var sum: Tile;
    for (var k = 0u; k < p.depth; k++) {
        let x = a[at(p.a, group.z, k, min(8u * group.y + lane, p.a.ld - 1u))];
        let y = b[at(p.b, group.z, k, c)];
        for (var j = 0u; j < 8u; j++) {
            let of_j = from_lane(x, lane, j);
            for (var i = 0u; i < 4u; i++) {
                sum[4u * j + i] += of_j[i] * y;
            }
        }
    }
    store(group, lane, &sum);
}
