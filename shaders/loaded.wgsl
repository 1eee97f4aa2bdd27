// Before the kernels of stages, after stage.wgsl: what a layer passed on, which it left before its batch normalization and
// dropout, and which goes through them as it is loaded.

override NORM_X: u32;    // as NORM, of the layer before, whose output x is,
override NORM_OUT: u32;  // and of what an updated weight passed on
override DROPOUT_X: u32; // 1 where x is dropped
override CACHE: u32;     // vec4s of shared memory for what takes columns through batch normalization

// What takes columns through batch normalization, of so many vec4-columns at a time as there is room for. Of one of x,
// the three vec4s from `first` on:
//   gamma * xhat + beta = (x - high) * scale + shift.
var<workgroup> norms: array<vec4f, CACHE>;

fn keep_norm(first: u32, high: vec4f, scale: vec4f, shift: vec4f) {
    norms[first] = high;
    norms[first + 1u] = scale;
    norms[first + 2u] = shift;
}

fn row_of_layer(m: u32, r: u32, c: u32, first: u32) -> vec4f {
    if GATHER != 0u {
        return row_of_data(m, current.first, r, c);
    }
    var x = scratch[at(p.x, m, r, c)];
    if NORM_X != 0u {
        x = (x - norms[first]) * norms[first + 1u] + norms[first + 2u];
        if NORM_X == 1u {
            x = value(x);
        }
        x = pad(x, c, p.features);
    }
    if DROPOUT_X == 1u {
        x = dropped(x, mask_of(hyper[model(m)].w, p.x_layer, p.x_threshold, p.x_scale), r, c);
    }
    return x;
}
