// Before the kernels that know the loss: that of each row of a minibatch, with the gradient of the mean over its rows in the
// place of the logits, and what the log wants of each row or in total: (loss, correct, logits that are not finite, the step's
// number). The number stands in the first row, as a sign that the kernel ran. In training, where the loss or a logit
// is not finite the model's learning rate becomes 0, and nothing updates it.

override KIND: u32; // 0: softmax and cross-entropy, 1: binary cross-entropy, 2: squared error

fn wanted(m: u32, r: u32) -> f32 {
    let source = order[4u * (p.order.offset + m * p.order.stride) + current.first + r];
    return targets[4u * p.targets.offset + source];
}

// How many are not finite.
fn broken(z: vec4f) -> f32 {
    return dot(select(vec4f(), vec4f(1), not_finite(z)), vec4f(1));
}

// -log softmax(z)[t] = log(sum(exp(z - max))) - (z[t] - max)
fn softmax_cross_entropy_of(m: u32, r: u32) -> vec4f {
    let start = at(p.logits, m, r, 0u);
    let wanted_class = u32(wanted(m, r));
    var best = logits[start].x;
    var best_class = 0u;
    var bad = 0.0;
    for (var k = 0u; k < p.cols; k++) {
        let z = logits[start + k / 4u][k % 4u];
        if z > best {
            best = z;
            best_class = k;
        }
    }
    var sum = 0.0;
    for (var c = 0u; c < p.logits.ld; c++) {
        bad += broken(logits[start + c]);
        sum += dot(pad(exp(logits[start + c] - best), c, p.cols), vec4f(1));
    }
    let loss = log(sum) - (logits[start + wanted_class / 4u][wanted_class % 4u] - best);
    for (var c = 0u; c < p.logits.ld; c++) {
        let hot = select(vec4f(), vec4f(1), vec4u(4u * c) + vec4u(0, 1, 2, 3) == vec4u(wanted_class));
        let g = (exp(logits[start + c] - best) / sum - hot) / f32(p.rows);
        logits[start + c] = pad(g, c, p.cols);
    }
    return vec4f(loss, f32(best_class == wanted_class), bad, 0.0);
}

// log(1 + exp(z)) - y z, without overflow
fn binary_cross_entropy_of(m: u32, r: u32) -> vec4f {
    let place = at(p.logits, m, r, 0u);
    let z = logits[place].x;
    let y = wanted(m, r);
    logits[place] = vec4f((1.0 / (1.0 + exp(-z)) - y) / f32(p.rows), 0.0, 0.0, 0.0);
    let loss = max(z, 0.0) - z * y + log(1.0 + exp(-abs(z)));
    return vec4f(loss, f32((z > 0.0) == (y > 0.5)), broken(vec4f(z, 0.0, 0.0, 0.0)), 0.0);
}

// (z - y)^2
fn squared_error_of(m: u32, r: u32) -> vec4f {
    let place = at(p.logits, m, r, 0u);
    let z = logits[place].x;
    let d = z - wanted(m, r);
    logits[place] = vec4f(2.0 * d / f32(p.rows), 0.0, 0.0, 0.0);
    return vec4f(d * d, 0.0, broken(vec4f(z, 0.0, 0.0, 0.0)), 0.0);
}

fn of_kind(m: u32, r: u32) -> vec4f {
    switch KIND {
        case 0u { return softmax_cross_entropy_of(m, r); }
        case 1u { return binary_cross_entropy_of(m, r); }
        default { return squared_error_of(m, r); }
    }
}

// A row's metrics; its logits become their gradient.
fn loss_of(m: u32, r: u32) -> vec4f {
    let number = f32(current.number & 0xffffffu);
    return vec4f(of_kind(m, r).xyz, select(0.0, number, r == 0u));
}

// Writes metrics, and holds the model where they are not finite.
fn write(m: u32, r: u32, values: vec4f) {
    metrics[at(p.metrics, m, r, 0u)] = values;
    if p.trains == 1u && (values.z != 0.0 || broken(vec4f(values.x, 0.0, 0.0, 0.0)) != 0.0) {
        atomicStore(&hyper[4u * at(p.hyper, m, 0u, 0u)], 0u);
    }
}
