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
fn main(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
    for (var i = id.x; i < p.theta.ld; i += groups.x * LANES) {
        let place = at(p.theta, id.z, 0u, i);
        update(id.z, place, grads[place], i < p.decayed);
    }
}
