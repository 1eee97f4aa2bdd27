// Before the kernels of a layer forward: what they make of a sum, and of the columns that they own.

// What the statistics are of.
fn x_rows(m: u32, c: u32) -> Rows {
    return column_rows(p.z, m, c);
}

fn x_of(place: u32) -> vec4f {
    return scratch[place];
}

fn store(m: u32, r: u32, c: u32, end: u32, sum: vec4f) {
    if r >= end || c >= p.z.ld {
        return;
    }
    var z = sum;
    if p.biased == 1u {
        z += params[at(p.bias, m, 0u, c)];
    }
    if VALUE == 1u {
        z = value(z);
    }
    scratch[at(p.z, m, r, c)] = pad(z, c, p.outputs);
}

// The tile from a row and a vec4-column on, of the rows before `end`.
fn store_tile(m: u32, lane: u32, shape: Shape, row: u32, col: u32, end: u32, sum: ptr<function, Tile>) {
    if lane < shape.down * shape.across {
        for (var i = 0u; i < 4u * WIDE * WIDE; i++) {
            let r = row + row_of(shape, lane, i / WIDE);
            store(m, r, col + column_of(shape, lane, i % WIDE), end, (*sum)[i / WIDE][i % WIDE]);
        }
    }
}

// The statistics of the rows from `first` to before `end`, in three rows of moments.
fn keep_moments(m: u32, col: u32, lane: u32, first: u32, end: u32, row: u32) {
    let c = min(col + lane % LANES, p.z.ld - 1u);
    let of_column = moments(m, lane % LANES, lane / LANES, c, first, end);
    if lane < LANES && col + lane < p.z.ld {
        scratch[at(p.moments, m, row, c)] = of_column.high;
        scratch[at(p.moments, m, row + 1u, c)] = of_column.low;
        scratch[at(p.moments, m, row + 2u, c)] = of_column.variance;
    }
}
