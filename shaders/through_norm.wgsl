// Before the kernels that take a gradient through batch normalization, to out: see gradients.wgsl.

fn statistics(m: u32, c: u32) -> Moments {
    return Moments(stats[at(p.stats, m, 0u, c)], stats[at(p.stats, m, 1u, c)], stats[at(p.stats, m, 2u, c)]);
}

fn store_sums(sums: Sums, m: u32, c: u32) {
    grads[at(p.dgamma, m, 0u, c)] = sums.dgamma;
    grads[at(p.dbeta, m, 0u, c)] = sums.dbeta;
}

// Where the invocations that own a column own all its rows.
fn through_column(m: u32, lane: u32, split: u32, column: u32) {
    let c = min(column, p.out.ld - 1u);
    let of_column = statistics(m, c);
    let sums = column_sums(of_column, m, lane, split, c, 0u, p.rows);
    if column >= p.out.ld {
        return;
    }
    if split == 0u {
        store_sums(sums, m, c);
    }
    let of_rows = of_all_rows(of_column, sums, gamma_of(m, c), m, c);
    let dx = column_rows(p.out, m, c);
    let cols = p.cols;
    for (var r = split; r < p.rows; r += SPLITS) {
        out[nth(dx, r)] = passed_on(pad(gradient(of_rows, r), c, cols), nth(of_rows.x, r));
    }
}
