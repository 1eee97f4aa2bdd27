// Before the kernels of batch normalization's backward pass: Ioffe and Szegedy 2015, the gradients below
// figure 1, with xhat recomputed from x_of, and dy_of the gradient of the output, at the rows dy_rows and y_rows:
//   dbeta = sum(dy),  dgamma = sum(dy * xhat),
//   dx = gamma / sqrt(variance + eps) * (dy - dbeta / n - xhat * dgamma / n).

struct Sums { dgamma: vec4f, dbeta: vec4f }

// Over the rows from `first` to before `end`.
fn column_sums(of_column: Moments, m: u32, lane: u32, split: u32, c: u32, first: u32, end: u32) -> Sums {
    let x = x_rows(m, c);
    let dy = dy_rows(m, c);
    let y = y_rows(m, c);
    let deviation = deviation_of(of_column, p.eps);
    var of_slice = Sums();
    let all = gone_through(end - first);
    for (var i = split; i < all; i += SPLITS) {
        let row = first + turned(lane, i);
        let r = min(row, end - 1u);
        let g = select(vec4f(), dy_of(nth(dy, r), nth(y, r)), row < end);
        of_slice.dgamma += g * normalized(of_column, deviation, x_of(nth(x, r)));
        of_slice.dbeta += g;
    }
    return Sums(merge(lane, split, of_slice.dgamma), merge(lane, split, of_slice.dbeta));
}

// What a column's rows have in common: where they are, gamma / deviation, and the sums over n.
struct Common {
    x: Rows, dy: Rows, y: Rows,
    moments: Moments, deviation: vec4f, scale: vec4f, dgamma: vec4f, dbeta: vec4f,
}

fn of_all_rows(moments: Moments, sums: Sums, gamma: vec4f, m: u32, c: u32) -> Common {
    let n = f32(p.rows);
    let deviation = deviation_of(moments, p.eps);
    let scale = gamma / deviation;
    return Common(
        x_rows(m, c), dy_rows(m, c), y_rows(m, c),
        moments, deviation, scale, sums.dgamma / n, sums.dbeta / n,
    );
}

// dx
fn gradient(column: Common, r: u32) -> vec4f {
    let xhat = normalized(column.moments, column.deviation, x_of(nth(column.x, r)));
    return column.scale * (dy_of(nth(column.dy, r), nth(column.y, r)) - column.dbeta - xhat * column.dgamma);
}
