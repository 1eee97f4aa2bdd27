// Before the kernels that apply a function to what they write, or its slope.

override FUNCTION: u32; // 0 relu, 1 tanh, 2 sigmoid, 3 none

// Asked of the bits: x != x is false for a NaN where != compiles to SPIR-V's ordered comparison.
fn is_nan(x: vec4f) -> vec4<bool> {
    return (bitcast<vec4u>(x) & vec4u(0x7fffffffu)) > vec4u(0x7f800000u);
}

// Written so that a NaN stays a NaN: max(x, 0) may drop it.
fn value(x: vec4f) -> vec4f {
    switch FUNCTION {
        case 0u { return select(x, vec4f(), x < vec4f()); }
        // Clamped, as some drivers' tanh overflows; f32 is exactly 1 from 10 on.
        case 1u { return select(tanh(clamp(x, vec4f(-10), vec4f(10))), x, is_nan(x)); }
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
