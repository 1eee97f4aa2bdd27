// Before the kernels that merge the statistics of blocks of p.block rows, of which the last may have fewer: part_of has
// the high, low and variance of each block in turn. Chan, Golub and LeVeque 1983, equation 2.1, for any number of parts:
//   mean = sum(n_i * mean_i) / n,  variance = sum(n_i * (variance_i + (mean_i - mean)^2)) / n.
// Means are those less `first`, the high of the first block.

fn blocks() -> u32 {
    return (p.rows + p.block - 1u) / p.block;
}

fn rows_of(block: u32) -> f32 {
    return f32(min(p.rows - block * p.block, p.block));
}

fn mean_of(block: u32, first: vec4f, m: u32, c: u32) -> vec4f {
    return (part_of(m, 3u * block, c) - first) + part_of(m, 3u * block + 1u, c);
}

// Of every `step`-th block.
fn weighted_means(m: u32, c: u32, first: vec4f, start: u32, step: u32) -> vec4f {
    var sum = vec4f();
    for (var i = start; i < blocks(); i += step) {
        sum += rows_of(i) * mean_of(i, first, m, c);
    }
    return sum;
}

fn weighted_squares(m: u32, c: u32, first: vec4f, mean: vec4f, start: u32, step: u32) -> vec4f {
    var sum = vec4f();
    for (var i = start; i < blocks(); i += step) {
        let off = mean_of(i, first, m, c) - mean;
        sum += rows_of(i) * (part_of(m, 3u * i + 2u, c) + off * off);
    }
    return sum;
}

fn of_blocks(first: vec4f, mean: vec4f, squares: vec4f) -> Moments {
    let high = first + mean;
    return Moments(high, (first - high) + mean, checked(squares / f32(p.rows)));
}
