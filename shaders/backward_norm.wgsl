// Before the kernels that take gradients through batch normalization.

fn statistics(v: View, m: u32, c: u32) -> Moments {
    return Moments(scratch[at(v, m, 0u, c)], scratch[at(v, m, 1u, c)], scratch[at(v, m, 2u, c)]);
}

// What normalizes a column of x: see loaded.wgsl.
fn read_norm(m: u32, c: u32, first: u32) {
    let scale = scratch[at(p.x_scales, m, 0u, c)];
    keep_norm(first, scratch[at(p.stats, m, 0u, c)], scale, scratch[at(p.x_scales, m, 1u, c)]);
}

// Batch normalization of z, as forward.
fn applied(stats: View, scales: View, m: u32, c: u32, z: vec4f) -> vec4f {
    return (z - scratch[at(stats, m, 0u, c)]) * scratch[at(scales, m, 0u, c)] + scratch[at(scales, m, 1u, c)];
}

// What batch normalization's backward pass reads.
fn x_rows(m: u32, c: u32) -> Rows {
    return column_rows(p.z, m, c);
}

fn dy_rows(m: u32, c: u32) -> Rows {
    return column_rows(p.dx, m, c);
}

fn y_rows(m: u32, c: u32) -> Rows {
    return dy_rows(m, c);
}

fn x_of(place: u32) -> vec4f {
    return scratch[place];
}

fn dy_of(place: u32, _place_of_y: u32) -> vec4f {
    return scratch[place];
}
