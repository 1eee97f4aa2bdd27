// Before the kernels that run a layer's whole share of a step. A workgroup's lanes form slices; each slice
// has a part of a product's sum and holds it as one tile of out, four by four values to a lane. The slices
// are added in order, so that a result does not depend on timing.

override GATHER: u32; // x is 0: an activation, 1: rows of the data set, 2: rows of it that are bytes
override NORM: u32;   // batch normalization 0: none, 1: before the function, 2: after it
override DROPOUT: u32; // 1 where there is
override HEIGHT: u32; // of a tile in vec4s, where a workgroup owns LANES vec4-columns
override BLOCK: u32;  // of a tile in vec4s, both ways, where it owns a block of a weight
override DEPTH: u32;  // of the sum, at a time
override TILES: u32;  // vec4s of shared memory for both factors

struct Tile { r0: vec4f, r1: vec4f, r2: vec4f, r3: vec4f }

fn plus(a: Tile, b: Tile) -> Tile {
    return Tile(a.r0 + b.r0, a.r1 + b.r1, a.r2 + b.r2, a.r3 + b.r3);
}

// Height and width of a slice, in vec4s, and how many there are.
struct Shape { height: u32, width: u32, slices: u32 }

// A factor: its number, whether its rows are the sum's index, where the tile begins in vec4s and how many it
// takes, and the last vec4-column (of rows) or row (of columns) that exists.
struct Factor { number: u32, straight: bool, first: u32, wide: u32, last: u32 }

// To tiles[to ...]: DEPTH times `wide` vec4s. Past the end of the sum they count as zero.
fn stage(f: Factor, m: u32, k0: u32, end: u32, to: u32, lane: u32, lanes: u32) {
    if f.straight {
        for (var i = lane; i < DEPTH * f.wide; i += lanes) {
            let k = k0 + i / f.wide;
            let x = factor(f.number, m, min(k, end - 1u), min(f.first + i % f.wide, f.last));
            tiles[to + i] = select(vec4f(), x, k < end);
        }
        return;
    }
    // Transposed four by four; padding columns are zero.
    for (var i = lane; i < DEPTH / 4u * f.wide; i += lanes) {
        let k = k0 + i / f.wide * 4u;
        var v: mat4x4f;
        for (var j = 0u; j < 4u; j++) {
            let x = factor(f.number, m, min(4u * (f.first + i % f.wide) + j, f.last), min(k, end - 1u) / 4u);
            v[j] = select(vec4f(), x, k < end);
        }
        let t = transpose(v);
        for (var j = 0u; j < 4u; j++) {
            tiles[to + (i / f.wide * 4u + j) * f.wide + i % f.wide] = t[j];
        }
    }
}

// The lane's tile of the product, summed from `first`, a multiple of four, to before `end`; whole in the first slice.
fn product(m: u32, lane: u32, shape: Shape, left: Factor, right: Factor, first: u32, end: u32) -> Tile {
    let lanes = shape.height * shape.width;
    let slice = lane / lanes;
    let mine = lane % lanes;
    let of_left = slice * DEPTH * (shape.height + shape.width);
    let of_right = of_left + DEPTH * shape.height;
    let span = (end - first + shape.slices * DEPTH - 1u) / (shape.slices * DEPTH) * DEPTH;
    var sum = Tile();
    for (var k = 0u; k < span; k += DEPTH) {
        workgroupBarrier();
        stage(left, m, first + slice * span + k, end, of_left, mine, lanes);
        stage(right, m, first + slice * span + k, end, of_right, mine, lanes);
        workgroupBarrier();
        for (var j = 0u; j < DEPTH; j++) {
            let x = tiles[of_left + j * shape.height + mine / shape.width];
            let y = tiles[of_right + j * shape.width + mine % shape.width];
            sum = Tile(sum.r0 + x.x * y, sum.r1 + x.y * y, sum.r2 + x.z * y, sum.r3 + x.w * y);
        }
    }
    for (var s = 1u; s < shape.slices; s++) {
        workgroupBarrier();
        if slice == s {
            tiles[4u * mine] = sum.r0;
            tiles[4u * mine + 1u] = sum.r1;
            tiles[4u * mine + 2u] = sum.r2;
            tiles[4u * mine + 3u] = sum.r3;
        }
        workgroupBarrier();
        if slice == 0u {
            let i = 4u * mine;
            sum = plus(sum, Tile(tiles[i], tiles[i + 1u], tiles[i + 2u], tiles[i + 3u]));
        }
    }
    return sum;
}

// Row r of the minibatch, which may still lie in the data set.
fn row_of_x(m: u32, r: u32, c: u32) -> vec4f {
    if GATHER == 0u {
        return scratch[at(p.x, m, r, c)];
    }
    let source = order[4u * (p.order.offset + m * p.order.stride) + current.first + r];
    let i = p.x.offset + source * p.x.ld + c;
    if GATHER == 1u {
        return bitcast<vec4f>(vec4u(inputs[4u * i], inputs[4u * i + 1u], inputs[4u * i + 2u], inputs[4u * i + 3u]));
    }
    return pad((vec4f(unpack4xU8(inputs[i])) - affine[c]) * affine[p.x.ld + c], c, p.features);
}
