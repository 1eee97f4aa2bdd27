// The rows of a minibatch from the data set that lies on the device: out[r] = inputs[order[first + r]].

override LANES: u32;

struct Params { inputs: View, order: View, out: View, rows: u32, cols: u32 }

@group(1) @binding(0) var<uniform> p: Params;
@group(1) @binding(1) var<storage, read> order: array<u32>;
@group(1) @binding(2) var<storage, read> reals: array<vec4f>;
@group(1) @binding(2) var<storage, read> bytes: array<u32>; // four columns to a word
@group(1) @binding(3) var<storage, read_write> out: array<vec4f>;
@group(1) @binding(4) var<storage, read> affine: array<vec4f>; // center, then scale

fn source(m: u32, r: u32) -> u32 {
    return order[4u * (p.order.offset + m * p.order.stride) + current.first + r];
}

@compute @workgroup_size(LANES)
fn from_reals(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
    for (var i = id.x; i < p.rows * p.out.ld; i += groups.x * LANES) {
        let r = i / p.out.ld;
        let c = i % p.out.ld;
        out[at(p.out, id.z, r, c)] = reals[p.inputs.offset + source(id.z, r) * p.inputs.ld + c];
    }
}

// out = (byte - center) * scale
@compute @workgroup_size(LANES)
fn from_bytes(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
    for (var i = id.x; i < p.rows * p.out.ld; i += groups.x * LANES) {
        let r = i / p.out.ld;
        let c = i % p.out.ld;
        let value = vec4f(unpack4xU8(bytes[p.inputs.offset + source(id.z, r) * p.inputs.ld + c]));
        out[at(p.out, id.z, r, c)] = pad((value - affine[c]) * affine[p.out.ld + c], c, p.cols);
    }
}
