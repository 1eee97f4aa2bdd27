// Before the kernels that reduce the rows of each column: LANES vec4-columns wide, the rows dealt
// out to SPLITS slices whose partial sums are merged in a fixed order.

override LANES: u32;
override SPLITS: u32;
override SUBGROUP: u32; // invocations of a subgroup at least, 1 where there are none

var<workgroup> partial: array<vec4f, LANES * SPLITS>;

// Sum of `value` over the slices, the same in every slice.
fn merge(lane: u32, split: u32, value: vec4f) -> vec4f {
    if SPLITS == 1u {
        return value;
    }
    let mine = split * LANES + lane;
    partial[mine] = in_subgroup(value);
    workgroupBarrier();
    for (var half = SPLITS / 2u; half >= max(SUBGROUP / LANES, 1u); half /= 2u) {
        if split < half {
            partial[mine] += partial[mine + half * LANES];
        }
        workgroupBarrier();
    }
    let sum = partial[lane];
    workgroupBarrier();
    return sum;
}
