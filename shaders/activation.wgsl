// y = f(x), and dx = dy * f'(x) written in terms of y.

override LANES: u32;
override FUNCTION: u32; // 0 relu, 1 tanh, 2 sigmoid

struct Params { a: View, b: View, out: View, rows: u32, cols: u32 }

@group(1) @binding(0) var<uniform> p: Params;
@group(1) @binding(1) var<storage, read> a: array<vec4f>; // x forward, y backward
@group(1) @binding(2) var<storage, read_write> out: array<vec4f>;
@group(1) @binding(3) var<storage, read> b: array<vec4f>; // dy, backward

// Asked of the bits: x != x is false for a NaN where != compiles to SPIR-V's ordered comparison.
fn is_nan(x: vec4f) -> vec4<bool> {
    return (bitcast<vec4u>(x) & vec4u(0x7fffffffu)) > vec4u(0x7f800000u);
}

// Written so that a NaN stays a NaN: max(x, 0) may drop it.
fn value(x: vec4f) -> vec4f {
    switch FUNCTION {
        case 0u { return select(x, vec4f(), x < vec4f()); }
        // Clamped, as some drivers' tanh overflows; f32 is exactly 1 from 10 on.
        case 1u { return select(tanh(clamp(x, vec4f(-10), vec4f(10))), x, is_nan(x)); }
        default { return 1.0 / (1.0 + exp(-x)); }
    }
}

fn slope(y: vec4f) -> vec4f {
    switch FUNCTION {
        case 0u { return select(vec4f(), vec4f(1), y > vec4f()); }
        case 1u { return 1.0 - y * y; }
        default { return y * (1.0 - y); }
    }
}

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
