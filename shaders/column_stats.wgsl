// Mean and biased variance of each column of a minibatch.

struct Params { x: View, stats: View, log: View, rows: u32, cols: u32 }

@group(1) @binding(0) var<uniform> p: Params;
@group(1) @binding(1) var<storage, read> x: array<vec4f>;
@group(1) @binding(2) var<storage, read_write> stats: array<vec4f>; // rows: high, low, variance
@group(1) @binding(3) var<storage, read_write> log: array<vec4f>;   // the same, for the host

fn x_rows(m: u32, c: u32) -> Rows {
    return column_rows(p.x, m, c);
}

fn x_of(place: u32) -> vec4f {
    return x[place];
}

@compute @workgroup_size(LANES, SPLITS)
fn main(@builtin(global_invocation_id) id: vec3u, @builtin(local_invocation_id) local: vec3u) {
    let c = min(id.x, p.x.ld - 1u);
    let of_column = moments(id.z, local.x, local.y, c, 0u, p.rows);
    if local.y == 0u && id.x < p.x.ld {
        stats[at(p.stats, id.z, 0u, c)] = of_column.high;
        stats[at(p.stats, id.z, 1u, c)] = of_column.low;
        stats[at(p.stats, id.z, 2u, c)] = of_column.variance;
        log[at(p.log, id.z, 0u, c)] = of_column.high;
        log[at(p.log, id.z, 1u, c)] = of_column.low;
        log[at(p.log, id.z, 2u, c)] = of_column.variance;
    }
}
