// Before products for software adapters whose subgroups are vectors of eight lanes: a workgroup is one
// and has 32 or 64 rows by 32 columns of out, a lane four columns of them. Such adapters load one value after the other,
// which takes as long as several multiplications of vectors. So a value of a is loaded by one lane, and the others have it
// from that, and a value of b by the lane whose columns it makes.
//
// A thread of such an adapter takes workgroups one after the other. Where b is a weight they go through the rows of out
// first, so that b's part for their columns stays in the thread's own cache; where it has the minibatch's rows, as a
// does, through the columns.

// 64 rows in place of 32, which load b half as often but take twice as long to compile.
override DOUBLE: bool;

// Half of 64 rows: more sums than 32 to a loop are not unrolled. [row]
alias Tile = array<vec4f, 32>;

// What is multiplied. Kernels of two products have the factor b and the result of the one that is beside elsewhere: see
// b_of and give.
struct Task { a: View, b: View, out: View, rows: u32, depth: u32, cols: u32 }

fn task() -> Task {
    return Task(p.a, p.b, p.out, p.rows, p.depth, p.cols);
}

// Where the factors are, and their last rows or vec4-columns.
struct Factors { a: Rows, b: Rows, a_last: u32, b_last: u32, depth: u32 }

fn store(task: Task, beside: bool, group: vec3u, lane: u32, first: u32, sum: ptr<function, Tile>) {
    let c = 8u * group.x + lane;
    if c >= task.out.ld {
        return;
    }
    let bias = bias(group.z, c);
    let out_rows = column_rows(task.out, group.z, c);
    let extras = column_rows(p.extra, group.z, c);
    for (var r = 0u; r < 32u; r++) {
        let row = first + r;
        if row < task.rows {
            let place = nth(out_rows, row);
            if beside {
                give(place, pad((*sum)[r], c, task.cols));
            } else {
                out[place] = finish((*sum)[r], bias, extras, row, c, task.cols);
            }
        }
    }
}

// Adds four k of a's rows from first on, times those of b, [k].
fn add(sum: ptr<function, Tile>, factors: Factors, first: u32, lane: u32, k: u32, y: mat4x4f) {
    var x: array<vec4f, 4>;
    for (var q = 0u; q < 4u; q++) {
        x[q] = a[nth(factors.a, min(first + 8u * q + lane, factors.a_last)) + k];
    }
    for (var r = 0u; r < 32u; r++) {
        (*sum)[r] += y * from_lane(x[r / 8u], lane, r % 8u);
    }
}

// The same where a's columns are the rows of out. Lanes load from four rows at a time, and from both lines of a cache that
// 32 columns lie in, so that those that are in none are waited for together.
fn add_columns(sum: ptr<function, Tile>, factors: Factors, first: u32, lane: u32, k: u32, y: mat4x4f) {
    var x: array<vec4f, 4>;
    let row = nth(factors.a, min(k + lane % 4u, factors.depth - 1u));
    let column = first / 4u + 4u * (lane / 4u);
    for (var i = 0u; i < 4u; i++) {
        x[i] = a[row + min(column + i, factors.a_last)];
    }
    for (var r = 0u; r < 32u; r++) {
        (*sum)[r] += y * from_lanes(x[r / 4u % 4u][r % 4u], lane, 4u * (r / 16u));
    }
}

// Four k of b, [k][column], where its rows are the sum's index. Columns past the last are not stored. Each lane begins with
// another row, for the same reason.
fn load_b(factors: Factors, beside: bool, c: u32, lane: u32, k: u32) -> mat4x4f {
    var y: mat4x4f;
    for (var i = 0u; i < 4u; i++) {
        let r = k + (i + lane) % 4u;
        let row = b_of(nth(factors.b, min(r, factors.depth - 1u)) + min(c, factors.b_last), beside);
        y[i] = select(vec4f(), row, r < factors.depth);
    }
    // And back: by one where the lane is odd, by two where it is the third or fourth of four.
    let one = (lane & 1u) != 0u;
    y = mat4x4f(
        select(y[0], y[3], one), select(y[1], y[0], one), select(y[2], y[1], one), select(y[3], y[2], one),
    );
    let two = (lane & 2u) != 0u;
    return mat4x4f(
        select(y[0], y[2], two), select(y[1], y[3], two), select(y[2], y[0], two), select(y[3], y[1], two),
    );
}

// The same where its columns are.
fn load_bt(factors: Factors, c: u32, k: u32) -> mat4x4f {
    var y: mat4x4f;
    for (var i = 0u; i < 4u; i++) {
        y[i] = b[nth(factors.b, min(4u * c + i, factors.b_last)) + k];
    }
    return transpose(y);
}

fn product(task: Task, beside: bool, group: vec3u, lane: u32, a_turned: bool, b_turned: bool) {
    let first = select(32u, 64u, DOUBLE) * group.y;
    let c = 8u * group.x + lane;
    let factors = Factors(
        column_rows(task.a, group.z, 0u), column_rows(task.b, group.z, 0u),
        select(task.rows, task.a.ld, a_turned) - 1u, select(task.b.ld, task.cols, b_turned) - 1u, task.depth,
    );
    var low: Tile;
    var high: Tile;
    for (var k = 0u; k < factors.depth; k += 4u) {
        var y: mat4x4f;
        if b_turned {
            y = load_bt(factors, c, k / 4u);
        } else {
            y = load_b(factors, beside, c, lane, k);
        }
        if a_turned {
            add_columns(&low, factors, first, lane, k, y);
            if DOUBLE {
                add_columns(&high, factors, first + 32u, lane, k, y);
            }
        } else {
            add(&low, factors, first, lane, k / 4u, y);
            if DOUBLE {
                add(&high, factors, first + 32u, lane, k / 4u, y);
            }
        }
    }
    store(task, beside, group, lane, first, &low);
    if DOUBLE {
        store(task, beside, group, lane, first + 32u, &high);
    }
}

// The sums of the columns of a, in so many rows, that a workgroup has as rows of out, by the first of those that have them.
fn sum_columns(sums: View, beside: bool, rows: u32, group: vec3u, lane: u32) {
    if group.x > 0u {
        return;
    }
    let columns = select(8u, 16u, DOUBLE);
    for (var c = columns * group.y + lane; c < min(columns * (group.y + 1u), p.a.ld); c += 8u) {
        let of_column = column_rows(p.a, group.z, c);
        var sum = vec4f();
        for (var r = 0u; r < rows; r++) {
            sum += a[nth(of_column, r)];
        }
        let place = at(sums, group.z, 0u, c);
        if beside {
            give(place, sum);
        } else {
            out[place] = sum;
        }
    }
}

// All rows of a workgroup's columns.
fn all_rows(group: vec3u, lane: u32, b_turned: bool) {
    let tiles = (p.rows + select(31u, 63u, DOUBLE)) / select(32u, 64u, DOUBLE);
    for (var tile = 0u; tile < tiles; tile++) {
        product(task(), false, vec3u(group.x, tile, group.z), lane, false, b_turned);
    }
}
