// z = x w^T + bias, and the loss with its gradient in the place of z, in one dispatch of one workgroup for each model, which
// has 32 rows at a time: what makes a row of z has all of it, and reads back what it wrote itself. See product_rows.wgsl and
// row_loss.wgsl.

struct Params {
    x: View, w: View, bias: View, logits: View, order: View, targets: View, metrics: View, hyper: View,
    rows: u32, cols: u32, trains: u32,
}

@group(1) @binding(0) var<uniform> p: Params;
@group(1) @binding(1) var<storage, read> x: array<vec4f>;
@group(1) @binding(2) var<storage, read> w: array<vec4f>; // and the bias
@group(1) @binding(3) var<storage, read_write> logits: array<vec4f>;
@group(1) @binding(4) var<storage, read> order: array<u32>;
@group(1) @binding(5) var<storage, read> targets: array<f32>;
@group(1) @binding(6) var<storage, read_write> metrics: array<vec4f>;
@group(1) @binding(7) var<storage, read_write> hyper: array<atomic<u32>>;

@compute @workgroup_size(SPLITS)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
    var sum = vec4f();
    for (var first = 0u; first < p.rows; first += 32u) {
        product(group.z, first, lane);
        for (var r = first + lane; r < min(first + 32u, p.rows); r += 8u) {
            sum += loss_of(group.z, r);
        }
    }
    let all = merge(0u, lane, sum);
    if lane == 0u {
        write(group.z, 0u, all);
    }
}
