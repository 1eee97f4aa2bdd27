// Before the kernels of products that are one with batch normalization, and with what lies on either side of that.

override NORM: u32;    // batch normalization 1: before the function, 2: after it
override DROPOUT: u32; // 1 where there is

@group(1) @binding(8) var<storage, read> hyper: array<vec4f>;

// What drops values of a minibatch. Kernels make it before they loop: compilers don't move it out of a loop that stores.
struct Mask { stream: u32, threshold: u32, scale: f32 }

fn mask_of(m: u32) -> Mask {
    return Mask(stream_of(hyper[model(m)].w, p.layer), p.threshold, p.scale);
}
