// The loss of each row, or of all: see row_loss.wgsl.

struct Params {
    logits: View, order: View, targets: View, metrics: View, hyper: View,
    rows: u32, cols: u32,
    total: u32,  // 1 where one workgroup sums all rows
    trains: u32, // 1 where an update follows
}

@group(1) @binding(0) var<uniform> p: Params;
@group(1) @binding(1) var<storage, read_write> logits: array<vec4f>;
@group(1) @binding(2) var<storage, read> order: array<u32>;
@group(1) @binding(3) var<storage, read> targets: array<f32>;
@group(1) @binding(4) var<storage, read_write> metrics: array<vec4f>;
@group(1) @binding(5) var<storage, read_write> hyper: array<atomic<u32>>; // several rows may set a rate to 0

@compute @workgroup_size(SPLITS)
fn main(@builtin(global_invocation_id) id: vec3u, @builtin(local_invocation_index) lane: u32, @builtin(num_workgroups) groups: vec3u) {
    var sum = vec4f();
    for (var r = id.x; r < p.rows; r += groups.x * SPLITS) {
        let of_row = loss_of(id.z, r);
        if p.total == 0u {
            write(id.z, r, of_row);
        }
        sum += of_row;
    }
    if p.total == 1u {
        let all = merge(0u, lane, sum);
        if lane == 0u {
            write(id.z, 0u, all);
        }
    }
}
