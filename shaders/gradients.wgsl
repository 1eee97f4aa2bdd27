// Before the kernels of batch normalization's backward pass: Ioffe and Szegedy 2015, the gradients below
// figure 1, with xhat recomputed from x_of and dy_of the gradient of the output:
//   dbeta = sum(dy),  dgamma = sum(dy * xhat),
//   dx = gamma / sqrt(variance + eps) * (dy - dbeta / n - xhat * dgamma / n).

struct Sums { dgamma: vec4f, dbeta: vec4f }

// Over the rows from `first` to before `end`.
fn column_sums(of_column: Moments, m: u32, lane: u32, split: u32, c: u32, first: u32, end: u32) -> Sums {
    var of_slice = Sums();
    for (var r = first + split; r < end; r += SPLITS) {
        let g = dy_of(m, r, c);
        of_slice.dgamma += g * normalized(of_column, x_of(m, r, c), p.eps);
        of_slice.dbeta += g;
    }
    return Sums(merge(lane, split, of_slice.dgamma), merge(lane, split, of_slice.dbeta));
}

// dx
fn gradient(of_column: Moments, sums: Sums, gamma: vec4f, m: u32, r: u32, c: u32) -> vec4f {
    let n = f32(p.rows);
    let scale = gamma / sqrt(of_column.variance + p.eps);
    let means = sums.dbeta / n + normalized(of_column, x_of(m, r, c), p.eps) * sums.dgamma / n;
    return scale * (dy_of(m, r, c) - means);
}
