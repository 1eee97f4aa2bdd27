// After the kernel whose workgroups are one subgroup, where they are not: shared memory passes on lane j's value.
var<workgroup> passed: array<vec4f, 8>;

fn from_lane(value: vec4f, lane: u32, j: u32) -> vec4f {
    workgroupBarrier();
    passed[lane] = value;
    workgroupBarrier();
    return passed[j];
}

fn from_lanes(value: f32, lane: u32, j: u32) -> vec4f {
    workgroupBarrier();
    passed[lane].x = value;
    workgroupBarrier();
    return vec4f(passed[j].x, passed[j + 1u].x, passed[j + 2u].x, passed[j + 3u].x);
}
