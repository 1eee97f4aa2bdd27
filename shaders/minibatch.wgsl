// Before the kernels that gather the rows of a minibatch from the data set that lies on the device:
// out[r] = inputs[order[first + r]].

// Places of the minibatch's first row in the order, and of the first vec4s of the data set and of the output.
struct Places { order: u32, inputs: u32, ld_in: u32, out: u32, ld: u32 }

fn places(m: u32, first: u32) -> Places {
    let order = 4u * (p.order.offset + m * p.order.stride) + first;
    return Places(order, p.inputs.offset, p.inputs.ld, at(p.out, m, 0u, 0u), p.out.ld);
}

// A workgroup's part of so many, of the rows from `first` on.
fn gather_reals(m: u32, first: u32, lane: u32, part: u32, parts: u32) {
    let places = places(m, first);
    let share = share(p.rows * places.ld, LANES, part, parts);
    for (var i = share.first + lane; i < share.end; i += LANES) {
        let row = order[places.order + i / places.ld];
        out[places.out + i] = reals[places.inputs + row * places.ld_in + i % places.ld];
    }
}

// out = (byte - center) * scale
fn gather_bytes(m: u32, first: u32, lane: u32, part: u32, parts: u32) {
    let places = places(m, first);
    let share = share(p.rows * places.ld, LANES, part, parts);
    let cols = p.cols;
    for (var i = share.first + lane; i < share.end; i += LANES) {
        let c = i % places.ld;
        let row = order[places.order + i / places.ld];
        let value = vec4f(unpack4xU8(bytes[places.inputs + row * places.ld_in + c]));
        out[places.out + i] = pad((value - affine[c]) * affine[places.ld + c], c, cols);
    }
}
