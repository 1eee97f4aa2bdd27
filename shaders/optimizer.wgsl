// One update of every parameter: see update_all.wgsl.

override LANES: u32;

struct Params { theta: View, decayed: u32 }

@compute @workgroup_size(LANES)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32, @builtin(num_workgroups) groups: vec3u) {
    update_all(group.z, lane, group.x, groups.x);
}
