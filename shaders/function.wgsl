// Before the kernels that apply a function to what they write, or its slope.

override FUNCTION: u32; // 0 relu, 1 tanh, 2 sigmoid, 3 none

// What is not finite stays as it is, so that the loss shows it: tanh of infinity would be 1, max(NaN, 0) may be 0.
fn value(x: vec4f) -> vec4f {
    return select(of_finite(x), x, not_finite(x));
}

fn of_finite(x: vec4f) -> vec4f {
    switch FUNCTION {
        case 0u { return select(x, vec4f(), x < vec4f()); }
        // Clamped, as some drivers' tanh overflows; f32 is exactly 1 from 10 on.
        case 1u { return tanh(clamp(x, vec4f(-10), vec4f(10))); }
        case 2u { return 1.0 / (1.0 + exp(-x)); }
        default { return x; }
    }
}

// The derivative, from the value.
fn slope(y: vec4f) -> vec4f {
    switch FUNCTION {
        case 0u { return select(vec4f(), vec4f(1), y > vec4f()); }
        case 1u { return 1.0 - y * y; }
        case 2u { return y * (1.0 - y); }
        default { return vec4f(1); }
    }
}
