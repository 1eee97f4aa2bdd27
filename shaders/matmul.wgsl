// out = a b, a b^T or a^T b, for GPUs. The factors are staged through shared memory, SLICES * DEPTH deep;
// every slice of the workgroup adds up products over its own DEPTH, four by four or eight by eight values of
// out for each invocation; at the end the slices' sums are added in their order.

override ACROSS: u32; // invocations along the columns of out,
override DOWN: u32;   // along its rows,
override SLICES: u32; // and along the sums
override WIDE: u32;   // vec4s of columns of an invocation, 1 or 2
override TALL: u32;   // fours of rows of an invocation, 1 or 2
override DEPTH: u32;

@group(1) @binding(5) var<storage, read_write> moments: array<vec4f>; // abt_moments

// The tile of a, [k][four rows of out], then that of b, [k][vec4 of columns of out].
var<workgroup> tiles: array<vec4f, SLICES * DEPTH * (DOWN * TALL + ACROSS * WIDE)>;

// [row][vec4 of columns]
alias Tile = array<array<vec4f, 2>, 8>;

// What a workgroup stages of a factor: `width` vec4s of out's rows or columns from `start` on, for model m.
struct Part { is_a: bool, m: u32, start: u32, width: u32, tile: u32, rows: u32, ld: u32 }

fn load(part: Part, r: u32, c: u32) -> vec4f {
    if part.is_a {
        return a[at(p.a, part.m, r, c)];
    }
    return b[at(p.b, part.m, r, c)];
}

// A factor whose rows are the sum's index k lies as its tile does. Past the last k it counts as zero.
fn stage_straight(part: Part, lane: u32, k0: u32) {
    for (var i = lane; i < part.width * SLICES * DEPTH; i += ACROSS * DOWN * SLICES) {
        let k = k0 + i / part.width;
        let c = min(part.start + i % part.width, part.ld - 1u);
        tiles[part.tile + i] = select(vec4f(), load(part, min(k, p.depth - 1u), c), k < p.depth);
    }
}

// A factor whose columns are k is transposed four by four. Its padding columns are zero.
fn stage_transposed(part: Part, lane: u32, k0: u32) {
    for (var i = lane; i < part.width * SLICES * DEPTH / 4u; i += ACROSS * DOWN * SLICES) {
        let k = k0 / 4u + i / part.width;
        var v: array<vec4f, 4>;
        for (var j = 0u; j < 4u; j++) {
            let r = min(4u * (part.start + i % part.width) + j, part.rows - 1u);
            v[j] = select(vec4f(), load(part, r, min(k, part.ld - 1u)), k < part.ld);
        }
        let to = part.tile + i / part.width * 4u * part.width + i % part.width;
        for (var j = 0u; j < 4u; j++) {
            tiles[to + j * part.width] = vec4f(v[0][j], v[1][j], v[2][j], v[3][j]);
        }
    }
}

// Adds what a slice has of the staged k. An invocation's rows and columns are DOWN and ACROSS apart.
fn multiply(sum: ptr<function, Tile>, local: vec3u) {
    for (var k = local.z * DEPTH; k < (local.z + 1u) * DEPTH; k++) {
        var y: array<vec4f, 2>;
        for (var w = 0u; w < WIDE; w++) {
            y[w] = tiles[SLICES * DEPTH * DOWN * TALL + (k * WIDE + w) * ACROSS + local.x];
        }
        for (var t = 0u; t < TALL; t++) {
            let x = tiles[(k * TALL + t) * DOWN + local.y];
            for (var r = 0u; r < 4u; r++) {
                for (var w = 0u; w < WIDE; w++) {
                    (*sum)[4u * t + r][w] += x[r] * y[w];
                }
            }
        }
    }
}

