// Before the kernels of both gradients of a layer's product: weight's = a^T x and bias's = the sum of a's rows beside
// out = a b, where a is the gradient of what the layer put out, b its weight, and extra holds x, what it took in.

override BESIDE: u32; // 0 where out is alone

@group(1) @binding(5) var<storage, read_write> grads: array<vec4f>;

fn b_of(place: u32, beside: bool) -> vec4f {
    if beside {
        return extra[place];
    }
    return b[place];
}

fn give(place: u32, value: vec4f) {
    grads[place] = value;
}

// Of the units and columns of the weight that the i-th workgroup has, of so many that lie across.
fn of_weight(i: u32, across: u32, m: u32, lane: u32) {
    let group = vec3u(i % across, i / across, m);
    product(Task(p.a, p.extra, p.weight, p.depth, p.rows, p.cols), true, group, lane, true, false);
    if p.biased == 1u {
        sum_columns(p.bias, true, p.rows, group, lane);
    }
}
