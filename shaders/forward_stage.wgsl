// Before the kernels of a layer forward: what they bind, and what they keep of a minibatch.

@group(1) @binding(0) var<uniform> p: Params;
@group(1) @binding(1) var<storage, read_write> scratch: array<vec4f>; // activations and statistics
@group(1) @binding(2) var<storage, read_write> log: array<vec4f>;
@group(1) @binding(3) var<storage, read> params: array<vec4f>;
@group(1) @binding(4) var<storage, read> order: array<u32>;
@group(1) @binding(5) var<storage, read> inputs: array<u32>;
@group(1) @binding(6) var<storage, read> affine: array<vec4f>;        // center, then scale
@group(1) @binding(7) var<storage, read> hyper: array<vec4f>;

var<workgroup> tiles: array<vec4f, TILES>;

// What the statistics are of.
fn x_of(m: u32, r: u32, c: u32) -> vec4f {
    return scratch[at(p.z, m, r, c)];
}

// For the backward pass, and for the host.
fn keep_statistics(of_column: Moments, m: u32, c: u32) {
    scratch[at(p.stats, m, 0u, c)] = of_column.high;
    scratch[at(p.stats, m, 1u, c)] = of_column.low;
    scratch[at(p.stats, m, 2u, c)] = of_column.variance;
    log[at(p.log, m, 0u, c)] = of_column.high;
    log[at(p.log, m, 1u, c)] = of_column.low;
    log[at(p.log, m, 2u, c)] = of_column.variance;
}
