// out = x / (1 - p) where the mask keeps or x is not finite, else 0; the mask is a pure function of the model's key,
// the update, the layer, row and column, so the backward pass makes it again.

override LANES: u32;

struct Params { x: View, hyper: View, out: View, rows: u32, cols: u32, layer: u32, threshold: u32, scale: f32 }

@group(1) @binding(0) var<uniform> p: Params;
@group(1) @binding(1) var<storage, read> x: array<vec4f>;
@group(1) @binding(2) var<storage, read> hyper: array<vec4f>;
@group(1) @binding(3) var<storage, read_write> out: array<vec4f>;

// PCG-RXS-M-XS (Jarzynski and Olano 2020, "Hash Functions for GPU Rendering").
fn pcg(seed: u32) -> u32 {
    let state = seed * 747796405u + 2891336453u;
    let word = ((state >> ((state >> 28u) + 4u)) ^ state) * 277803737u;
    return (word >> 22u) ^ word;
}

@compute @workgroup_size(LANES)
fn main(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
    let key = u32(hyper[at(p.hyper, id.z, 0u, 0u)].w);
    let stream = pcg(pcg(pcg(key) ^ p.layer) ^ current.number);
    for (var i = id.x; i < p.rows * p.out.ld; i += groups.x * LANES) {
        let r = i / p.out.ld;
        let c = i % p.out.ld;
        let row = pcg(stream ^ r);
        let draw = vec4u(pcg(row ^ (4u * c)), pcg(row ^ (4u * c + 1u)), pcg(row ^ (4u * c + 2u)), pcg(row ^ (4u * c + 3u)));
        let keep = draw >= vec4u(p.threshold);
        let value = x[at(p.x, id.z, r, c)];
        out[at(p.out, id.z, r, c)] = select(vec4f(), value * p.scale, keep | not_finite(value));
    }
}
