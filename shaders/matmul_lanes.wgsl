// out = a b, a b^T or a^T b: see product_lanes.wgsl.

@compute @workgroup_size(8)
fn ab(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
    product(task(), false, group.yxz, lane, false, false);
}

@compute @workgroup_size(8)
fn abt(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
    product(task(), false, group.yxz, lane, false, true);
}

@compute @workgroup_size(8)
fn atb(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
    product(task(), false, group, lane, true, false);
}

// And the sums of a's columns.
@compute @workgroup_size(8)
fn atb_sum(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32) {
    product(task(), false, group, lane, true, false);
    sum_columns(p.beside, false, p.depth, group, lane);
}
