// After the kernel whose workgroups are one subgroup, where they are: lane j's value.
fn from_lane(value: vec4f, lane: u32, j: u32) -> vec4f {
    return subgroupShuffle(value, j);
}
