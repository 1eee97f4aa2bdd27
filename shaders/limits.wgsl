// What an adapter can do at the most, for `minilote bench`: no operation runs these.

@group(1) @binding(1) var<storage, read> source: array<vec4f>;
@group(1) @binding(2) var<storage, read_write> out: array<vec4f>;

// As many dispatches as invocations of it are: 64 rounds of 16 fused multiply-adds of vec4s, 8192 FLOPs, in
// four chains that do not wait for each other. The factors come from memory, so that no compiler knows them.
@compute @workgroup_size(64)
fn multiply_add(@builtin(global_invocation_id) id: vec3u) {
    let scale = source[0] + 0.5;
    let shift = source[1] + 0.5;
    var x = array(vec4f(f32(id.x)), vec4f(1), vec4f(2), vec4f(3));
    for (var round = 0u; round < 64u; round++) {
        for (var i = 0u; i < 4u; i++) {
            x[0] = fma(x[0], scale, shift);
            x[1] = fma(x[1], scale, shift);
            x[2] = fma(x[2], scale, shift);
            x[3] = fma(x[3], scale, shift);
        }
    }
    out[id.x % arrayLength(&out)] = x[0] + x[1] + x[2] + x[3];
}

// Each vec4 of the source once.
@compute @workgroup_size(64)
fn copy(@builtin(global_invocation_id) id: vec3u, @builtin(num_workgroups) groups: vec3u) {
    for (var i = id.x; i < arrayLength(&source); i += groups.x * 64u) {
        out[i] = source[i];
    }
}

// Next to nothing, but each dispatch waits for the one before it.
@compute @workgroup_size(1)
fn wait_for_the_last() {
    out[0] += source[0];
}
