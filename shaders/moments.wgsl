// Before the kernels that need a minibatch's statistics: mean and biased variance of each column of what x_of has at the
// rows x_rows, by the corrected two-pass algorithm:
//   high = sum(x) / n,  low = sum(x - high) / n,  mean = high + low,
//   variance = sum((x - high)^2) / n - low^2.
// A variance that overflowed is NaN: divided by an infinite one, every value would be 0 and the loss show nothing.
// The mean stays in two parts, so that a column of mean 1e4 and deviation 1 loses nothing.

struct Moments { high: vec4f, low: vec4f, variance: vec4f }

// sqrt(variance + eps)
fn deviation_of(of_column: Moments, eps: f32) -> vec4f {
    return sqrt(of_column.variance + eps);
}

// xhat = (x - mean) / deviation
fn normalized(of_column: Moments, deviation: vec4f, x: vec4f) -> vec4f {
    return ((x - of_column.high) - of_column.low) / deviation;
}

// Of vec4-column c in the rows from `first` to before `end`; every slice of them gets the same.
fn moments(m: u32, lane: u32, split: u32, c: u32, first: u32, end: u32) -> Moments {
    let n = f32(end - first);
    let x = x_rows(m, c);
    var sum = vec4f();
    let all = gone_through(end - first);
    for (var i = split; i < all; i += SPLITS) {
        let r = first + turned(lane, i);
        sum += select(vec4f(), x_of(nth(x, min(r, end - 1u))), r < end);
    }
    let high = merge(lane, split, sum) / n;

    var rest = vec4f();
    var squares = vec4f();
    for (var r = first + split; r < end; r += SPLITS) {
        let d = x_of(nth(x, r)) - high;
        rest += d;
        squares += d * d;
    }
    let low = merge(lane, split, rest) / n;
    return Moments(high, low, checked(merge(lane, split, squares) / n - low * low));
}

// No less than 0, and NaN for infinity: not max(), which may turn a NaN into 0; the highest bit of its fraction makes
// infinity a NaN.
fn checked(corrected: vec4f) -> vec4f {
    let variance = select(corrected, vec4f(), corrected < vec4f());
    let quiet = select(vec4u(), vec4u(0x00400000u), not_finite(variance));
    return bitcast<vec4f>(bitcast<vec4u>(variance) | quiet);
}
