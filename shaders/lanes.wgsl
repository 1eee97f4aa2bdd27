// After the kernel whose workgroups are one subgroup, where they are: lane j's value.
fn from_lane(value: vec4f, lane: u32, j: u32) -> vec4f {
    return subgroupShuffle(value, j);
}

// The values of four lanes from j on.
fn from_lanes(value: f32, lane: u32, j: u32) -> vec4f {
    return vec4f(
        subgroupShuffle(value, j), subgroupShuffle(value, j + 1u),
        subgroupShuffle(value, j + 2u), subgroupShuffle(value, j + 3u),
    );
}
