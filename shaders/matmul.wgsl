// out = a b, a b^T or a^T b, for GPUs: a block of BLOCK by BLOCK of out for each workgroup, four by
// four values for each invocation, the factors staged through shared memory DEPTH deep.

override BLOCK: u32;
override DEPTH: u32;

struct Params { a: View, b: View, extra: View, out: View, rows: u32, depth: u32, cols: u32 }

@group(1) @binding(0) var<uniform> p: Params;
@group(1) @binding(1) var<storage, read> a: array<vec4f>;
@group(1) @binding(2) var<storage, read> b: array<vec4f>;
@group(1) @binding(3) var<storage, read_write> out: array<vec4f>;
@group(1) @binding(4) var<storage, read> extra: array<vec4f>;

override EPILOGUE: u32; // 0: f(sum), 1: f(sum + extra), extra a bias, 2: sum * f'(extra), extra an activation

fn finish(sum: vec4f, m: u32, r: u32, c: u32) -> vec4f {
    switch EPILOGUE {
        case 1u { return pad(value(sum + extra[at(p.extra, m, 0u, c)]), c, p.cols); }
        case 2u { return pad(sum * slope(extra[at(p.extra, m, r, c)]), c, p.cols); }
        default { return pad(value(sum), c, p.cols); }
    }
}

// [k][vec4 of rows of out] and [k][vec4 of columns of out]
var<workgroup> a_tile: array<vec4f, BLOCK / 4u * DEPTH>;
var<workgroup> b_tile: array<vec4f, BLOCK / 4u * DEPTH>;

struct Tile { r0: vec4f, r1: vec4f, r2: vec4f, r3: vec4f }

// Where an invocation stands.
struct Place { m: u32, row: u32, col: u32, lane: u32, x: u32, y: u32 } // row and col of the block, in vec4s

fn place(group: vec3u, local: vec3u) -> Place {
    let width = BLOCK / 4u;
    return Place(group.z, group.y * width, group.x * width, local.y * width + local.x, local.x, local.y);
}

// A factor whose rows are the sum's index k lies as the tile does. Past the last k it counts as zero.
fn stage_a_straight(at_block: Place, k0: u32) {
    let width = BLOCK / 4u;
    for (var i = at_block.lane; i < width * DEPTH; i += width * width) {
        let k = k0 + i / width;
        let x = min(at_block.row + i % width, p.a.ld - 1u);
        a_tile[i] = select(vec4f(), a[at(p.a, at_block.m, min(k, p.depth - 1u), x)], k < p.depth);
    }
}

fn stage_b_straight(at_block: Place, k0: u32) {
    let width = BLOCK / 4u;
    for (var i = at_block.lane; i < width * DEPTH; i += width * width) {
        let k = k0 + i / width;
        let x = min(at_block.col + i % width, p.b.ld - 1u);
        b_tile[i] = select(vec4f(), b[at(p.b, at_block.m, min(k, p.depth - 1u), x)], k < p.depth);
    }
}

// A factor whose columns are k is transposed four by four. Its padding columns are zero.
fn stage_a_transposed(at_block: Place, k0: u32) {
    let width = BLOCK / 4u;
    for (var i = at_block.lane; i < width * DEPTH / 4u; i += width * width) {
        let k = k0 / 4u + i / width;
        let inside = k < p.a.ld;
        var v: array<vec4f, 4>;
        for (var j = 0u; j < 4u; j++) {
            let row = min(4u * (at_block.row + i % width) + j, p.rows - 1u);
            v[j] = select(vec4f(), a[at(p.a, at_block.m, row, min(k, p.a.ld - 1u))], inside);
        }
        let to = i / width * 4u * width + i % width;
        a_tile[to] = vec4f(v[0].x, v[1].x, v[2].x, v[3].x);
        a_tile[to + width] = vec4f(v[0].y, v[1].y, v[2].y, v[3].y);
        a_tile[to + 2u * width] = vec4f(v[0].z, v[1].z, v[2].z, v[3].z);
        a_tile[to + 3u * width] = vec4f(v[0].w, v[1].w, v[2].w, v[3].w);
    }
}

fn stage_b_transposed(at_block: Place, k0: u32) {
    let width = BLOCK / 4u;
    for (var i = at_block.lane; i < width * DEPTH / 4u; i += width * width) {
        let k = k0 / 4u + i / width;
        let inside = k < p.b.ld;
        var v: array<vec4f, 4>;
        for (var j = 0u; j < 4u; j++) {
            let row = min(4u * (at_block.col + i % width) + j, p.cols - 1u);
            v[j] = select(vec4f(), b[at(p.b, at_block.m, row, min(k, p.b.ld - 1u))], inside);
        }
        let to = i / width * 4u * width + i % width;
        b_tile[to] = vec4f(v[0].x, v[1].x, v[2].x, v[3].x);
        b_tile[to + width] = vec4f(v[0].y, v[1].y, v[2].y, v[3].y);
        b_tile[to + 2u * width] = vec4f(v[0].z, v[1].z, v[2].z, v[3].z);
        b_tile[to + 3u * width] = vec4f(v[0].w, v[1].w, v[2].w, v[3].w);
    }
}

fn multiply(sum: Tile, at_block: Place) -> Tile {
    let width = BLOCK / 4u;
    var t = sum;
    for (var k = 0u; k < DEPTH; k++) {
        let x = a_tile[k * width + at_block.y];
        let y = b_tile[k * width + at_block.x];
        t.r0 += x.x * y;
        t.r1 += x.y * y;
        t.r2 += x.z * y;
        t.r3 += x.w * y;
    }
    return t;
}

fn store_row(at_block: Place, r: u32, sum: vec4f) {
    let row = 4u * (at_block.row + at_block.y) + r;
    let c = at_block.col + at_block.x;
    if row < p.rows && c < p.out.ld {
        out[at(p.out, at_block.m, row, c)] = finish(sum, at_block.m, row, c);
    }
}

fn store(at_block: Place, sum: Tile) {
    store_row(at_block, 0u, sum.r0);
    store_row(at_block, 1u, sum.r1);
    store_row(at_block, 2u, sum.r2);
    store_row(at_block, 3u, sum.r3);
}

@compute @workgroup_size(BLOCK / 4u, BLOCK / 4u)
fn ab(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) local: vec3u) {
    let block = place(group, local);
    var sum = Tile();
    for (var k = 0u; k < p.depth; k += DEPTH) {
        stage_a_transposed(block, k);
        stage_b_straight(block, k);
        workgroupBarrier();
        sum = multiply(sum, block);
        workgroupBarrier();
    }
    store(block, sum);
}

@compute @workgroup_size(BLOCK / 4u, BLOCK / 4u)
fn abt(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) local: vec3u) {
    let block = place(group, local);
    var sum = Tile();
    for (var k = 0u; k < p.depth; k += DEPTH) {
        stage_a_transposed(block, k);
        stage_b_transposed(block, k);
        workgroupBarrier();
        sum = multiply(sum, block);
        workgroupBarrier();
    }
    store(block, sum);
}

@compute @workgroup_size(BLOCK / 4u, BLOCK / 4u)
fn atb(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) local: vec3u) {
    let block = place(group, local);
    var sum = Tile();
    for (var k = 0u; k < p.depth; k += DEPTH) {
        stage_a_straight(block, k);
        stage_b_straight(block, k);
        workgroupBarrier();
        sum = multiply(sum, block);
        workgroupBarrier();
    }
    store(block, sum);
}
