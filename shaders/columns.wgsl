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

// Where one invocation has all rows of a column, those of a software adapter's vector have the columns beside it. Each of
// them takes four rows at a time, beginning with another: what they load then lies in eight lines of a cache in place of
// two, and those that are in none are waited for together. How many rows it counts through, of so many:
fn gone_through(rows: u32) -> u32 {
    return select(rows, (rows + 3u) / 4u * 4u, SPLITS == 1u);
}

// The one that it takes as the i-th, which may be beyond the last.
fn turned(lane: u32, i: u32) -> u32 {
    return select(i, i ^ (lane & 3u), SPLITS == 1u);
}
