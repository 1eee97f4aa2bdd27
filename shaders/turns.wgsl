// Before the kernels that do two things side by side.

// Whether a workgroup does the first of them, and its number among those that do the same.
struct Turn { first: bool, number: u32 }

// Where so many workgroups do the one and so many the other. A driver may give each of its threads a part of the workgroups
// that lie side by side, so they take turns, 16 times if they can: each part has about as many of both.
fn turn(some: u32, others: u32, group: vec3u, groups: vec3u) -> Turn {
    let i = group.y * groups.x + group.x;
    let all = some + others;
    let fewer = min(some, others);
    let turns = clamp(fewer, 1u, 16u);
    // Of this turn, which begins with those that are fewer: where they and all begin, and where they end.
    let t = i * turns / all;
    let begin = (t * fewer + turns - 1u) / turns;
    let first = (t * all + turns - 1u) / turns;
    let end = first + ((t + 1u) * fewer + turns - 1u) / turns - begin;
    let number = select(i - (end - first) - begin, begin + i - first, i < end);
    return Turn((i < end) == (some <= others), number);
}
