// After the kernel whose workgroups are one subgroup, where they are not: shared memory passes on lane j's value.
var<workgroup> passed: array<vec4f, 8>;

fn from_lane(value: vec4f, lane: u32, j: u32) -> vec4f {
    workgroupBarrier();
    passed[lane] = value;
    workgroupBarrier();
    return passed[j];
}
