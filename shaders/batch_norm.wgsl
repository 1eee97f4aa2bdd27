// y = f(gamma * (x - mean) / sqrt(variance + eps) + beta): with given statistics over the whole matrix, or
// with those of the minibatch, where the invocations that own a column own all its rows, or where those of blocks of
// rows are merged.

struct Params {
    x: View, stats: View, gamma: View, beta: View, y: View, log: View, moments: View,
    rows: u32, cols: u32, eps: f32, block: u32,
}

@group(1) @binding(0) var<uniform> p: Params;
@group(1) @binding(1) var<storage, read> x: array<vec4f>;
@group(1) @binding(2) var<storage, read> params: array<vec4f>;
@group(1) @binding(3) var<storage, read_write> y: array<vec4f>;
@group(1) @binding(4) var<storage, read> given: array<vec4f>;       // rows: high, low, variance
@group(1) @binding(4) var<storage, read_write> stats: array<vec4f>; // train, merged: the same, written
@group(1) @binding(5) var<storage, read_write> log: array<vec4f>;   // train, merged: the same, for the host
@group(1) @binding(6) var<storage, read> parts: array<vec4f>;       // merged: the same of each block

fn x_rows(m: u32, c: u32) -> Rows {
    return column_rows(p.x, m, c);
}

fn x_of(place: u32) -> vec4f {
    return x[place];
}

fn gamma_of(m: u32, c: u32) -> vec4f {
    return params[at(p.gamma, m, 0u, c)];
}

fn beta_of(m: u32, c: u32) -> vec4f {
    return params[at(p.beta, m, 0u, c)];
}

fn passed_on(x: vec4f, _r: u32, _c: u32) -> vec4f {
    return value(x);
}

fn part_of(m: u32, r: u32, c: u32) -> vec4f {
    return parts[at(p.moments, m, r, c)];
}

fn merged_moments(m: u32, lane: u32, split: u32, c: u32) -> Moments {
    let first = part_of(m, 0u, c);
    let mean = merge(lane, split, weighted_means(m, c, first, split, SPLITS)) / f32(p.rows);
    return of_blocks(first, mean, merge(lane, split, weighted_squares(m, c, first, mean, split, SPLITS)));
}

// LANES by SPLITS invocations, all along the matrix.
@compute @workgroup_size(LANES, SPLITS)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32, @builtin(num_workgroups) groups: vec3u) {
    let m = group.z;
    for (var i = group.x * LANES * SPLITS + lane; i < p.rows * p.y.ld; i += groups.x * LANES * SPLITS) {
        let c = i % p.y.ld;
        let of_column = Moments(given[at(p.stats, m, 0u, c)], given[at(p.stats, m, 1u, c)], given[at(p.stats, m, 2u, c)]);
        normalize(of_all_rows(of_column, m, c), i / p.y.ld, c);
    }
}

@compute @workgroup_size(LANES, SPLITS)
fn train(@builtin(global_invocation_id) id: vec3u, @builtin(local_invocation_id) local: vec3u) {
    normalize_column(id.z, local.x, local.y, id.x);
}

// Each workgroup merges the statistics of its columns, and normalizes its share of the rows.
@compute @workgroup_size(LANES, SPLITS)
fn merged(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) local: vec3u, @builtin(num_workgroups) groups: vec3u) {
    let m = group.z;
    let c = min(group.x * LANES + local.x, p.x.ld - 1u);
    let of_column = merged_moments(m, local.x, local.y, c);
    if group.x * LANES + local.x >= p.x.ld {
        return;
    }
    if group.y == 0u && local.y == 0u {
        store_moments(of_column, m, c);
    }
    let column = of_all_rows(of_column, m, c);
    for (var r = group.y * SPLITS + local.y; r < p.rows; r += groups.y * SPLITS) {
        normalize(column, r, c);
    }
}
