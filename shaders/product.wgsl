// Before the kernels of products: what they bind first, and what they do with a sum.

// 0: f(sum), 1: f(sum + extra), extra a bias, 2: sum * f'(extra), extra an activation, 3: the sum alone, 4: sum + extra
override EPILOGUE: u32;

@group(1) @binding(0) var<uniform> p: Params;
@group(1) @binding(1) var<storage, read> a: array<vec4f>;
@group(1) @binding(2) var<storage, read> b: array<vec4f>;
@group(1) @binding(3) var<storage, read_write> out: array<vec4f>;
@group(1) @binding(4) var<storage, read> extra: array<vec4f>;

// What is added to all sums of a column: a kernel whose loads take long calls it once for all rows.
fn bias(m: u32, c: u32) -> vec4f {
    if EPILOGUE == 1u || EPILOGUE == 4u {
        return extra[at(p.extra, m, 0u, c)];
    }
    return vec4f();
}

// Of row r of a vec4-column, and of that of extra.
fn finish(sum: vec4f, bias: vec4f, extras: Rows, r: u32, c: u32, cols: u32) -> vec4f {
    switch EPILOGUE {
        case 1u { return pad(value(sum + bias), c, cols); }
        case 2u { return pad(sum * slope(extra[nth(extras, r)]), c, cols); }
        case 3u { return pad(sum, c, cols); }
        case 4u { return pad(sum + bias, c, cols); }
        default { return pad(value(sum), c, cols); }
    }
}
