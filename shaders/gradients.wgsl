// Before the kernels of batch normalization's backward pass: Ioffe and Szegedy 2015, the gradients below
// figure 1, with xhat recomputed from x_of and dy_of the gradient of the output:
//   dbeta = sum(dy),  dgamma = sum(dy * xhat),
//   dx = gamma / sqrt(variance + eps) * (dy - dbeta / n - xhat * dgamma / n).

struct Sums { dgamma: vec4f, dbeta: vec4f }

// Over the rows from `first` to before `end`.
fn column_sums(of_column: Moments, m: u32, lane: u32, split: u32, c: u32, first: u32, end: u32) -> Sums {
    let deviation = deviation_of(of_column, p.eps);
    var of_slice = Sums();
    for (var r = first + split; r < end; r += SPLITS) {
        let g = dy_of(m, r, c);
        of_slice.dgamma += g * normalized(of_column, deviation, x_of(m, r, c));
        of_slice.dbeta += g;
    }
    return Sums(merge(lane, split, of_slice.dgamma), merge(lane, split, of_slice.dbeta));
}

// What a column's rows have in common: gamma / deviation, and the sums over n.
struct Common { moments: Moments, deviation: vec4f, scale: vec4f, dgamma: vec4f, dbeta: vec4f }

fn of_all_rows(moments: Moments, sums: Sums, gamma: vec4f) -> Common {
    let n = f32(p.rows);
    let deviation = deviation_of(moments, p.eps);
    return Common(moments, deviation, gamma / deviation, sums.dgamma / n, sums.dbeta / n);
}

// dx
fn gradient(column: Common, m: u32, r: u32, c: u32) -> vec4f {
    let xhat = normalized(column.moments, column.deviation, x_of(m, r, c));
    return column.scale * (dy_of(m, r, c) - column.dbeta - xhat * column.dgamma);
}
