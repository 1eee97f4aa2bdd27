// Before the kernels that run a layer's whole share of a step. A workgroup's lanes form slices; each slice
// has a part of a product's sum and holds it as one tile of out, four by four or eight by eight values to a lane.
// The slices are added in order, so that a result does not depend on timing. Loops over a lane's values have constants
// for bounds, so that compilers unroll them and keep the values in registers.

override GATHER: u32; // x is 0: an activation, 1: rows of the data set, 2: rows of it that are bytes
override NORM: u32;   // batch normalization 0: none, 1: before the function, 2: after it
override DROPOUT: u32; // 1 where there is
override VALUE: u32;  // 1 where the value of the function is stored
override WIDE: u32;   // fours of rows and of columns of a lane, 1 or 2
override HEIGHT: u32; // of a tile in vec4s, where a workgroup owns LANES vec4-columns
override BLOCK_ROWS: u32; // of a tile in vec4s, where it owns a block of a weight,
override BLOCK: u32;  // and of its columns
override DEPTH: u32;  // of the sum, at a time
override TILES: u32;  // vec4s of shared memory for both factors

// [row][vec4 of columns], of which a lane has 4 * WIDE by WIDE.
alias Tile = array<array<vec4f, 2>, 8>;

// Height and width of a slice's tile, in vec4s, its lanes along both, and how many slices there are.
struct Shape { height: u32, width: u32, down: u32, across: u32, slices: u32 }

fn shape_of(height: u32, width: u32) -> Shape {
    let down = height / WIDE;
    let across = width / WIDE;
    return Shape(height, width, down, across, LANES * SPLITS / (down * across));
}

// Row in the tile of a lane's values [r], and vec4-column of [r][w].
fn row_of(shape: Shape, lane: u32, r: u32) -> u32 {
    return 4u * (r / 4u * shape.down + lane / shape.across) + r % 4u;
}

fn column_of(shape: Shape, lane: u32, w: u32) -> u32 {
    return w * shape.across + lane % shape.across;
}

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

// Adds what the lane's slice has of the product, of the sum from `first`, a multiple of four, to before `end`.
fn multiply(sum: ptr<function, Tile>, m: u32, lane: u32, shape: Shape, left: Factor, right: Factor, first: u32, end: u32) {
    let lanes = shape.down * shape.across;
    let slice = lane / lanes;
    let mine = lane % lanes;
    let of_left = slice * DEPTH * (shape.height + shape.width);
    let of_right = of_left + DEPTH * shape.height;
    let span = (end - first + shape.slices * DEPTH - 1u) / (shape.slices * DEPTH) * DEPTH;
    for (var k = 0u; k < span; k += DEPTH) {
        workgroupBarrier();
        stage(left, m, first + slice * span + k, end, of_left, mine, lanes);
        stage(right, m, first + slice * span + k, end, of_right, mine, lanes);
        workgroupBarrier();
        for (var j = 0u; j < DEPTH; j++) {
            var y: array<vec4f, 2>;
            for (var w = 0u; w < WIDE; w++) {
                y[w] = tiles[of_right + j * shape.width + w * shape.across + mine % shape.across];
            }
            for (var t = 0u; t < WIDE; t++) {
                let x = tiles[of_left + j * shape.height + t * shape.down + mine / shape.across];
                for (var r = 0u; r < 4u; r++) {
                    for (var w = 0u; w < WIDE; w++) {
                        (*sum)[4u * t + r][w] += x[r] * y[w];
                    }
                }
            }
        }
    }
}

// Adds all slices' tiles in the first slice's, but for slices behind the end of so short a sum.
fn add_slices(sum: ptr<function, Tile>, lane: u32, shape: Shape, depth: u32) {
    let lanes = shape.down * shape.across;
    let of_lane = lane % lanes * 4u * WIDE;
    for (var slice = 1u; slice < min(shape.slices, (depth + DEPTH - 1u) / DEPTH); slice++) {
        for (var t = 0u; t < WIDE; t++) {
            workgroupBarrier();
            if lane / lanes == slice {
                for (var i = 0u; i < 4u * WIDE; i++) {
                    tiles[of_lane + i] = (*sum)[4u * t + i / WIDE][i % WIDE];
                }
            }
            workgroupBarrier();
            if lane < lanes {
                for (var i = 0u; i < 4u * WIDE; i++) {
                    (*sum)[4u * t + i / WIDE][i % WIDE] += tiles[of_lane + i];
                }
            }
        }
    }
}

// The lane's tile of a product, whole in the first slice.
fn product(m: u32, lane: u32, shape: Shape, left: Factor, right: Factor, depth: u32) -> Tile {
    var sum: Tile;
    multiply(&sum, m, lane, shape, left, right, 0u, depth);
    add_slices(&sum, lane, shape, depth);
    return sum;
}

// Row r of the minibatch whose first row has this place in the order.
fn row_of_data(m: u32, first: u32, r: u32, c: u32) -> vec4f {
    let source = order[4u * (p.order.offset + m * p.order.stride) + first + r];
    let i = p.x.offset + source * p.x.ld + c;
    if GATHER == 1u {
        return bitcast<vec4f>(vec4u(inputs[4u * i], inputs[4u * i + 1u], inputs[4u * i + 2u], inputs[4u * i + 3u]));
    }
    return pad((vec4f(unpack4xU8(inputs[i])) - affine[c]) * affine[p.x.ld + c], c, p.features);
}
