// The rows of a minibatch: see minibatch.wgsl.

override LANES: u32;

struct Params { inputs: View, order: View, out: View, rows: u32, cols: u32 }

@group(1) @binding(0) var<uniform> p: Params;
@group(1) @binding(1) var<storage, read> order: array<u32>;
@group(1) @binding(2) var<storage, read> reals: array<vec4f>;
@group(1) @binding(2) var<storage, read> bytes: array<u32>; // four columns to a word
@group(1) @binding(3) var<storage, read_write> out: array<vec4f>;
@group(1) @binding(4) var<storage, read> affine: array<vec4f>; // center, then scale

@compute @workgroup_size(LANES)
fn from_reals(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32, @builtin(num_workgroups) groups: vec3u) {
    gather_reals(group.z, current.first, lane, group.x, groups.x);
}

@compute @workgroup_size(LANES)
fn from_bytes(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32, @builtin(num_workgroups) groups: vec3u) {
    gather_bytes(group.z, current.first, lane, group.x, groups.x);
}
