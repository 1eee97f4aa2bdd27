// After the kernels that merge, on devices with subgroups: the sum over the invocations that a shuffle
// reaches, by twos, the same in each. Neighbors in a subgroup are neighbors in the workgroup.
fn in_subgroup(value: vec4f) -> vec4f {
    var sum = value;
    for (var apart = LANES; apart < min(SUBGROUP, LANES * SPLITS); apart *= 2u) {
        sum += subgroupShuffleXor(sum, apart);
    }
    return sum;
}
