// Both gradients of a layer's product in one dispatch: see weight_gradient.wgsl. out = a b, times the slope of an
// activation where there is one.

struct Params {
    a: View, b: View, extra: View, out: View, weight: View, bias: View,
    rows: u32, depth: u32, cols: u32, biased: u32, of_out: u32, of_weight: u32,
}

// out's workgroups go through its rows first.
@compute @workgroup_size(8)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) lane: u32) {
    let turn = turn(p.of_out, p.of_weight, group, groups);
    if turn.first {
        let down = p.of_out / groups.x;
        product(task(), false, vec3u(turn.number / down, turn.number % down, group.z), lane, false, false);
    } else {
        of_weight(turn.number, groups.x, group.z, lane);
    }
}
