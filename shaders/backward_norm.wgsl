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
fn x_of(m: u32, r: u32, c: u32) -> vec4f {
    return scratch[at(p.z, m, r, c)];
}

fn dy_of(m: u32, r: u32, c: u32) -> vec4f {
    return scratch[at(p.dx, m, r, c)];
}
