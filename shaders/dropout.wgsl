// out = x / (1 - p) where the mask keeps, else 0.

override LANES: u32;

struct Params { x: View, hyper: View, out: View, rows: u32, cols: u32, layer: u32, threshold: u32, scale: f32 }

@group(1) @binding(0) var<uniform> p: Params;
@group(1) @binding(1) var<storage, read> x: array<vec4f>;
@group(1) @binding(2) var<storage, read> hyper: array<vec4f>;
@group(1) @binding(3) var<storage, read_write> out: array<vec4f>;

@compute @workgroup_size(LANES)
fn main(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
    let stream = stream_of(hyper[at(p.hyper, id.z, 0u, 0u)].w, p.layer);
    for (var i = id.x; i < p.rows * p.out.ld; i += groups.x * LANES) {
        let r = i / p.out.ld;
        let c = i % p.out.ld;
        out[at(p.out, id.z, r, c)] = dropped(x[at(p.x, id.z, r, c)], stream, r, c, p.threshold, p.scale);
    }
}
