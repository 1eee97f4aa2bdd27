// Before the kernels of products that are one with batch normalization, and with what lies on either side of that.

override NORM: u32;    // batch normalization 1: before the function, 2: after it
override DROPOUT: u32; // 1 where there is

@group(1) @binding(8) var<storage, read> hyper: array<vec4f>;
