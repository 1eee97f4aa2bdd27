// y = f(x), and dx = dy * f'(x) written in terms of y.

override LANES: u32;

struct Params { a: View, b: View, out: View, rows: u32, cols: u32 }

@group(1) @binding(0) var<uniform> p: Params;
@group(1) @binding(1) var<storage, read> a: array<vec4f>; // x forward, y backward
@group(1) @binding(2) var<storage, read_write> out: array<vec4f>;
@group(1) @binding(3) var<storage, read> b: array<vec4f>; // dy, backward

@compute @workgroup_size(LANES)
fn forward(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32, @builtin(num_workgroups) groups: vec3u) {
    let a_rows = column_rows(p.a, group.z, 0u);
    let out_rows = column_rows(p.out, group.z, 0u);
    let cols = p.cols;
    let share = share(p.rows * out_rows.ld, LANES, group.x, groups.x);
    for (var i = share.first + lane; i < share.end; i += LANES) {
        let r = i / out_rows.ld;
        let c = i % out_rows.ld;
        out[nth(out_rows, r) + c] = pad(value(a[nth(a_rows, r) + c]), c, cols);
    }
}

@compute @workgroup_size(LANES)
fn backward(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32, @builtin(num_workgroups) groups: vec3u) {
    let a_rows = column_rows(p.a, group.z, 0u);
    let b_rows = column_rows(p.b, group.z, 0u);
    let out_rows = column_rows(p.out, group.z, 0u);
    let share = share(p.rows * out_rows.ld, LANES, group.x, groups.x);
    for (var i = share.first + lane; i < share.end; i += LANES) {
        let r = i / out_rows.ld;
        let c = i % out_rows.ld;
        out[nth(out_rows, r) + c] = b[nth(b_rows, r) + c] * slope(a[nth(a_rows, r) + c]);
    }
}