// Each slice adds up and stores its share of the values.
fn store(group: vec3u, local: vec3u, sum: ptr<function, Tile>) {
    let lane = local.y * ACROSS + local.x;
    for (var i = 0u; i < 4u * TALL * WIDE; i++) {
        let r = i / WIDE;
        let w = i % WIDE;
        var total = (*sum)[r][w];
        if SLICES > 1u {
            tiles[local.z * ACROSS * DOWN + lane] = total;
            workgroupBarrier();
            total = tiles[lane];
            for (var slice = 1u; slice < SLICES; slice++) {
                total += tiles[slice * ACROSS * DOWN + lane];
            }
            workgroupBarrier();
        }
        let row = 4u * ((group.y * TALL + r / 4u) * DOWN + local.y) + r % 4u;
        let c = (group.x * WIDE + w) * ACROSS + local.x;
        if i % SLICES == local.z && row < p.rows && c < p.out.ld {
            let extras = column_rows(p.extra, group.z, c);
            out[at(p.out, group.z, row, c)] = finish(total, bias(group.z, c), extras, row, c, p.cols);
        }
    }
}

fn product(group: vec3u, local: vec3u, a_straight: bool, b_straight: bool) {
    let lane = (local.z * DOWN + local.y) * ACROSS + local.x;
    let high = DOWN * TALL;
    let wide = ACROSS * WIDE;
    let part_a = Part(true, group.z, group.y * high, high, 0u, p.rows, p.a.ld);
    let part_b = Part(false, group.z, group.x * wide, wide, SLICES * DEPTH * high, p.cols, p.b.ld);
    var sum: Tile;
    for (var k = 0u; k < p.depth; k += SLICES * DEPTH) {
        if a_straight { stage_straight(part_a, lane, k); } else { stage_transposed(part_a, lane, k); }
        if b_straight { stage_straight(part_b, lane, k); } else { stage_transposed(part_b, lane, k); }
        workgroupBarrier();
        multiply(&sum, local);
        workgroupBarrier();
    }
    store(group, local, &sum);
}

// Sum over the invocations of a column of the block, which are `wide` apart.
fn total(value: vec4f, lane: u32, wide: u32) -> vec4f {
    workgroupBarrier();
    tiles[lane] = value;
    workgroupBarrier();
    var sum = tiles[lane % wide];
    for (var i = lane % wide + wide; i < ACROSS * DOWN * SLICES; i += wide) {
        sum += tiles[i];
    }
    return sum;
}

// Mean, in two parts, and biased variance of each column of the block that the workgroup has stored.
fn store_moments(group: vec3u, local: vec3u) {
    storageBarrier();
    let lane = (local.z * DOWN + local.y) * ACROSS + local.x;
    let wide = ACROSS * WIDE;
    let apart = ACROSS * DOWN * SLICES / wide;
    let first = group.y * 4u * DOWN * TALL;
    let end = min(first + 4u * DOWN * TALL, p.rows);
    let n = f32(end - first);
    let m = group.z;
    let c = min(group.x * wide + lane % wide, p.out.ld - 1u);
    var sum = vec4f();
    for (var r = first + lane / wide; r < end; r += apart) {
        sum += out[at(p.out, m, r, c)];
    }
    let high = total(sum, lane, wide) / n;
    var rest = vec4f();
    var squares = vec4f();
    for (var r = first + lane / wide; r < end; r += apart) {
        let d = out[at(p.out, m, r, c)] - high;
        rest += d;
        squares += d * d;
    }
    let low = total(rest, lane, wide) / n;
    let variance = total(squares, lane, wide) / n - low * low;
    if lane < wide && group.x * wide + lane < p.out.ld {
        moments[at(p.beside, m, 3u * group.y, c)] = high;
        moments[at(p.beside, m, 3u * group.y + 1u, c)] = low;
        moments[at(p.beside, m, 3u * group.y + 2u, c)] = variance;
    }
}

@compute @workgroup_size(ACROSS, DOWN, SLICES)
fn ab(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) local: vec3u) {
    product(group, local, false, true);
}

@compute @workgroup_size(ACROSS, DOWN, SLICES)
fn abt(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) local: vec3u) {
    product(group, local, false, false);
}

@compute @workgroup_size(ACROSS, DOWN, SLICES)
fn abt_moments(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) local: vec3u) {
    product(group, local, false, false);
    store_moments(group, local);
}

@compute @workgroup_size(ACROSS, DOWN, SLICES)
fn atb(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) local: vec3u) {
    product(group, local, true, true);
}
