// Before every kernel: how a tensor is addressed, and what a step brings.

// Offset in the first of the models that run, stride from model to model, row to row and log record to log record, in
// vec4s.
struct View { offset: u32, stride: u32, ld: u32, slot: u32 }

struct Step {
    first: u32,         // place in the order of the minibatch's first row
    slot: u32,          // record of the log
    number: u32,        // number of this update, from 1
    lr_factor: f32,     // of the schedule
    corrections: vec2f, // Adam: 1 - beta^number
    next: u32,          // as first, of the step after it in a chunk
    model: u32          // the first of the models that run
}

@group(0) @binding(0) var<uniform> current: Step;

// Number of the m-th of the models that run, among all.
fn model(m: u32) -> u32 {
    return current.model + m;
}

// Index of the vec4 at the m-th of the models that run, row r, vec4-column c.
fn at(v: View, m: u32, r: u32, c: u32) -> u32 {
    return v.offset + m * v.stride + current.slot * v.slot + r * v.ld + c;
}

// A vec4-column's rows: where the first lies, and how far it is from one to the next. Kernels read that of a view before
// they loop: compilers don't move it out of a loop that stores.
struct Rows { first: u32, ld: u32 }

fn column_rows(v: View, m: u32, c: u32) -> Rows {
    return Rows(at(v, m, 0u, c), v.ld);
}

fn nth(rows: Rows, r: u32) -> u32 {
    return rows.first + r * rows.ld;
}

// A workgroup's share of a number of vec4s, which lie side by side: where invocations are the lanes of a processor's vector,
// in turn, others would have them come to its cache in parts.
struct Share { first: u32, end: u32 }

fn share(all: u32, lanes: u32, group: u32, groups: u32) -> Share {
    let each = (all + lanes * groups - 1u) / (lanes * groups) * lanes;
    return Share(group * each, min((group + 1u) * each, all));
}

// A float is infinite or NaN where all bits of its exponent are set; asked of the bits, since a compiler may assume
// that floats are finite.
fn not_finite(x: vec4f) -> vec4<bool> {
    return (bitcast<vec4u>(x) & vec4u(0x7f800000u)) == vec4u(0x7f800000u);
}

// Zeroes the lanes of vec4-column c that lie past the last column: padding stays zero.
fn pad(value: vec4f, c: u32, cols: u32) -> vec4f {
    return select(vec4f(), value, vec4u(4u * c) + vec4u(0, 1, 2, 3) < vec4u(cols));
}
