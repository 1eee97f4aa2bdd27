// y = f(x), and dx = dy * f'(x) written in terms of y.

override LANES: u32;

struct Params { a: View, b: View, out: View, rows: u32, cols: u32 }

@group(1) @binding(0) var<uniform> p: Params;
@group(1) @binding(1) var<storage, read> a: array<vec4f>; // x forward, y backward
@group(1) @binding(2) var<storage, read_write> out: array<vec4f>;
@group(1) @binding(3) var<storage, read> b: array<vec4f>; // dy, backward

@compute @workgroup_size(LANES)
fn forward(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
    for (var i = id.x; i < p.rows * p.out.ld; i += groups.x * LANES) {
        let r = i / p.out.ld;
        let c = i % p.out.ld;
        out[at(p.out, id.z, r, c)] = pad(value(a[at(p.a, id.z, r, c)]), c, p.cols);
    }
}

@compute @workgroup_size(LANES)
fn backward(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
    for (var i = id.x; i < p.rows * p.out.ld; i += groups.x * LANES) {
        let r = i / p.out.ld;
        let c = i % p.out.ld;
        out[at(p.out, id.z, r, c)] = b[at(p.b, id.z, r, c)] * slope(a[at(p.a, id.z, r, c)]);
    }
}
