// One update of every parameter of every model. Weights come first in the buffer.

override LANES: u32;

struct Params { theta: View, decayed: u32 }

@group(1) @binding(0) var<uniform> p: Params;
@group(1) @binding(1) var<storage, read> hyper: array<vec4f>;
@group(1) @binding(2) var<storage, read> grads: array<vec4f>;
@group(1) @binding(3) var<storage, read_write> params: array<vec4f>;
@group(1) @binding(4) var<storage, read_write> moment1: array<vec4f>;
@group(1) @binding(5) var<storage, read_write> moment2: array<vec4f>;

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32, @builtin(num_workgroups) groups: vec3u) {
    let theta = at(p.theta, group.z, 0u, 0u);
    let share = share(p.theta.ld, LANES, group.x, groups.x);
    let h = hyper[model(group.z)];
    let lr_factor = current.lr_factor;
    let decayed = p.decayed;
    for (var i = share.first + lane; i < share.end; i += LANES) {
        update_by(h, lr_factor, theta + i, grads[theta + i], i < decayed);
    }
}
