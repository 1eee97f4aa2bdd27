// The rows of a minibatch from the data set that lies on the device: out[r] = inputs[order[first + r]].

override LANES: u32;

struct Params { inputs: View, order: View, out: View, rows: u32, cols: u32 }

@group(1) @binding(0) var<uniform> p: Params;
@group(1) @binding(1) var<storage, read> order: array<u32>;
@group(1) @binding(2) var<storage, read> reals: array<vec4f>;
@group(1) @binding(2) var<storage, read> bytes: array<u32>; // four columns to a word
@group(1) @binding(3) var<storage, read_write> out: array<vec4f>;
@group(1) @binding(4) var<storage, read> affine: array<vec4f>; // center, then scale

// Places of the minibatch's first row in the order, and of the first vec4s of the data set and of the output.
struct Places { order: u32, inputs: u32, ld_in: u32, out: u32, ld: u32 }

fn places(m: u32) -> Places {
    let order = 4u * (p.order.offset + m * p.order.stride) + current.first;
    return Places(order, p.inputs.offset, p.inputs.ld, at(p.out, m, 0u, 0u), p.out.ld);
}

@compute @workgroup_size(LANES)
fn from_reals(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32, @builtin(num_workgroups) groups: vec3u) {
    let places = places(group.z);
    let share = share(p.rows * places.ld, LANES, group.x, groups.x);
    for (var i = share.first + lane; i < share.end; i += LANES) {
        let row = order[places.order + i / places.ld];
        out[places.out + i] = reals[places.inputs + row * places.ld_in + i % places.ld];
    }
}

// out = (byte - center) * scale
@compute @workgroup_size(LANES)
fn from_bytes(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) lane: u32, @builtin(num_workgroups) groups: vec3u) {
    let places = places(group.z);
    let share = share(p.rows * places.ld, LANES, group.x, groups.x);
    let cols = p.cols;
    for (var i = share.first + lane; i < share.end; i += LANES) {
        let c = i % places.ld;
        let row = order[places.order + i / places.ld];
        let value = vec4f(unpack4xU8(bytes[places.inputs + row * places.ld_in + c]));
        out[places.out + i] = pad((value - affine[c]) * affine[places.ld + c], c, cols);
    }
}
