// out = x / (1 - p) where the mask keeps, else 0.

override LANES: u32;

struct Params { x: View, hyper: View, out: View, rows: u32, cols: u32, layer: u32, threshold: u32, scale: f32 }

@group(1) @binding(0) var<uniform> p: Params;
@group(1) @binding(1) var<storage, read> x: array<vec4f>;
@group(1) @binding(2) var<storage, read> hyper: array<vec4f>;
@group(1) @binding(3) var<storage, read_write> out: array<vec4f>;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32, @builtin(num_workgroups) groups: vec3u) {
    let mask = mask_of(hyper[at(p.hyper, group.z, 0u, 0u)].w, p.layer, p.threshold, p.scale);
    let x_rows = column_rows(p.x, group.z, 0u);
    let out_rows = column_rows(p.out, group.z, 0u);
    let share = share(p.rows * out_rows.ld, LANES, group.x, groups.x);
    for (var i = share.first + lane; i < share.end; i += LANES) {
        let r = i / out_rows.ld;
        let c = i % out_rows.ld;
        out[nth(out_rows, r) + c] = dropped(x[nth(x_rows, r) + c], mask, r, c);
    }
}
