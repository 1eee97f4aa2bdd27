// One update of every parameter, and beside it the rows of the next step's minibatch: see update_all.wgsl and minibatch.wgsl.

override LANES: u32;

struct Params {
    theta: View, inputs: View, order: View, out: View,
    decayed: u32, rows: u32, cols: u32, updating: u32, gathering: u32,
}

@group(1) @binding(6) var<storage, read> order: array<u32>;
@group(1) @binding(7) var<storage, read> reals: array<vec4f>;
@group(1) @binding(7) var<storage, read> bytes: array<u32>; // four columns to a word
@group(1) @binding(8) var<storage, read_write> out: array<vec4f>;
@group(1) @binding(9) var<storage, read> affine: array<vec4f>; // center, then scale

@compute @workgroup_size(LANES)
fn from_reals(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32, @builtin(num_workgroups) groups: vec3u) {
    let turn = turn(p.updating, p.gathering, group, groups);
    if turn.first {
        update_all(group.z, lane, turn.number, p.updating);
    } else {
        gather_reals(group.z, current.next, lane, turn.number, p.gathering);
    }
}

@compute @workgroup_size(LANES)
fn from_bytes(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32, @builtin(num_workgroups) groups: vec3u) {
    let turn = turn(p.updating, p.gathering, group, groups);
    if turn.first {
        update_all(group.z, lane, turn.number, p.updating);
    } else {
        gather_bytes(group.z, current.next, lane, turn.number, p.gathering);
    }
}
