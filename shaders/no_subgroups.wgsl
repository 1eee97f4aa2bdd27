// After the kernels that merge, on devices without subgroups: shared memory does it all.
fn in_subgroup(value: vec4f) -> vec4f {
    return value;
}
