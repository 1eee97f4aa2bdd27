// Before the kernels that normalize what x_of has at the rows x_rows, of which they pass on something:
//   y = passed_on(gamma * (x - mean) / sqrt(variance + eps) + beta).

// What a column's rows have in common.
struct Common { x: Rows, y: Rows, moments: Moments, deviation: vec4f, gamma: vec4f, beta: vec4f, cols: u32 }

fn of_all_rows(moments: Moments, m: u32, c: u32) -> Common {
    let deviation = deviation_of(moments, p.eps);
    return Common(x_rows(m, c), column_rows(p.y, m, c), moments, deviation, gamma_of(m, c), beta_of(m, c), p.cols);
}

fn normalize(column: Common, r: u32, c: u32) {
    let xhat = normalized(column.moments, column.deviation, x_of(nth(column.x, r)));
    y[nth(column.y, r)] = pad(passed_on(column.gamma * xhat + column.beta, r, c), c, column.cols);
}

fn store_moments(of_column: Moments, m: u32, c: u32) {
    stats[at(p.stats, m, 0u, c)] = of_column.high;
    stats[at(p.stats, m, 1u, c)] = of_column.low;
    stats[at(p.stats, m, 2u, c)] = of_column.variance;
    log[at(p.log, m, 0u, c)] = of_column.high;
    log[at(p.log, m, 1u, c)] = of_column.low;
    log[at(p.log, m, 2u, c)] = of_column.variance;
}

// With the statistics of all rows, which the invocations that own a column own.
fn normalize_column(m: u32, lane: u32, split: u32, column: u32) {
    let c = min(column, p.y.ld - 1u);
    let of_column = moments(m, lane, split, c, 0u, p.rows);
    if column >= p.y.ld {
        return;
    }
    if split == 0u {
        store_moments(of_column, m, c);
    }
    let of_rows = of_all_rows(of_column, m, c);
    for (var r = split; r < p.rows; r += SPLITS) {
        normalize(of_rows, r, c);
    }
}
