// out[c] = sum over rows of x[r, c].

struct Params { x: View, out: View, rows: u32 }

@group(1) @binding(0) var<uniform> p: Params;
@group(1) @binding(1) var<storage, read> x: array<vec4f>;
@group(1) @binding(2) var<storage, read_write> out: array<vec4f>;

@compute @workgroup_size(LANES, SPLITS)
fn main(@builtin(global_invocation_id) id: vec3u, @builtin(local_invocation_id) local: vec3u) {
    let c = min(id.x, p.x.ld - 1u);
    let rows = column_rows(p.x, id.z, c);
    var sum = vec4f();
    for (var r = local.y; r < p.rows; r += SPLITS) {
        sum += x[nth(rows, r)];
    }
    sum = merge(local.x, local.y, sum);
    if local.y == 0u && id.x < p.x.ld {
        out[at(p.out, id.z, 0u, c)] = sum;
    }
}
